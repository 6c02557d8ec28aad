"""Ways to cut a tree: what composition, Lie derivative and substitution of B-series sum over.

Each function gives the distinct results with how often they occur, in a fixed order (Hairer, Lubich, Wanner, Geometric
Numerical Integration, III.1.4, IX.9.1; Chartier, Hairer, Vilmart 2010 for the partitions).
"""

from __future__ import annotations

from collections import Counter
from functools import cache

from derive.series.trees import Tree, tree

Forest = tuple[Tree, ...]


@cache
def root_parts(tau: Tree) -> tuple[tuple[Tree, Forest, int], ...]:
    """(subtree with the root, the trees cut off, count), over all such subtrees; the whole tree is among them."""
    found: Counter[tuple[Forest, Forest]] = Counter({((), ()): 1})
    for branch in tau.branches:
        choices = [((), (branch,), 1), *(((kept,), cut, count) for kept, cut, count in root_parts(branch))]
        found = _extended(found, choices)
    return _listed(Counter({(tree(*kept, colour=tau.colour), cut): n for (kept, cut), n in found.items()}))


@cache
def single_cuts(tau: Tree) -> tuple[tuple[Tree, Tree, int], ...]:
    """(part with the root, part cut off, count), over the edges of a tree."""
    found: Counter[tuple[Tree, Tree]] = Counter()
    for place, branch in enumerate(tau.branches):
        others = tau.branches[:place] + tau.branches[place + 1 :]
        found[tree(*others, colour=tau.colour), branch] += 1
        for rest, piece, count in single_cuts(branch):
            found[tree(*others, rest, colour=tau.colour), piece] += count
    return tuple((rest, piece, found[rest, piece]) for rest, piece in sorted(found))


@cache
def partitions(tau: Tree, coloured: bool) -> tuple[tuple[Tree, Forest, int], ...]:
    """(skeleton, its vertices as trees, count), over the subsets of edges that are cut.

    The skeleton has one vertex for each piece, of the colour of the piece's root where `coloured`, else of colour 0.
    """
    found: Counter[tuple[Tree, Forest]] = Counter()
    for root, above, pieces, count in _rooted_partitions(tau, coloured):
        skeleton = tree(*above, colour=tau.colour if coloured else 0)
        found[skeleton, tuple(sorted((root, *pieces)))] += count
    return _listed(found)


@cache
def _rooted_partitions(tau: Tree, coloured: bool) -> tuple[tuple[Tree, Forest, Forest, int], ...]:
    """(piece of the root, skeletons that hang on it, the other pieces, count)."""
    found: Counter[tuple[Forest, Forest, Forest]] = Counter({((), (), ()): 1})
    for branch in tau.branches:
        extended: Counter[tuple[Forest, Forest, Forest]] = Counter()
        for (kept, above, pieces), count in found.items():
            for root, hanging, others, ways in _rooted_partitions(branch, coloured):
                skeleton = tree(*hanging, colour=branch.colour if coloured else 0)
                cut = (kept, tuple(sorted((*above, skeleton))), tuple(sorted((*pieces, root, *others))))
                whole = ((*kept, root), tuple(sorted((*above, *hanging))), tuple(sorted((*pieces, *others))))
                extended[cut] += count * ways
                extended[whole] += count * ways
        found = extended
    return tuple(
        (tree(*kept, colour=tau.colour), above, pieces, found[kept, above, pieces])
        for kept, above, pieces in sorted(found)
    )


def _extended(
    found: Counter[tuple[Forest, Forest]], choices: list[tuple[Forest, Forest, int]]
) -> Counter[tuple[Forest, Forest]]:
    extended: Counter[tuple[Forest, Forest]] = Counter()
    for (kept, cut), count in found.items():
        for more, off, ways in choices:
            extended[tuple(sorted((*kept, *more))), tuple(sorted((*cut, *off)))] += count * ways
    return extended


def _listed(found: Counter[tuple[Tree, Forest]]) -> tuple[tuple[Tree, Forest, int], ...]:
    return tuple((first, forest, found[first, forest]) for first, forest in sorted(found))
