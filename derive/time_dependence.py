r"""Parameters that are functions of time: $\dot x = F(x, w(t))$.

A step reads them where it evaluates the field, at the times of its stages, so that a scheme keeps its order.
Derivatives in time follow from the Taylor polynomial of w around t_n, whose coefficients are quantities like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import factorial

from sympy import Expr, Integer

from derive.discretization import discretize, with_substeps
from derive.recurrence import Recurrence
from derive.reverse_sweep import accented
from derive.schemes import MultistepFamily, Scheme, Splitting
from derive.step_quantities import StageValue
from derive.symbols import Quantity, Role, constant, time
from derive.systems import ODE

OF_TIME = "of_time"  # what names of the step that reads them at its stages begin with


def moving(ode: ODE, parameters: Iterable[Quantity]) -> ODE:
    """The ODE with some of its parameters as functions of time."""
    return replace(ode, moving=tuple(parameters))


def step_of_time(ode: ODE, scheme: Scheme | MultistepFamily, parameters: Iterable[Quantity]) -> Recurrence | None:
    """The step that reads parameters at the times of its stages.

    None where there are none, and for a splitting into exact flows, of which a flow with w(t) has no closed form, and a
    family of schemes, whose steps are told apart by its weights.
    """
    driven = moving(ode, parameters)
    exact = isinstance(scheme, Splitting) and with_substeps(scheme, driven).substep is None
    if not driven.moving or exact or isinstance(scheme, MultistepFamily):
        return None
    return discretize(driven, scheme)


def stage_values(recurrence: Recurrence) -> tuple[StageValue, ...]:
    """What step and starts read of functions of time, by parameter, then in order of time."""
    programs = (recurrence.step, *recurrence.starts.values())
    found = {q for program in programs for q in program.inputs if isinstance(q, StageValue)}
    return tuple(sorted(found, key=lambda q: (q.parameter.name, float(q.node))))


def reads_beginnings_only(recurrence: Recurrence) -> bool:
    """Whether they are read at t_n alone: then a value for each step says all of them."""
    return all(q.node == 0 for q in stage_values(recurrence))


def rate(parameter: Quantity, order: int = 1) -> Quantity:
    """The derivative of that order in time."""
    dots = r"\dot" if order == 1 else r"\ddot" if order == 2 else ""
    latex = accented(parameter.latex, dots, dots) if dots else rf"{{{parameter.latex}}}^{{({order})}}"
    name = f"rate{order if order > 1 else ''}_{parameter.name}"
    return parameter.renamed(name, latex, Role.PARAMETER, f"derivative {order} of {parameter.name} in time")


def smooth(ode: ODE, parameters: Iterable[Quantity], degree: int) -> tuple[ODE, dict[Quantity, Expr]]:
    """The ODE with Taylor polynomials in time in the place of parameters; and what holds at the time they are about."""
    taken = {q.name for q in (*ode.quantities, *ode.state)}
    clock = ode.time or next(time(name) for name in ("t", "tau", "moment", "clock") if name not in taken)
    about: Expr = Integer(0) if ode.time is None else constant("about")
    table: dict[Quantity, Expr] = {
        q: sum((rate(q, k) * (clock - about) ** k / factorial(k) for k in range(1, degree + 1)), q) for q in parameters
    }
    velocity = tuple(value.xreplace(table) for value in ode.velocity)
    parts = tuple(tuple(value.xreplace(table) for value in part) for part in ode.parts)
    here: dict[Quantity, Expr] = {clock: Integer(0)} if ode.time is None else {constant("about"): clock}
    return ODE(ode.state, velocity, clock, ode.initial, parts), here
