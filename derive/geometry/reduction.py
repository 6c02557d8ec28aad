"""Reduction of tableaus: stages that nothing reads go, stages that always have the same value become one.

An irreducible tableau is determined by its B-series up to the order of its stages, which makes conditions on tableaus
decisive (Hairer, Wanner, Solving ODEs II, IV.12; Hairer, Lubich, Wanner, Geometric Numerical Integration, VI.7.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from derive.schemes import AdditiveTableau, ButcherTableau
from derive.series.domains import Element
from derive.series.weights import Stages, Tableau

Rows = tuple[tuple[Element, ...], ...]


def reduced(scheme: Tableau) -> Tableau:
    """The irreducible scheme of the same maps; the scheme itself where nothing can go."""
    stages = Stages(scheme)
    while True:
        classes = _merged(stages, _used(stages))
        if len(classes) == stages.count:
            return stages.scheme
        stages = Stages(_collapsed(stages, classes))


def _used(stages: Stages) -> list[int]:
    """Stages that reach the result."""
    parts = range(stages.colours)
    reached = {i for i in range(stages.count) if any(not stages.vanishes(stages.b[p][i]) for p in parts)}
    grown = True
    while grown:
        new = {
            j
            for i in reached
            for j in range(stages.count)
            if any(not stages.vanishes(stages.A[p][i][j]) for p in parts)
        }
        grown = not new <= reached
        reached |= new
    return sorted(reached)


def _merged(stages: Stages, used: Sequence[int]) -> list[list[int]]:
    """The coarsest partition of the stages into classes whose members have equal values, by refinement."""
    classes = [list(used)]
    while True:
        finer = [piece for members in classes for piece in _split(stages, members, classes)]
        if len(finer) == len(classes):
            return sorted(finer)
        classes = finer


def _split(stages: Stages, members: list[int], classes: list[list[int]]) -> list[list[int]]:
    pieces: list[list[int]] = []
    for i in members:
        home = next((piece for piece in pieces if _alike(stages, piece[0], i, classes)), None)
        if home is None:
            pieces.append([i])
        else:
            home.append(i)
    return pieces


def _alike(stages: Stages, i: int, j: int, classes: list[list[int]]) -> bool:
    return all(
        stages.vanishes(_sum(stages, A[i], members) - _sum(stages, A[j], members))
        for A in stages.A
        for members in classes
    )


def _sum(stages: Stages, row: Sequence[Element], members: Sequence[int]) -> Element:
    return sum((row[k] for k in members), stages.arithmetic.domain.zero)


def _collapsed(stages: Stages, classes: list[list[int]]) -> Tableau:
    show = stages.arithmetic.expression

    def part(A: Rows, b: Sequence[Element]) -> ButcherTableau:
        rows = [[show(_sum(stages, A[members[0]], others)) for others in classes] for members in classes]
        weights = [show(_sum(stages, b, members)) for members in classes]
        return ButcherTableau(A=rows, b=weights, c=[sum(row) for row in rows], digits=stages.scheme.digits)

    parts = [part(A, b) for A, b in zip(stages.A, stages.b, strict=True)]
    title = f"{stages.scheme.title}, reduced"
    if len(parts) > 1:
        return AdditiveTableau(parts, digits=stages.scheme.digits, title=title)
    (only,) = parts
    return ButcherTableau(A=only.A, b=only.b, c=only.c, digits=only.digits, title=title)
