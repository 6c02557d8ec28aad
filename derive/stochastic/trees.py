"""Stochastic trees: vertices of colour 0 stand for the drift f, those of colour k for the diffusion g_k.

A vertex of the drift counts h, one of a diffusion the square root of h.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement, product

from derive.series.trees import Tree, tree


@cache
def weight(tau: Tree) -> int:
    """Twice the order in h."""
    return (1 if tau.colour else 2) + sum(weight(branch) for branch in tau.branches)


@cache
def trees_of(size: int, motions: int) -> tuple[Tree, ...]:
    """All trees of a weight, with diffusions for that many Brownian motions."""
    found = []
    for colour in range(motions + 1):
        rest = size - (1 if colour else 2)
        if rest >= 0:
            found += [tree(*forest, colour=colour) for forest in forests(rest, motions)]
    return tuple(sorted(found))


@cache
def forests(size: int, motions: int) -> tuple[tuple[Tree, ...], ...]:
    """All multisets of trees whose weights sum to `size`."""
    return tuple(_forests(size, size, motions))


def _forests(size: int, largest: int, motions: int) -> Iterator[tuple[Tree, ...]]:
    if size == 0:
        yield ()
        return
    for part in range(min(size, largest), 0, -1):
        for count in range(size // part, 0, -1):
            chosen = combinations_with_replacement(trees_of(part, motions), count)
            for first, rest in product(chosen, tuple(_forests(size - part * count, part - 1, motions))):
                yield (*first, *rest)


def written(tau: Tree) -> str:
    """The elementary differential: `g_2'g_1`, `f''(g_1,g_1)`."""
    name = f"g_{tau.colour}" if tau.colour else "f"
    if not tau.branches:
        return name
    arguments = [written(branch) for branch in tau.branches]
    inner = arguments[0] if len(arguments) == 1 else f"({','.join(arguments)})"
    return name + "'" * len(arguments) + inner


def survives(tau: Tree, structure: str) -> bool:
    """Whether the elementary differential of a tree is not zero under a structure of the noise.

    Diagonal: g_k moves component k and reads nothing else. Additive: a diffusion reads nothing but the time, whose
    own velocity is the only thing that a diffusion's derivative is not zero along.
    """
    if tau.colour and structure == "diagonal" and any(b.colour not in (0, tau.colour) for b in tau.branches):
        return False
    if tau.colour and structure == "additive" and any(b.colour or b.branches for b in tau.branches):
        return False
    return all(survives(branch, structure) for branch in tau.branches)
