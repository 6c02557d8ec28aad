"""Real roots of polynomials over Q and Q(theta) as exact numbers: isolated by Sturm's theorem, refined by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from sympy import QQ, CRootOf, Expr, Poly, Symbol, sqrt

from derive.linear_stability.fields import RealField, field_of
from derive.linear_stability.polynomials import (
    Coefficients,
    divide,
    gcd,
    reflect,
    squarefree,
    sturm_chain,
    trim,
    value,
    variations,
)

X = Symbol("x")
RATIONALS = RealField()
HALVINGS = 40


@dataclass
class RealRoot:
    """A real root of a squarefree polynomial: the only one in (low, high), or the rational number low = high.

    Attributes:
        field: the field of the coefficients.
        polynomial: the squarefree polynomial, nonzero at low and high unless they are the root.
        low, high: rational bounds; `refine` brings them together.
    """

    field: RealField
    polynomial: Coefficients
    low: Any
    high: Any

    def refine(self) -> None:
        """Halve the interval."""
        if self.low == self.high:
            return
        middle = (self.low + self.high) / 2
        here = self.sign_beside(middle)
        if here == 0:
            self.low = self.high = middle
        elif here == self.sign_beside(self.low):
            self.low = middle
        else:
            self.high = middle

    def sign_beside(self, x: Any) -> int:
        """Sign of the own polynomial at a rational number."""
        return self.field.sign(value(self.polynomial, self.field.convert(x)))

    def sign_of(self, p: Sequence[Any]) -> int:
        """Sign of another polynomial at the root, exactly: zero by the common divisor, else by refinement."""
        p = trim(p)
        if len(p) < 2 or self.low == self.high:
            return self.field.sign(value(p, self.field.convert(self.low))) if p else 0
        common = gcd(self.field, self.polynomial, p)
        if len(common) > 1 and count(self.field, common, self.low, self.high):
            return 0
        chain = sturm_chain(self.field, squarefree(self.field, p))
        while self.low != self.high and _roots_between(self.field, chain, self.low, self.high):
            self.refine()
        return self.field.sign(value(p, self.field.convert((self.low + self.high) / 2)))

    def negative(self) -> RealRoot:
        """Minus the root."""
        return RealRoot(self.field, reflect(self.polynomial), -self.high, -self.low)

    def expression(self) -> Expr:
        """The root as a rational number, a radical of degree two, or a `CRootOf` of its minimal polynomial."""
        if self.low == self.high:
            return QQ.to_sympy(self.low)
        own = Poly([self.field.to_sympy(a) for a in reversed(self.polynomial)], X, domain=self.field.domain)
        factors = [factor for factor, _ in (own if self.field.domain.is_QQ else own.lift()).factor_list()[1]]
        while self.low != self.high:
            for factor in factors:
                coefficients = list(reversed(factor.rep.to_list()))
                changes = _sign(coefficients, self.low) != _sign(coefficients, self.high)
                if changes and (self.field.domain.is_QQ or self._only_root(factors)):
                    return _exact_root(factor, coefficients, self.low, self.high)
            self.refine()
        return QQ.to_sympy(self.low)

    def _only_root(self, factors: Sequence[Poly]) -> bool:
        """Whether conjugates of the polynomial have no further roots in the interval."""
        return sum(count(RATIONALS, list(reversed(f.rep.to_list())), self.low, self.high) for f in factors) == 1


def _sign(coefficients: Sequence[Any], x: Any) -> int:
    return RATIONALS.sign(value(coefficients, x))


def _exact_root(minimal: Poly, coefficients: Coefficients, low: Any, high: Any) -> Expr:
    if minimal.degree() == 1:
        return QQ.to_sympy(-coefficients[0] / coefficients[1])
    below = count(RATIONALS, coefficients, None, low)
    if minimal.degree() == 2:
        c, b, a = (QQ.to_sympy(coefficient) for coefficient in coefficients)
        return -b / (2 * a) + (1 if below else -1) * sqrt(b**2 - 4 * a * c) / abs(2 * a)
    return CRootOf(minimal.as_expr(), below)


def _roots_between(field: RealField, chain: Sequence[Coefficients], low: Any, high: Any) -> int:
    return variations(field, chain, low) - variations(field, chain, high)


def count(field: RealField, p: Sequence[Any], low: Any = None, high: Any = None) -> int:
    """Number of distinct real roots of p in (low, high]; None stands for -oo and +oo. p is nonzero at low."""
    p = trim(p)
    if len(p) < 2:
        return 0
    chain = sturm_chain(field, p)
    return variations(field, chain, low, below=low is None) - variations(field, chain, high)


def isolate(field: RealField, p: Sequence[Any]) -> list[RealRoot]:
    """The distinct positive roots of p in increasing order."""
    p = trim(p)
    while p and not p[0]:
        p = p[1:]
    p = squarefree(field, p)
    if len(p) < 2:
        return []
    exact: list[Any] = []
    while True:
        found, middle = _bisect(field, p)
        if middle is None:
            break
        exact.append(middle)
        p = divide(p, [field.convert(-middle), field.convert(1)])[0]
    roots = [*found, *(RealRoot(field, [field.convert(-root), field.convert(1)], root, root) for root in exact)]
    for place, root in enumerate(roots):
        for other in roots[:place]:
            while (root.low < other.high and other.low < root.high) or root.low == other.low == other.high:
                root.refine()
                other.refine()
    return sorted(roots, key=lambda root: (root.low, root.high))


def _bisect(field: RealField, p: Coefficients) -> tuple[list[RealRoot], Any]:
    """Isolated positive roots, or the midpoint that was found to be a root itself."""
    if len(p) < 2:
        return [], None
    chain = sturm_chain(field, p)
    at_infinity, bound = variations(field, chain), QQ(1)
    while not value(p, field.convert(bound)) or variations(field, chain, bound) > at_infinity:
        bound *= 2
    pending = [(QQ(0), bound, variations(field, chain, 0), variations(field, chain, bound))]
    roots = []
    while pending:
        low, high, left, right = pending.pop()
        if left - right == 0:
            continue
        if left - right == 1:
            roots.append(RealRoot(field, p, low, high))
            continue
        middle = (low + high) / 2
        if not value(p, field.convert(middle)):
            return [], middle
        between = variations(field, chain, middle)
        pending += [(low, middle, left, between), (middle, high, between, right)]
    return roots, None


def between(low: Any, high: Any) -> Any:
    """The simplest rational number strictly between two (None: infinity)."""
    if (low is None or low < 0) and (high is None or high > 0):
        return QQ.zero
    if high is not None and high <= 0:
        return -between(-high, None if low is None else -low)
    whole = int(low.numerator // low.denominator)
    if high is None or whole + 1 < high:
        return QQ(whole + 1)
    inner = None if low == whole else 1 / (low - whole)
    return whole + 1 / between(1 / (high - whole), inner)


def compare(a: RealRoot, b: RealRoot) -> int:
    """-1, 0 or 1 for a < b, a = b, a > b of roots over the same field, exactly."""
    halvings, shared = 0, False
    while True:
        for exact, other in ((a, b), (b, a)):
            inside = exact.low == exact.high and other.low <= exact.low <= other.high
            if inside and other.sign_beside(exact.low) == 0:
                return 0
        if shared and b.low <= a.low and a.high <= b.high:
            return 0
        if a.high <= b.low or b.high <= a.low:
            return -1 if a.high <= b.low else 1
        halvings += 1
        if halvings == HALVINGS:  # most pairs are apart by now; a common divisor tells the rest
            shared = a.sign_of(b.polynomial) == 0
        a.refine()
        if not shared:
            b.refine()


def isolate_all(field: RealField, polynomials: Sequence[Sequence[Any]]) -> list[RealRoot]:
    """The distinct positive roots of several polynomials in increasing order."""
    roots: list[RealRoot] = []
    for root in sorted((r for p in polynomials for r in isolate(field, p)), key=cmp_to_key(compare)):
        if not roots or compare(roots[-1], root) != 0:
            roots.append(root)
    return roots


def samples(roots: Sequence[RealRoot]) -> list[Any]:
    """A rational number in every gap of (0, oo) that the roots leave, in increasing order."""
    for left, right in pairwise(roots):
        while left.high >= right.low:
            left.refine()
            right.refine()
    for root in roots[:1]:
        while root.low <= 0:
            root.refine()
    lows = [QQ.zero, *(root.high for root in roots)]
    highs = [*(root.low for root in roots), None]
    return [between(low, high) for low, high in zip(lows, highs, strict=True)]


def first_exit(
    roots: Sequence[RealRoot], inside: Callable[[Any], bool], passes: Callable[[RealRoot], bool]
) -> RealRoot | float:
    """Where the component of a set of positive numbers that begins at 0 ends.

    Args:
        roots: all points at which membership may change.
        inside: membership at a rational number between them.
        passes: membership at one of the points when both sides belong.

    Returns:
        The end point (which may belong or not: the closure is meant), 0 where the set does not begin at 0, or
        infinity.
    """
    gaps = samples(roots)
    if not inside(gaps[0]):
        return 0
    for root, sample in zip(roots, gaps[1:], strict=True):
        if not inside(sample) or not passes(root):
            return root
    return math.inf


def extension(field: RealField, root: RealRoot) -> tuple[RealField, Any]:
    """The field with a root adjoined, and the root as its element."""
    if root.low == root.high:
        return field, field.convert(root.low)
    number = root.expression()
    generators = [number, field.domain.ext.as_expr()] if field.domain.is_Algebraic else [number]
    larger = field_of(QQ if number.is_Rational and len(generators) == 1 else QQ.algebraic_field(*generators))
    return larger, larger.domain.from_sympy(number)
