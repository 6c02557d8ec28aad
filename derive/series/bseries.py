r"""B-series: maps and fields as coefficients of trees.

$B(a, x) = a(\emptyset) x + \sum_\tau \frac{h^{|\tau|}}{\sigma(\tau)} a(\tau) F(\tau)(x)$, with $a(\emptyset) = 1$ for
maps and 0 for fields (times h). A series is a rule that is asked tree by tree, so nothing has to be cut at an order
chosen beforehand. Several colours stand for several parts of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from sympy import Expr, Rational, S

from derive.series.cuts import partitions, root_parts
from derive.series.differentials import DifferentialTable
from derive.series.domains import Arithmetic, Element
from derive.series.trees import Tree, density, symmetry, trees

Rule = Callable[[Tree], Element]


class BSeries:
    """A B-series; call it with a tree for the coefficient, which is computed once.

    Attributes:
        arithmetic: the field of the coefficients.
        colours: number of parts of the field.
        is_map: whether a(empty tree) is 1 (maps) or 0 (fields).
    """

    def __init__(self, arithmetic: Arithmetic, colours: int, rule: Rule, is_map: bool = True) -> None:
        self.arithmetic = arithmetic
        self.colours = colours
        self.is_map = is_map
        self._rule = rule
        self._known: dict[Tree, Element] = {}

    def __call__(self, tau: Tree) -> Element:
        """a(tau)."""
        if tau not in self._known:
            self._known[tau] = self._rule(tau)
        return self._known[tau]

    def derived(self, rule: Rule, is_map: bool = True) -> BSeries:
        """Another series over the same field of coefficients."""
        return BSeries(self.arithmetic, self.colours, rule, is_map)

    def table(self, power: int) -> DifferentialTable:
        """The elementary differentials of h^power with their coefficients a(tau)/sigma(tau)."""
        terms = {tau: self._coefficient(tau) for tau in trees(power, self.colours)}
        return DifferentialTable(terms, self.colours, power)

    def _coefficient(self, tau: Tree) -> Expr:
        value = self(tau)
        if self.arithmetic.vanishes(value):
            return S.Zero
        return self.arithmetic.expression(value * self.arithmetic.rational(Rational(1, symmetry(tau))))


def exact_flow(arithmetic: Arithmetic, colours: int) -> BSeries:
    """The time-h flow of the field: 1/gamma."""
    return BSeries(arithmetic, colours, lambda tau: arithmetic.rational(Rational(1, density(tau))))


def difference(left: BSeries, right: BSeries) -> BSeries:
    """left - right."""
    return left.derived(lambda tau: left(tau) - right(tau), left.is_map != right.is_map)


def compose(first: BSeries, then: BSeries) -> BSeries:
    """B(then, B(first, x)): `first` is applied first; `then` may be a map or a field (times h) taken at the map."""

    def rule(tau: Tree) -> Element:
        total = first(tau) if then.is_map else first.arithmetic.domain.zero
        for kept, cut, count in root_parts(tau):
            total = total + count * then(kept) * _product(first, cut)
        return total

    return first.derived(rule, then.is_map)


def inverse(series: BSeries) -> BSeries:
    """The map that undoes a map."""

    def rule(tau: Tree) -> Element:
        total = -series(tau)
        for kept, cut, count in root_parts(tau):
            if cut:
                total = total - count * found(kept) * _product(series, cut)
        return total

    found = series.derived(rule)
    return found


def rescaled(series: BSeries, factor: Any) -> BSeries:
    """The map with the step factor * h; the factor is an element of the domain or an integer."""
    return series.derived(lambda tau: series(tau) * factor**tau.order, series.is_map)


def adjoint(series: BSeries) -> BSeries:
    """The adjoint method: the inverse with the step -h. A symmetric method is its own."""
    return inverse(rescaled(series, -1))


def substitute(field: BSeries, series: BSeries) -> BSeries:
    """The series in which every f is replaced by a field: B(series) of the field (1/h) B(field).

    Where `series` has one colour the field stands for all of it; where it has several, part p is replaced by what
    `field` has on trees with a root of colour p.
    """
    coloured = series.colours > 1

    def rule(tau: Tree) -> Element:
        total = field.arithmetic.domain.zero
        for skeleton, pieces, count in partitions(tau, coloured):
            total = total + count * series(skeleton) * _product(field, pieces)
        return total

    return field.derived(rule, series.is_map)


def order_of(series: BSeries, limit: int) -> int:
    """The largest p up to a limit such that the series is the exact flow on all trees of at most p vertices."""
    gap = difference(series, exact_flow(series.arithmetic, series.colours))
    vanishes = series.arithmetic.vanishes
    reached = 0
    while reached < limit and all(vanishes(gap(tau)) for tau in trees(reached + 1, series.colours)):
        reached += 1
    return reached


def _product(series: BSeries, forest: tuple[Tree, ...]) -> Element:
    return prod((series(tau) for tau in forest), start=series.arithmetic.domain.one)
