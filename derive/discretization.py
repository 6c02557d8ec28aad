"""ODE x scheme -> recurrence."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer

from derive.additive_steps import additive_step
from derive.errors import UnsupportedError
from derive.program import Builder, Program, name_functions
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting, scheme_by_name
from derive.series.one_step import additive_tableau
from derive.step_quantities import STEP_SIZE, at_step, stage_latex, time_at_step
from derive.symbols import Quantity
from derive.systems import ODE, Recurrence

__all__ = ["STEP_SIZE", "at_step", "discretize", "time_at_step"]


def discretize(ode: ODE, scheme: Scheme | str) -> Recurrence:
    """One step of `scheme` applied to `ode`.

    The state before the step keeps the unknowns' names; after it they are named `<x>_next`, older ones `<x>_prev`,
    `<x>_prev2`. Evaluations of the field are named `f`, or `f_1, f_2, ...` where there are several, with the unknown's
    name where there are several of those.

    Raises:
        UnsupportedError: an implicit scheme, or one that is implicit for this field.
        SpecError: a multistep scheme without a start.
    """
    scheme = scheme_by_name(scheme)
    if isinstance(scheme, Splitting):
        scheme = additive_tableau(scheme)
    if isinstance(scheme, AdditiveTableau):
        return additive_step(ode, scheme)
    if not scheme.explicit:
        raise UnsupportedError(f"{scheme.title} is implicit; explicit schemes can be emitted")
    if isinstance(scheme, ButcherTableau):
        return _one_step(ode, scheme)
    return _multistep(ode, scheme)


def _one_step(ode: ODE, tableau: ButcherTableau) -> Recurrence:
    old = tuple(at_step(x, 0) for x in ode.state)
    builder, new = _runge_kutta_lines(ode, tableau, Integer(1))
    return Recurrence(name_functions(builder.build(new)), old, new)


def _runge_kutta_lines(ode: ODE, tableau: ButcherTableau, speed: Expr) -> tuple[Builder, tuple[Quantity, ...]]:
    builder = Builder()
    old = [at_step(x, 0) for x in ode.state]
    slopes: list[list[Quantity]] = []
    for stage in range(tableau.stages):
        points = [_stage_point(builder, x, tableau, stage, [s[i] for s in slopes]) for i, x in enumerate(old)]
        suffix = f"_{stage + 1}" if tableau.stages > 1 else ""
        slopes.append(_evaluate_field(builder, ode, points, tableau.c[stage], suffix))
    new = []
    for i, x in enumerate(ode.state):
        increment = sum((w * slopes[j][i] for j, w in enumerate(tableau.b)), Integer(0))
        after = at_step(x, -1)
        new.append(_let_as(builder, after, old[i] + STEP_SIZE * speed * increment, tableau.title))
    return builder, tuple(new)


def _stage_point(
    builder: Builder, x: Quantity, tableau: ButcherTableau, stage: int, slopes: list[Quantity]
) -> Quantity:
    row = [(weight, slopes[j]) for j, weight in enumerate(tableau.A[stage][:stage]) if weight != 0]
    if not row:
        return x
    value = x + STEP_SIZE * sum(weight * slope for weight, slope in row)
    return builder.let(f"{x.name}_{stage + 1}", value, latex=stage_latex(x, stage), reason="stage point")


def _let_as(builder: Builder, target: Quantity, value: Expr, reason: str) -> Quantity:
    return builder.let(target.name, value, latex=target.latex, meaning=target.meaning, reason=reason)


def _evaluate_field(
    builder: Builder, ode: ODE, points: list[Quantity], node: Expr, suffix: str, lag_latex: str = ""
) -> list[Quantity]:
    table: dict[Quantity, Expr] = dict(zip(ode.state, points, strict=True))
    now = time_at_step(ode)
    if ode.time is not None and now is not None:
        table[ode.time] = now + node * STEP_SIZE
    found = []
    for x, velocity in zip(ode.state, ode.velocity, strict=True):
        owner = f"_{x.name}" if len(ode.state) > 1 else ""
        index = (suffix + owner).strip("_").replace("_", ",") + lag_latex
        latex = f"f_{{{index}}}" if index else "f_n"
        found.append(builder.let(f"f{suffix}{owner}", velocity.xreplace(table), latex=latex, reason="field"))
    return found


def _multistep(ode: ODE, scheme: LinearMultistep) -> Recurrence:
    builder = Builder()
    slopes: dict[int, list[Quantity]] = {}
    for lag, weight in enumerate(scheme.beta[1:]):
        if weight != 0:
            points = [at_step(x, lag) for x in ode.state]
            suffix = "" if lag == 0 else f"_prev{lag if lag > 1 else ''}"
            slopes[lag] = _evaluate_field(builder, ode, points, Integer(-lag), suffix)
    new = []
    for i, x in enumerate(ode.state):
        past = sum((weight * at_step(x, lag) for lag, weight in enumerate(scheme.alpha)), Integer(0))
        increment = sum((scheme.beta[lag + 1] * slope[i] for lag, slope in slopes.items()), Integer(0))
        after = at_step(x, -1)
        new.append(_let_as(builder, after, past + STEP_SIZE * increment, scheme.title))
    old = tuple(at_step(x, lag) for lag in range(scheme.steps) for x in ode.state)
    shifted = (*new, *old[: -len(ode.state)])
    return Recurrence(name_functions(builder.build(shifted)), old, shifted, starts=_starts(ode, scheme))


def _starts(ode: ODE, scheme: LinearMultistep) -> Mapping[str, Program]:
    """Programs x_0 -> (x_1, x_0), one per named start of a two-step scheme."""
    if scheme.steps > 2:
        raise UnsupportedError(f"{scheme.title} needs {scheme.steps - 1} starting steps; one can be emitted")
    starts = {}
    for name, start in scheme.start.items():
        builder, new = _runge_kutta_lines(ode, start.scheme, scheme.speed if start.effective else Integer(1))
        old = tuple(at_step(x, 0) for x in ode.state)
        starts[name] = name_functions(builder.build((*new, *old)))
    return starts
