"""Solutions of ODEs in complex numbers by the explicit scheme of order 8: for checks of what holds along solutions.

The steps are fixed and every operation is analytic, so that a complex nudge of the start, of a parameter or of a time
gives derivatives without cancellation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from derive.numeric import Numeric
from derive.schemes import SCHEMES

SCHEME = "dop853"
Velocity = Callable[[Numeric, Numeric], Numeric]


@cache
def _table() -> tuple[Numeric, Numeric, Numeric]:
    scheme: Any = SCHEMES[SCHEME]
    rows = [[float(entry) for entry in row] for row in scheme.A]
    return np.array(rows), np.array([float(b) for b in scheme.b]), np.array([float(c) for c in scheme.c])


def advanced(velocity: Velocity, start: Numeric, begin: Numeric, end: Numeric, steps: int) -> Numeric:
    """The solution of y' = velocity(t, y) at `end`.

    Args:
        velocity: right-hand side, vector of shape (n,).
        start: y at `begin`, shape (n,).
        begin: initial time.
        end: final time, before or after the initial one.
        steps: how many steps of equal size.
    """
    A, b, c = _table()
    size, now = (end - begin) / steps, start
    for step in range(steps):
        at = begin + step * size
        slopes = np.zeros((len(b), len(now)), dtype=complex)
        for stage in range(len(b)):
            slopes[stage] = velocity(at + c[stage] * size, now + size * (A[stage, :stage] @ slopes[:stage]))
        now = now + size * (b @ slopes)
    return now
