"""Polynomials of proofs as expressions and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Expr, Poly, Rational, Symbol

from derive.latex import latex

LONGEST_INTEGER = 10**9
"""Coefficients with larger numerators or denominators are shown as decimals."""


def polynomial_expression(domain: Any, coefficients: Sequence[Any], variable: Symbol) -> Expr:
    """A polynomial, constant term first, as an expression."""
    terms = [domain.to_sympy(a) * variable**exponent for exponent, a in enumerate(coefficients)]
    return sum(terms, start=Rational(0))


def formula(domain: Any, coefficients: Sequence[Any], variable: Symbol) -> str:
    """LaTeX of a polynomial; fractions of very many digits are rounded to six."""
    expression = polynomial_expression(domain, coefficients, variable)
    numbers = expression.atoms(Rational)
    if any(abs(number.p) > LONGEST_INTEGER or number.q > LONGEST_INTEGER for number in numbers):
        return latex(expression.evalf(6)) + r"\ (\text{rounded})"
    if domain.is_QQ and coefficients:
        return latex(Poly(expression, variable).as_expr())
    return latex(expression)
