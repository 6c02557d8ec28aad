r"""Iterated Stratonovich integrals $J_w$ over one step of length 1, as words over the letters 0 (time), 1, ..., m.

Products of integrals are shuffles of their words, $\int_0^1 J_w \circ dW^k$ appends a letter, and different words are
linearly independent as random variables: a sum of them is zero where all its coefficients are. Over a step of length h
a word counts $h^{1/2}$ for each letter of a Brownian motion and h for each 0.
Source: Kloeden, Platen, Numerical Solution of SDEs, 5.2 (Stratonovich); Reutenauer, Free Lie Algebras, 1.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from math import factorial
from typing import Any

from sympy import Rational

from derive.series.domains import Arithmetic

Word = tuple[int, ...]
Integral = Mapping[Word, Any]  # word -> element of the domain; zeros are left out
TIME: Word = (0,)


def weight(word: Word) -> int:
    """Twice the order in h."""
    return sum(1 if letter else 2 for letter in word)


@cache
def shuffles(left: Word, right: Word) -> Mapping[Word, int]:
    """The words of the product of two integrals, with how often each occurs."""
    if not left or not right:
        return {left + right: 1}
    found: dict[Word, int] = {}
    for rest, last in ((shuffles(left[:-1], right), left[-1]), (shuffles(left, right[:-1]), right[-1])):
        for word, count in rest.items():
            found[(*word, last)] = found.get((*word, last), 0) + count
    return found


def product(factors: Iterable[Integral], one: Any) -> Integral:
    """The product of integrals."""
    total: Integral = {(): one}
    for factor in factors:
        found: dict[Word, Any] = {}
        for a, x in total.items():
            for b, y in factor.items():
                for word, count in shuffles(a, b).items():
                    found[word] = found.get(word, 0 * one) + x * y * count
        total = found
    return total


def added(terms: Iterable[tuple[Any, Integral]], zero: Any) -> Integral:
    """The sum of scale * integral."""
    found: dict[Word, Any] = {}
    for scale, integral in terms:
        for word, value in integral.items():
            found[word] = found.get(word, zero) + scale * value
    return {word: value for word, value in found.items() if value != zero}


def integrated(integral: Integral, letter: int) -> Integral:
    """The integral of a process with respect to time or to a Brownian motion."""
    return {(*word, letter): value for word, value in integral.items()}


@cache
def expected(word: Word) -> Rational:
    r"""E J_w: the words of $\exp(e_0 + \frac12 \sum_k e_k e_k)$, the mean of the signature."""
    rest, units, pairs = word, 0, 0
    while rest:
        if rest[0] == 0:
            rest = rest[1:]
        elif len(rest) > 1 and rest[0] == rest[1]:
            rest, pairs = rest[2:], pairs + 1
        else:
            return Rational(0)
        units += 1
    return Rational(1, 2**pairs * factorial(units))


def mean(integral: Integral, arithmetic: Arithmetic) -> Any:
    """The expectation of a sum of integrals."""
    return sum(
        (value * arithmetic.rational(expected(word)) for word, value in integral.items()), arithmetic.domain.zero
    )
