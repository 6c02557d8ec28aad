"""Numeric forms on any field: floats and complex numbers (NumPy), mpmath numbers, and truncated power series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

Numeric = Any  # a float, complex, mpf, or array of those


def solve_linear(matrix: Numeric, vector: Numeric) -> Numeric:
    """Elimination with partial pivoting on any field (NumPy's own solver knows neither mpmath nor objects).

    The right side is a vector, or a matrix whose columns are solved for.
    """
    size = len(vector)
    for column in range(size):
        pivot = column + int(np.argmax([abs(entry) for entry in matrix[column:, column]]))
        matrix[[column, pivot]], vector[[column, pivot]] = matrix[[pivot, column]], vector[[pivot, column]]
        for row in range(column + 1, size):
            factor = matrix[row, column] / matrix[column, column]
            matrix[row] = matrix[row] - factor * matrix[column]
            vector[row] = vector[row] - factor * vector[column]
    for row in reversed(range(size)):
        known = (matrix[row, row + 1 :] * vector[row + 1 :].T).sum(axis=-1)
        vector[row] = (vector[row] - known) / matrix[row, row]
    return vector


def largest(values: Numeric) -> Numeric:
    """The component of largest real part: the shift must not break complex steps."""
    return max(np.asarray(values).ravel().tolist(), key=lambda entry: entry.real)


def on_any_field(function: str) -> Callable[[Numeric], Numeric]:
    """One function of floats and complex numbers (NumPy), of mpmath numbers, and of whatever has `elementary`."""
    known = getattr(mpmath, function)
    generic = np.frompyfunc(lambda z: z.elementary(function) if hasattr(z, "elementary") else known(z), 1, 1)

    def apply(value: Numeric) -> Numeric:
        return generic(value) if np.asarray(value).dtype == object else getattr(np, function)(value)

    return apply


exponential = on_any_field("exp")
logarithm = on_any_field("log")
