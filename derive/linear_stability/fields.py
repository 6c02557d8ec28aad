"""Real coefficient fields with exact signs: the rationals, Q(theta) for a real algebraic theta, Q(k) at a sample of k.

Every verdict of linear stability is a finite sequence of questions "which sign has this number?". They are answered
without floats: an algebraic number by an interval around theta that is refined until the sign shows, an element of
Q(k) by its value at a rational sample. The latter keeps the polynomials it was asked about: as long as none of them
vanishes between the sample and another value of k, the answers, and with them the verdict, are the same there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import QQ, Expr, Float, I, Poly, Rational, Symbol, sympify
from sympy.polys.constructor import construct_domain
from sympy.polys.domains.domain import Domain

from derive.errors import UnsupportedError

DIGITS = 40
"""Width of the first interval around an algebraic number, in decimals."""


class RealField:
    """The rationals, and what the other fields share with them.

    Attributes:
        domain: the SymPy domain of the coefficients.
        symbol: the one symbol in them, where there is one.
    """

    symbol: Symbol | None = None

    def __init__(self, domain: Domain = QQ) -> None:
        self.domain = domain

    def sign(self, element: Any) -> int:
        """-1, 0 or 1."""
        return int(element > 0) - int(element < 0)

    def convert(self, number: Any) -> Any:
        """An integer or rational as an element."""
        return self.domain.convert(number)

    def to_sympy(self, element: Any) -> Expr:
        """An element as an expression."""
        return self.domain.to_sympy(element)


class AlgebraicField(RealField):
    """Q(theta) for a real algebraic number theta.

    Raises:
        UnsupportedError: theta is not real.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self.minimal = Poly.new(domain.mod, Symbol("theta"))
        self.root = domain.ext.as_expr()
        if not self.root.is_real:
            raise UnsupportedError(f"coefficients in {domain}: {self.root} is not real; stability needs a real scheme")
        self.digits = DIGITS
        self.low, self.high = self._interval(DIGITS)
        if self.minimal.count_roots(self.low, self.high) != 1:
            raise UnsupportedError(f"{self.root}: not separated from its conjugates at {DIGITS} digits")

    def _interval(self, digits: int) -> tuple[Any, Any]:
        """Rational bounds of theta: the value guesses, the change of sign of the minimal polynomial proves."""
        centre = QQ.from_sympy(Rational(self.root.evalf(digits + 10)))
        width = QQ(1, 10**digits)
        low, high = centre - width, centre + width
        ends = [self.minimal.rep.eval(end) for end in (low, high)]
        assert ends[0] * ends[1] < 0, f"no root of {self.minimal} near {self.root}"
        return low, high

    def sign(self, element: Any) -> int:
        if not element:
            return 0
        coefficients = element.to_list()
        while True:
            low, high = interval_value(coefficients, self.low, self.high)
            if low > 0 or high < 0:
                return 1 if low > 0 else -1
            self.digits *= 2
            self.low, self.high = self._interval(self.digits)


class SpecialSampleError(Exception):
    """A sample of the symbol at which a coefficient that is not zero vanishes, or has a pole: take another."""


class SampledField(RealField):
    """Q(k) with signs taken at a rational sample of k.

    Attributes:
        sample: the value of k.
        asked: the polynomials in k that decided a sign.
    """

    def __init__(self, domain: Domain, sample: Any) -> None:
        super().__init__(domain)
        self.symbol = domain.symbols[0]
        self.sample = sample
        self.asked: dict[Any, None] = {}

    def sign(self, element: Any) -> int:
        if not element:
            return 0
        self.asked |= {part: None for part in (element.numer, element.denom) if not part.is_ground}
        product = element.numer.evaluate(0, self.sample) * element.denom.evaluate(0, self.sample)
        if not product:
            raise SpecialSampleError
        return super().sign(product)


class GenericField(RealField):
    """Q(k, ...) where only zero and nonzero count: every nonzero element passes as positive."""

    def sign(self, element: Any) -> int:
        return int(bool(element))


def interval_value(coefficients: Sequence[Any], low: Any, high: Any) -> tuple[Any, Any]:
    """Bounds of a rational polynomial (highest power first) on an interval, by Horner's rule."""
    below = above = QQ.zero
    for coefficient in coefficients:
        products = (below * low, below * high, above * low, above * high)
        below, above = min(products) + coefficient, max(products) + coefficient
    return below, above


def exact_number(entry: Any) -> Expr:
    """An entry of a scheme with its decimals read as the fractions they are written as."""
    expression = sympify(entry)
    if expression.has(I):
        raise UnsupportedError(f"entry {expression}: linear stability is decided for real schemes")
    return expression.xreplace({number: Rational(str(number)) for number in expression.atoms(Float)})


def common_domain(entries: Sequence[Any]) -> tuple[Domain, list[Any]]:
    """The smallest domain that holds all entries (Q, Q(theta) or Q(k, ...)), and the entries as its elements.

    Raises:
        UnsupportedError: entries with both symbols and roots of numbers, or with functions.
    """
    exact = [exact_number(entry) for entry in entries]
    domain, elements = construct_domain(exact, field=True, extension=True)
    if domain.is_FractionField:
        domain = QQ.frac_field(*domain.symbols)
        elements = [domain.from_sympy(entry) for entry in exact]
    if not (domain.is_QQ or domain.is_Algebraic or domain.is_FractionField):
        raise UnsupportedError(
            f"entries in {domain}: rational numbers, real algebraic numbers, or rational functions of symbols "
            "are decided; give values to the symbols"
        )
    return domain, elements


def rational_if_possible(domain: Domain, elements: Sequence[Any]) -> tuple[Domain, list[Any]]:
    """Elements of Q(theta) as rationals, where all of them are: entries of Gauss schemes have roots, R(z) has none."""
    if not domain.is_Algebraic or any(len(element.to_list()) > 1 for element in elements):
        return domain, list(elements)
    return QQ, [element.to_list()[0] if element else QQ.zero for element in elements]


def field_of(domain: Domain, sample: Any = None) -> RealField:
    """The field over a domain; that of a symbol needs a sample of it."""
    if domain.is_FractionField:
        return SampledField(domain, sample)
    return AlgebraicField(domain) if domain.is_Algebraic else RealField(domain)
