"""Truncated power series in one variable, with coefficients in any field (mpmath numbers, or series again).

They pass through the reference evaluator like numbers, which turns any program into its Taylor expansion; a series
whose coefficients are series is an expansion in two variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mpmath
import numpy as np
from mpmath.libmp import fzero, mpf_mul, mpf_sum, round_nearest

Coefficient = Any


class Series:
    """`sum_j c_j v^j + O(v^(N+1))` with N + 1 = len(coefficients), in the named variable v."""

    __slots__ = ("coefficients", "variable")

    def __init__(self, coefficients: Sequence[Coefficient], variable: str = "t") -> None:
        self.coefficients = list(coefficients)
        self.variable = variable

    @property
    def real(self) -> Any:
        """Real part of the constant term, by which branches are chosen."""
        return self.coefficients[0].real

    def __bool__(self) -> bool:
        """Whether any coefficient is not zero: products skip those that are."""
        return any(self.coefficients)

    def __abs__(self) -> Any:
        """Size of the constant term: what elimination chooses its pivots by."""
        return abs(self.coefficients[0])

    def _like(self, coefficients: Sequence[Coefficient]) -> Series:
        return Series(coefficients, self.variable)

    def _lift(self, other: Any) -> Series:
        if isinstance(other, Series) and other.variable == self.variable:
            return other
        zero = 0 * self.coefficients[0]
        return self._like([zero + other, *[zero] * (len(self.coefficients) - 1)])

    def _pair(self, other: Any) -> tuple[Series, Series]:
        """Both operands as series in one variable: a series in t treats one in h as a number, never the reverse."""
        if isinstance(other, Series) and other.variable == "t" != self.variable:
            return other._lift(self), other
        return self, self._lift(other)

    def _is_number(self, other: Any) -> bool:
        """Whether this series treats the operand as a number, which needs no series of its own."""
        return not isinstance(other, Series) or other.variable not in {"t", self.variable}

    def __add__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        if self._is_number(other):
            return self._like([self.coefficients[0] + other, *self.coefficients[1:]])
        left, right = self._pair(other)
        return left._like([a + b for a, b in zip(left.coefficients, right.coefficients, strict=True)])

    __radd__ = __add__

    def __neg__(self) -> Series:
        return self._like([-a for a in self.coefficients])

    def __sub__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, np.ndarray) else self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        if self._is_number(other):
            return self._like([a * other for a in self.coefficients])
        one, two = self._pair(other)
        left, right = one.coefficients, two.coefficients
        if _are_real(left) and _are_real(right):
            return one._like(_real_product(left, right))
        product: list[Coefficient] = [None] * len(left)
        present = [(j, b) for j, b in enumerate(right) if b]
        for i, a in enumerate(left):
            if a:
                for j, b in present:
                    if i + j >= len(left):
                        break
                    product[i + j] = a * b if product[i + j] is None else product[i + j] + a * b
        zero = 0 * left[0]
        return one._like([zero if entry is None else entry for entry in product])

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        if self._is_number(other):
            return self._like([a / other for a in self.coefficients])
        one, two = self._pair(other)
        left, right = one.coefficients, two.coefficients
        quotient: list[Coefficient] = []
        for j, value in enumerate(left):
            rest = value if j == 0 else value - _convolved(quotient, right, j)
            quotient.append(rest / right[0])
        return one._like(quotient)

    def __rtruediv__(self, other: Any) -> Any:
        return self._lift(other) / self

    def __pow__(self, exponent: int) -> Series:
        if exponent == 0:
            return self._lift(1)
        result = self
        for _ in range(abs(exponent) - 1):
            result = result * self
        return result if exponent >= 0 else 1 / result

    def elementary(self, function: str) -> Series:
        """The series of exp, log, sin, cos, expm1 or log1p of this series."""
        rules = {"exp": self._exp, "log": self._log, "sin": self._sin, "cos": self._cos}
        return {**rules, "expm1": self._expm1, "log1p": self._log1p}[function]()

    def _exp(self) -> Series:
        """y' = u' y, coefficient by coefficient."""
        return self._integrate(_apply("exp", self.coefficients[0]), 0)

    def _log(self) -> Series:
        """y' = u' / u."""
        head = _apply("log", self.coefficients[0])
        slopes = self._like(self._slopes()) / self
        return self._like([head, *(slopes.coefficients[j] / (j + 1) for j in range(len(self.coefficients) - 1))])

    def _expm1(self) -> Series:
        """y' = u' (y + 1)."""
        return self._integrate(_apply("expm1", self.coefficients[0]), 1)

    def _log1p(self) -> Series:
        """The logarithm of 1 + u, with a constant term that keeps its digits."""
        head = _apply("log1p", self.coefficients[0])
        return self._like([head, *(1 + self)._log().coefficients[1:]])

    def _sin(self) -> Series:
        """Imaginary part of exp(iu), by the pair of recursions."""
        return self._sine_and_cosine()[0]

    def _cos(self) -> Series:
        """Real part of exp(iu), by the pair of recursions."""
        return self._sine_and_cosine()[1]

    def _slopes(self) -> list[Coefficient]:
        zero = 0 * self.coefficients[0]
        return [(j + 1) * c for j, c in enumerate(self.coefficients[1:])] + [zero]

    def _integrate(self, start: Coefficient, offset: int) -> Series:
        """Solve y' = u' (y + offset) with y_0 = start, one coefficient after the other."""
        slopes = self._slopes()
        shifted, result = [start + offset], [start]
        for j in range(len(slopes) - 1):
            found = _convolved(shifted, slopes, j) / (j + 1)
            shifted.append(found)
            result.append(found)
        return self._like(result)

    def _sine_and_cosine(self) -> tuple[Series, Series]:
        slopes = self._slopes()
        sine, cosine = ([_apply(function, self.coefficients[0])] for function in ("sin", "cos"))
        for j in range(len(slopes) - 1):
            up, down = _convolved(cosine, slopes, j), _convolved(sine, slopes, j)
            sine.append(up / (j + 1))
            cosine.append(-down / (j + 1))
        return self._like(sine), self._like(cosine)


def _convolved(known: Sequence[Coefficient], factors: Sequence[Coefficient], power: int) -> Coefficient:
    """What the coefficients known so far contribute to one power of a product."""
    pairs = [(a, factors[power - i]) for i, a in enumerate(known[: power + 1])]
    products = [a * b for a, b in pairs if a and b]
    return sum(products[1:], products[0]) if products else 0 * factors[0]


def _are_real(coefficients: Sequence[Coefficient]) -> bool:
    return all(type(c) is mpmath.mpf for c in coefficients)


def _real_product(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Coefficients of a product, each rounded once: numbers of mpmath below their operators, which take most time."""
    first, second = ([(j, c._mpf_) for j, c in enumerate(side) if c._mpf_ != fzero] for side in (left, right))
    products: list[list[Any]] = [[] for _ in left]
    for i, a in first:
        for j, b in second:
            if i + j >= len(left):
                break
            products[i + j].append(mpf_mul(a, b))
    precision = mpmath.mp.prec
    return [mpmath.mp.make_mpf(mpf_sum(terms, precision, round_nearest)) for terms in products]


def _apply(function: str, value: Coefficient) -> Coefficient:
    return value.elementary(function) if isinstance(value, Series) else getattr(mpmath, function)(value)


Field = Callable[[Any, list[Any]], list[Any]]


def flow(field: Field, time: Any, start: list[Any], order: int) -> list[list[Any]]:
    """Taylor coefficients in t of the solution of x' = field(t, x) from x(time) = start.

    Args:
        field: velocity of each unknown (NumPy object arrays) at series arguments.
        time: initial time.
        start: initial values, one NumPy object array per unknown.
        order: last power of t.

    Returns:
        For every unknown the list of its coefficient arrays, lowest power first.
    """
    coefficients = [[value] for value in start]
    for j in range(order):
        clock = Series([time, 1 + 0 * time, *[0 * time] * j][: j + 1])
        point = [_stack(column) for column in coefficients]
        for column, velocity in zip(coefficients, field(clock, point), strict=True):
            column.append(_entrywise(partial(_next_coefficient, j=j), velocity, column[0]))
    return coefficients


def _stack(column: list[Any]) -> Any:
    """Coefficient arrays -> array of series."""
    shape = np.shape(column[0])
    flat = [Series(list(entries)) for entries in zip(*(np.ravel(array) for array in column), strict=True)]
    return array_of(flat).reshape(shape) if shape else flat[0]


def _entrywise(function: Callable[[Any], Any], value: Any, like: Any) -> Any:
    shape = np.shape(like)
    if not shape:
        return function(value)
    entries = list(np.ravel(value)) if np.shape(value) else [value] * int(np.prod(shape))
    return array_of([function(entry) for entry in entries]).reshape(shape)


def _next_coefficient(velocity: Any, j: int) -> Any:
    """Coefficient j + 1 of a solution from the j-th of its velocity."""
    return _coefficient(velocity, j) / (j + 1)


def _coefficient(value: Any, j: int) -> Any:
    if isinstance(value, Series):
        return value.coefficients[j]
    return value if j == 0 else 0 * value


def array_of(entries: Sequence[Any]) -> Any:
    """A one-dimensional object array of the entries (NumPy would look inside them)."""
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array
