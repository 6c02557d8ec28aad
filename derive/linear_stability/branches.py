"""Ends of stability intervals of schemes with one symbol: which root, as an expression in the symbol, and where.

The ends are roots of a polynomial in the argument t whose coefficients depend on the symbol k. Between the values of k
at which its roots meet, pass through 0 or infinity, their order is fixed: the end is found at one sample of k.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sympy import QQ, Expr, Poly, Symbol, fraction, sqrt, together

from derive.errors import UnsupportedError
from derive.linear_stability.axes import Axis
from derive.linear_stability.cells import (
    RATIONALS,
    Cell,
    condition,
    decide_in_cells,
    end_of,
    sample_between,
    specialised,
)
from derive.linear_stability.fields import GenericField, RealField
from derive.linear_stability.formulas import polynomial_expression
from derive.linear_stability.functions import Polynomials
from derive.linear_stability.polynomials import Coefficients, multiply, reflect, squarefree, trim
from derive.linear_stability.real_roots import RealRoot, extension, isolate, isolate_all
from derive.verdict import Step

ARGUMENT = Symbol("t")
DIGITS = 60
NEAR, APART = 1e-40, 1e-30  # how near two decimals of one value are, and how far apart those of two values at least


def end_in_cells(
    data: Polynomials,
    symbol: Symbol,
    axis: Callable[[RealField, Any], Axis],
    kind: Callable[[RealField, Any], Any],
    end: Callable[[RealField, Any], RealRoot | float | None],
    to_value: Callable[[Any], Any],
    proof: list[Step],
) -> list[tuple[Any, Any]]:
    """Pairs (end, condition on the symbol), where there is an end.

    Args:
        data: the scheme.
        symbol: its symbol.
        axis: makes the axis of a scheme over a field.
        kind: what a scheme of a number is; between the values where it changes, ends are roots of one factor.
        end: the end for a scheme of a number: a root of the axis, 0, infinity, or None where there is none.
        to_value: end of the component as a value of z.
        proof: takes the steps.

    Raises:
        UnsupportedError: an end that is a root of degree three or more in the symbol.
    """
    generic = axis(GenericField(data.domain), data)
    proof.append(generic.step())
    factors = _factors(data, generic.candidates, symbol)
    cells = []
    critical = _critical(data, factors, symbol)
    for cell in decide_in_cells(data, kind):
        critical = multiply(critical, cell.low.polynomial) if cell.is_point and cell.low is not None else critical
    for low, high, sample in _cuts(squarefree(RATIONALS, critical)):
        field, number = extension(RATIONALS, low) if low is not None and low is high else (RATIONALS, sample)
        special = specialised(data, field, number)
        label = None
        found = None if special is None else end(field, special)
        if found is not None:
            moves = isinstance(found, RealRoot) and sample is not None
            label = to_value(_branch(found, factors, symbol, sample) if moves else found)
        cells.append(Cell(low, high, label, sample))

    def values_at(point: RealRoot) -> list[Expr]:
        """All that an end may be at one value of the symbol."""
        field, number = extension(RATIONALS, point)
        there = axis(field, specialised(data, field, number))
        return [to_value(root) for root in (0, math.inf, *isolate_all(field, there.candidates))]

    cells = _with_points_joined(cells, symbol, values_at)
    pieces: list[tuple[Any, Any]] = []
    for cell in cells:
        if cell.label is not None and all(cell.label != label for label, _ in pieces):
            pieces.append((cell.label, condition(cells, partial(operator.eq, cell.label), symbol)))
    proof.append(Step("The order of its roots is decided at one value of the symbol between critical ones."))
    return pieces


def _factors(data: Polynomials, candidates: Sequence[Coefficients], symbol: Symbol) -> list[Poly]:
    """Irreducible factors over Q of the candidates, as polynomials in t and k."""
    found: dict[Poly, None] = {}
    for p in candidates:
        numerator, _ = fraction(together(polynomial_expression(data.domain, trim(p), ARGUMENT)))
        found |= {factor: None for factor, _ in Poly(numerator, ARGUMENT, symbol, domain=QQ).factor_list()[1]}
    return list(found)


def _critical(data: Polynomials, factors: Sequence[Poly], symbol: Symbol) -> Coefficients:
    """A polynomial in k that vanishes wherever the order of the roots, or the scheme, may change its kind."""
    found: list[Expr] = [data.domain.to_sympy(a) for p in data.coefficients for a in p]
    found = [part for value in found for part in fraction(together(value))]
    z = ARGUMENT
    if len(data.coefficients) == 2:
        first, second = (
            Poly(fraction(together(polynomial_expression(data.domain, p, z)))[0], z, symbol) for p in data.coefficients
        )
        found.append(first.resultant(second).as_expr())
    for place, factor in enumerate(factors):
        inside = Poly(factor.as_expr(), z)
        found += [inside.LC(), inside.TC()]
        if inside.degree() > 1:
            found.append(inside.discriminant())
        found += [factor.resultant(other).as_expr() for other in factors[:place] if other.degree(z) or factor.degree(z)]
    product: Coefficients = [QQ.one]
    for expression in found:
        p = Poly(expression, symbol, domain=QQ)
        if p.degree() > 0:
            product = multiply(product, list(reversed(p.rep.to_list())))
            product = squarefree(RATIONALS, product)
    return product


def _cuts(critical: Coefficients) -> list[tuple[RealRoot | None, RealRoot | None, Any]]:
    """Open intervals (low, high, sample) and points (root, root, None) of the line that the critical values leave."""
    negative = [root.negative() for root in reversed(isolate(RATIONALS, reflect(critical)))]
    zero = [] if critical[0] else [RealRoot(RATIONALS, [QQ.zero, QQ.one], QQ.zero, QQ.zero)]
    roots = [*negative, *zero, *isolate(RATIONALS, critical)]
    result: list[tuple[RealRoot | None, RealRoot | None, Any]] = []
    for low, high in zip([None, *roots], [*roots, None], strict=True):
        if low is not None:
            result.append((low, low, None))
        result.append((low, high, sample_between(low, high)))
    return result


def _branch(end: Any, factors: Sequence[Poly], symbol: Symbol, sample: Any) -> Expr:
    """The end as an expression in the symbol: the root of the factor that vanishes there."""
    value = QQ.to_sympy(sample)
    for factor in factors:
        special = Poly(factor.as_expr().subs(symbol, value), ARGUMENT, domain=QQ)
        own = list(reversed(special.rep.to_list()))
        if special.degree() < 1 or end.sign_of(own) != 0:
            continue
        inside = Poly(factor.as_expr(), ARGUMENT)
        if inside.degree() == 1:
            return (-inside.TC() / inside.LC()).cancel()
        if inside.degree() == 2:
            a, b, c = inside.all_coeffs()
            upper = end.sign_of([QQ.from_sympy(part.subs(symbol, value)) for part in (b, 2 * a)])
            return ((-b + upper * sqrt((b**2 - 4 * a * c).factor())) / (2 * a)).cancel()
    raise UnsupportedError(f"an end of the interval is a root of high degree in {symbol}: give it a value")


def _with_points_joined(
    cells: Sequence[Cell], symbol: Symbol, values_at: Callable[[RealRoot], list[Expr]]
) -> list[Cell]:
    """Points at which the expression of a neighbour gives the value take that expression."""
    result = list(cells)
    for place, cell in enumerate(cells):
        if not cell.is_point or cell.label is None:
            continue
        for other in (cells[place - 1], cells[place + 1]):
            if other.label is None or result[place].label is other.label:
                continue
            there = other.label.subs(symbol, end_of(cell.low))
            if there == cell.label or _is_same(there, cell, values_at):
                result[place] = Cell(cell.low, cell.high, other.label, cell.sample)
                break
    return result


def _is_same(there: Expr, cell: Cell, values_at: Callable[[RealRoot], list[Expr]]) -> bool:
    """Whether the expression of a neighbour has the end's value at a point.

    Where it is finite it is one of the values that an end may have there, by continuity: decimals tell which one.
    """
    assert cell.low is not None
    found, own = _decimals(there), _decimals(cell.label)
    if found is None or own is None or abs(found - own) > NEAR:
        return False
    values = [_decimals(value) for value in values_at(cell.low)]
    near = [value for value in values if value is not None and abs(value - own) < APART]
    return len(near) == 1 or bool((there - cell.label).equals(0))


def _decimals(value: Expr) -> Expr | None:
    """A finite real number to 60 digits; None of what is none."""
    number = value.evalf(DIGITS)
    return number if number.is_Float or number == 0 else None
