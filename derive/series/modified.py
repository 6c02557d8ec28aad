r"""Backward error analysis: the field whose exact flow is a given map, as a B-series.

With $\partial_b c(\tau)$ the sum over the edges of $\tau$ of c(part with the root) b(part cut off), the flow of the
field b over the time $\theta h$ has the coefficients $\sum_{j \ge 1} \frac{\theta^j}{j!} (\partial_b^{j-1} b)(\tau)$
(Hairer, Lubich, Wanner, Geometric Numerical Integration, Lemma IX.9.1). The term j = 1 alone holds $b(\tau)$, which
gives the field tree by tree.
"""

from __future__ import annotations

from functools import partial
from math import factorial

from sympy import Rational

from derive.series.bseries import BSeries
from derive.series.cuts import single_cuts
from derive.series.domains import Element
from derive.series.trees import Tree


class LieDerivatives:
    """The series of the repeated derivatives of a field along itself."""

    def __init__(self, field: BSeries) -> None:
        self.field = field
        self._known: dict[tuple[int, Tree], Element] = {}

    def of(self, count: int, tau: Tree) -> Element:
        """The (count - 1)-th derivative of the field along itself: x^(count) h^count, at a tree."""
        if count == 1:
            return self.field(tau)
        key = count, tau
        if key not in self._known:
            total = self.field.arithmetic.domain.zero
            if count <= tau.order:
                for rest, piece, ways in single_cuts(tau):
                    total = total + ways * self.of(count - 1, rest) * self.field(piece)
            self._known[key] = total
        return self._known[key]

    def beyond_first(self, tau: Tree, time: int = 1) -> Element:
        """What the flow over time * h has at a tree besides time * b(tau)."""
        rational, total = self.field.arithmetic.rational, self.field.arithmetic.domain.zero
        for count in range(2, tau.order + 1):
            total = total + rational(Rational(time**count, factorial(count))) * self.of(count, tau)
        return total


def modified_field(series: BSeries) -> BSeries:
    """The field (times h) whose time-h flow is the map."""

    def rule(tau: Tree) -> Element:
        return series(tau) - derivatives.beyond_first(tau)

    field = series.derived(rule, is_map=False)
    derivatives = LieDerivatives(field)
    return field


def flow(field: BSeries, time: int = 1) -> BSeries:
    """The flow of a field (times h) over time * h."""
    return field.derived(partial(_flow_at, LieDerivatives(field), time))


def _flow_at(derivatives: LieDerivatives, time: int, tau: Tree) -> Element:
    return time * derivatives.field(tau) + derivatives.beyond_first(tau, time)
