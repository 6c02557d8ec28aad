"""Polynomials over a real field: lists of coefficients, constant term first, and Sturm's theorem.

A list may end in zeros only where its length is meant (a formal degree); `trim` removes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import Any

from sympy import ZZ
from sympy.polys.euclidtools import dup_gcd

from derive.linear_stability.fields import RealField

Coefficients = list[Any]


def trim(p: Sequence[Any]) -> Coefficients:
    """Without the zeros at the top."""
    top = len(p)
    while top and not p[top - 1]:
        top -= 1
    return list(p[:top])


def add(p: Sequence[Any], q: Sequence[Any]) -> Coefficients:
    """p + q."""
    zero = (p[0] if p else q[0]) * 0 if p or q else 0
    return trim([a + b for a, b in zip_longest(p, q, fillvalue=zero)])


def scale(p: Sequence[Any], factor: Any) -> Coefficients:
    """factor * p."""
    return trim([factor * a for a in p])


def subtract(p: Sequence[Any], q: Sequence[Any]) -> Coefficients:
    """p - q."""
    return add(p, [-b for b in q])


def multiply(p: Sequence[Any], q: Sequence[Any]) -> Coefficients:
    """p q."""
    if not p or not q:
        return []
    product = [p[0] * 0] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            product[i + j] += a * b
    return trim(product)


def power(p: Sequence[Any], exponent: int, one: Any) -> Coefficients:
    """p to a small power."""
    result = [one]
    for _ in range(exponent):
        result = multiply(result, p)
    return result


def shift(p: Sequence[Any], places: int = 1) -> Coefficients:
    """x^places p."""
    return [p[0] * 0] * places + list(p) if p else []


def derivative(p: Sequence[Any]) -> Coefficients:
    """p'."""
    return [a * exponent for exponent, a in enumerate(p)][1:]


def value(p: Sequence[Any], x: Any) -> Any:
    """p(x)."""
    result = x * 0
    for a in reversed(p):
        result = result * x + a
    return result


def reflect(p: Sequence[Any]) -> Coefficients:
    """p(-x)."""
    return [-a if exponent % 2 else a for exponent, a in enumerate(p)]


def parts(p: Sequence[Any]) -> tuple[Coefficients, Coefficients]:
    """Even and odd part in the square: p(x) = e(x^2) + x o(x^2)."""
    return trim(p[::2]), trim(p[1::2])


def valuation(p: Sequence[Any]) -> int:
    """The power of x that divides p."""
    return next((exponent for exponent, a in enumerate(p) if a), 0)


def without_zero_roots(p: Sequence[Any]) -> Coefficients:
    """p over the power of x that divides it."""
    return list(p[valuation(p) :])


def divide(p: Sequence[Any], q: Sequence[Any]) -> tuple[Coefficients, Coefficients]:
    """Quotient and remainder."""
    rest, quotient = list(p), []
    for place in range(len(p) - len(q), -1, -1):
        factor = rest[place + len(q) - 1] / q[-1]
        quotient.append(factor)
        for i, b in enumerate(q):
            rest[place + i] -= factor * b
    return quotient[::-1], trim(rest[: len(q) - 1])


def _positive_scale(field: RealField, p: Sequence[Any]) -> Coefficients:
    """p over a positive number: integers without a common factor over Q, else leading coefficient 1 or -1."""
    positive = field.sign(p[-1]) > 0
    if not field.domain.is_QQ:
        lead = p[-1] if positive else -p[-1]
        return [a / lead for a in p]
    integers = _integers(p)
    content = math.gcd(*map(int, integers))
    return [field.convert(a // content) for a in integers]


def _integers(p: Sequence[Any]) -> list[Any]:
    """Rational coefficients times their common denominator."""
    common = math.lcm(*(int(a.denominator) for a in p))
    return [ZZ(int(a * common)) for a in p]


def _remainder(field: RealField, p: Sequence[Any], q: Sequence[Any]) -> Coefficients:
    """p modulo q up to a positive factor; over Q all numbers stay integers, which spares their common factors."""
    if not field.domain.is_QQ:
        return divide(p, q)[1]
    scaled = abs(q[-1]) ** max(len(p) - len(q) + 1, 0)
    return divide([a * scaled for a in p], q)[1]


def gcd(field: RealField, p: Sequence[Any], q: Sequence[Any]) -> Coefficients:
    """Greatest common divisor, monic."""
    first, second = trim(p), trim(q)
    if field.domain.is_QQ and first and second:
        found = dup_gcd(*(_integers(side)[::-1] for side in (first, second)), ZZ)
        return [field.convert(a) / field.convert(found[0]) for a in reversed(found)]
    while second:
        second = _positive_scale(field, second)
        first, second = second, _remainder(field, first, second)
    return [a / first[-1] for a in first] if first else []


def sturm_chain(field: RealField, p: Sequence[Any]) -> list[Coefficients]:
    """Sturm's chain p, p', ... each up to a positive factor."""
    first, second = _positive_scale(field, p), derivative(p)
    chain = [first]
    while second:
        second = _positive_scale(field, second)
        chain.append(second)
        first, second = second, [-a for a in _remainder(field, first, second)]
    return chain


def variations(field: RealField, chain: Sequence[Coefficients], x: Any = None, *, below: bool = False) -> int:
    """Changes of sign along a chain at a number, or (x None) at +oo or, `below`, at -oo."""
    if x is None:
        signs = [field.sign(p[-1]) * (-1 if below and len(p) % 2 == 0 else 1) for p in chain]
    else:
        signs = [field.sign(value(p, field.convert(x))) for p in chain]
    signs = [sign for sign in signs if sign]
    return sum(a != b for a, b in pairwise(signs))


def odd_part(field: RealField, p: Sequence[Any]) -> Coefficients:
    """The product of the factors of odd multiplicity (Yun's decomposition): p changes sign at its real roots only."""
    slope = derivative(p)
    common = gcd(field, p, slope)
    w, y = divide(p, common)[0], divide(slope, common)[0]
    result, multiplicity = [p[-1] / p[-1]], 1
    while len(w) > 1:
        z = subtract(y, derivative(w))
        factor = gcd(field, w, z) if z else w
        if multiplicity % 2:
            result = multiply(result, factor)
        w, y = divide(w, factor)[0], divide(z, factor)[0] if z else []
        multiplicity += 1
    return result


def squarefree(field: RealField, p: Sequence[Any]) -> Coefficients:
    """p with every root once."""
    p = trim(p)
    return divide(p, gcd(field, p, derivative(p)))[0] if len(p) > 1 else p
