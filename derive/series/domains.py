"""Exact arithmetic for the coefficients of a scheme: rationals, algebraic numbers and rational functions of symbols.

Elements of a SymPy domain are normal forms: zero is recognized without simplification, and a sum of products costs what
its numbers cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy
from sympy import EX, QQ, ZZ, Expr, I, Mul, Pow, Rational, S, Symbol

Element = Any


@dataclass(frozen=True)
class Arithmetic:
    """A field of coefficients and how SymPy's expressions enter and leave it.

    Attributes:
        domain: the SymPy domain; `EX` where entries are not rational in numbers, radicals and symbols.
        symbols: the symbols of the coefficients, sorted by name.
        atoms: the elements of symbols and radicals.
        tolerance: how far a condition may miss for published decimals; 0 for exact entries.
        poles: polynomials in the symbols by which entries are divided; they are not zero.
    """

    domain: Any
    symbols: tuple[Symbol, ...]
    atoms: Mapping[Expr, Element]
    tolerance: Expr = S.Zero
    poles: tuple[Expr, ...] = ()

    def element(self, value: Expr) -> Element:
        """An expression as an element of the domain."""
        if self.domain is EX:
            return EX.from_sympy(value)
        if value in self.atoms:
            return self.atoms[value]
        if value.is_Add:
            return sum((self.element(part) for part in value.args), self.domain.zero)
        if value.is_Mul:
            product = self.domain.one
            for part in value.args:
                product = product * self.element(part)
            return product
        if value.is_Pow and value.exp.is_Integer:
            return self._power(self.element(value.base), int(value.exp))
        return self.rational(Rational(value))

    def _power(self, base: Element, exponent: int) -> Element:
        return base**exponent if exponent >= 0 else self.domain.one / base**-exponent

    def rational(self, value: Any) -> Element:
        """A rational number as an element."""
        return self.domain.convert(QQ(int(Rational(value).p), int(Rational(value).q)))

    def expression(self, element: Element) -> Expr:
        """An element as an expression, expanded where it is a number, factored where it holds symbols."""
        value = self.domain.to_sympy(element)
        return _without_outer_minus(sympy.factor(value)) if self.symbols else sympy.expand(value)

    def vanishes(self, element: Element) -> bool:
        """Whether an element is zero, or small enough for published decimals."""
        if not self.tolerance or self.symbols:
            return not element
        if self.domain is QQ:
            return bool(abs(element) <= QQ(int(self.tolerance.p), int(self.tolerance.q)))
        return bool(abs(self.domain.to_sympy(element).evalf(30)) <= self.tolerance)


def _without_outer_minus(value: Expr) -> Expr:
    """-(k - 1)/2 as (1 - k)/2."""
    factors = Mul.make_args(value)
    number = sympy.prod(factor for factor in factors if factor.is_Number)
    turned = next((factor for factor in factors if factor.is_Add and _has_both_signs(factor)), None)
    if turned is None or number >= 0:
        return value
    rest = [factor for factor in factors if not factor.is_Number and factor is not turned]
    parts = [*([] if number == -1 else [-number]), -turned, *rest]
    return Mul(*parts, evaluate=False) if len(parts) > 1 else parts[0]


def _has_both_signs(value: Expr) -> bool:
    return len({bool(term.could_extract_minus_sign()) for term in value.args}) == 2


def arithmetic_of(entries: Iterable[Expr], digits: int | None = None) -> Arithmetic:
    """The smallest field that holds the entries; conditions hold to 10^-(n - 2) for n published digits."""
    entries = list(entries)
    tolerance = S.Zero if digits is None else Rational(1, 10 ** max(digits - 2, 0))
    symbols = tuple(sorted({s for entry in entries for s in entry.free_symbols}, key=str))
    radicals = sorted({atom for entry in entries for atom in _radicals(entry)}, key=str)
    if not all(_is_rational_in(entry, {*symbols, *radicals}) for entry in entries):
        return Arithmetic(EX, symbols, {}, tolerance)
    numbers = QQ.algebraic_field(*radicals) if radicals else QQ
    atoms = {radical: numbers.from_sympy(radical) for radical in radicals}
    if not symbols:
        return Arithmetic(numbers, symbols, atoms, tolerance)
    functions = (numbers if radicals else ZZ).frac_field(*symbols)
    lifted = {radical: functions.convert_from(element, numbers) for radical, element in atoms.items()}
    found = Arithmetic(functions, symbols, lifted | {s: functions.from_sympy(s) for s in symbols}, tolerance)
    return replace(found, poles=_poles(found, entries))


def _poles(arithmetic: Arithmetic, entries: Iterable[Expr]) -> tuple[Expr, ...]:
    divisors = {arithmetic.domain.to_sympy(arithmetic.element(entry).denom) for entry in entries if entry.free_symbols}
    return factors_of(sympy.prod(sorted(divisors, key=sympy.default_sort_key)), arithmetic.symbols)


def factors_of(value: Expr, symbols: tuple[Symbol, ...]) -> tuple[Expr, ...]:
    """The irreducible factors of a polynomial that hold symbols, each once."""
    _, factors = sympy.factor_list(value, *symbols, extension=True)
    return tuple(factor for factor, _ in factors if factor.free_symbols)


def exact(value: Expr) -> Expr:
    """The value with decimals as the rationals that they write."""
    floats = value.atoms(sympy.Float)
    return value.xreplace({number: Rational(str(number)) for number in floats}) if floats else value


def _radicals(value: Expr) -> set[Expr]:
    roots = {p for p in value.atoms(Pow) if not p.free_symbols and p.exp.is_Rational and not p.exp.is_Integer}
    return roots | ({I} if value.has(I) else set())


def _is_rational_in(value: Expr, atoms: set[Expr]) -> bool:
    if value in atoms or value.is_Rational:
        return True
    if value.is_Pow:
        return bool(value.exp.is_Integer) and _is_rational_in(value.base, atoms)
    return bool(value.is_Add or value.is_Mul) and all(_is_rational_in(part, atoms) for part in value.args)


def dot(left: Sequence[Element], right: Sequence[Element], zero: Element) -> Element:
    """Sum of products, without those that vanish."""
    total = zero
    for a, b in zip(left, right, strict=True):
        if a and b:
            total = total + a * b
    return total
