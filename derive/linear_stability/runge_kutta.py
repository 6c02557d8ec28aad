r"""Runge-Kutta schemes: exact conditions on $R(z) = P(z)/Q(z)$.

With the E-polynomial $E(y) = |Q(iy)|^2 - |P(iy)|^2 = F(y^2)$: a scheme is A-stable iff F is nonnegative on
$[0, \infty)$ and Q has no root with Re z <= 0 (maximum principle).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import factorial
from typing import Any

from sympy import Symbol

from derive.linear_stability.axes import Axis, always
from derive.linear_stability.fields import RealField
from derive.linear_stability.formulas import formula
from derive.linear_stability.functions import RationalFunction, lowest_terms
from derive.linear_stability.polynomials import (
    Coefficients,
    add,
    multiply,
    odd_part,
    parts,
    reflect,
    scale,
    shift,
    sturm_chain,
    subtract,
    trim,
    value,
    variations,
    without_zero_roots,
)
from derive.linear_stability.resultants import discriminant
from derive.linear_stability.root_condition import routh_column
from derive.verdict import Step

Z, T, SQUARE, SLOPE = Symbol("z"), Symbol("t"), Symbol("x"), Symbol("M")


def squared_modulus(p: Sequence[Any]) -> Coefficients:
    """|p(iy)|^2 as a polynomial in x = y^2."""
    even, odd = (reflect(part) for part in parts(p))
    return add(multiply(even, even), shift(multiply(odd, odd)))


def e_polynomial(function: RationalFunction) -> Coefficients:
    """F with F(y^2) = |Q(iy)|^2 - |P(iy)|^2; low coefficients that published decimals leave as noise are zero."""
    found = subtract(squared_modulus(function.denominator), squared_modulus(function.numerator))
    for place, coefficient in enumerate(found):
        exact_size = function.domain.one / factorial(2 * place)
        if not function.noise or abs(coefficient) > function.noise or exact_size < 1000 * function.noise:
            break
        found[place] = function.domain.zero
    return trim(found)


def is_nonnegative(field: RealField, p: Sequence[Any], variable: Symbol, proof: list[Step]) -> bool:
    """Whether p >= 0 on [0, oo): sign at infinity, and no positive root of odd multiplicity (Sturm)."""
    if not p:
        return True
    if field.sign(p[-1]) < 0:
        proof.append(Step("The leading coefficient is negative: negative for large arguments."))
        return False
    rest = odd_part(field, without_zero_roots(p))
    chain = sturm_chain(field, rest)
    at_zero, at_infinity = variations(field, chain, 0), variations(field, chain)
    proof.append(
        Step(
            f"Factors of odd multiplicity, without powers of {variable}: Sturm's chain changes sign {at_zero} times at "
            f"0 and {at_infinity} times at infinity, so {at_zero - at_infinity} sign changes on the positive axis",
            formula(field.domain, rest, variable),
        )
    )
    return at_zero == at_infinity


def is_a_stable(field: RealField, function: RationalFunction, proof: list[Step]) -> bool:
    """A-stability by the E-polynomial and Routh's array of Q(-z)."""
    function = lowest_terms(field, function)
    proof.append(Step("R(z) in lowest terms, numerator", formula(field.domain, function.numerator, Z)))
    proof.append(Step("denominator", formula(field.domain, function.denominator, Z)))
    on_axis = e_polynomial(function)
    proof.append(Step("E-polynomial |Q(iy)|^2 - |P(iy)|^2 with x = y^2", formula(field.domain, on_axis, SQUARE)))
    if not is_nonnegative(field, on_axis, SQUARE, proof):
        proof.append(Step("|R| > 1 somewhere on the imaginary axis: not A-stable."))
        return False
    column = routh_column(field, reflect(function.denominator))
    signs = [field.sign(a) for a in column]
    proof.append(Step(f"Routh's first column of Q(-z): signs {signs}", formula(field.domain, column, Z)))
    if len(column) < len(function.denominator) or signs != [signs[0]] * len(signs):
        proof.append(Step("Q has a root with Re z <= 0: not A-stable."))
        return False
    proof.append(Step("All poles lie in Re z > 0 and |R| <= 1 on the imaginary axis: A-stable (maximum principle)."))
    return True


def vanishes_at_infinity(field: RealField, function: RationalFunction, proof: list[Step]) -> bool:
    """Whether R(oo) = 0."""
    function = lowest_terms(field, function)
    degrees = [len(p) - 1 for p in (function.numerator, function.denominator) if field.sign(p[-1])]
    proof.append(Step(f"deg P = {degrees[0]}, deg Q = {degrees[1]}: R vanishes at infinity iff deg P < deg Q."))
    return degrees[0] < degrees[1]


def real_axis(field: RealField, function: RationalFunction) -> Axis:
    """|R(-t)| <= 1 iff Q(-t)^2 - P(-t)^2 >= 0."""
    function = lowest_terms(field, function)
    top, bottom = reflect(function.numerator), reflect(function.denominator)
    factors = [subtract(bottom, top), add(bottom, top)]
    inside = partial(_is_positive, field, multiply(*factors))
    return Axis(field, "|R(-t)| <= 1 iff Q(-t) - P(-t) and Q(-t) + P(-t) have one sign", factors, T, inside, always)


def imaginary_axis(field: RealField, function: RationalFunction) -> Axis:
    """|R(iw)| <= 1 iff F(w^2) >= 0."""
    gap = e_polynomial(lowest_terms(field, function))
    words = "E-polynomial |Q(iw)|^2 - |P(iw)|^2 with x = w^2"
    return Axis(field, words, [gap], SQUARE, partial(_is_positive, field, gap), always)


def is_stable_on_negative_axis(field: RealField, function: RationalFunction, proof: list[Step]) -> bool:
    """Whether |R| <= 1 on all of it, which a sector around it needs."""
    axis = real_axis(field, function)
    proof.append(axis.step())
    return is_nonnegative(field, multiply(*axis.candidates), T, proof)


def _is_positive(field: RealField, p: Sequence[Any], x: Any) -> bool:
    return not p or field.sign(value(p, field.convert(x))) > 0


def sector(field: RealField, function: RationalFunction) -> Axis:
    r"""Squared slopes M of rays $z = t (-1 \pm i \sqrt M)$ on which $G(t; M) = (|Q|^2 - |P|^2)/t$ is nonnegative."""
    function = lowest_terms(field, function)
    bottom, top = (_on_rays(field, p) for p in (function.denominator, function.numerator))
    size = max(len(bottom), len(top))
    padded = [p + [[]] * (size - len(p)) for p in (bottom, top)]
    gap = [subtract(a, b) for a, b in zip(*padded, strict=True)][1:]
    while gap and not gap[-1]:
        gap.pop()
    candidates = [discriminant(field.domain, gap), gap[-1]] if gap else []

    def inside(squared_slope: Any) -> bool:
        ray = trim([value(a, field.convert(squared_slope)) if a else field.convert(0) for a in gap])
        return is_nonnegative(field, ray, T, [])

    words = "The sign of |Q|^2 - |P|^2 along a ray changes only at slopes M = tan^2 where this vanishes (discriminant)"
    return Axis(field, words, candidates, SLOPE, inside, always)


def _on_rays(field: RealField, p: Sequence[Any]) -> list[Coefficients]:
    """|p(t (-1 + i m))|^2: coefficients of t^0, t^1, ..., each a polynomial in M = m^2."""
    one, minus = field.convert(1), field.convert(-1)
    real: list[Coefficients] = [[one]]  # (-1 + i m)^j = real_j + i m imaginary_j
    imaginary: list[Coefficients] = [[]]
    for _ in p[1:]:
        re, im = real[-1], imaginary[-1]
        real.append(subtract(scale(re, minus), shift(im)))
        imaginary.append(subtract(re, im))
    result: list[Coefficients] = [[] for _ in range(2 * len(p) - 1)]
    for i, a in enumerate(p):
        for j, b in enumerate(p):
            product = add(multiply(real[i], real[j]), shift(multiply(imaginary[i], imaginary[j])))
            result[i + j] = add(result[i + j], scale(product, a * b))
    return result
