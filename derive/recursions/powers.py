r"""Powers of a matrix in closed form, for any exponent t: Newton's interpolation of $\lambda^t$ on the spectrum.

$W^t = \sum_k \lambda^t[\lambda_1, \dots, \lambda_k] \prod_{j<k} (W - \lambda_j I)$ holds for every W by Cayley and
Hamilton: no eigenvectors are needed, so that defective matrices are no special case. Where eigenvalues coincide the
divided difference is a derivative, $\binom{t}{k} \lambda^{t-k}$.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sympy import Expr, ImmutableMatrix, Integer, Matrix, Symbol, factorial, ff, sympify

from derive.errors import SpecError, UnsupportedError


def square(matrix: Any) -> ImmutableMatrix:
    """A square matrix of exact entries.

    Raises:
        SpecError: it is not square.
    """
    found = ImmutableMatrix(matrix)
    if found.rows != found.cols or not found.rows:
        raise SpecError(f"a matrix of {found.rows} x {found.cols}; give a square one, as in [[0, 1], [1, 0]]")
    return found.applyfunc(lambda entry: sympify(entry, rational=True))


def eigenvalues(matrix: Any) -> tuple[Expr, ...]:
    """The eigenvalues, equal ones side by side.

    Raises:
        UnsupportedError: there is no formula for them.
    """
    found = square(matrix)
    listed = found.eigenvals(multiple=True, error_when_incomplete=False)
    if len(listed) != found.rows:
        raise UnsupportedError(f"no closed form of the {found.rows} eigenvalues; pass them as roots=")
    return tuple(sorted(listed, key=listed.index))


def matrix_power(matrix: Any, t: Symbol, roots: Sequence[Expr] = ()) -> Matrix:
    """W^t with t a symbol.

    Args:
        matrix: W, square, of exact numbers or expressions.
        t: the exponent.
        roots: all eigenvalues, equal ones side by side and written alike; found unless given.

    Raises:
        SpecError: W is not square, or has another number of eigenvalues.
        UnsupportedError: there is no formula for the eigenvalues.
    """
    W = square(matrix)
    values = tuple(map(sympify, roots)) or eigenvalues(W)
    if len(values) != W.rows:
        raise SpecError(f"{len(values)} eigenvalues of a matrix of {W.rows} x {W.rows}")
    coefficients = [_divided(values[: k + 1], t) for k in range(W.rows)]
    identity = Matrix.eye(W.rows)
    found, product = Matrix.zeros(W.rows), identity
    for value, coefficient in zip(values, coefficients, strict=True):
        found += coefficient * product
        product = product * (W - value * identity)
    return found


@cache
def _divided(values: tuple[Expr, ...], t: Symbol) -> Expr:
    """The divided difference of lambda^t."""
    first, last, order = values[0], values[-1], len(values) - 1
    if first == last:
        return ff(t, order) / factorial(order) * first ** (t - order)
    return (_divided(values[1:], t) - _divided(values[:-1], t)) / (last - first)


def companion(weights: Sequence[Any]) -> ImmutableMatrix:
    """The matrix of h(t) = w_1 h(t-1) + ... + w_K h(t-K) on (h(t-1), ..., h(t-K))."""
    size = len(weights)
    rows = [list(weights), *([Integer(int(i == j)) for j in range(size)] for i in range(size - 1))]
    return ImmutableMatrix(rows)
