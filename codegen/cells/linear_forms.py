"""Cotangents as linear forms: each a sum of known ones times coefficients that no cotangent enters.

Where a line of the step mixes components (a sum over them, a softmax, a layer normalization), its cotangent holds inner
products of known cotangents as well. Sums of all these are closed under everything that a pullback does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sympy import Expr, Integer

from derive.errors import UnsupportedError
from derive.operators import dot, fill, matvec, shape_of, total
from derive.past_values import tap_backs
from derive.program import symbols_of
from derive.reverse_sweep import elementwise_partials
from derive.symbols import Quantity

ONE = Integer(1)


@dataclass(frozen=True)
class Scaled:
    """A coefficient times a pivot.

    Attributes:
        pivot: a cotangent that is known in the loop.
        coefficient: of values of the forward sweep, and of cotangents of rows, which stand for *their* coefficients.
        lines: cotangents that were passed over between the pivot and here.
    """

    pivot: Quantity
    coefficient: Expr
    lines: tuple[Quantity, ...] = ()

    def times(self, factor: Expr) -> Scaled:
        """A multiple; what has components need not be spread over them first."""
        spread = isinstance(self.coefficient, fill) and shape_of(factor) != ()
        return replace(self, coefficient=(self.coefficient.args[0] if spread else self.coefficient) * factor)


@dataclass(frozen=True)
class Inner(Scaled):
    """A coefficient times the inner product of a weight and a pivot, which is a vector.

    Attributes:
        weight: a vector, or 1 for the sum of the pivot's components.
    """

    weight: Expr = ONE


@dataclass(frozen=True)
class Back:
    """A transposed matrix product: cotangents of neighbouring rows times their matrices."""

    rows: tuple[int, ...]
    matrices: tuple[Quantity, ...]


@dataclass(frozen=True)
class LinearForm:
    """A cotangent as a sum of scaled pivots, of inner products with pivots, and of transposed products."""

    scaled: tuple[Scaled, ...]
    products: tuple[Back, ...]
    inner: tuple[Inner, ...] = ()

    @property
    def coefficients(self) -> Iterator[Expr]:
        """Everything that is known before the loop."""
        for term in (*self.scaled, *self.inner):
            yield term.coefficient
        for term in self.inner:
            yield term.weight

    @property
    def pivots(self) -> Iterator[Quantity]:
        """The cotangents that it reads, but those in transposed products."""
        yield from (term.pivot for term in (*self.scaled, *self.inner))


Known = Callable[[Quantity], Sequence[Scaled]]
"""A quantity as a sum over pivots; nothing where it is no cotangent."""


def terms_of(value: Expr, known: Known) -> Iterator[Scaled]:
    """The terms of an expression that is linear in cotangents, but for products with matrices."""
    for leaf, partial in elementwise_partials(value):
        for term in _of_leaf(leaf, known):
            yield term.times(partial)


def gathered(terms: Iterable[Scaled]) -> tuple[tuple[Scaled, ...], tuple[Inner, ...]]:
    """Several ways to one pivot, and to one inner product, as one coefficient each."""
    found: dict[tuple[Quantity, Expr | None], Scaled] = {}
    for term in terms:
        key = (term.pivot, term.weight if isinstance(term, Inner) else None)
        before = found.get(key)
        found[key] = term if before is None else _sum(before, term)
    return (
        tuple(term for term in found.values() if not isinstance(term, Inner)),
        tuple(term for term in found.values() if isinstance(term, Inner)),
    )


def _sum(one: Scaled, other: Scaled) -> Scaled:
    lines = tuple(dict.fromkeys(one.lines + other.lines))
    return replace(one, coefficient=one.coefficient + other.coefficient, lines=lines)


def _of_leaf(leaf: Expr, known: Known) -> Iterator[Scaled]:
    if isinstance(leaf, Quantity):
        yield from known(leaf)
    elif isinstance(leaf, dot):
        yield from map(_totalled, terms_of(leaf.args[0] * leaf.args[1], known))
    elif isinstance(leaf, total):
        yield from map(_totalled, terms_of(leaf.args[0], known))
    elif isinstance(leaf, fill):
        value, like = leaf.args
        yield from (replace(term, coefficient=fill(term.coefficient, like)) for term in terms_of(value, known))
    elif not isinstance(leaf, matvec | tap_backs) and any(known(quantity) for quantity in symbols_of(leaf)):
        raise UnsupportedError(f"the cotangent {leaf} has no form in the emitted sweep")


def _totalled(term: Scaled) -> Scaled:
    """The sum over components."""
    if isinstance(term, Inner) or not term.pivot.shape:
        wide = shape_of(term.coefficient) != ()
        return replace(term, coefficient=total(term.coefficient)) if wide else term
    return Inner(term.pivot, ONE, term.lines, term.coefficient)
