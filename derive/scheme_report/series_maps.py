"""Steps of schemes and flows of fields as truncated power series in h, in numbers of 60 digits; no trees, no algebra.

A vector field is a function from points to velocities, a point a list of series in h, one per unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
from sympy import CRootOf, Expr, N, Rational, Symbol

from derive.power_series import Series, flow
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.schemes.substitution import entries
from derive.series.one_step import additive_tableau

Point = list[Series]
VectorField = Callable[[Point], Point]
Number = Any
DIGITS = 60
Weights = tuple[list[list[Number]], list[Number]]


def sampled_symbols(scheme: Scheme) -> dict[Symbol, Rational]:
    """A rational value for every symbol of a scheme, away from the usual special ones."""
    free = sorted({symbol for entry in entries(scheme) for symbol in entry.free_symbols}, key=str)
    return {symbol: Rational(37 + 12 * place, 100) for place, symbol in enumerate(free)}


def number(value: Any, symbols: dict[Symbol, Any]) -> Number:
    """An exact value, symbols put in, as a 60-digit number."""
    if isinstance(value, Expr):
        return mpmath.mpf(str(N(value.subs(symbols), DIGITS + 5)))
    return mpmath.mpf(value)


def complex_number(value: Expr, symbols: dict[Symbol, Any]) -> Number:
    """The same for a value that need not be real."""
    roots = {root: root.eval_approx(DIGITS + 15) for root in value.atoms(CRootOf)}
    found = N(value.xreplace(roots).subs(symbols), DIGITS + 5)
    real, imaginary = found.as_real_imag()
    return mpmath.mpc(str(real), str(imaginary))


@dataclass(frozen=True)
class SeriesScheme:
    """A scheme whose symbols have values, to be run on series.

    Attributes:
        scheme: what is run.
        symbols: values of its symbols.
    """

    scheme: Scheme
    symbols: dict[Symbol, Any]

    @property
    def parts(self) -> int:
        """Number of parts of the fields it is for."""
        if isinstance(self.scheme, Splitting):
            return self.scheme.parts
        return len(self.scheme.parts) if isinstance(self.scheme, AdditiveTableau) else 1

    def step(self, fields: Sequence[VectorField], start: Point, scale: int = 1) -> Point:
        """One step of size scale * h of a one-step scheme."""
        scheme = self.scheme
        if isinstance(scheme, Splitting) and scheme.substep is None:
            point = start
            for part, fraction in scheme.stages:
                point = flow_over(fields[part], point, number(fraction, self.symbols) * scale)
            return point
        return tableau_step(self.tableaus(), fields, start, scale)

    def tableaus(self) -> list[Weights]:
        """(A, b) of each part in numbers."""
        scheme = additive_tableau(self.scheme) if isinstance(self.scheme, Splitting) else self.scheme
        assert isinstance(scheme, ButcherTableau | AdditiveTableau)
        parts = (scheme,) if isinstance(scheme, ButcherTableau) else scheme.parts
        return [self._weights(part) for part in parts]

    def _weights(self, tableau: ButcherTableau) -> Weights:
        return [[number(a, self.symbols) for a in row] for row in tableau.A], [
            number(b, self.symbols) for b in tableau.b
        ]

    def residual(self, at: Callable[[int], Point], field: VectorField) -> Point:
        """u(t + h) minus what a multistep scheme makes of exact values u(t + j h) = at(j)."""
        scheme = self.scheme
        assert isinstance(scheme, LinearMultistep)
        h = step_of(at(0))
        total = at(1)
        for lag, weight in enumerate(scheme.alpha):
            total = _plus(total, at(-lag), -number(weight, self.symbols))
        for lag, weight in enumerate(scheme.beta, start=-1):
            if weight != 0:
                slope = [h * value for value in field(at(-lag))]
                total = _plus(total, slope, -number(weight, self.symbols))
        return total


def tableau_step(parts: Sequence[Weights], fields: Sequence[VectorField], start: Point, scale: Number = 1) -> Point:
    """One step of an additive Runge-Kutta scheme; implicit stages by iteration, one power of h a round."""
    count, h = len(parts[0][1]), step_of(start, scale)
    explicit = all(row[j] == 0 for A, _ in parts for i, row in enumerate(A) for j in range(i, count))
    slopes = [[_times(start, mpmath.mpf(0)) for _ in range(count)] for _ in parts]
    for _ in range(1 if explicit else len(start[0].coefficients)):
        for i in range(count):
            point = _advanced(start, h, [A[i] for A, _ in parts], slopes)
            for p, field in enumerate(fields):
                slopes[p][i] = field(point)
    return _advanced(start, h, [b for _, b in parts], slopes)


def _advanced(start: Point, h: Series, rows: Sequence[list[Number]], slopes: Sequence[Sequence[Point]]) -> Point:
    total = _times(start, mpmath.mpf(0))
    for row, values in zip(rows, slopes, strict=True):
        for weight, slope in zip(row, values, strict=True):
            if weight != 0:
                total = _plus(total, slope, weight)
    return [base + h * value for base, value in zip(start, total, strict=True)]


def step_of(point: Point, scale: Number = 1) -> Series:
    """scale * h, to the length of the point's series."""
    length = len(point[0].coefficients)
    return Series([mpmath.mpf(0), mpmath.mpf(scale), *[mpmath.mpf(0)] * length][:length], "h")


def constant(values: Sequence[Number], order: int) -> Point:
    """A point that does not depend on h, to the power h^order."""
    return [Series([mpmath.mpf(value), *[mpmath.mpf(0)] * order], "h") for value in values]


def solution(field: VectorField, start: Point) -> Callable[[Number], Point]:
    """time -> the solution through a point after time * h."""
    order = len(start[0].coefficients) - 1
    columns = flow(lambda _, point: field(point), start[0] * 0, start, order)

    def at(time: Number) -> Point:
        h, moved = step_of(start, 1), []
        for column in columns:
            total, power = column[0], h * 0 + 1
            for coefficient in column[1:]:
                power = power * h * time
                total = total + coefficient * power
            moved.append(total)
        return moved

    return at


def flow_over(field: VectorField, start: Point, time: Number) -> Point:
    """The flow of a field over time * h."""
    return solution(field, start)(time)


def together(fields: Sequence[VectorField]) -> VectorField:
    """The sum of the parts of a field."""

    def whole(point: Point) -> Point:
        first, *others = [field(point) for field in fields]
        for other in others:
            first = [a + b for a, b in zip(first, other, strict=True)]
        return first

    return whole


def size(point: Point, power: int) -> Number:
    """Norm of the coefficient of h^power."""
    return mpmath.sqrt(sum(abs(value.coefficients[power]) ** 2 for value in point))


def minus(left: Point, right: Point) -> Point:
    """The difference of two points."""
    return [a - b for a, b in zip(left, right, strict=True)]


def _plus(point: Point, other: Point, weight: Number) -> Point:
    return [a + b * weight for a, b in zip(point, other, strict=True)]


def _times(point: Point, weight: Number) -> Point:
    return [value * weight for value in point]
