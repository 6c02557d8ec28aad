"""Polynomials of proofs as expressions and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import EX, CRootOf, Expr, Float, Piecewise, Poly, Rational, Symbol

from derive.latex import latex

LONGEST_INTEGER = 10**9
ROUNDED = 6  # digits
"""Coefficients with larger numerators or denominators are shown as decimals."""


def cases_of(ends: tuple[Any, Any]) -> list[tuple[tuple[Any, Any], Any]]:
    """The intervals that piecewise ends stand for, each with its condition; none for ends that are not piecewise."""
    left, right = ends
    pieces = next((end.args for end in ends if isinstance(end, Piecewise)), ())
    return [((_piece(left, place), _piece(right, place)), condition) for place, (_, condition) in enumerate(pieces)]


def _piece(end: Any, place: int) -> Any:
    return end.args[place][0] if isinstance(end, Piecewise) else end


def polynomial_expression(domain: Any, coefficients: Sequence[Any], variable: Symbol) -> Expr:
    """A polynomial, constant term first, as an expression."""
    terms = [domain.to_sympy(a) * variable**exponent for exponent, a in enumerate(coefficients)]
    return sum(terms, start=Rational(0))


def ordered(expression: Expr, variable: Symbol, *, ascending: bool = False) -> str:
    """LaTeX of a polynomial, highest power first unless powers are to ascend as in a power series."""
    if not expression.is_polynomial(variable) or expression == 0:
        return latex(expression)
    text = ""
    terms = Poly(expression, variable, domain=EX).terms()
    for (power,), coefficient in reversed(terms) if ascending else terms:
        term = latex(coefficient * variable**power)
        if coefficient.is_Add and power:
            term = rf"\left({latex(coefficient)}\right) {latex(variable**power)}"
        text += f" - {term[1:].strip()}" if term.startswith("-") else f" + {term}" if text else term
    return text.strip()


def rounded(expression: Expr, variable: Symbol) -> str:
    """LaTeX of an expression with its numbers to six digits."""
    numbers = {number: _short(number) for number in expression.atoms(Rational)}
    return ordered(expression.xreplace(numbers), variable) + r"\ (\text{rounded})"


def _short(number: Expr) -> Expr:
    """Six digits; short integers stay what they are."""
    return number if number.is_Integer and abs(number) < LONGEST_INTEGER else Float(f"{float(number):.6g}")


def formula(domain: Any, coefficients: Sequence[Any], variable: Symbol) -> str:
    """LaTeX of a polynomial; fractions of very many digits and roots without radicals are rounded to six."""
    if domain.is_Algebraic and domain.ext.as_expr().has(CRootOf):
        decimals = [domain.to_sympy(a).evalf(ROUNDED) for a in coefficients]
        return rounded(sum((a * variable**power for power, a in enumerate(decimals)), start=Rational(0)), variable)
    expression = polynomial_expression(domain, coefficients, variable)
    numbers = expression.atoms(Rational)
    if any(abs(number.p) > LONGEST_INTEGER or number.q > LONGEST_INTEGER for number in numbers):
        return rounded(expression, variable)
    return ordered(expression, variable)
