"""Verdicts against numbers found by another route (stages solved, roots computed): for the checks of derivations.

Nothing here enters a verdict. Each function counts the samples at which numbers and claim differ.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, N, oo, pi

from derive.linear_stability.functions import Scheme
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Splitting

DIGITS = 50
SLACK = mpmath.mpf(10) ** -18
NEAR = ("1e-3", "1e-6", "1e-9")
FRACTIONS = ("0.013", "0.21", "0.5", "0.83")
FAR = ("1e-2", "0.7", "11", "1e4")
TILT = mpmath.mpf("1e-3")


def amplification(scheme: Scheme, z: Any) -> Any:
    """Largest modulus of a factor of one step at z = h lambda; of several parts at h omega = Im z."""
    if isinstance(scheme, ButcherTableau):
        rows = [[_number(a) for a in row] for row in scheme.A]
        stages = _stages(rows, z)
        return abs(1 + z * sum(_number(b) * stage for b, stage in zip(scheme.b, stages, strict=True)))
    if isinstance(scheme, LinearMultistep):
        alphas, betas = ([_number(a) for a in side] for side in (scheme.alpha, scheme.beta))
        coefficients = [1 - z * betas[0], *(-(a + z * b) for a, b in zip(alphas, betas[1:], strict=True))]
        while len(coefficients) > 1 and coefficients[-1] == 0:
            coefficients.pop()
        return max(abs(root) for root in _roots(coefficients))
    w = mpmath.im(z)
    columns = [oscillator_step(scheme, w, start) for start in ((1, 0), (0, 1))]
    trace = columns[0][0] + columns[1][1]
    determinant = columns[0][0] * columns[1][1] - columns[0][1] * columns[1][0]
    root = mpmath.sqrt(mpmath.mpc(trace**2 - 4 * determinant))
    return max(abs(trace + root), abs(trace - root)) / 2


def _stages(rows: list[list[Any]], z: Any) -> list[Any]:
    """The stages X of X = 1 + z A X: one after the other where none reads a later one, else all at once."""
    size = len(rows)
    if any(a for i, row in enumerate(rows) for a in row[i + 1 :]):
        matrix = mpmath.matrix([[(i == j) - z * a for j, a in enumerate(row)] for i, row in enumerate(rows)])
        return list(mpmath.lu_solve(matrix, mpmath.matrix([1] * size)))
    found: list[Any] = []
    for i, row in enumerate(rows):
        known = 1 + z * sum(a * stage for a, stage in zip(row, found, strict=False))
        found.append(known / (1 - z * row[i]))
    return found


def _roots(coefficients: list[Any]) -> list[Any]:
    """All roots of a polynomial, refined from those that NumPy finds."""
    if len(coefficients) == 1:
        return [0]
    first = [mpmath.mpc(root) for root in np.roots([complex(c) for c in coefficients])]
    return mpmath.polyroots(coefficients, maxsteps=500, extraprec=400, roots_init=first)


def oscillator_step(scheme: AdditiveTableau | Splitting, w: Any, start: tuple[int, int]) -> list[Any]:
    """One step of x' = y, y' = -x with step w."""
    state = [mpmath.mpf(entry) for entry in start]
    if isinstance(scheme, Splitting):
        for part, fraction in scheme.stages:
            slope = state[1] if part == 0 else -state[0]
            state[part] += w * _number(fraction) * slope
        return state
    size = scheme.stages
    matrix, right = mpmath.eye(2 * size), mpmath.matrix([start[i // size] for i in range(2 * size)])
    for i in range(size):
        for j in range(size):
            matrix[i, size + j] -= w * _number(scheme.parts[0].A[i][j])
            matrix[size + i, j] += w * _number(scheme.parts[1].A[i][j])
    stages = mpmath.lu_solve(matrix, right)
    state[0] += w * sum(_number(b) * stages[size + i] for i, b in enumerate(scheme.parts[0].b))
    state[1] -= w * sum(_number(b) * stages[i] for i, b in enumerate(scheme.parts[1].b))
    return state


def _number(value: Any) -> Any:
    return _number_of(value, mpmath.mp.prec)


@lru_cache(maxsize=1000)
def _number_of(value: Any, precision: int) -> Any:
    with mpmath.workprec(precision):
        return mpmath.mpf(str(N(value, DIGITS)))


def interval_disagreements(scheme: Scheme, direction: complex, end: Expr) -> int:
    """Samples along an axis that contradict an interval's end.

    Args:
        scheme: a scheme without symbols.
        direction: -1 for the left end of the real interval, 1j for the upper one of the imaginary interval.
        end: distance of the end from 0; 0 and oo allowed.
    """
    with mpmath.workdps(DIGITS):
        inside, outside = _samples(end)
        wrong = sum(amplification(scheme, direction * t) > 1 + SLACK for t in inside)
        return int(wrong + sum(amplification(scheme, direction * t) <= 1 + SLACK for t in outside))


def _samples(end: Expr) -> tuple[list[Any], list[Any]]:
    if end == oo:
        return [mpmath.mpf(t) for t in FAR], []
    if end == 0:
        return [], [mpmath.mpf("1e-2")]
    size = _number(end)
    inside = [size * mpmath.mpf(t) for t in FRACTIONS] + [size * (1 - mpmath.mpf(t)) for t in NEAR]
    return inside, [size * (1 + mpmath.mpf(t)) for t in NEAR]


def sector_disagreements(scheme: Scheme, alpha: Expr, samples: int = 200) -> int:
    """Points on rays beside the edge of a sector that contradict A(alpha), pi/2 being A-stability and 0 no sector.

    On a ray inside all points are stable; on one outside at least one is not.
    """
    with mpmath.workdps(20):
        angle = _number(alpha)
        distances = [mpmath.mpf(10) ** (mpmath.mpf(6 * i) / samples - 3) for i in range(samples)]
        wrong = 0
        if angle > 0:
            wrong += sum(_on_ray(scheme, angle - TILT, t) > 1 + SLACK**0.5 for t in distances)
        if alpha != pi / 2:
            wrong += int(all(_on_ray(scheme, angle + TILT, t) <= 1 for t in distances))
        return int(wrong)


def _on_ray(scheme: Scheme, angle: Any, distance: Any) -> Any:
    return amplification(scheme, -distance * mpmath.expj(angle))


def root_condition_disagreements(scheme: LinearMultistep, stable: bool) -> int:
    """1 where the roots of rho, computed, contradict zero stability."""
    with mpmath.workdps(DIGITS):
        coefficients = [1, *(-_number(a) for a in scheme.alpha)]
        while coefficients[-1] == 0:
            coefficients.pop()
        roots = mpmath.polyroots(coefficients, maxsteps=2000, extraprec=2000, error=False)
        small = mpmath.mpf(10) ** -12
        circle = [root for root in roots if abs(abs(root) - 1) < small]
        double = any(abs(a - b) < small for place, a in enumerate(circle) for b in circle[:place])
        return int(stable != (max(abs(root) for root in roots) <= 1 + small and not double))
