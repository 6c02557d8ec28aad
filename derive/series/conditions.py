"""Conditions on the symbols of a scheme: residuals that must vanish, as equations, solved where there is one symbol.

The numerators generate an ideal whose Groebner basis is the short form of the conditions. Factors of denominators are
never zero, so they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy
from sympy import EX, Eq, Expr, Poly, Symbol, false, groebner, true
from sympy.logic.boolalg import And, Boolean, Or

from derive.series.domains import Arithmetic, Element, factors_of

# A Groebner basis of many residuals in many symbols can take forever; beyond this the equations stand as they are.
_SYMBOLS_REDUCED = 4


def all_vanish(arithmetic: Arithmetic, residuals: Iterable[Element]) -> Boolean:
    """The condition on the symbols under which every residual is zero: true, false, or equations."""
    left = [residual for residual in residuals if not arithmetic.vanishes(residual)]
    if not left:
        return true
    if not arithmetic.symbols:
        return false
    if arithmetic.domain is EX:
        return And(*(Eq(arithmetic.domain.to_sympy(residual), 0) for residual in left))
    symbols, poles = arithmetic.symbols, arithmetic.poles
    numerators = [without(arithmetic.domain.to_sympy(residual.numer), poles, symbols) for residual in left]
    return _solved([without(value, poles, symbols) for value in basis(numerators, symbols)], symbols)


def condition_text(condition: Boolean) -> str:
    """A condition as it is written: `alpha*beta = 1/2 and theta = 1`."""
    if isinstance(condition, Eq):
        return f"{condition.lhs} = {condition.rhs}"
    if isinstance(condition, And | Or):
        joint, other = (" and ", " or ") if isinstance(condition, And) else (" or ", " and ")
        parts = [condition_text(part) for part in sorted(condition.args, key=sympy.default_sort_key)]
        return joint.join(f"({part})" if other in part else part for part in parts)
    return str(condition)


def _solved(ideal: Sequence[Expr], symbols: tuple[Symbol, ...]) -> Boolean:
    if len(symbols) == 1 and len(ideal) == 1:
        return Or(*(Eq(symbols[0], value) for value in real_values(ideal[0], symbols[0])))
    return And(*(Or(*(equation(factor, symbols) for factor in factors_of(value, symbols))) for value in ideal))


def real_values(value: Expr, symbol: Symbol) -> list[Expr]:
    """The real zeros that the symbol's own assumptions allow."""
    found = sorted(set(Poly(value, symbol, extension=True).real_roots()), key=lambda root: (root.evalf(), str(root)))
    return [root for root in found if all(getattr(root, f"is_{fact}") is not False for fact in _facts(symbol))]


def _facts(symbol: Symbol) -> list[str]:
    assumed = symbol.assumptions0
    return [fact for fact in ("positive", "negative", "nonnegative", "nonpositive", "nonzero") if assumed.get(fact)]


def basis(ideal: Sequence[Expr], symbols: tuple[Symbol, ...]) -> list[Expr]:
    """Polynomials with the same common zeros, by Groebner's reduction where the symbols are few."""
    if len(symbols) > _SYMBOLS_REDUCED:
        return list(ideal)
    return list(groebner(ideal, *symbols, order="grevlex", extension=True).exprs)


def without(value: Expr, poles: Sequence[Expr], symbols: tuple[Symbol, ...]) -> Expr:
    """The product of the factors of a polynomial that no denominator holds."""
    if value.is_number:
        return value
    return sympy.prod(factor for factor in factors_of(value, symbols) if factor not in poles)


def equation(value: Expr, symbols: tuple[Symbol, ...]) -> Boolean:
    """`value = 0` with its constant on the right: alpha*beta = 1/2."""
    polynomial = Poly(value, *symbols)
    monic = polynomial.monic() if polynomial.domain.is_Field else polynomial.to_field().monic()
    constant = monic.coeff_monomial(1)
    return Eq(monic.as_expr() - constant, -constant)
