r"""Roots in the unit disc as conditions on coefficients: the bilinear map, then Routh and Hurwitz.

$\lambda = (1 + s)/(1 - s)$ takes the open disc to the half plane Re s < 0, and a polynomial p of degree n to
$q(s) = (1 - s)^n p((1 + s)/(1 - s))$. With $a_n > 0$ the ends of q are $q_0 = p(1)$ and $q_n = (-1)^n p(-1)$, both
positive where all roots lie in the disc; Lienard and Chipart say which determinants are left to ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import And, Expr, Integer, Mul, Poly, Symbol, factor_list, false, sympify, true
from sympy.polys.domains.domain import Domain
from sympy.polys.matrices import DomainMatrix

from derive.errors import SpecError
from derive.latex import latex
from derive.linear_stability.fields import GenericField, common_domain, field_of
from derive.linear_stability.formulas import ordered, polynomial_expression
from derive.linear_stability.polynomials import trim
from derive.linear_stability.root_condition import on_half_plane
from derive.verdict import Step, Verdict

S_PLANE = Symbol("s")


@dataclass(frozen=True)
class DiscVerdict(Verdict):
    """Whether all roots lie in the open unit disc.

    Attributes:
        mapped: q(s), the polynomial whose roots have to have negative real parts.
        conditions: expressions that have to be positive, all of them, and need not be more.
    """

    mapped: Expr | None = None
    conditions: tuple[Expr, ...] = ()


def jury(polynomial: Expr, unknown: Symbol) -> DiscVerdict:
    """When all roots of a real polynomial lie in the open unit disc: a truth value, or a condition on its symbols.

    Args:
        polynomial: in `unknown`, with numbers or rational functions of symbols as coefficients.
        unknown: the variable.

    Raises:
        SpecError: no polynomial in the unknown, or a constant.
        UnsupportedError: coefficients that are not real, or mix symbols with roots of numbers.
    """
    expression = sympify(polynomial)
    if not expression.is_polynomial(unknown) or Poly(expression, unknown).degree() < 1:
        raise SpecError(f"{polynomial} is no polynomial in {unknown} of degree 1 or more; multiply denominators out")
    domain, p = common_domain(list(reversed(Poly(expression, unknown).all_coeffs())))
    p = trim([p[-1] * a for a in p])
    mapped = on_half_plane(GenericField(domain), p)
    mapped += [domain.zero] * (len(p) - len(mapped))
    shown = polynomial_expression(domain, mapped, S_PLANE)
    proof = (
        Step("lambda = (1 + s)/(1 - s) takes the open unit disc to Re s < 0", rf"q(s) = {ordered(shown, S_PLANE)}"),
        Step("Routh, Hurwitz, Lienard and Chipart: Re s < 0 for all roots of q if and only if these are positive"),
    )
    found = _independent(domain, _hurwitz_conditions(domain, mapped))
    if not domain.is_FractionField:
        holds = all(field_of(domain).sign(domain.from_sympy(c)) > 0 for c in found)
        return DiscVerdict(true if holds else false, proof, mapped=shown, conditions=tuple(found))
    value = And(*(condition > 0 for condition in found))
    steps = tuple(Step("positive", latex(condition)) for condition in found)
    return DiscVerdict(value, (*proof, *steps), mapped=shown, conditions=tuple(found))


def _hurwitz_conditions(domain: Domain, q: Sequence[Any]) -> list[Expr]:
    """q_0, q_2, ... and the Hurwitz determinants of orders n - 1, n - 3, ...; the leading coefficient too."""
    degree = len(q) - 1
    even = [q[k] for k in range(0, degree, 2)] + [q[degree]]
    rows = [[q[k] if 0 <= (k := degree - 1 + i - 2 * j) <= degree else domain.zero for i in range(degree)]
            for j in range(degree)]  # fmt: skip
    minors = [_minor(domain, rows, size) for size in range(degree - 1, 0, -2)]
    return [domain.to_sympy(a) for a in (*even, *minors)]


def _minor(domain: Domain, rows: Sequence[Sequence[Any]], size: int) -> Any:
    """Leading principal minor; the transposed Hurwitz matrix has the same."""
    return DomainMatrix([list(row[:size]) for row in rows[:size]], (size, size), domain).det()


def _independent(domain: Domain, conditions: Sequence[Expr]) -> list[Expr]:
    """The conditions without positive factors: numbers, squares, and what is asked for already."""
    if not domain.is_FractionField:
        return list(conditions)
    found: list[Expr] = []
    for condition in conditions:
        content, factors = factor_list(condition)
        rest = Mul(*(base for base, exponent in factors if exponent % 2))
        rest = rest if content > 0 else -rest
        for known in found:
            quotient, left = Poly(rest, *domain.symbols).div(Poly(known, *domain.symbols))
            rest = quotient.as_expr() if left.is_zero else rest
        if rest not in (*found, Integer(1)):
            found.append(rest.expand())
    return found
