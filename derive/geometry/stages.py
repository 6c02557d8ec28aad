"""Helpers shared by the analyses of tableaus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from derive.schemes import AdditiveTableau, ButcherTableau
from derive.series.domains import Element
from derive.series.weights import Stages, Tableau

Entry = Callable[[int, int, int], Element]


def name_of_stage(index: int) -> str:
    """Stages count from 1 on paper."""
    return str(index + 1)


def rebuilt(stages: Stages, a: Entry, b: Sequence[Sequence[Element]], title: str) -> Tableau:
    """A scheme of the same kind from entries a(part, i, j) and weights b[part][i]."""
    show = stages.arithmetic.expression

    def part(p: int) -> ButcherTableau:
        rows = [[show(a(p, i, j)) for j in range(stages.count)] for i in range(stages.count)]
        weights = [show(weight) for weight in b[p]]
        return ButcherTableau(A=rows, b=weights, c=[sum(row) for row in rows], digits=stages.scheme.digits, title=title)

    if stages.colours == 1:
        return part(0)
    return AdditiveTableau([part(p) for p in range(stages.colours)], digits=stages.scheme.digits, title=title)
