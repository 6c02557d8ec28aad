"""Verdicts of linear stability against steps in numbers of 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
from sympy import Expr, N, Rational, Symbol, pi

from derive.linear_stability.numeric_checks import (
    DIGITS,
    amplification,
    oscillator_step,
    root_condition_disagreements,
    sector_disagreements,
)
from derive.scheme_report.series_maps import SeriesScheme, number, sampled_symbols
from derive.schemes import ButcherTableau, LinearMultistep, Scheme
from derive.schemes.substitution import with_values

POINTS = ("0.31", "-0.73", "1.27")
RAY_SAMPLES = 60
FAR = mpmath.mpf(10) ** 40
SMALL = mpmath.mpf(10) ** -4


def function_residual(scheme: Scheme, values: tuple[Expr, ...]) -> float:
    """R(z), or the entries of M(z), against a step of the test problem at a few points."""
    with mpmath.workdps(DIGITS):
        symbols = sampled_symbols(scheme)
        member = with_values(scheme, symbols)
        worst = mpmath.mpf(0)
        for text in POINTS:
            z = mpmath.mpf(text)
            if isinstance(scheme, ButcherTableau):
                found = [_linear_step(SeriesScheme(scheme, symbols), z)]
            else:
                columns = [oscillator_step(member, z, start) for start in ((1, 0), (0, 1))]
                found = [columns[0][0], columns[1][0], columns[0][1], columns[1][1]]
            claimed = [_at(value, symbols, text) for value in values]
            worst = max(worst, *(abs(a - b) for a, b in zip(found, claimed, strict=True)))
        return float(worst)


def _at(value: Expr, symbols: dict[Symbol, Any], text: str) -> Any:
    return mpmath.mpf(str(N(value.subs(symbols).subs(Symbol("z"), Rational(text)), DIGITS + 10)))


def _linear_step(run: SeriesScheme, z: Any) -> Any:
    """x_(n+1)/x_n on x' = lambda x, by solving for the stages."""
    ((A, b),) = run.tableaus()
    matrix = mpmath.matrix([[(i == j) - z * a for j, a in enumerate(row)] for i, row in enumerate(A)])
    stages = mpmath.lu_solve(matrix, mpmath.matrix([1] * len(b)))
    return 1 + z * sum(weight * stages[i] for i, weight in enumerate(b))


def growth_residual(scheme: ButcherTableau, inverse: ButcherTableau, growth: tuple[Expr, ...]) -> float:
    """The inverse step of x' = lambda x, its stages solved, against the claimed function of z."""
    values = sampled_symbols(scheme)
    back = SeriesScheme(inverse, values)
    gaps = (_linear_step(back, -mpmath.mpf(z)) - _at(growth[0], values, z) for z in POINTS)
    return float(max(abs(gap) for gap in gaps))


def half_plane_disagreement(scheme: Scheme, stable: bool, at_infinity: bool) -> int:
    """1 where numbers contradict A-stability, or A-stability with R(oo) = 0."""
    with mpmath.workdps(DIGITS):
        found = sector_disagreements(scheme, pi / 2, RAY_SAMPLES) == 0
        if found and at_infinity:
            found = amplification(scheme, -FAR) < SMALL
        return int(found != stable)


def root_condition_disagreement(scheme: Scheme, stable: bool) -> int:
    """1 where the roots of rho, computed, contradict zero stability."""
    assert isinstance(scheme, LinearMultistep)
    return root_condition_disagreements(scheme, stable)


def symmetric_weights_residual(
    scheme: LinearMultistep, alpha: tuple[Expr, ...], values: dict[Symbol, Any] | None = None
) -> float:
    """rho/sigma of the adjoint at zeta against - rho/sigma of the scheme at 1/zeta, without the denominators.

    At sampled values of the scheme's symbols, or at given ones, which may be those of a member without any sigma.
    """
    values = sampled_symbols(scheme) if values is None else values
    count = scheme.steps
    own, other = (_polynomials(scheme.alpha, scheme.beta, values), _polynomials(alpha[:count], alpha[count:], values))
    worst = mpmath.mpf(0)
    for zeta in map(mpmath.mpf, ("1.31", "0.47", "-0.83")):
        (rho, sigma), (adjoint_rho, adjoint_sigma) = own(1 / zeta), other(zeta)
        worst = max(worst, abs(adjoint_rho * sigma + rho * adjoint_sigma))
    return float(worst)


def _polynomials(alpha: Any, beta: Any, values: dict[Symbol, Any]) -> Callable[[Any], tuple[Any, Any]]:
    rho = [mpmath.mpf(1), *(-number(a, values) for a in alpha)]
    sigma = [number(b, values) for b in beta]
    return lambda zeta: (mpmath.polyval(rho, zeta), mpmath.polyval(sigma, zeta))
