r"""Recursions of one number: fixed points, cycles multipliers; where fixed points lose stability.

The fixed points of $h = f(w h + b)$ are a curve with the argument u of f as its parameter: $h = f(u)$,
$w = (u - b)/f(u)$, and on it the multiplier is $\mu = w f'(u)$. A cycle of two begins where $\mu = -1$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy
from sympy import Add, Expr, Integer, LambertW, diff, divisors, exp, factor, factorial, sympify

from derive.errors import SpecError, UnsupportedError
from derive.evaluator import value_of
from derive.functions import sigmoid, tanh
from derive.program import symbols_of
from derive.symbols import Quantity, by_name

GRID = 800
ORDER = 5
SAME = mpmath.mpf("1e-12")
EXPONENTIAL = {sigmoid: lambda z: 1 / (1 + exp(-z)), tanh: lambda z: 1 - 2 / (exp(2 * z) + 1)}
Values = Mapping[Quantity, Any]


class Orbit(NamedTuple):
    """A cycle of a recursion; a fixed point is one of length 1.

    Attributes:
        points: what is visited, the smallest first.
        multiplier: what one turn multiplies small deviations by.
        stable: whether small deviations of both signs shrink; where the multiplier is 1 or -1 the first order beyond
            the linear one that is not zero decides, up to the fifth.
    """

    points: tuple[Any, ...]
    multiplier: Any
    stable: bool


@dataclass(frozen=True)
class ScalarRecursion:
    """h(t) = step of h(t - 1), with parameters.

    Attributes:
        step: an expression in the state, parameters and constants, all scalar.
        state: h.

    Raises:
        SpecError: the state does not occur, or something has components.
    """

    step: Expr
    state: Quantity

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", sympify(self.step))
        vectors = [q.name for q in by_name(symbols_of(self.step)) if q.shape]
        if vectors:
            raise SpecError(f"{', '.join(vectors)}: a scalar recursion has no vectors; declare with shape ()")
        if self.state not in symbols_of(self.step):
            raise SpecError(f"{self.state.name} does not occur in the step {self.step}")

    @property
    def multiplier(self) -> Expr:
        """The derivative of the step in its state."""
        return diff(self.step, self.state)

    def run(self, start: Any, steps: int, values: Values) -> list[Any]:
        """h(0), ..., h(steps)."""
        found = [start]
        for _ in range(steps):
            found.append(self._at(self.step, found[-1], values))
        return found

    def fixed_points(self, values: Values, within: tuple[float, float] = (-10, 10)) -> tuple[Orbit, ...]:
        """The points h = step(h) at which step(h) - h changes its sign, in increasing order, at mpmath's precision."""
        return self.cycles(1, values, within)

    def cycles(self, period: int, values: Values, within: tuple[float, float] = (-10, 10)) -> tuple[Orbit, ...]:
        """The cycles of this length, not of a shorter one, found as changes of sign on a grid over an interval.

        Args:
            period: how many steps until the same point comes again.
            values: of the parameters.
            within: the interval that is searched.
        """
        low, high = map(mpmath.mpf, within)
        shorter = [orbit for divisor in divisors(period)[:-1] for orbit in self.cycles(divisor, values, within)]
        slopes = {
            point: orbit.multiplier ** (period // len(orbit.points)) - 1 for orbit in shorter for point in orbit.points
        }
        every = (low + (high - low) * place / GRID for place in range(GRID + 1))
        grid = sorted({*every, *(point for point in slopes if low <= point <= high)})

        def change(point: Any) -> Any:
            """Divided by the distances from what is visited by shorter cycles, which are roots of it too."""
            slope = slopes.get(point)
            found = self.run(point, period, values)[-1] - point if slope is None else slope * (abs(slope) > SAME)
            return found / mpmath.fprod(point - other for other in slopes if other != point)

        found: list[Orbit] = []
        heights = [change(point) for point in grid]
        for (left, right), (before, after) in zip(pairwise(grid), pairwise(heights), strict=True):
            if (before and before * after > 0) or not after:
                continue
            root = mpmath.findroot(change, (left, right), solver="anderson") if before else left
            points = self.run(root, period - 1, values)
            visited = [*points[1:], *(point for orbit in found for point in orbit.points)]
            if any(abs(point - root) < SAME for point in visited):
                continue
            place = points.index(min(points))
            multiplier = mpmath.fprod(self._at(self.multiplier, point, values) for point in points)
            points = [*points[place:], *points[:place]]
            found.append(Orbit(tuple(points), multiplier, self._attracts(points, multiplier, values)))
        return tuple(found)

    def _attracts(self, points: Sequence[Any], multiplier: Any, values: Values) -> bool:
        """Whether a cycle does; with a multiplier of -1 two turns are looked at, which keep every side."""
        excess = abs(multiplier) - 1
        if abs(excess) > SAME:
            return bool(excess < 0)
        orders = range(1, ORDER + 1)
        local = [diff(self.step, self.state, order) / factorial(order) for order in orders]
        turn = np.array([int(order == 1) for order in range(ORDER + 1)], dtype=object)
        for point in [*points] * (1 if multiplier > 0 else 2):
            series = 0 * turn
            for part in reversed(local):
                series[0] += self._at(part, point, values)
                series = np.convolve(series, turn)[: ORDER + 1]
            turn = series
        order = next((order for order in orders[1:] if abs(turn[order]) > SAME), 0)
        return bool(order % 2 and turn[order] < 0)

    def _at(self, expression: Expr, point: Any, values: Values) -> Any:
        return value_of(expression, {**values, self.state: point})


@dataclass(frozen=True)
class Branch:
    """The fixed points of h = f(w h + b) as a curve.

    Attributes:
        argument: u, the parameter of the curve.
        weight: w there.
        state: h there.
        multiplier: mu there.
    """

    argument: Quantity
    weight: Expr
    state: Expr
    multiplier: Expr

    def where(self, multiplier: Any) -> tuple[dict[str, Expr], ...]:
        """The points of the curve with this multiplier: their argument, weight and state, in closed form.

        Raises:
            UnsupportedError: SymPy finds none.
        """
        return self._points(self.multiplier - multiplier)

    def extremes(self) -> tuple[dict[str, Expr], ...]:
        """Where the multiplier is stationary along the curve."""
        return self._points(diff(_exponential(self.multiplier), self.argument))

    def _points(self, equation: Expr) -> tuple[dict[str, Expr], ...]:
        numerator = sympy.expand(sympy.fraction(sympy.together(_exponential(equation)))[0])
        try:
            roots = sympy.solve(numerator, self.argument)
        except NotImplementedError as error:
            raise UnsupportedError(f"no closed form of the roots of {numerator}") from error
        return tuple(self._point(root) for root in roots if root.is_real)

    def _point(self, argument: Expr) -> dict[str, Expr]:
        names = ("weight", "state", "multiplier")
        found = (_exponential(getattr(self, name)).subs(self.argument, argument) for name in names)
        values = (factor(part.replace(exp, _of_lambert)) for part in found)
        return {"argument": argument, **dict(zip(names, values, strict=True))}


def branch(function: Callable[[Expr], Expr], argument: Quantity, bias: Expr | int = 0) -> Branch:
    """The curve of fixed points of h = f(w h + b)."""
    value = function(argument)
    weight = (argument - bias) / value
    return Branch(argument, weight, value, weight * diff(value, argument))


def _exponential(expression: Expr) -> Expr:
    """With exponentials in the place of sigmoid and tanh: SymPy solves those."""
    for function, form in EXPONENTIAL.items():
        expression = expression.replace(function, form)
    return expression


def _of_lambert(exponent: Expr) -> Expr:
    """exp(a + n W(y)) as exp(a) (y/W(y))^n: what Lambert's function is defined by."""
    found, rest = Integer(1), []
    for term in Add.make_args(exponent):
        count, other = term.as_coeff_Mul()
        if isinstance(other, LambertW) and count.is_Integer:
            found *= (other.args[0] / other) ** count
        else:
            rest.append(term)
    return found * exp(Add(*rest))
