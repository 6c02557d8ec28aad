"""ODE x scheme -> recurrence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from sympy import Expr, Integer

from derive.additive_steps import additive_step
from derive.equations import separated
from derive.errors import UnsupportedError
from derive.program import Builder, Program, name_functions, symbols_of
from derive.recurrence import Recurrence
from derive.schemes import (
    AdditiveTableau,
    ButcherTableau,
    LinearMultistep,
    MultistepFamily,
    Scheme,
    Splitting,
    scheme_by_name,
)
from derive.schemes.tables.explicit import forward_euler
from derive.series.one_step import additive_tableau
from derive.starts import starts_of
from derive.step_quantities import STEP_SIZE, at_node, at_step, slope_at_step, stage_latex, time_at_step
from derive.symbols import Quantity, Role
from derive.systems import ODE
from derive.windows import lag_sum, newest, shift, weights, window

IMPLICIT = "implicit"  # what names of the implicit form of a family's step begin with
LEADING = Quantity("beta_next", (), Role.CONSTANT, r"\beta_{-1}", "weight of f_(n+1)")

__all__ = ["STEP_SIZE", "at_step", "discretize", "time_at_step"]


@cache
def discretize(ode: ODE, scheme: Scheme | MultistepFamily | str) -> Recurrence:
    """One step of `scheme` applied to `ode`.

    The state before the step keeps the unknowns' names; after it they are named `<x>_next`, older ones `<x>_prev`,
    `<x>_prev2`. Evaluations of the field are named `f`, or `f_1, f_2, ...` where there are several, with the unknown's
    name where there are several of those; remembered ones `f_prev`, `f_prev2`.

    An implicit scheme's stages are lines that hold together (see `derive.program.Solve`): as few at a time as the
    tableau allows, and none where a stage is explicit.

    Raises:
        UnsupportedError: a scheme that is implicit for a field in several parts, a family on several unknowns, or an
            implicit start where slopes are kept.
        SpecError: a multistep scheme with a start of too low an order.
    """
    if isinstance(scheme, MultistepFamily):
        return _family(ode, scheme)
    scheme = scheme_by_name(scheme)
    if isinstance(scheme, Splitting):
        scheme = additive_tableau(with_substeps(scheme, ode))
    if isinstance(scheme, AdditiveTableau):
        return additive_step(ode, scheme)
    if isinstance(scheme, ButcherTableau):
        return _one_step(ode, scheme)
    return _multistep(ode, scheme)


def with_substeps(scheme: Splitting, ode: ODE) -> Splitting:
    """Forward Euler is the flow of a part that does not see what it drives."""
    if scheme.substep is not None or not all(_is_shear(ode, part) for part in ode.split):
        return scheme
    return replace(scheme, substep=forward_euler())


def _is_shear(ode: ODE, part: tuple[Expr, ...]) -> bool:
    driven = {x for x, velocity in zip(ode.state, part, strict=True) if velocity != 0}
    return ode.time is None and not ode.moving and all(driven.isdisjoint(symbols_of(velocity)) for velocity in part)


def _one_step(ode: ODE, tableau: ButcherTableau) -> Recurrence:
    old = tuple(at_step(x, 0) for x in ode.state)
    builder = Builder()
    new, _ = runge_kutta_lines(builder, ode, tableau, Integer(1), old)
    return Recurrence(finished_step(builder, new), old, new)


def finished_step(builder: Builder, outputs: Iterable[Quantity]) -> Program:
    """The program of a step: functions named, equations apart from what is explicit."""
    return separated(name_functions(builder.build(outputs)))


def runge_kutta_lines(
    builder: Builder,
    ode: ODE,
    tableau: ButcherTableau,
    speed: Expr,
    old: Sequence[Quantity],
    inputs: Sequence[Mapping[Quantity, Expr]] = (),
) -> tuple[tuple[Quantity, ...], list[list[Quantity]]]:
    """Writes the lines of a step from the old values; returns the new ones and the slopes of every stage.

    Slopes at the stage points, and the points from the slopes, are equations; `separated` finds what is explicit.
    What the field reads besides may have a value of its own at each stage: `inputs[stage]`.
    """
    first, old = len(builder.lines), tuple(old)
    new = tuple(at_step(x, -1) for x in ode.state)
    points = stage_points(tableau, old, new, last_is_new=speed == 1)
    slopes = []
    for stage, names in enumerate(points):
        suffix = f"_{stage + 1}" if tableau.stages > 1 else ""
        read = inputs[stage] if inputs else {}
        slopes.append(_evaluate_field(builder, ode, names, tableau.c[stage], suffix, read))
    for names, row in zip(points, tableau.A, strict=True):
        _write_points(builder, names, old, row, slopes, tableau.title if names == new else "stage point")
    own = [names for names in points if names != old]
    builder.solve(first, [q for names in own for q in names], [x for _ in own for x in old])
    if new not in points:
        _write_points(builder, new, old, [speed * weight for weight in tableau.b], slopes, tableau.title)
    return new, slopes


def _write_points(
    builder: Builder,
    names: tuple[Quantity, ...],
    old: tuple[Quantity, ...],
    weights: Sequence[Expr],
    slopes: Sequence[Sequence[Quantity]],
    reason: str,
) -> None:
    if names == old:
        return
    for i, (name, x) in enumerate(zip(names, old, strict=True)):
        increment = sum((w * slope[i] for w, slope in zip(weights, slopes, strict=True)), Integer(0))
        _let_as(builder, name, x + STEP_SIZE * increment, reason)


def stage_points(
    tableau: ButcherTableau, old: tuple[Quantity, ...], new: tuple[Quantity, ...], last_is_new: bool
) -> list[tuple[Quantity, ...]]:
    """Names of the stage points: x_n where a row is zero, x_(n+1) where the last, implicit one is b, or their own."""
    points = []
    for stage, row in enumerate(tableau.A):
        last = stage == tableau.stages - 1 and tuple(row) == tuple(tableau.b) and row[stage] != 0
        own = tuple(_stage_point(x, stage) for x in old)
        points.append(old if not any(row) else new if last and last_is_new else own)
    return points


def _stage_point(x: Quantity, stage: int) -> Quantity:
    return Quantity(f"{x.name}_{stage + 1}", x.shape, Role.INTERMEDIATE, stage_latex(x, stage))


def _let_as(builder: Builder, target: Quantity, value: Expr, reason: str) -> Quantity:
    return builder.let(target.name, value, latex=target.latex, meaning=target.meaning, reason=reason)


def _evaluate_field(
    builder: Builder,
    ode: ODE,
    points: Sequence[Quantity],
    node: Expr,
    suffix: str,
    inputs: Mapping[Quantity, Expr] = {},
) -> list[Quantity]:
    table: dict[Quantity, Expr] = {**dict(zip(ode.state, points, strict=True)), **inputs, **at_node(ode, node)}
    found = []
    for x, velocity in zip(ode.state, ode.velocity, strict=True):
        owner = f"_{x.name}" if len(ode.state) > 1 else ""
        index = (suffix + owner).strip("_").replace("_", ",")
        latex = f"f_{{{index}}}" if index else "f_n" if node == 0 else f"f_{{n+{node}}}"
        found.append(builder.let(f"f{suffix}{owner}", velocity.xreplace(table), latex=latex, reason="field"))
    return found


def _multistep(ode: ODE, scheme: LinearMultistep) -> Recurrence:
    """The state holds past values as far back as alpha reaches, and past slopes as far back as beta does.

    So every step evaluates the field once, at the newest value.
    """
    builder = Builder()
    states, slopes = _depth(scheme.alpha), _depth(scheme.beta[1:])
    history = [slope_at_step(ode, lag) for lag in range(1, slopes)]
    fresh = _evaluate_field(builder, ode, [at_step(x, 0) for x in ode.state], Integer(0), "") if slopes else []
    unknown = [at_step(x, -1) for x in ode.state]
    ahead = [] if scheme.explicit else _evaluate_field(builder, ode, unknown, Integer(1), "_next")
    new = []
    for i, x in enumerate(ode.state):
        past = sum((scheme.alpha[lag] * at_step(x, lag) for lag in range(states)), Integer(0))
        terms = [scheme.beta[lag + 1] * slope[i] for lag, slope in enumerate([fresh, *history][:slopes])]
        terms += [scheme.beta[0] * slope for slope in ahead[i : i + 1]]
        new.append(_let_as(builder, at_step(x, -1), past + STEP_SIZE * sum(terms, Integer(0)), scheme.title))
    builder.solve(0, new, [at_step(x, 0) for x in ode.state])
    values = [[at_step(x, lag) for x in ode.state] for lag in range(states)]
    old = _joined([*values, *history])
    shifted = _joined(_shifted(new, values) + _shifted(fresh, history))
    starts = _starts(ode, scheme, values, history)
    step, unknowns = finished_step(builder, shifted), len(ode.state)
    return Recurrence(step, old, shifted, starts=starts, lags=scheme.lags, unknowns=unknowns)


def _depth(weights: Sequence[Expr]) -> int:
    """How many of the leading weights are needed: those after the last that is not zero are not."""
    return max((place + 1 for place, weight in enumerate(weights) if weight != 0), default=0)


def _shifted(newest: list[Quantity], history: list[list[Quantity]]) -> list[list[Quantity]]:
    """A history one step later: the newest in front, the oldest dropped."""
    return [newest, *history][: len(history)]


def _joined(groups: list[list[Quantity]]) -> tuple[Quantity, ...]:
    return tuple(quantity for group in groups for quantity in group)


def _starts(
    ode: ODE, scheme: LinearMultistep, values: list[list[Quantity]], history: list[list[Quantity]]
) -> Mapping[str, Program]:
    """Programs of the first steps by name of the start: state -> state, like the step itself.

    What is older than x_0 is passed on unread, and has left the state when the first steps are done.
    """
    starts = {}
    for name, start in starts_of(scheme).items():
        if history and any(start.scheme.A[0]):
            raise UnsupportedError(f"{scheme.title}: the start {name!r} does not evaluate the field at x_n; it must")
        speed = scheme.speed if start.effective else Integer(1)
        builder = Builder()
        new, slopes = runge_kutta_lines(builder, ode, start.scheme, speed, values[0])
        outputs = _joined(_shifted(list(new), values) + _shifted(slopes[0], history))
        starts[name] = finished_step(builder, outputs)
    return starts


def implicit_family(ode: ODE, family: MultistepFamily) -> Recurrence:
    """The step of a family where f_(n+1) has a weight, `LEADING`: an equation in x_(n+1). Its starts are the same."""
    return _family(ode, family, ahead=True)


def _family(ode: ODE, family: MultistepFamily, ahead: bool = False) -> Recurrence:
    """One program for any number of lags: the state is two windows, past values and past slopes."""
    if len(ode.state) != 1:
        names = ", ".join(x.name for x in ode.state)
        raise UnsupportedError(f"{family.title} with weights as arguments needs one unknown; there are {names}")
    (x,) = ode.state
    now = at_step(x, 0)
    values = window(now, f"{x.name}_lags", rf"{{\mathbf{{{x.latex}}}}}_{{n}}", f"past values of {x.name}, newest first")
    slopes = window(now, "f_lags", r"{\mathbf{f}}_{n-1}", "past values of the field, newest first")
    alpha = weights("alpha", latex=r"\alpha", meaning="weights of x_n, x_(n-1), ...")
    beta = weights("beta", latex=r"\beta", meaning="weights of f_n, f_(n-1), ...")
    builder = Builder()
    current = _newest_of(builder, values, now)
    fresh = _evaluate_field(builder, ode, [current], Integer(0), "")
    slopes_next = _move_on(builder, slopes, fresh[0], r"{\mathbf{f}}_{n}")
    after = lag_sum(alpha, values) + STEP_SIZE * lag_sum(beta, slopes_next)
    if ahead:
        after = builder.let("past", after, latex="p_n", meaning="past values and slopes in x_(n+1)", reason="known")
        first = len(builder.lines)
        after += STEP_SIZE * LEADING * _evaluate_field(builder, ode, [at_step(x, -1)], Integer(1), "_next")[0]
    new = _let_as(builder, at_step(x, -1), after, family.title)
    if ahead:
        builder.solve(first, [new], [current])
    values_next = _move_on(builder, values, new, rf"{{\mathbf{{{x.latex}}}}}_{{n+1}}")
    step = finished_step(builder, (values_next, slopes_next))
    if ahead:
        return Recurrence(step, (values, slopes), (values_next, slopes_next), unknowns=1)
    starts = {name: _family_start(ode, tableau, values, slopes) for name, tableau in family.starts.items()}
    return Recurrence(step, (values, slopes), (values_next, slopes_next), starts=starts, unknowns=1)


def _newest_of(builder: Builder, values: Quantity, now: Quantity) -> Quantity:
    return builder.let(now.name, newest(values), latex=now.latex, meaning=now.meaning, reason="newest of the window")


def _move_on(builder: Builder, past: Quantity, fresh: Quantity, latex: str) -> Quantity:
    return builder.let(f"{past.name}_next", shift(fresh, past), latex=latex, reason="the window one step later")


def _family_start(ode: ODE, tableau: ButcherTableau, values: Quantity, slopes: Quantity) -> Program:
    builder, (x,) = Builder(), ode.state
    (new,), stages = runge_kutta_lines(builder, ode, tableau, Integer(1), [_newest_of(builder, values, at_step(x, 0))])
    values_next = _move_on(builder, values, new, rf"{{\mathbf{{{x.latex}}}}}_{{n+1}}")
    slopes_next = _move_on(builder, slopes, stages[0][0], r"{\mathbf{f}}_{n}")
    return finished_step(builder, (values_next, slopes_next))
