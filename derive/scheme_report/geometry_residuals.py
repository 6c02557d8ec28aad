"""What contradicts a claim on the geometry of a scheme: conserved quantities, steps forth and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mpmath
from sympy import Expr, Symbol, oo, true
from sympy.logic.boolalg import Boolean

from derive.power_series import Series
from derive.scheme_report.polynomial_fields import counter_rotation, random_fields, rotation, variations
from derive.scheme_report.residuals import VANISHES, noise, wrong_powers
from derive.scheme_report.series_maps import (
    SeriesScheme,
    Weights,
    constant,
    flow_over,
    minus,
    number,
    sampled_symbols,
    size,
    tableau_step,
)
from derive.scheme_report.stability_residuals import symmetric_weights_residual
from derive.schemes import ButcherTableau, LinearMultistep, Scheme, Splitting

LARGEST_POWER = 12


def quadratic_disagreements(scheme: Scheme, order: Any) -> int:
    """Powers of h that contradict how well |x|^2 (of partitioned schemes x . y) is kept on fields that conserve it."""
    values = sampled_symbols(scheme)
    run = SeriesScheme(scheme, values)
    last = (7 if run.parts == 1 else 5) if order == oo else int(order) + 1
    start_values = [mpmath.mpf(v) / 10 for v in (3, 11, -7)]
    if run.parts == 1 or isinstance(scheme, Splitting):
        start = constant(start_values, last)
        after = run.step([rotation(last, 5 + part) for part in range(run.parts)], start)
        gap = sum((a * a - b * b for a, b in zip(after, start, strict=True)), 0 * start[0])
    else:
        start = constant([*start_values, *[mpmath.mpf(v) / 10 for v in (9, 4, 8)]], last)
        after = run.step(counter_rotation(last), start)
        gap = sum(
            (a * b - c * d for a, b, c, d in zip(after[:3], after[3:], start[:3], start[3:], strict=True)), 0 * start[0]
        )
    return wrong_powers([gap], order, noise(scheme))


def symmetry_disagreements(scheme: Scheme, order: int, members: Sequence[dict[Symbol, Any]], symmetric: Boolean) -> int:
    """Members of a family whose step of h and one of -h contradict the claim."""
    return sum(_is_undone(scheme, values, order) != (symmetric.subs(values) == true) for values in members)


def _is_undone(scheme: Scheme, values: dict[Symbol, Any], order: int) -> bool:
    """Whether a step of -h undoes one of h, up to h^(order + 3); of a multistep scheme by its polynomials."""
    if isinstance(scheme, LinearMultistep):
        return symmetric_weights_residual(scheme, (*scheme.alpha, *scheme.beta), values) < VANISHES
    run, last = SeriesScheme(scheme, values), min(order + 3, LARGEST_POWER)
    fields = random_fields(run.parts, last)
    start = constant([0] * 2, last)
    gap = minus(run.step(fields, run.step(fields, start), -1), start)
    limit = max(VANISHES, mpmath.mpf(noise(scheme)))
    return all(size(gap, power) <= limit for power in range(last + 1))


def undone_residual(scheme: Scheme, counts: tuple[int, ...], order: int, weights: tuple[Expr, ...]) -> float:
    """How far a step of -h with other weights is from undoing a step, up to h^(order + 2).

    Args:
        scheme: the step.
        counts: numbers of stages of the parts of the other scheme.
        order: of the scheme.
        weights: the entries of A, row by row, and b, of every part of the other scheme.
    """
    values = sampled_symbols(scheme)
    run, last = SeriesScheme(scheme, values), min(order + 2, LARGEST_POWER)
    fields = random_fields(run.parts, last)
    start = constant([0] * 2, last)
    parts = unpacked([number(weight, values) for weight in weights], counts)
    gap = minus(tableau_step(parts, fields, run.step(fields, start), -1), start)
    return float(max(size(gap, power) for power in range(last + 1)))


def splitting_residual(scheme: Splitting, other: Splitting, order: int, fractions: tuple[Expr, ...]) -> float:
    """The same for flows of other fractions of -h."""
    values = sampled_symbols(scheme)
    back = [(part, number(fraction, values)) for (part, _), fraction in zip(other.stages, fractions, strict=True)]
    run, last = SeriesScheme(scheme, values), min(order + 2, LARGEST_POWER)
    fields = random_fields(run.parts, last)
    start = constant([0] * 2, last)
    point = run.step(fields, start)
    for part, fraction in back:
        if other.substep is None:
            point = flow_over(fields[part], point, -fraction)
        else:
            point = tableau_step(SeriesScheme(other.substep, values).tableaus(), [fields[part]], point, -fraction)
    gap = minus(point, start)
    return float(max(size(gap, power) for power in range(last + 1)))


def commuting_disagreements(scheme: ButcherTableau, order: Any) -> int:
    """Powers of h that contradict how well costate . variation is kept when the scheme itself steps the costate."""
    ((A, b),) = SeriesScheme(scheme, sampled_symbols(scheme)).tableaus()
    last = 7 if order == oo else int(order) + 1
    return wrong_powers([_pairing(scheme, (A, b), last)], order, noise(scheme))


def _pairing(scheme: ButcherTableau, partner: Weights, last: int) -> Series:
    """Change of costate . variation over a step, the costate stepped by other weights."""
    (own,) = SeriesScheme(scheme, sampled_symbols(scheme)).tableaus()
    start = constant([0, 0, *(mpmath.mpf(v) / 10 for v in (7, -12, 9, 4))], last)
    after = tableau_step([own, partner], variations(last), start)
    return after[2] * after[4] + after[3] * after[5] - (start[2] * start[4] + start[3] * start[5])


def unpacked(numbers: Sequence[Any], counts: Sequence[int]) -> list[tuple[list[list[Any]], list[Any]]]:
    """(A, b) of every part from one list."""
    found, place = [], 0
    for count in counts:
        rows = [list(numbers[place + count * i : place + count * (i + 1)]) for i in range(count + 1)]
        found.append((rows[:-1], rows[-1]))
        place += count * (count + 1)
    return found


def packed(tableaus: Sequence[ButcherTableau]) -> tuple[Expr, ...]:
    """The entries of A, row by row, and of b, of every part."""
    return tuple(entry for tableau in tableaus for row in (*tableau.A, tableau.b) for entry in row)


def partner_residual(scheme: ButcherTableau, order: int, weights: tuple[Expr, ...]) -> float:
    """How far costate . variation is from constant when the costate is stepped by the partner, up to h^(order + 2)."""
    values, last = sampled_symbols(scheme), min(order + 2, LARGEST_POWER)
    (partner,) = unpacked([number(weight, values) for weight in weights], (scheme.stages,))
    gap = [_pairing(scheme, partner, last)]
    return float(max(size(gap, power) for power in range(last + 1)))
