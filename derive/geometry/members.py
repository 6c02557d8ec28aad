"""Members of a family that have a property which their B-series decides, found case by case.

Trees that contradict the property give equations in the symbols, which are necessary. They are split into cases, each
solved for a symbol, and what is left in each case is a smaller family, judged as a scheme of its own: its verdict for
generic values holds for all values, since the residuals of every tree are polynomials that vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sympy import EX, Dummy, Eq, Expr, Poly, Symbol, cancel, degree, expand, fraction, together, true
from sympy.logic.boolalg import And, Boolean, Or

from derive.errors import UnsupportedError
from derive.schemes import AdditiveTableau, ButcherTableau, Scheme, Splitting
from derive.schemes.substitution import entries, with_values
from derive.series.bseries import BSeries
from derive.series.conditions import basis, equation, real_values, without
from derive.series.domains import Arithmetic, Element, arithmetic_of, exact, factors_of
from derive.series.one_step import step_series
from derive.verdict import Verdict

Family = ButcherTableau | AdditiveTableau | Splitting

# A family that no tree up to this size contradicts is not searched further.
_LARGEST_TREES = 8


@dataclass(frozen=True)
class Property:
    """A property of schemes.

    Attributes:
        words: its name.
        verdict: whether a scheme has it for generic values of its symbols.
        residuals: of a B-series and a number of vertices, what vanishes where a scheme has it.
        sufficient: what makes a scheme have it where it vanishes; empty where nothing is known.
    """

    words: str
    verdict: Callable[[Scheme], Verdict]
    residuals: Callable[[BSeries, int], Iterator[Element]]
    sufficient: Callable[[Family], Sequence[Expr]]


@dataclass(frozen=True)
class _Case:
    """A part of the family.

    Attributes:
        scheme: its members, with what is known of the symbols put in.
        equations: polynomials in the symbols left that vanish for members.
        solved: symbol and its value, in the order in which they were put in.
        proved: whether the equations suffice.
    """

    scheme: Family
    equations: tuple[Expr, ...] = ()
    solved: tuple[tuple[Symbol, Expr], ...] = ()
    proved: bool = False

    @property
    def arithmetic(self) -> Arithmetic:
        """Symbols and poles of what is left."""
        return arithmetic_of(map(exact, entries(self.scheme)))

    def condition(self) -> Boolean:
        """The values of the symbols in it."""
        found = [equation_of(value) for value in self.equations]
        later: list[tuple[Symbol, Expr]] = []
        for symbol, solution in reversed(self.solved):
            value = cancel(solution.subs(later))
            found.append(equation_of(numerator(symbol - value)) if value.free_symbols else Eq(symbol, value))
            later = [(symbol, value), *later]
        return And(*found)


def members(scheme: Family, wanted: Property) -> Boolean:
    """For which values of its symbols a scheme has a property: true, false, or equations, necessary and sufficient.

    Raises:
        UnsupportedError: the equations cannot be solved for a symbol, and it is not known whether they suffice.
    """
    return Or(*(case.condition() for case in _members(_Case(scheme), wanted)))


def _members(case: _Case, wanted: Property) -> Iterator[_Case]:
    if case.proved:
        yield case
    elif case.equations:
        for finer in _split(case, wanted):
            yield from _members(finer, wanted)
    elif wanted.verdict(case.scheme).value == true:
        yield case
    elif case.arithmetic.symbols:
        yield from _members(replace(case, equations=_necessary(case, wanted)), wanted)


def _necessary(case: _Case, wanted: Property) -> tuple[Expr, ...]:
    """The equations of the smallest trees that contradict the property."""
    found = next(_residuals_by_size(case, wanted), None)
    if found is None:
        raise _undecided(case, wanted, f"trees of up to {_LARGEST_TREES} vertices do not tell")
    return found


def _residuals_by_size(case: _Case, wanted: Property) -> Iterator[tuple[Expr, ...]]:
    """What must vanish for trees of one size after the other, where not all of it does."""
    series = step_series(case.scheme)
    arithmetic = series.arithmetic
    if arithmetic.domain is EX:
        raise _undecided(case, wanted, "its entries are no rational functions of symbols and radicals")
    for size in range(1, _LARGEST_TREES + 1):
        left = [residual for residual in wanted.residuals(series, size) if not arithmetic.vanishes(residual)]
        if left:
            numerators = (arithmetic.domain.to_sympy(residual.numer) for residual in left)
            yield tuple(dict.fromkeys(without(value, arithmetic.poles, arithmetic.symbols) for value in numerators))


def _split(case: _Case, wanted: Property) -> Iterator[_Case]:
    """The cases that the factors of one of the equations make, each solved for a symbol."""
    arithmetic = case.arithmetic
    symbols = arithmetic.symbols
    if not symbols:  # numbers that do not vanish
        return
    ideal = [without(value, arithmetic.poles, symbols) for value in basis(case.equations, symbols)]
    if any(value.is_number for value in ideal):
        return
    solvable = (value for value in ideal if all(map(_solvable, factors_of(value, symbols))))
    chosen = min(
        solvable, key=lambda value: (len(value.free_symbols), Poly(value, *symbols).total_degree()), default=None
    )
    if chosen is None:
        yield _described(replace(case, equations=tuple(ideal)), wanted)
        return
    for factor in factors_of(chosen, symbols):
        yield from _solved(replace(case, equations=tuple(ideal)), factor)


def _solvable(factor: Expr) -> bool:
    return len(factor.free_symbols) == 1 or _linear_in(factor) is not None


def _linear_in(factor: Expr) -> Symbol | None:
    """A symbol in which a polynomial is linear, with a number for its slope where there is one."""
    found = [s for s in sorted(factor.free_symbols, key=str) if degree(factor, s) == 1]
    return min(found, key=lambda s: len(Poly(factor, s).LC().free_symbols), default=None)


def _solved(case: _Case, factor: Expr) -> Iterator[_Case]:
    if len(factor.free_symbols) == 1:
        (symbol,) = factor.free_symbols
        for value in real_values(factor, symbol):
            yield from _put_in(case, symbol, value)
        return
    symbol = _linear_in(factor)
    assert symbol is not None
    slope, rest = Poly(factor, symbol).all_coeffs()
    yield from _put_in(case, symbol, cancel(-rest / slope))
    if slope.free_symbols:
        yield replace(case, equations=(*case.equations, slope, rest))


def _put_in(case: _Case, symbol: Symbol, value: Expr) -> Iterator[_Case]:
    """The case with a value for a symbol; nothing where the scheme has no entries there."""

    def at_value(polynomial: Expr) -> Expr:
        return expand(numerator(polynomial.subs(symbol, value)))

    if any(at_value(pole) == 0 for pole in case.arithmetic.poles):
        return
    left = tuple(there for polynomial in case.equations if (there := at_value(polynomial)) != 0)
    scheme = with_values(case.scheme, {symbol: value})
    yield replace(case, scheme=scheme, equations=left, solved=(*case.solved, (symbol, value)))


def _described(case: _Case, wanted: Property) -> _Case:
    """The case proved by what suffices, or with the equations of larger trees where they say more."""
    symbols = case.arithmetic.symbols
    enough = [numerator(value) for value in wanted.sufficient(case.scheme)]
    if enough and all(_vanishes_with(case.equations, symbols, value) for value in enough):
        return replace(case, proved=True)
    for larger in _residuals_by_size(case, wanted):
        wider = basis((*case.equations, *larger), symbols)
        if wider != list(case.equations):
            return replace(case, equations=tuple(wider))
    raise _undecided(case, wanted, "necessary is " + ", ".join(f"{value} = 0" for value in case.equations))


def _vanishes_with(ideal: Sequence[Expr], symbols: Sequence[Symbol], value: Expr) -> bool:
    """Whether a polynomial vanishes at all common zeros of others (Rabinowitsch: it lies in their radical)."""
    extra = Dummy("t")
    return list(basis([*ideal, 1 - extra * value], (*symbols, extra))) == [1]


def equation_of(value: Expr) -> Boolean:
    """`value = 0` as it is written."""
    return equation(value, tuple(sorted(value.free_symbols, key=str)))


def numerator(value: Expr) -> Expr:
    """What vanishes where a rational function does."""
    return fraction(together(value))[0]


def _undecided(case: _Case, wanted: Property, reason: str) -> UnsupportedError:
    names = ", ".join(map(str, case.arithmetic.symbols))
    return UnsupportedError(f"for which {names} it is {wanted.words} is not known: {reason}")
