"""How vector recursions with activations are measured: runs at 60 digits."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from sympy import Rational

from derive.operators import Numeric
from derive.power_series import array_of

TRAP = [[Rational(3, 2), 2], [-1, -1]]
TURN_BACK = [[-2, 0], [0, -2]]


def numbers(rows: Any) -> Numeric:
    """A matrix of mpmath numbers."""
    return np.array([[mpmath.mpf(Rational(a).p) / Rational(a).q for a in row] for row in rows], dtype=object)


def rectified(vector: Numeric) -> Numeric:
    """max(z, 0)."""
    return array_of([max(entry, mpmath.mpf(0)) for entry in vector])


def saturated(vector: Numeric) -> Numeric:
    """tanh."""
    return array_of([mpmath.tanh(entry) for entry in vector])


def run(f: Callable[[Numeric], Numeric], matrix: Numeric, start: Numeric, steps: int) -> list[Numeric]:
    """h(0), ..., h(steps) of h -> f(W h)."""
    found = [start]
    for _ in range(steps):
        found.append(f(matrix.dot(found[-1])))
    return found


def length(vector: Numeric) -> Any:
    """Euclidean."""
    return mpmath.sqrt((vector * vector).sum())


def growth(f: Callable[[Numeric], Numeric], rows: Any, start: Any, steps: int = 30) -> Any:
    """|h(t)| over |h(t - 1)| after so many steps."""
    *_, before, after = run(f, numbers(rows), array_of([mpmath.mpf(a) for a in start]), steps)
    return length(after) / length(before)


def against_linear(rows: Any, start: Any, steps: int) -> Any:
    """|h(t)| of the rectified recursion over that of the linear one."""
    begin = array_of([mpmath.mpf(a) for a in start])
    ends = [run(f, numbers(rows), begin, steps)[-1] for f in (rectified, lambda z: z)]
    return length(ends[0]) / length(ends[1])


def kept() -> Any:
    """E relu(z)^2 for a standard normal z."""
    return mpmath.quad(lambda z: z**2 * mpmath.npdf(z), [0, 5, 12, 30])
