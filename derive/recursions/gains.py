"""How large the state of a linear recursion gets: its quadratic Lyapunov function, and its gain on bounded inputs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from sympy import Matrix
from sympy.polys.matrices import DomainMatrix
from sympy.polys.matrices.exceptions import DMNonInvertibleMatrixError

from derive.errors import SpecError, UnsupportedError
from derive.linear_stability.fields import common_domain
from derive.recursions.powers import square

LONGEST = 100_000
SETTLED = 0.5
DIGITS = 1e-13


def discrete_lyapunov(matrix: Any, weight: Any) -> Matrix:
    """P with W^T P W - P = -Q, exactly: V(h) = h^T P h falls by h^T Q h in one step of h -> W h.

    Args:
        matrix: W, of numbers or of rational functions of symbols.
        weight: Q.

    Raises:
        SpecError: a matrix is not square, the sizes differ, or two eigenvalues of W have the product 1.
        UnsupportedError: entries that are not real, or mix symbols with roots of numbers.
    """
    W, Q = square(matrix), square(weight)
    size = W.rows
    if Q.rows != size:
        raise SpecError(f"W is {size} x {size}, Q {Q.rows} x {Q.rows}; give them the same size")
    domain, flat = common_domain([*W, *Q])
    w, q = flat[: size * size], flat[size * size :]
    pairs = [(i, j) for i in range(size) for j in range(size)]
    rows = [
        [domain.convert(int(i == k and j == m)) - w[k * size + i] * w[m * size + j] for k, m in pairs] for i, j in pairs
    ]
    left, right = DomainMatrix(rows, (size**2, size**2), domain), DomainMatrix([[a] for a in q], (size**2, 1), domain)
    try:
        found = left.lu_solve(right)
    except DMNonInvertibleMatrixError as error:
        raise SpecError("two eigenvalues of W have the product 1: W^T P W - P = -Q has no single solution") from error
    return Matrix(size, size, list(found.to_Matrix()))


class Gain(NamedTuple):
    """Bounds of sup over k of sum_j |W^j C|: what inputs of length 1 can amount to."""

    low: float
    high: float


def peak_gain(matrix: Any, inputs: Any) -> Gain:
    """The sum of the spectral norms of the impulse response W^j C, with what is left out bounded.

    From the first power of norm q < 1/2 on, the tail is a geometric series.

    Args:
        matrix: W, of numbers.
        inputs: C.

    Raises:
        UnsupportedError: no power up to W^100000 is that small: bounded inputs may have unbounded responses.
    """
    W, response = (np.asarray(Matrix(one).evalf(), dtype=float) for one in (square(matrix), inputs))
    power, block, norms = np.eye(len(W)), 0.0, 0
    while (size := float(np.linalg.norm(power, 2))) >= SETTLED or not norms:
        block, power, norms = block + size, W @ power, norms + 1
        if norms > LONGEST or not np.isfinite(size):
            raise UnsupportedError("the powers of W do not vanish: no bound holds for all bounded inputs")
    low, bound = 0.0, math.inf
    while bound > DIGITS * low and (length := float(np.linalg.norm(response, 2))):
        low, response = low + length, W @ response
        bound = block * float(np.linalg.norm(response, 2)) / (1 - size)
    return Gain(low, low + (bound if math.isfinite(bound) else 0.0))
