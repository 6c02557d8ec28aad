"""Truncated non-commutative power series: compositions of flows as words in the parts of a field.

A word (p, q, r) stands for the differential operator L_p L_q L_r, L_p = f_p . d/dx. The flow of part p over time c is
exp(c L_p), and the map that applies the flow of p first and that of q afterwards is exp(c L_p) exp(c L_q), applied to
the identity. Its logarithm is a Lie series, the modified field of the composition (Baker, Campbell, Hausdorff).
Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, III.4-5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import factorial
from typing import Any

from sympy import Domain

Word = tuple[int, ...]
Series = Mapping[Word, Any]  # word -> element of the domain; zeros are left out


def exponential(letters: Series, order: int, domain: Domain) -> Series:
    """exp of a series without constant term, up to words of length `order`."""
    power: Series = {(): domain.one}
    total = dict(power)
    for k in range(1, order + 1):
        power = product(power, letters, order, domain)
        total = add(total, power, domain.one / domain(factorial(k)))
    return total


def logarithm(series: Series, order: int, domain: Domain) -> Series:
    """log of a series with constant term 1."""
    rest = {word: value for word, value in series.items() if word}
    power: Series = {(): domain.one}
    total: dict[Word, Any] = {}
    for k in range(1, order + 1):
        power = product(power, rest, order, domain)
        total = add(total, power, domain((-1) ** (k + 1)) / domain(k))
    return total


def product(left: Series, right: Series, order: int, domain: Domain) -> Series:
    """Concatenation of words, truncated."""
    found: dict[Word, Any] = {}
    for a, x in left.items():
        for b, y in right.items():
            if len(a) + len(b) <= order:
                found[a + b] = found.get(a + b, domain.zero) + x * y
    return _nonzero(found, domain)


def add(left: Series, right: Series, scale: Any) -> dict[Word, Any]:
    """left + scale * right."""
    found = dict(left)
    for word, value in right.items():
        found[word] = found[word] + scale * value if word in found else scale * value
    return {word: value for word, value in found.items() if value}


def of_length(series: Series, length: int) -> dict[Word, Any]:
    """The words of one length."""
    return {word: value for word, value in series.items() if len(word) == length}


def lyndon_words(letters: int, length: int) -> Iterator[Word]:
    """Lyndon words of exactly that length in lexicographic order: each is smaller than all its rotations (Duval)."""
    word = [-1]
    while word:
        word[-1] += 1
        if len(word) == length:
            yield tuple(word)
        base = len(word)
        while len(word) < length:
            word.append(word[-base])
        while word and word[-1] == letters - 1:
            word.pop()


def bracketing(word: Word) -> Any:
    """The Lyndon basis element of a Lyndon word as nested pairs: split before its longest proper Lyndon suffix."""
    if len(word) == 1:
        return word[0]
    place = next(i for i in range(1, len(word)) if _is_lyndon(word[i:]))
    return bracketing(word[:place]), bracketing(word[place:])


def expanded(nested: Any, domain: Domain) -> Series:
    """A nested commutator as a series of words."""
    if isinstance(nested, int):
        return {(nested,): domain.one}
    left, right = (expanded(side, domain) for side in nested)
    length = len(next(iter(left))) + len(next(iter(right)))
    return add(product(left, right, length, domain), product(right, left, length, domain), -domain.one)


def in_commutators(series: Series, length: int, letters: int, domain: Domain) -> dict[Any, Any]:
    """A homogeneous Lie series in the Lyndon basis: nested commutator -> coefficient.

    The bracketing of a Lyndon word w is w plus larger words, so that coefficients are read off in order.
    """
    rest = of_length(series, length)
    found = {}
    for word in lyndon_words(letters, length):
        value = rest.get(word)
        if value:
            nested = bracketing(word)
            found[nested] = value
            rest = add(rest, expanded(nested, domain), -value)
    assert not rest, "not a Lie series"
    return found


def _is_lyndon(word: Word) -> bool:
    return all(word < word[i:] for i in range(1, len(word)))


def _nonzero(series: Mapping[Word, Any], domain: Domain) -> dict[Word, Any]:
    return {word: value for word, value in series.items() if value != domain.zero}
