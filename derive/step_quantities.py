"""Names of what every discretization has: the step size, the unknowns and the time at a step."""

from __future__ import annotations

from typing import Any, cast

import sympy
from sympy import Expr

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


class StageValue(Quantity):
    """A parameter that is a function of time, at the time t_n + c h of a stage.

    Attributes:
        parameter: whose value it is.
        node: c.
    """

    __slots__ = ("node", "parameter")

    parameter: Quantity
    node: Expr

    def __new__(cls, parameter: Quantity, node: Expr, time: str = "t") -> StageValue:
        found = Quantity.__new__(
            cls,
            f"{parameter.name}_at_{_node_name(node)}",
            parameter.shape,
            Role.LAYER_PARAMETER,
            rf"{parameter.latex}\left({_moment_latex(time, node)}\right)",
            f"{parameter.meaning or parameter.name} at {time}_n + {node} h"
            if node
            else f"{parameter.name} at {time}_n",
        )
        made = cast(StageValue, found)
        made.parameter, made.node = parameter, node
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.parameter, self.node), {}


def _node_name(node: Expr) -> str:
    """What tells nodes apart, as a part of a name: 0, 1, 1_2, or decimals."""
    if isinstance(node, sympy.Rational):
        return str(node).replace("/", "_").replace("-", "m")
    return f"{float(node):.5f}".rstrip("0").replace(".", "p").replace("-", "m")


def _moment_latex(time: str, node: Expr) -> str:
    if node in (0, 1):
        return with_index(time, "n+1" if node else "n")
    return rf"{with_index(time, 'n')} + {sympy.latex(node, fold_short_frac=True)}\, h"


def at_node(ode: ODE, node: Expr) -> dict[Quantity, Expr]:
    """What depends on time alone, at t_n + node h: the time itself, and parameters that are functions of it."""
    latex = "t" if ode.time is None else ode.time.latex
    found: dict[Quantity, Expr] = {q: StageValue(q, node, latex) for q in ode.moving}
    now = time_at_step(ode)
    if ode.time is not None and now is not None:
        found[ode.time] = now + node * STEP_SIZE
    return found


def stage_latex(x: Quantity, stage: int) -> str:
    """LaTeX of an unknown at a stage, from that of the unknown at t_n."""
    base = x.latex.removesuffix("_{n}") if x.latex.endswith("_{n}") else x.latex.removesuffix(",n}") + "}"
    return f"{base}^{{({stage + 1})}}"
