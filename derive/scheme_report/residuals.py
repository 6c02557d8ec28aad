"""What should vanish where a claim on a scheme is true, measured by truncated power series on random fields."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial
from typing import Any

import mpmath
from sympy import Expr, Symbol, oo

from derive.scheme_report.polynomial_fields import (
    Differentials,
    random_fields,
)
from derive.scheme_report.series_maps import (
    Point,
    SeriesScheme,
    VectorField,
    constant,
    minus,
    number,
    sampled_symbols,
    size,
    solution,
    tableau_step,
    together,
)
from derive.schemes import ButcherTableau, LinearMultistep, Scheme
from derive.series.trees import Tree

VANISHES = mpmath.mpf(10) ** -35


def tolerance(scheme: Scheme) -> float:
    """How far a relation may be missed: by what published decimals leave out."""
    digits = getattr(scheme, "digits", None)
    return 1e-30 if digits is None else 10.0 ** (6 - digits)


def local_error(scheme: Scheme, values: dict[Symbol, Any], order: int, weights: Sequence[Expr] | None = None) -> Point:
    """Exact minus numerical after one step from the origin, up to h^order; `weights` in the place of a tableau's b."""
    run = SeriesScheme(scheme, values)
    fields = random_fields(run.parts, order)
    start = constant([0] * 2, order)
    if isinstance(scheme, LinearMultistep):
        speed = number(scheme.speed, values)
        return run.residual(solution(_scaled(fields[0], speed), start), fields[0])
    exact = solution(together(fields), start)(1)
    if weights is None:
        return minus(exact, run.step(fields, start))
    ((A, _),) = run.tableaus()
    return minus(exact, tableau_step([(A, [number(b, values) for b in weights])], fields, start))


def _scaled(field: VectorField, factor: Any) -> VectorField:
    return lambda point: [value * factor for value in field(point)]


def error_terms_residual(scheme: Scheme, trees: tuple[Tree, ...], order: int, coefficients: tuple[Expr, ...]) -> float:
    """Relative size of the local error minus the claimed term in h^(order + 1), and of all lower powers."""
    values = sampled_symbols(scheme)
    error = local_error(scheme, values, order + 1)
    parts = SeriesScheme(scheme, values).parts
    here = Differentials(random_fields(parts, order + 1), constant([0] * 2, 0))
    numbers = [number(coefficient, values) for coefficient in coefficients]
    claimed = here.combined(zip(numbers, trees, strict=True))
    last = [e.coefficients[-1] - c.coefficients[0] for e, c in zip(error, claimed, strict=True)]
    scale = size(claimed, 0) or mpmath.mpf(1)
    lower = [size(error, power) for power in range(order + 1)]
    return float(max(mpmath.sqrt(sum(abs(entry) ** 2 for entry in last)) / scale, *lower))


def derivative_residual(scheme: Scheme, power: int, constants: tuple[Expr, ...]) -> float:
    """Relative size of the local error in h^power minus C times the derivative of that order of the solution."""
    values = sampled_symbols(scheme)
    error = local_error(scheme, values, power)
    fields = random_fields(SeriesScheme(scheme, values).parts, power)
    exact = solution(together(fields), constant([0] * 2, power))(1)
    factor = number(constants[0], values) * factorial(power)
    gap = [e.coefficients[-1] - factor * u.coefficients[-1] for e, u in zip(error, exact, strict=True)]
    return float(mpmath.sqrt(sum(abs(entry) ** 2 for entry in gap)) / (size(error, power) or mpmath.mpf(1)))


def wrong_powers(gap: Point, reached: Any, slack: float = 0.0) -> int:
    """Powers of h that contradict `gap = O(h^(reached + 1))` and no better; oo: all vanish."""
    last = len(gap[0].coefficients) - 1
    limit = max(mpmath.mpf(slack), VANISHES)
    wrong = sum(size(gap, power) > limit for power in range(last + 1) if reached == oo or power <= reached)
    if reached != oo and reached < last:
        wrong += int(size(gap, int(reached) + 1) <= limit)
    return int(wrong)


def order_disagreements(
    scheme: Scheme, values: dict[Symbol, Any], weights: Sequence[Expr] | None, order: int, at_least: bool = False
) -> int:
    """Powers of h that contradict an order, or one of at least that."""
    gap = local_error(scheme, values, order + (not at_least), weights)
    return wrong_powers(gap, order, noise(scheme))


def noise(scheme: Scheme) -> float:
    """What published decimals leave where exact entries leave nothing."""
    return 0.0 if getattr(scheme, "digits", None) is None else tolerance(scheme)


def dense_disagreements(scheme: ButcherTableau, order: int) -> int:
    """Powers of h that contradict the order of the dense output, at theta = 3/10."""
    values = sampled_symbols(scheme)
    theta = mpmath.mpf(3) / 10
    (field,) = random_fields(1, order + 1)
    start = constant([0] * 2, order + 1)
    whole = scheme.dense_tableau
    ((A, _),) = SeriesScheme(whole, values).tableaus()
    assert whole.dense is not None
    weights = [sum(number(c, values) * theta ** (j + 1) for j, c in enumerate(row)) for row in whole.dense]
    gap = minus(solution(field, start)(theta), tableau_step([(A, weights)], [field], start))
    return wrong_powers(gap, order, noise(scheme))


def stage_disagreements(scheme: Scheme, order: int, reached: int) -> int:
    """Degrees at which the quadrature of some stage contradicts a stage order."""
    values = sampled_symbols(scheme)
    parts = SeriesScheme(scheme, values).tableaus()
    limit = mpmath.mpf(tolerance(scheme))

    def exact(degree: int) -> bool:
        nodes = [[mpmath.mpf(sum(row)) for row in A] for A, _ in parts]
        gaps = [
            sum(a * c ** (degree - 1) for a, c in zip(row, other, strict=True)) - nodes[p][i] ** degree / degree
            for p, (A, _) in enumerate(parts)
            for other in nodes
            for i, row in enumerate(A)
        ]
        return all(abs(gap) <= limit for gap in gaps)

    wrong = sum(not exact(degree) for degree in range(1, reached + 1))
    return int(wrong + (reached < order and exact(reached + 1)))


def error_constant_residual(scheme: LinearMultistep, power: int, scale: Expr, constants: tuple[Expr, ...]) -> float:
    """C_power times a factor, against a Taylor coefficient of the residual on u = e^t."""
    values = sampled_symbols(scheme)
    alpha, beta = ([number(w, values) for w in side] for side in (scheme.alpha, scheme.beta))
    slope = len(alpha) - sum(w * (len(alpha) - 1 - j) for j, w in enumerate(alpha))
    speed = sum(beta) / slope

    def left(h: Any) -> Any:
        past = sum(a * mpmath.exp(-j * h) for j, a in enumerate(alpha))
        return mpmath.exp(h) - past - h / speed * sum(b * mpmath.exp(-lag * h) for lag, b in enumerate(beta, start=-1))

    found = mpmath.diff(left, 0, power) / factorial(power)
    wanted = found * (1 if scale == 1 else 1 / slope)
    return float(abs(number(constants[0], values) - wanted) / (abs(wanted) + mpmath.mpf(10) ** -6))
