r"""Multistep schemes: root condition, boundary locus, exactly.

With $\zeta = (1 + s)/(1 - s)$ the unit circle becomes the imaginary axis s = iu, and $\rho/\sigma$ becomes r(s)/S(s).
The boundary locus is the rational curve $z(u) = (X(v) + i u Y(v))/C(v)$ with $v = u^2$ and $C = |S(iu)|^2$: questions
about it are questions about the real polynomials X, Y and C of one variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sympy import And, Or, Symbol, true

from derive.errors import UnsupportedError
from derive.linear_stability.axes import Axis, always
from derive.linear_stability.fields import RealField
from derive.linear_stability.formulas import formula
from derive.linear_stability.functions import Multistep
from derive.linear_stability.polynomials import (
    Coefficients,
    add,
    derivative,
    divide,
    gcd,
    multiply,
    parts,
    reflect,
    scale,
    shift,
    subtract,
    trim,
    value,
    without_zero_roots,
)
from derive.linear_stability.real_roots import RealRoot, extension, isolate
from derive.linear_stability.resultants import resultant
from derive.linear_stability.root_condition import ZETA, on_half_plane, root_condition
from derive.linear_stability.runge_kutta import is_nonnegative
from derive.verdict import Step

T, SQUARE, V, SLOPE = Symbol("t"), Symbol("x"), Symbol("v"), Symbol("M")


def zero_stability(field: RealField, scheme: Multistep, proof: list[Step]) -> str:
    """`strong`, `weak` (other roots on the unit circle, simple) or `unstable`."""
    rest = divide(scheme.rho, [field.convert(-1), field.convert(1)])[0]
    proof.append(Step("rho over zeta - 1", formula(field.domain, rest, ZETA)))
    if field.sign(value(rest, field.convert(1))) == 0:
        proof.append(Step("1 is a multiple root: not zero-stable."))
        return "unstable"
    if root_condition(field, rest, strict=True):
        root_condition(field, rest, proof, strict=True)
        proof.append(Step("All other roots lie in the open disc: strongly zero-stable."))
        return "strong"
    if root_condition(field, rest, proof):
        proof.append(Step("Roots other than 1 on the circle, simple: weakly zero-stable."))
        return "weak"
    proof.append(Step("The root condition fails: not zero-stable."))
    return "unstable"


def jury_conditions(field: RealField, scheme: Multistep) -> tuple[Any, Any]:
    """Zero stability and strong zero stability as inequalities in any number of symbols, of up to three steps.

    Raises:
        UnsupportedError: more steps.
    """
    rest = trim(divide(scheme.rho, [field.convert(-1), field.convert(1)])[0])
    rest = rest[next(place for place, a in enumerate(rest) if a) :]  # roots at 0 are harmless
    if len(rest) > 3:
        names = ", ".join(map(str, scheme.domain.symbols))
        raise UnsupportedError(
            f"the root condition in {names} with {len(rest)} roots: give values to all but one symbol"
        )
    *inner, _ = [field.to_sympy(a) for a in rest]
    if not inner:
        return true, true
    if len(inner) == 1:
        root_free = inner[0] > -1
        return And(root_free, inner[0] <= 1), And(root_free, inner[0] < 1)
    q, p = inner
    at_one, at_minus_one = 1 + p + q, 1 - p + q
    closed = And(q <= 1, at_one > 0, at_minus_one >= 0, Or(q < 1, p < 2))
    return closed, And(q < 1, at_one > 0, at_minus_one > 0)


def locus(field: RealField, scheme: Multistep) -> tuple[Coefficients, Coefficients, Coefficients]:
    """X, Y and C of the boundary locus."""
    rho, sigma = _coprime(field, scheme)
    (re, ro), (se, so) = ([reflect(part) for part in parts(on_half_plane(field, p))] for p in (rho, sigma))
    real = add(multiply(re, se), shift(multiply(ro, so)))
    imaginary = subtract(multiply(ro, se), multiply(re, so))
    square = add(multiply(se, se), shift(multiply(so, so)))
    return real, imaginary, square


def _reduced(field: RealField, curve: Sequence[Coefficients]) -> list[Coefficients]:
    """Polynomials over their common divisor."""
    common: Coefficients = []
    for p in curve:
        common = gcd(field, common, p) if common else p
    return [divide(p, common)[0] if p else p for p in curve]


def _coprime(field: RealField, scheme: Multistep) -> tuple[Coefficients, Coefficients]:
    """rho and sigma over their common divisor, both of the degree of rho."""
    common = gcd(field, scheme.rho, scheme.sigma)
    rho, sigma = (divide(p, common)[0] for p in (scheme.rho, trim(scheme.sigma)))
    return rho, sigma + [field.convert(0)] * (len(rho) - len(sigma))


def at_argument(scheme: Multistep, z: Any) -> Coefficients:
    """rho - z sigma at a number, of its formal degree."""
    return [a - z * b for a, b in zip(scheme.rho, scheme.sigma, strict=True)]


def at_imaginary_pair(scheme: Multistep, square: Any) -> Coefficients:
    """(rho - iw sigma)(rho + iw sigma) = rho^2 + w^2 sigma^2 at a value of w^2, of its formal degree."""
    size = 2 * len(scheme.rho) - 1
    both = add(multiply(scheme.rho, scheme.rho), scale(multiply(scheme.sigma, scheme.sigma), square))
    return both + [scheme.rho[-1] * 0] * (size - len(both))


def is_stable_on_negative_axis(field: RealField, scheme: Multistep, proof: list[Step]) -> bool:
    """Whether all roots lie in the open disc at z = -1 and in the closed one at infinity, which a sector needs.

    A double root of sigma on the circle reaches infinity from outside in every direction.
    """
    there = at_argument(scheme, field.convert(-1))
    stable = root_condition(field, there, strict=True)
    where = "all roots in the open disc" if stable else "a root on or outside the circle"
    proof.append(Step(f"At z = -1: {where} (Schur-Cohn)", formula(field.domain, there, ZETA)))
    if stable and not root_condition(field, scheme.sigma):
        proof.append(Step("At infinity: sigma fails the root condition", formula(field.domain, scheme.sigma, ZETA)))
        return False
    return stable


def is_a_stable(field: RealField, scheme: Multistep, proof: list[Step]) -> bool:
    """A-stability: the boundary locus stays in Re z >= 0, and the scheme is stable at z = -1."""
    real, _, _ = locus(field, scheme)
    proof.append(
        Step(
            "Boundary locus at zeta = (1 + iu)/(1 - iu): Re z has the sign of X(v), v = u^2",
            formula(field.domain, real, V),
        )
    )
    if not is_nonnegative(field, real, V, proof):
        proof.append(Step("The boundary locus enters Re z < 0: not A-stable."))
        return False
    if not is_stable_on_negative_axis(field, scheme, proof):
        return False
    proof.append(Step("No root leaves the disc in Re z < 0: A-stable."))
    return True


def vanishes_at_infinity(field: RealField, scheme: Multistep, proof: list[Step]) -> bool:
    """Whether all roots tend to 0 as z goes to infinity: sigma = beta zeta^K, over common factors of rho and sigma."""
    _, sigma = _coprime(field, scheme)
    signs = [field.sign(a) for a in sigma]
    proof.append(
        Step(
            "Common factors of rho and sigma apart, all roots tend to 0 at infinity iff sigma is a multiple of zeta^K",
            formula(field.domain, sigma, ZETA),
        )
    )
    return signs[-1] != 0 and not any(signs[:-1])


def real_axis(field: RealField, scheme: Multistep) -> Axis:
    """Where roots of rho + t sigma may meet the unit circle: at zeta = 1, -1, or in conjugate pairs (Orlando)."""
    size = len(scheme.rho)
    r, s = (pad(field, on_half_plane(field, p), size) for p in (scheme.rho, scheme.sigma))
    pairs = [[a, b] for a, b in zip(r, s, strict=True)]
    candidates = [trim(pairs[0]), trim(pairs[-1])]
    if size > 2:
        candidates.append(resultant(field.domain, pairs[::2], pairs[1::2]))
    words = "Roots meet the unit circle only where this vanishes (zeta = 1, zeta = -1, Hurwitz determinant), t = -z"
    return _axis(field, words, candidates, T, lambda other, t: at_argument(_over(other, scheme), -t))


def imaginary_axis(field: RealField, scheme: Multistep) -> Axis:
    """Where the boundary locus meets the imaginary axis; if it lies on it, where it turns back."""
    real, imaginary, square = _reduced(field, locus(field, scheme))
    words = "The boundary locus meets the imaginary axis at the squares x = w^2 where this vanishes"
    condition = real
    if not real:
        words = (
            "The boundary locus lies on the imaginary axis; it turns back at the squares x = w^2 where this vanishes"
        )
        slope = add(imaginary, scale(shift(derivative(imaginary)), field.convert(2)))
        condition = subtract(
            multiply(square, slope), scale(shift(multiply(imaginary, derivative(square))), field.convert(2))
        )
    condition = without_zero_roots(condition)
    numerator, denominator = shift(multiply(imaginary, imaginary)), multiply(square, square)
    size = max(len(numerator), len(denominator))
    curve = [[-a, b] for a, b in zip(pad(field, numerator, size), pad(field, denominator, size), strict=True)]
    candidates = [[condition[0]], [condition[-1]]]  # which decide where they depend on a symbol and vanish
    if len(condition) > 1:
        candidates.append(resultant(field.domain, [[a] for a in condition], curve))
    return _axis(field, words, candidates, SQUARE, lambda other, x: at_imaginary_pair(_over(other, scheme), x))


def pad(field: RealField, p: Sequence[Any], size: int) -> Coefficients:
    """Zeros at the top up to a formal degree."""
    return [*p, *[field.convert(0)] * (size - len(p))]


def _over(field: RealField, scheme: Multistep) -> Multistep:
    """The same scheme over an extension of its field."""
    if field.domain == scheme.domain:
        return scheme
    to = field.domain
    lists = tuple([to.from_sympy(scheme.domain.to_sympy(a)) for a in p] for p in scheme.coefficients)
    return replace(scheme, domain=to, coefficients=lists)


def _axis(
    field: RealField,
    words: str,
    candidates: list[Coefficients],
    variable: Symbol,
    characteristic: Callable[[RealField, Any], Coefficients],
) -> Axis:
    """Stability between candidates and at them is the root condition of the characteristic polynomial there."""
    if not all(candidates):
        raise UnsupportedError("rho and sigma that keep a root on the unit circle for every z: give the scheme reduced")

    def inside(x: Any) -> bool:
        return root_condition(field, characteristic(field, field.convert(x)))

    def passes(root: RealRoot) -> bool:
        there, x = extension(field, root)
        return root_condition(there, characteristic(there, x))

    return Axis(field, words, candidates, variable, inside, passes)


def sector(field: RealField, scheme: Multistep) -> Axis:
    r"""Squared slopes M = tan^2(alpha) of sectors around the negative axis that the boundary locus stays out of.

    Where Re z < 0 the locus has slope^2 $g(v) = v Y^2/X^2$; it enters a sector at the least value of g, a critical one.
    """
    real, imaginary, _ = locus(field, scheme)
    x, y = _reduced(field, (real, imaginary))
    slope = add(y, scale(shift(derivative(y)), field.convert(2)))
    critical = subtract(multiply(x, slope), scale(shift(multiply(y, derivative(x))), field.convert(2)))
    critical = without_zero_roots(critical)
    numerator, denominator = shift(multiply(y, y)), multiply(x, x)
    size = max(len(numerator), len(denominator))
    rays = [[a, -b] for a, b in zip(pad(field, numerator, size), pad(field, denominator, size), strict=True)]
    candidates = resultant(field.domain, [[a] for a in critical], rays)

    def inside(squared_slope: Any) -> bool:
        meeting = subtract(numerator, scale(denominator, field.convert(squared_slope)))
        return not any(root.sign_of(real) < 0 for root in isolate(field, meeting))

    words = "Critical values M = tan^2 of the slope of the boundary locus v Y^2/X^2 are roots of"
    return Axis(field, words, [candidates], SLOPE, inside, always)
