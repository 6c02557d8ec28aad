r"""Roots of a polynomial and the unit circle, the imaginary axis: Miller's form of Schur-Cohn, and Routh's array.

Miller (1971): with $p^*(\zeta) = \zeta^n p(1/\zeta)$ and $q = (a_n p - a_0 p^*)/\zeta$, a real polynomial p satisfies
the root condition (all roots in the closed unit disc, those on the circle simple) iff $|a_0| < |a_n|$ and q satisfies
it, or q vanishes and all roots of p' lie in the open disc. All roots of p lie in the open disc iff $|a_0| < |a_n|$ and
those of q do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Symbol

from derive.linear_stability.fields import RealField
from derive.linear_stability.formulas import formula
from derive.linear_stability.polynomials import Coefficients, add, derivative, multiply, power, scale
from derive.verdict import Step

ZETA = Symbol("zeta")


def root_condition(
    field: RealField, p: Sequence[Any], proof: list[Step] | None = None, *, strict: bool = False
) -> bool:
    """Whether p (of its formal degree: a zero at the top is a root at infinity) satisfies the root condition.

    Args:
        field: the field of the coefficients.
        p: coefficients, constant term first.
        proof: takes the steps.
        strict: all roots in the open disc instead.
    """
    steps = proof if proof is not None else []
    while len(p) > 1:
        lead, constant = p[-1], p[0]
        if field.sign(lead) == 0:
            steps.append(Step("The leading coefficient is zero: a root at infinity."))
            return False
        excess = field.sign((lead - constant) * (lead + constant))
        if proof is not None:
            relation = {1: "<", 0: "=", -1: ">"}[excess]
            steps.append(Step(f"Schur-Cohn (Miller): |a_0| {relation} |a_n|", formula(field.domain, p, ZETA)))
        reduced = [(lead * a - constant * b) / lead**2 for a, b in zip(p, reversed(p), strict=True)][1:]
        if excess > 0:
            p = reduced
            continue
        vanishes = [field.sign(a) for a in reduced] == [0] * len(reduced)
        if excess < 0 or strict or not vanishes:
            steps.append(Step("A root outside the open disc." if strict else "A root outside, or a double one on it."))
            return False
        steps.append(
            Step("q vanishes: the roots lie on the circle and are simple iff those of p' lie in the open disc")
        )
        p, strict = derivative(p), True
    return bool(p) and field.sign(p[0]) != 0


def routh_column(field: RealField, p: Sequence[Any]) -> Coefficients:
    """First column of Routh's array of p; it ends early at a zero. All signs equal: every root has Re < 0."""
    descending = list(reversed(p))
    upper, lower = descending[::2], descending[1::2]
    column = [upper[0]] if upper else []
    while lower:
        column.append(lower[0])
        if field.sign(lower[0]) == 0:
            return column
        zero = lower[0] * 0
        padded = [*lower, *[zero] * (len(upper) - len(lower))]
        ratio = upper[0] / lower[0]
        upper, lower = lower, [a - ratio * b for a, b in zip(upper[1:], padded[1:], strict=True)]
    return column


def is_hurwitz(field: RealField, p: Sequence[Any]) -> bool:
    """Whether all roots of p have negative real parts."""
    signs = [field.sign(a) for a in routh_column(field, p)]
    return len(signs) == len(p) and len(set(signs)) == 1 and signs[0] != 0


def on_half_plane(field: RealField, p: Sequence[Any]) -> Coefficients:
    r"""$(1 - s)^n p((1 + s)/(1 - s))$ for p of formal degree n: the unit disc becomes the half plane Re s < 0."""
    one, degree = field.convert(1), len(p) - 1
    result: Coefficients = []
    for exponent, a in enumerate(p):
        up, down = power([one, one], exponent, one), power([one, -one], degree - exponent, one)
        result = add(result, scale(multiply(up, down), a))
    return result
