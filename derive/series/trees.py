r"""Coloured rooted trees: vertices of colour p stand for part p of the field $\dot x = \sum_p f_p(x)$.

One colour gives the trees of Runge-Kutta schemes, several those of additive and partitioned ones. The density $\gamma$
and the symmetry $\sigma$ are those of Hairer, Norsett, Wanner, Solving ODEs I, II.2 and II.15; colours matter to
$\sigma$ only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import NamedTuple


class Tree(NamedTuple):
    """A coloured rooted tree in canonical form; make one with `tree`.

    Trees compare by order first, then by the colour of the root, then by their branches.

    Attributes:
        order: number of vertices, |tau|.
        colour: colour of the root.
        branches: the trees that remain without the root, sorted.
    """

    order: int
    colour: int
    branches: tuple[Tree, ...]


def tree(*branches: Tree, colour: int = 0) -> Tree:
    """The tree whose root carries the branches."""
    return Tree(1 + sum(branch.order for branch in branches), colour, tuple(sorted(branches)))


@cache
def trees(order: int, colours: int = 1) -> tuple[Tree, ...]:
    """All trees of an order, sorted: 1, 1, 2, 4, 9, 20, 48, 115 of one colour, 2, 4, 14, 52 of two."""
    found = _forests(order - 1, order - 1, colours) if order > 0 else ()
    return tuple(sorted(tree(*forest, colour=colour) for forest in found for colour in range(colours)))


def trees_up_to(order: int, colours: int = 1) -> Iterator[Tree]:
    """All trees of at most that order, smallest first."""
    for size in range(1, order + 1):
        yield from trees(size, colours)


def _forests(size: int, largest: int, colours: int) -> Iterator[tuple[Tree, ...]]:
    """All multisets of trees of at most `largest` vertices with `size` vertices together."""
    if size == 0:
        yield ()
        return
    for part in range(min(size, largest), 0, -1):
        for count in range(size // part, 0, -1):
            for chosen in combinations_with_replacement(trees(part, colours), count):
                for rest in _forests(size - part * count, part - 1, colours):
                    yield (*chosen, *rest)


@cache
def density(tau: Tree) -> int:
    """gamma(tau): the product of the orders of all subtrees."""
    return tau.order * prod(density(branch) for branch in tau.branches)


@cache
def symmetry(tau: Tree) -> int:
    """sigma(tau): the number of automorphisms that keep the colours."""
    counts = Counter(tau.branches)
    return prod(factorial(count) * symmetry(branch) ** count for branch, count in counts.items())


def colours_of(tau: Tree) -> int:
    """One more than the largest colour of a vertex."""
    return max(tau.colour + 1, *(colours_of(branch) for branch in tau.branches), 1)
