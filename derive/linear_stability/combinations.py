"""Schemes of several symbols of which fewer matter: R of an explicit scheme of order one in two stages knows a b alone.

What a stability function depends on is read off its coefficients: one symbol of several, or one polynomial of them all
coefficients are polynomials of. Then the rules for one symbol decide, and their answer is one on the combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sympy import QQ, Expr, Poly, Symbol

from derive.linear_stability.fields import GenericField
from derive.linear_stability.functions import Polynomials, RationalFunction, lowest_terms

Meaning = dict[Symbol, Expr]


def in_fewest_symbols(data: Polynomials) -> tuple[Polynomials, Meaning]:
    """The same polynomials over as few symbols as is seen, and what a new symbol stands for."""
    domain = data.domain
    if not domain.is_FractionField or len(domain.symbols) == 1:
        return data, {}
    if isinstance(data, RationalFunction):
        data = lowest_terms(GenericField(domain), data)
    values = [[domain.to_sympy(a) for a in p] for p in data.coefficients]
    free = [symbol for symbol in domain.symbols if any(value.has(symbol) for p in values for value in p)]
    if len(free) < 2:
        return _over(data, values, free), {}
    for candidate in sorted((v for p in values for v in p if v.free_symbols), key=lambda v: (len(str(v)), str(v))):
        combination = _without_constant(candidate, free)
        new = next(symbol for symbol in map(Symbol, "wuvst") if symbol not in domain.symbols)
        if combination is None:
            continue
        found = [[_in_powers(value, combination, new) for value in p] for p in values]
        if all(value is not None for p in found for value in p):
            return _over(data, found, [new]), {new: combination.as_expr()}
    return _over(data, values, free), {}


def _over(data: Polynomials, values: Sequence[Sequence[Any]], symbols: Sequence[Symbol]) -> Polynomials:
    domain = QQ.frac_field(*symbols) if symbols else QQ
    return replace(data, domain=domain, coefficients=tuple([domain.from_sympy(v) for v in p] for p in values))


def _without_constant(value: Expr, symbols: Sequence[Symbol]) -> Poly | None:
    """A polynomial with integer coefficients, none of them constant; None for what has a denominator."""
    if not value.is_polynomial(*symbols):
        return None
    polynomial = Poly(value, *symbols, domain=QQ)
    _, primitive = (polynomial - polynomial.coeff_monomial(1)).clear_denoms()[1].primitive()
    return -primitive if primitive.LC() < 0 else primitive


def _in_powers(value: Expr, combination: Poly, new: Symbol) -> Expr | None:
    """The value as a polynomial of a combination that vanishes at 0; None where it is none."""
    if not value.is_polynomial(*combination.gens):
        return None
    rest, combination = Poly(value, *combination.gens, domain=QQ), combination.set_domain(QQ)
    result, power = QQ.to_sympy(QQ.zero), 0
    while not rest.is_zero:
        constant = rest.coeff_monomial(1)
        result += constant * new**power
        rest, left = (rest - constant).div(combination)
        if not left.is_zero:
            return None
        power += 1
    return result
