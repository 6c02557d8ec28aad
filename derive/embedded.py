"""Embedded pairs: one step with its error estimate and its dense output, all from the stages of one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Integer, diff, expand

from derive.discretization import STEP_SIZE, at_step, finished_step, runge_kutta_lines
from derive.errors import SpecError
from derive.program import Builder, Program
from derive.schemes import SCHEMES, ButcherTableau, scheme_by_name
from derive.schemes.tables.pairs import hermite
from derive.series import rk
from derive.symbols import Quantity, time
from derive.systems import ODE


@dataclass(frozen=True)
class EmbeddedPair:
    """An explicit table with f(t + h, x_next) as a stage, with weights of the error and of the dense output.

    Attributes:
        given: the table as it was given.
        tableau: all stages: those of the step, f(t + h, x_next), and those that the dense output needs besides.
        last: the place of f(t + h, x_next), which is the first stage of the next step.
        error: weights of the error estimate, b less the embedded b.
        dense: `dense[i][j]` is the coefficient of theta^(j+1) in b_i(theta): the table's own, else the cubic through
            both ends with the slopes there.
        is_crude: whether it is that cubic.
        power: the estimate is O(h^power).
    """

    given: ButcherTableau
    tableau: ButcherTableau
    last: int
    error: tuple[Expr, ...]
    dense: tuple[tuple[Expr, ...], ...]
    is_crude: bool
    power: int

    def weights(self, theta: Expr) -> tuple[Expr, ...]:
        """b_i(theta)."""
        return tuple(_polynomial(row, theta) for row in self.dense)

    def slopes(self, theta: Quantity) -> tuple[Expr, ...]:
        """db_i/dtheta."""
        return tuple(diff(weight, theta) for weight in self.weights(theta))


def _polynomial(coefficients: Sequence[Expr], theta: Expr) -> Expr:
    return sum((c * theta**power for power, c in enumerate(coefficients, 1)), Integer(0))


def embedded_pairs() -> list[str]:
    """Ids of the shipped schemes that choose their steps."""
    return [name for name in SCHEMES if _is_pair(SCHEMES[name])]


def _is_pair(scheme: object) -> bool:
    return isinstance(scheme, ButcherTableau) and scheme.explicit and scheme.b_error is not None


def embedded_pair(scheme: ButcherTableau | str) -> EmbeddedPair:
    """The pair of a table.

    Raises:
        SpecError: the scheme is no explicit table with the weights of an embedded one, or they are its own weights.
    """
    given = scheme_by_name(scheme)
    if not isinstance(given, ButcherTableau) or not given.explicit or given.b_error is None:
        raise SpecError(
            f"{given.title} has no error estimate to choose steps by; allowed: an explicit ButcherTableau with "
            f"b_error, such as {', '.join(embedded_pairs())}"
        )
    if all(expand(b - e) == 0 for b, e in zip(given.b, given.b_error, strict=True)):
        raise SpecError(
            f"{given.title} has b_error = b = ({', '.join(map(str, given.b))}): its error estimate is always zero; "
            "allowed: an embedded scheme with other weights"
        )
    whole = given.dense_tableau
    last = _next_first_stage(whole)
    own = given.dense is not None and (last is not None or not given.dense_stages)
    if last is None:
        whole, last = _with_last_stage(given), given.stages
    missing = whole.stages - given.stages
    error = (*(b - e for b, e in zip(given.b, given.b_error, strict=True)), *[Integer(0)] * missing)
    rows = list(given.dense) if own and given.dense is not None else hermite(whole.b)
    rows += [[Integer(0)] * len(rows[0])] * (whole.stages - len(rows))
    embedded = given.embedded_order or rk.embedded_order(given)
    assert embedded is not None
    power = min(order_of(given), embedded) + 1
    return EmbeddedPair(given, whole, last, error, tuple(map(tuple, rows)), not own, power)


def _next_first_stage(tableau: ButcherTableau) -> int | None:
    """Where the table has f(t + h, x_next)."""
    return next((place for place, row in enumerate(tableau.A) if tuple(row) == tuple(tableau.b)), None)


def order_of(given: ButcherTableau) -> int:
    """The order a table claims, which was tested where it was made, or that it has."""
    return given.order or rk.order(given)


def _with_last_stage(given: ButcherTableau) -> ButcherTableau:
    """The table of the step, with f(t + h, x_next) as its last stage."""
    zero = Integer(0)
    rows = [*((*row, zero) for row in given.A), (*given.b, zero)]
    weights, nodes = (*given.b, zero), (*given.c, Integer(1))
    return ButcherTableau(A=rows, b=weights, c=nodes, digits=given.digits, title=given.title)


@dataclass(frozen=True)
class EmbeddedStep:
    """One step of a pair as a program.

    Attributes:
        program: computes `new`, `inside` and `error`.
        old, new: the unknowns before and after the step.
        inside: the unknowns at t + theta h, by the dense output.
        error: the estimate of each unknown's error.
        theta: where in the step the dense output is read.
        slopes: the field at the stages, by unknown.
    """

    program: Program
    old: tuple[Quantity, ...]
    new: tuple[Quantity, ...]
    inside: tuple[Quantity, ...]
    error: tuple[Quantity, ...]
    theta: Quantity
    slopes: tuple[tuple[Quantity, ...], ...]


def embedded_step(ode: ODE, pair: EmbeddedPair) -> EmbeddedStep:
    """One step of an ODE with all that its stages say."""
    builder = Builder()
    old = tuple(at_step(x, 0) for x in ode.state)
    new, stages = runge_kutta_lines(builder, ode, pair.tableau, Integer(1), old)
    slopes = tuple(zip(*stages, strict=True))
    theta = time(_free_letter(ode), meaning="place in the step, from 0 to 1")
    inside, error = [], []
    weights = [_weight(builder, place, value, theta) for place, value in enumerate(pair.weights(theta), 1)]
    for x, own in zip(old, slopes, strict=True):
        latex = rf"{x.latex}(t + {theta.latex} h)"
        value = x + STEP_SIZE * _combined(weights, own)
        inside.append(builder.let(f"{x.name}_inside", value, latex=latex, meaning="dense output", reason="b(theta)"))
    for x, own in zip(old, slopes, strict=True):
        value = STEP_SIZE * _combined(pair.error, own)
        reason = "difference of the two schemes"
        error.append(
            builder.let(f"e_{x.name}", value, latex=f"e_{{{x.latex}}}", meaning="error estimate", reason=reason)
        )
    program = finished_step(builder, (*new, *inside, *error))
    return EmbeddedStep(program, old, new, tuple(inside), tuple(error), theta, slopes)


def _weight(builder: Builder, place: int, value: Expr, theta: Quantity) -> Expr:
    """A weight of the dense output as a line of its own, where it is not zero."""
    latex = rf"b_{{{place}}}({theta.latex})"
    return value and builder.let(f"dense_{place}", value, latex=latex, reason="weight of the dense output")


def _free_letter(ode: ODE) -> str:
    taken = {q.name for q in (*ode.quantities, *ode.state)}
    return next(letter for letter in ("theta", "vartheta", "eta", "zeta_in_step") if letter not in taken)


def _combined(weights: Sequence[Expr], slopes: Sequence[Quantity]) -> Expr:
    return sum((w * slope for w, slope in zip(weights, slopes, strict=True)), Integer(0))
