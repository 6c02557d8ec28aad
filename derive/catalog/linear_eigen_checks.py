"""How the relations of `linear_eigen` are measured: steps repeated at 60 digits, powers in float64."""

from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from sympy import Poly, Rational

from derive.linear_stability.fields import common_domain, field_of
from derive.linear_stability.root_condition import root_condition
from derive.numeric import solve_linear
from derive.operators import Numeric
from derive.power_series import array_of
from derive.recursions.long_run import LAMBDA, long_run

ON_THE_CIRCLE = (
    [[0, -1], [1, 0]],
    [[1, 0], [0, 1]],
    [[1, 1], [0, 1]],
    [[-1, 0], [0, Rational(1, 2)]],
    [[-1, 3], [0, -1]],
    [[0, -1, 1, 0], [1, 0, 0, 1], [0, 0, 0, -1], [0, 0, 1, 0]],
)  # rotations and reflections, with and without a full set of eigenvectors
FAR_FROM_NORMAL = [[1, 1000], [0, -1]]


def exact(rows: Any) -> Numeric:
    """A matrix of mpmath numbers."""
    return np.array([[mpmath.mpf(Rational(a).p) / Rational(a).q for a in row] for row in rows], dtype=object)


def states(matrix: Any, start: Any, steps: int) -> list[Numeric]:
    """h(0), ..., h(steps) of h -> W h."""
    found, W = [array_of([mpmath.mpf(1) * a for a in start])], exact(matrix)
    for _ in range(steps):
        found.append(W.dot(found[-1]))
    return found


def with_modes(vectors: list[Numeric], values: list[Any], start: Numeric, steps: int) -> Numeric:
    """W^t h of the matrix with these eigenvectors and eigenvalues, step by step."""
    columns = np.stack(vectors, axis=1)
    for _ in range(steps):
        start = columns.dot(array_of(values) * solve_linear(columns.copy(), start.copy()))
    return start


def length(vector: Numeric) -> Any:
    """Euclidean."""
    return mpmath.sqrt((vector * vector).sum())


def vanishes(radius: Any) -> bool:
    """Whether powers of matrices with this spectral radius vanish: rotations, defective and far from normal ones."""
    samples = [float(radius) * np.array(rows, dtype=float) for rows in (*ON_THE_CIRCLE, FAR_FROM_NORMAL)]
    with np.errstate(all="ignore"):
        return all(np.linalg.norm(np.linalg.matrix_power(W, 60_000)) < 1e-3 for W in samples)


def misjudged(polynomial: str) -> int:
    """Matrices on the circle of which the root condition of this polynomial does not say whether powers are bounded."""
    wrong = 0
    for rows in ON_THE_CIRCLE:
        powers = [np.linalg.norm(np.linalg.matrix_power(np.array(rows, dtype=float), t)) for t in (1000, 4000)]
        found = long_run(rows)
        bounded = found.bounded
        if polynomial == "characteristic":
            domain, p = common_domain(Poly(found.characteristic, LAMBDA).all_coeffs()[::-1])
            bounded = root_condition(field_of(domain), p)
        wrong += bounded != bool(powers[1] < 2 * powers[0])
    return wrong


def turned(r: Any, theta: Any, start: Any, steps: int) -> Any:
    """Length after so many turns by theta, each with a factor r."""
    c, s, state = mpmath.cos(theta), mpmath.sin(theta), array_of(list(start))
    for _ in range(steps):
        state = r * array_of([c * state[0] - s * state[1], s * state[0] + c * state[1]])
    return length(state)


def changes_of_sign(found: list[Numeric]) -> int:
    """In any component, from step to step."""
    return sum(bool(a * b < 0) for old, new in pairwise(found) for a, b in zip(old, new, strict=True))
