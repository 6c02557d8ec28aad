"""Verdicts on schemes with one symbol k: the line of k is cut into cells on which the decision takes the same course.

At a rational sample the decision runs over Q(k) and writes down every polynomial in k whose sign it asked for. Up to
the nearest roots of these, every answer is the same, and so is the verdict. The roots themselves are decided exactly
in Q(root), and what is left of the line is treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import Any

from sympy import QQ, And, Eq, Expr, Ne, Or, S, Symbol, false, true

from derive.errors import UnsupportedError
from derive.linear_stability.fields import RealField, SampledField, SpecialSampleError
from derive.linear_stability.functions import Polynomials
from derive.linear_stability.polynomials import Coefficients, add, multiply, reflect
from derive.linear_stability.real_roots import RealRoot, between, compare, extension, isolate

Decision = Callable[[RealField, Any], Any]
RATIONALS = RealField()
HIGHEST_DEGREE = 12  # of a value of the symbol: arithmetic in its field takes seconds there, and minutes beyond


@dataclass(frozen=True)
class Cell:
    """An open interval of the symbol, or (low is high) one value of it, and what was decided there.

    Attributes:
        low, high: the ends; None for -oo and +oo.
        label: the decision; None where the scheme is undefined.
        sample: the value at which it was taken.
    """

    low: RealRoot | None
    high: RealRoot | None
    label: Any
    sample: Any

    @property
    def is_point(self) -> bool:
        """Whether it is one value."""
        return self.low is not None and self.low is self.high


def decide_in_cells(data: Polynomials, decide: Decision) -> list[Cell]:
    """The cells of the one symbol of a scheme, from -oo to +oo."""
    return _fill(data, decide, None, None)


def _fill(data: Polynomials, decide: Decision, low: RealRoot | None, high: RealRoot | None) -> list[Cell]:
    field, label = _decide_at_some_sample(data, decide, low, high)
    sample = field.sample
    left, right = nearest_roots(list(field.asked), sample)
    cells = []
    if left is not None and (low is None or compare(low, left) < 0):
        cells = [*_fill(data, decide, low, left), point_cell(data, decide, left)]
        low = left
    last = high
    if right is not None and (high is None or compare(right, high) < 0):
        last = right
    cells.append(Cell(low, last, label, sample))
    if last is not high and last is not None:
        cells += [point_cell(data, decide, last), *_fill(data, decide, last, high)]
    return cells


def _decide_at_some_sample(
    data: Polynomials, decide: Decision, low: RealRoot | None, high: RealRoot | None
) -> tuple[SampledField, Any]:
    sample = sample_between(low, high)
    while True:
        field = SampledField(data.domain, sample)
        try:
            for denominator in (a.denom for p in data.coefficients for a in p):
                field.sign(data.domain.convert(denominator))
            return field, decide(field, data)
        except SpecialSampleError:
            sample = between(None if low is None else low.high, sample)


def sample_between(low: RealRoot | None, high: RealRoot | None) -> Any:
    """A simple rational number between two roots."""
    while low is not None and high is not None and low.high >= high.low:
        low.refine()
        high.refine()
    return between(None if low is None else low.high, None if high is None else high.low)


def nearest_roots(polynomials: Sequence[Any], sample: Any) -> tuple[RealRoot | None, RealRoot | None]:
    """The real roots next to a sample, below and above, of elements of Q[k]."""
    below, above = [], []
    for factor in dict.fromkeys(factor for polynomial in polynomials for factor, _ in polynomial.factor_list()[1]):
        moved = translated(as_list(factor), sample)
        above += isolate(RATIONALS, moved)[:1]
        below += isolate(RATIONALS, reflect(moved))[:1]
    left, right = _smallest(below), _smallest(above)
    return (
        None if left is None else _moved(left.negative(), sample),
        None if right is None else _moved(right, sample),
    )


def _smallest(roots: Sequence[RealRoot]) -> RealRoot | None:
    return min(roots, key=cmp_to_key(compare), default=None)


def _moved(root: RealRoot, distance: Any) -> RealRoot:
    polynomial = translated(root.polynomial, -distance)
    return RealRoot(RATIONALS, polynomial, root.low + distance, root.high + distance)


def translated(p: Coefficients, distance: Any) -> Coefficients:
    """p(x + distance)."""
    result: Coefficients = []
    for a in reversed(p):
        result = add(multiply(result, [distance, QQ.one]), [a])
    return result


def as_list(element: Any) -> Coefficients:
    """An element of Q[k] as a list, constant term first."""
    top = max((monomial[0] for monomial in element.monoms()), default=0)
    result = [QQ.zero] * (top + 1)
    for (exponent,), coefficient in element.terms():
        result[exponent] = coefficient
    return result


def point_cell(data: Polynomials, decide: Decision, root: RealRoot) -> Cell:
    """The decision at one algebraic value of the symbol.

    Raises:
        UnsupportedError: its degree is too high for arithmetic in the field that it makes.
    """
    degree = len(root.polynomial) - 1
    if degree > HIGHEST_DEGREE:
        (symbol,) = data.domain.symbols
        raise UnsupportedError(
            f"near {symbol} = {float(root.low + root.high) / 2:.4g} the decision changes at a root of degree {degree}, "
            f"beyond {HIGHEST_DEGREE}: give {symbol} a value"
        )
    field, number = extension(RATIONALS, root)
    special = specialised(data, field, number)
    return Cell(root, root, None if special is None else decide(field, special), root)


def specialised(data: Polynomials, field: RealField, number: Any) -> Any:
    """The polynomials of a scheme with a value put for its symbol; None where a coefficient has a pole."""
    lists = []
    for p in data.coefficients:
        special = []
        for a in p:
            top, bottom = (_value_at(part, field, number) for part in (a.numer, a.denom))
            if not bottom:
                return None
            special.append(top / bottom)
        lists.append(special)
    return replace(data, domain=field.domain, coefficients=tuple(lists))


def _value_at(element: Any, field: RealField, number: Any) -> Any:
    result = field.convert(0)
    for a in reversed(as_list(element)):
        result = result * number + field.convert(a)
    return result


def condition(cells: Sequence[Cell], holds: Callable[[Any], bool], symbol: Symbol) -> Any:
    """Where a property of the label holds, as a condition on the symbol."""
    runs: list[list[Cell]] = []
    for previous, cell in zip([None, *cells], cells, strict=False):
        if not holds(cell.label):
            continue
        if previous is not None and holds(previous.label):
            runs[-1].append(cell)
        else:
            runs.append([cell])
    missing = [cell for cell in cells if not holds(cell.label)]
    if runs and all(cell.is_point for cell in missing):
        return And(*(Ne(symbol, end_of(cell.low)) for cell in missing)) if missing else true
    return Or(*(_run_condition(run, symbol) for run in runs)) if runs else false


def _run_condition(run: Sequence[Cell], symbol: Symbol) -> Any:
    first, last = run[0], run[-1]
    if first is last and first.is_point:
        return Eq(symbol, end_of(first.low))
    bounds = []
    if first.low is not None:
        low = end_of(first.low)
        bounds.append(symbol >= low if first.is_point else symbol > low)
    if last.high is not None:
        high = end_of(last.high)
        bounds.append(symbol <= high if last.is_point else symbol < high)
    return And(*bounds)


def end_of(root: RealRoot | None) -> Expr:
    """An end of a cell as an expression."""
    return S.Infinity if root is None else root.expression()
