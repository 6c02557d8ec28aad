"""How the relations of `pascanu_bound` are measured: difference quotients of runs, random products of Jacobians."""

from typing import Any

import mpmath
import numpy as np

from derive.operators import Numeric
from derive.power_series import array_of

ROUNDING = 1e-9
SAMPLES = 40
NUDGE = "1e-20"


def tanh(vector: Numeric) -> Numeric:
    """Of every entry."""
    return array_of([mpmath.tanh(entry) for entry in vector])


def run(W: Numeric, b: Numeric, start: Numeric, steps: int) -> Numeric:
    """x(steps) of x -> W tanh(x) + b."""
    for _ in range(steps):
        start = W.dot(tanh(start)) + b
    return start


def along(W: Numeric, b: Numeric, start: Numeric, steps: int, turned: Numeric, moved: Numeric) -> Numeric:
    """Difference quotient of x(steps) when W moves along `turned` and the start along `moved`."""
    e = mpmath.mpf(NUDGE)
    up, down = (run(W + s * e * turned, b, start + s * e * moved, steps) for s in (1, -1))
    return (up - down) / (2 * e)


def hidden_along(W: Numeric, b: Numeric, start: Numeric, moved: Numeric) -> Numeric:
    """Difference quotient of h -> tanh(W h + b)."""
    e = mpmath.mpf(NUDGE)
    up, down = (tanh(W.dot(start + s * e * moved) + b) for s in (1, -1))
    return (up - down) / (2 * e)


def gradient(W: Numeric, b: Numeric, start: Numeric, steps: int, g: Numeric) -> Numeric:
    """Gradient of g . x(steps) in x(0), component by component."""
    size = len(start)
    units = [array_of([mpmath.mpf(int(i == j)) for j in range(size)]) for i in range(size)]
    return array_of([(g * along(W, b, start, steps, 0 * W, unit)).sum() for unit in units])


def violations(factor: Any) -> int:
    """Products of W diag(f') with one W and slopes in [0, gamma] whose norm exceeds factor * (gamma sigma_max)^n."""
    wrong = 0
    for seed in range(SAMPLES):
        random, gamma, steps = np.random.default_rng(seed), (0.25, 1.0, 1.76)[seed % 3], 2 + seed % 5
        W, J = random.normal(size=(3, 3)), np.eye(3)
        W = W + W.T if seed % 2 else W  # symmetric ones attain the bound
        for _ in range(steps):
            J = W @ np.diag(np.full(3, gamma) if seed % 2 else random.uniform(0, gamma, 3)) @ J
        bound = (gamma * np.linalg.norm(W, 2)) ** steps
        wrong += bool(np.linalg.norm(J, 2) > float(factor) * bound * (1 + ROUNDING))
    return wrong


def vanishes(size: Any) -> bool:
    """Whether products of 8000 Jacobians vanish where gamma sigma_max(W) is this, whatever the slopes."""
    for seed in range(6):
        random = np.random.default_rng(seed)
        W = float(size) * np.linalg.qr(random.normal(size=(3, 3)))[0]
        slopes = np.ones(3) if seed % 2 else random.uniform(0.999, 1, 3)
        with np.errstate(all="ignore"):
            if not np.linalg.norm(np.linalg.matrix_power(W * slopes, 8000)) < 0.01:
                return False
    return True


def radius_at(W: Numeric, b: Numeric, point: Numeric) -> Any:
    """Largest modulus among the eigenvalues of the Jacobian at a fixed point, by difference quotients.

    Raises:
        ValueError: the point is not fixed.
    """
    if max(abs(run(W, b, point, 1) - point)) > mpmath.mpf("1e-50"):
        raise ValueError("the point is not fixed")
    size = len(point)
    units = [array_of([mpmath.mpf(int(i == j)) for j in range(size)]) for i in range(size)]
    columns = [along(W, b, point, 1, 0 * W, unit) for unit in units]
    jacobian = mpmath.matrix([[column[row] for column in columns] for row in range(size)])
    return max(abs(value) for value in mpmath.eig(jacobian, left=False, right=False))


def of_the_matrix(rows: Any) -> tuple[Numeric, Numeric, Numeric]:
    """A matrix, the bias that makes x = (0, artanh 1/2) a fixed point of x -> W tanh(x) + b, and x."""
    W = np.array([[mpmath.mpf(a) for a in row] for row in rows], dtype=object)
    point = array_of([mpmath.mpf(0), mpmath.atanh(mpmath.mpf(1) / 2)])
    return W, point - W.dot(tanh(point)), point


def aligned_or_not(rows: Any, steps: int) -> Any:
    """Spectral norm of the Jacobian of so many steps at the fixed point 0 of x -> W tanh(x)."""
    W = mpmath.matrix(rows)
    product = mpmath.eye(W.rows)
    for _ in range(steps):
        product = W * product
    return mpmath.svd_r(product, compute_uv=False)[0]
