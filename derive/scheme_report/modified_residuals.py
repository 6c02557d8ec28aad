"""What should vanish where a modified equation is true: flows of claimed fields, energies, roots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Any

import mpmath
from sympy import Expr

from derive.power_series import Series
from derive.scheme_report.polynomial_fields import Differentials, contracted, hamiltonian_fields, random_fields
from derive.scheme_report.residuals import error_terms_residual
from derive.scheme_report.series_maps import (
    Point,
    SeriesScheme,
    complex_number,
    constant,
    minus,
    number,
    sampled_symbols,
    size,
    solution,
    step_of,
)
from derive.schemes import LinearMultistep, Scheme, Splitting
from derive.series.notation import parse
from derive.series.trees import Tree


def modified_field_residual(
    scheme: Scheme, terms: tuple[tuple[int, Tree], ...], order: int, coefficients: tuple[Expr, ...]
) -> float:
    """Relative residual, up to h^(order + 1), of one step along the flow of sum h^power c F(tau)."""
    values = sampled_symbols(scheme)
    run = SeriesScheme(scheme, values)
    fields = random_fields(run.parts, order)
    numbers = [number(coefficient, values) for coefficient in coefficients]

    def modified(point: Point) -> Point:
        here, h = Differentials(fields, point), step_of(start)
        powers = [h**power for power in range(order + 1)]
        weighted = [powers[power] * weight for (power, _), weight in zip(terms, numbers, strict=True)]
        return here.combined(zip(weighted, (tau for _, tau in terms), strict=True))

    start = constant([0] * 2, order + 1)
    at = solution(modified, start)
    gap = run.residual(at, fields[0]) if isinstance(scheme, LinearMultistep) else minus(at(1), run.step(fields, start))
    return float(max(size(gap, power) for power in range(order + 2)))


def leading_residual(scheme: Scheme, trees: tuple[Tree, ...], order: int, coefficients: tuple[Expr, ...]) -> float:
    """The first terms of the modified field turned round, against the local error."""
    slope = scheme.slope if isinstance(scheme, LinearMultistep) else 1
    return error_terms_residual(scheme, trees, order, tuple(-c * slope for c in coefficients))


def commutator_residual(
    scheme: Splitting, names: tuple[tuple[int, str], ...], order: int, coefficients: tuple[Expr, ...]
) -> float:
    """Composed exponentials of random matrices minus the exponential of the claimed sum, up to h^(order + 1)."""
    values, dimension, last = sampled_symbols(scheme), 3, order + 1
    random = Random(3)
    parts = [_random_matrix(random, dimension) for _ in range(scheme.parts)]
    composed = [mpmath.eye(dimension), *[mpmath.zeros(dimension)] * last]
    for part, fraction in scheme.stages:
        flow = _exponential([parts[part] * number(fraction, values)], last)
        composed = _multiplied(flow, composed)
    terms = [mpmath.zeros(dimension) for _ in range(last)]
    for (power, name), coefficient in zip(names, coefficients, strict=True):
        terms[power] = terms[power] + _bracket(name, parts) * number(coefficient, values)
    gaps = (a - b for a, b in zip(composed, _exponential(terms, last), strict=True))
    return float(max(mpmath.norm(gap) for gap in gaps))


def _random_matrix(random: Random, dimension: int) -> Any:
    entries = [[mpmath.mpf(random.randint(-90, 90)) / 100 for _ in range(dimension)] for _ in range(dimension)]
    return mpmath.matrix(entries)


def _multiplied(left: list[Any], right: list[Any]) -> list[Any]:
    """Product of matrix power series of one length."""
    zero = 0 * left[0]
    return [sum((left[i] * right[k - i] for i in range(k + 1)), zero) for k in range(len(left))]


def _exponential(terms: Sequence[Any], last: int) -> list[Any]:
    """exp(h (terms[0] + h terms[1] + ...)) up to h^last."""
    zero = 0 * terms[0]
    exponent = [zero, *terms, *[zero] * last][: last + 1]
    total = [mpmath.eye(zero.rows), *[zero] * last]
    power = total
    for count in range(1, last + 1):
        power = [entry / count for entry in _multiplied(power, exponent)]
        total = [a + b for a, b in zip(total, power, strict=True)]
    return total


def _bracket(name: str, parts: Sequence[Any]) -> Any:
    """The matrix of a commutator of linear fields: [f,g] = g'f - f'g."""
    if not name.startswith("["):
        return parts[parse(name).colour]
    depths = accumulate((mark == "[") - (mark == "]") for mark in name)
    place = next(place for place, depth in enumerate(depths) if depth == 1 and name[place] == ",")
    left, right = _bracket(name[1:place], parts), _bracket(name[place + 1 : -1], parts)
    return right * left - left * right


def hamiltonian_residual(
    scheme: Scheme, names: tuple[tuple[int, str], ...], order: int, coefficients: tuple[Expr, ...]
) -> float:
    """Change of the claimed energy along a step on a random Hamiltonian, up to h^(order + 1)."""
    values = sampled_symbols(scheme)
    run = SeriesScheme(scheme, values)
    fields, potentials = hamiltonian_fields(run.parts, order + 2)
    start = constant([mpmath.mpf(2) / 10, mpmath.mpf(-3) / 10], order + 1)
    h = step_of(start)
    numbers = [number(coefficient, values) for coefficient in coefficients]

    def energy(point: Point) -> Series:
        here = Differentials(fields, point)
        total = 0 * point[0]
        for (power, name), weight in zip(names, numbers, strict=True):
            part = "HTU".index(name[0]) // 2
            tau = parse("fg"[part] + name[1:])
            branches = [here(branch) for branch in tau.branches]
            (value,) = contracted(potentials[part], point, branches)
            total = total + value * (h**power * weight)
        return total

    gap = energy(run.step(fields, start)) - energy(start)
    return float(max(size([gap], power) for power in range(order + 2)))


def parasitic_residual(
    scheme: LinearMultistep, kinds: tuple[tuple[int, bool], ...], numbers: tuple[Expr, ...]
) -> float:
    """Claimed roots of rho put in, and growth parameters against sigma/(zeta rho')."""
    values = sampled_symbols(scheme)
    rho = [mpmath.mpf(1), *(-number(a, values) for a in scheme.alpha)]
    sigma = [number(b, values) for b in scheme.beta]
    given, worst = iter(numbers), mpmath.mpf(0)
    for multiplicity, grows in kinds:
        zeta = complex_number(next(given), values)
        reached = [mpmath.polyval(_derivative(rho, count), zeta) for count in range(multiplicity)]
        worst = max(worst, *(abs(value) for value in reached))
        if grows:
            growth = mpmath.polyval(sigma, zeta) / (zeta * mpmath.polyval(_derivative(rho, 1), zeta))
            worst = max(worst, abs(growth - complex_number(next(given), values)))
    return float(worst)


def _derivative(coefficients: Sequence[Any], count: int) -> list[Any]:
    found = list(coefficients)
    for _ in range(count):
        found = [c * (len(found) - 1 - place) for place, c in enumerate(found[:-1])]
    return found
