r"""Distributions of random draws, known by their mean and their central moments as exact expressions.

A law says nothing of how it is drawn; `nodes` are points and weights that stand in for it where an expectation of a
polynomial is computed in numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import mpmath
from sympy import Dummy, Expr, Integer, Interval, S, expand, factor, integrate, oo

from derive.errors import SpecError
from derive.functions import as_expression
from derive.latex import latex
from derive.program import symbols_of, undeclared
from derive.symbols import Quantity

Nodes = list[tuple[Any, Any]]  # (value, weight)
Number = Callable[[Expr], Any]  # the value of an expression in a law's constants
HIGHEST = 4  # moment of a law that is given by its moments


class Law(ABC):
    """The distribution of a random draw. A new one is a subclass, and a row in the table of `codegen.steps.draws`.

    Raises:
        SpecError: parameters that are undeclared, move with the state, or are numbers that no such law has.
    """

    def __post_init__(self) -> None:
        for name in self.arguments:
            value = as_expression(getattr(self, name))
            if undeclared(value):
                raise SpecError(
                    f"{type(self).__name__}({name}={value}) uses {', '.join(undeclared(value))}, which nobody "
                    "declared; declare it with constant"
                )
            stray = sorted(q.name for q in symbols_of(value) if not q.role.fixed)
            if stray:
                raise SpecError(
                    f"{type(self).__name__}({name}={value}) depends on {', '.join(stray)}; allowed: numbers and "
                    "quantities declared with constant"
                )
            allowed = self.allowed.get(name, S.Reals)
            if value.is_number and allowed.contains(value) == S.false:
                raise SpecError(
                    f"{type(self).__name__}({name}={value}): {name} is {value}; allowed: {_described(allowed)}"
                )
            object.__setattr__(self, name, value)
        for condition, holds in self.conditions.items():
            if holds == S.false:
                given = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
                raise SpecError(f"no numbers are drawn by {type(self).__name__}({given}); allowed: {condition}")

    @property
    def arguments(self) -> dict[str, Expr]:
        """Its parameters by name."""
        law: Any = self  # every kind of law is a dataclass, though this base is none
        return {one.name: getattr(self, one.name) for one in fields(law)}

    @property
    def quantities(self) -> set[Quantity]:
        """What it depends on."""
        return {q for value in self.arguments.values() for q in symbols_of(value)}

    @property
    def ranges(self) -> dict[Quantity, Interval]:
        """Its parameters that are constants by themselves -> the numbers that they may be."""
        return {q: self.allowed[name] for name, q in self.arguments.items() if name in self.allowed and q.is_Symbol}

    @property
    def allowed(self) -> Mapping[str, Interval]:
        """The numbers that its parameters may be, by name, where not all are."""
        return {}

    @property
    def conditions(self) -> Mapping[str, Expr]:
        """What must hold of its parameters together: as it is written -> as a relation."""
        return {}

    @property
    @abstractmethod
    def expectation(self) -> Expr:
        """Its mean."""

    @abstractmethod
    def central(self, power: int) -> Expr:
        """The central moment of a power, 2 or more."""

    @abstractmethod
    def nodes(self, number: Number) -> Nodes:
        """Values and weights that give the expectation of every polynomial of degree 4 at least."""

    @property
    def may_vanish(self) -> bool:
        """Whether a draw is exactly zero with a probability that is not."""
        return False

    @property
    @abstractmethod
    def notation(self) -> str:
        """How it is written behind a tilde."""


def _described(numbers: Interval) -> str:
    """A set of numbers in words."""
    if numbers == S.Reals:
        return "a finite real number"
    if numbers.sup is oo:
        return f"a finite number {'above' if numbers.left_open else 'not below'} {numbers.inf}"
    return f"a number from {numbers.inf} to {numbers.sup}"


@dataclass(frozen=True)
class Bernoulli(Law):
    """1 with probability p, else 0."""

    p: Expr

    @property
    def expectation(self) -> Expr:
        return self.p

    @property
    def allowed(self) -> Mapping[str, Interval]:
        return {"p": Interval(0, 1)}

    def central(self, power: int) -> Expr:
        rest = (1 - self.p) ** (power - 1) - (-self.p) ** (power - 1)
        return self.p * (1 - self.p) * expand(rest)

    def nodes(self, number: Number) -> Nodes:
        p = number(self.p)
        return [(0 * p, 1 - p), (1 + 0 * p, p)]

    @property
    def may_vanish(self) -> bool:
        return True

    @property
    def notation(self) -> str:
        return rf"\mathrm{{Bernoulli}}\left({latex(self.p)}\right)"


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform between two numbers."""

    low: Expr = S.Zero
    high: Expr = S.One

    @property
    def conditions(self) -> Mapping[str, Expr]:
        return {"low < high": self.low < self.high}

    @property
    def expectation(self) -> Expr:
        return (self.low + self.high) / 2

    def central(self, power: int) -> Expr:
        value = Dummy("value", real=True)
        whole = integrate(expand((value - self.expectation) ** power), (value, self.low, self.high))
        return factor(expand(whole) / (self.high - self.low))

    def nodes(self, number: Number) -> Nodes:
        low, high = number(self.low), number(self.high)
        middle, half = (low + high) / 2, (high - low) / 2
        spread, shares = mpmath.sqrt(mpmath.mpf(6) / 5) * 2 / 7, mpmath.sqrt(30)
        near, far = mpmath.sqrt(mpmath.mpf(3) / 7 - spread), mpmath.sqrt(mpmath.mpf(3) / 7 + spread)
        legendre = [(sign * at, (18 + way * shares) / 72) for at, way in ((near, 1), (far, -1)) for sign in (1, -1)]
        return [(middle + half * at, weight) for at, weight in legendre]

    @property
    def notation(self) -> str:
        return rf"\mathcal{{U}}\left[{latex(self.low)},\, {latex(self.high)}\right]"


@dataclass(frozen=True)
class Normal(Law):
    """Normal with a mean and a standard deviation."""

    mean: Expr = S.Zero
    deviation: Expr = S.One

    @property
    def expectation(self) -> Expr:
        return self.mean

    @property
    def allowed(self) -> Mapping[str, Interval]:
        return {"deviation": Interval(0, oo)}

    def central(self, power: int) -> Expr:
        double_factorial = 1
        for odd in range(1, power, 2):
            double_factorial *= odd
        return Integer(0) if power % 2 else double_factorial * self.deviation**power

    def nodes(self, number: Number) -> Nodes:
        mean, deviation, root = number(self.mean), number(self.deviation), mpmath.sqrt(6)
        hermite = [(sign * mpmath.sqrt(3 + way * root), (3 - way * root) / 12) for way in (1, -1) for sign in (1, -1)]
        return [(mean + deviation * at, weight) for at, weight in hermite]

    @property
    def notation(self) -> str:
        return rf"\mathcal{{N}}\left({latex(self.mean)},\, {latex(self.deviation**2)}\right)"


@dataclass(frozen=True)
class Moments(Law):
    """A law of which no more is said than its mean and its second, third and fourth central moment.

    An emitted module cannot draw from it: it must be given the draws.
    """

    mean: Expr
    variance: Expr
    third: Expr = S.Zero
    fourth: Expr | None = None

    def __post_init__(self) -> None:
        if self.fourth is None:  # as of a normal law, and what the third moment adds to the least that there is
            variance, third = as_expression(self.variance), as_expression(self.third)
            object.__setattr__(self, "fourth", 3 * variance**2 + third**2 / variance)
        super().__post_init__()

    @property
    def allowed(self) -> Mapping[str, Interval]:
        return {"variance": Interval.open(0, oo)}

    @property
    def conditions(self) -> Mapping[str, Expr]:
        least = self.variance**2 + self.third**2 / self.variance
        return {"fourth >= variance**2 + third**2 / variance": self.fourth - least >= 0}

    @property
    def expectation(self) -> Expr:
        return self.mean

    def central(self, power: int) -> Expr:
        if power > HIGHEST:
            raise SpecError(f"Moments has central moments up to {HIGHEST}; moment {power} is not given")
        return (self.variance, self.third, self.fourth)[power - 2]

    def nodes(self, number: Number) -> Nodes:
        """Gauss's three nodes, from the three-term recurrence of the polynomials orthogonal under the law."""
        mean, variance, third, fourth = (number(v) for v in (self.mean, self.variance, self.third, self.fourth))
        scale = mpmath.sqrt(variance)
        skew, kurtosis = third / scale**3, fourth / variance**2
        off = mpmath.sqrt(kurtosis - skew**2 - 1)
        values, vectors = mpmath.eigsy(mpmath.matrix([[0, 1, 0], [1, skew, off], [0, off, skew]]))
        return [(mean + scale * values[k], vectors[0, k] ** 2) for k in range(3)]

    @property
    def notation(self) -> str:
        return rf"\text{{a law of mean }} {latex(self.mean)} \text{{ and variance }} {latex(self.variance)}"
