"""Names of what every discretization has: the step size, the unknowns and the time at a step."""

from __future__ import annotations

from derive.symbols import Quantity, Role, step_size, with_index
from derive.systems import ODE

STEP_SIZE = step_size()


def at_step(unknown: Quantity, lag: int) -> Quantity:
    """The unknown at t_{n-lag}; lag -1 is the value after the step."""
    names = {-1: f"{unknown.name}_next", 0: unknown.name, 1: f"{unknown.name}_prev"}
    index = {-1: "n+1", 0: "n"}.get(lag, f"n-{lag}")
    name = names.get(lag, f"{unknown.name}_prev{lag}")
    role = Role.INTERMEDIATE if lag == -1 else Role.STATE
    return Quantity(name, unknown.shape, role, with_index(unknown.latex, index), unknown.meaning)


def slope_at_step(ode: ODE, lag: int) -> list[Quantity]:
    """The field at t_{n-lag}, lag 1 or more, for each unknown: a part of the state of a scheme that remembers it."""
    found = []
    for x in ode.state:
        owner, index = (f"_{x.name}", f"{x.name},n-{lag}") if len(ode.state) > 1 else ("", f"n-{lag}")
        name = f"f_prev{lag if lag > 1 else ''}{owner}"
        found.append(Quantity(name, x.shape, Role.STATE, f"f_{{{index}}}", f"field at t_(n-{lag})"))
    return found


def time_at_step(ode: ODE) -> Quantity | None:
    """The time t_n, where the field depends on it."""
    return (
        None
        if ode.time is None
        else Quantity(ode.time.name, (), Role.TIME, with_index(ode.time.latex, "n"), ode.time.meaning)
    )


def stage_latex(x: Quantity, stage: int) -> str:
    """LaTeX of an unknown at a stage, from that of the unknown at t_n."""
    base = x.latex.removesuffix("_{n}") if x.latex.endswith("_{n}") else x.latex.removesuffix(",n}") + "}"
    return f"{base}^{{({stage + 1})}}"
