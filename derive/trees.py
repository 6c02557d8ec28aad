r"""Rooted trees: the order conditions of Runge-Kutta schemes and the elementary differentials of a field.

A tree is the sorted tuple of its branches; the single vertex is `()`. With $\Phi(\tau)$ the elementary weight,
$\gamma$ the density and $\sigma$ the symmetry, the local truncation error is $\sum_\tau \frac{h^{|\tau|}}{\sigma(\tau)}
\left(\frac1{\gamma(\tau)} - \Phi(\tau)\right) F(\tau)$ (Hairer, Norsett, Wanner, Solving ODEs I, II.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod

from sympy import Expr, Integer, Rational, cancel, expand

from derive.schemes import ButcherTableau

Tree = tuple["Tree", ...]


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees with `order` vertices, in a fixed order."""
    if order == 1:
        return ((),)
    return tuple(sorted({tuple(sorted(forest)) for forest in _forests(order - 1, order - 1)}))


def _forests(size: int, largest: int) -> Iterator[tuple[Tree, ...]]:
    if size == 0:
        yield ()
        return
    for part in range(min(size, largest), 0, -1):
        for count in range(size // part, 0, -1):
            for chosen in combinations_with_replacement(trees(part), count):
                for rest in _forests(size - part * count, part - 1):
                    yield (*chosen, *rest)


def vertices(tree: Tree) -> int:
    """Number of vertices, |tau|."""
    return 1 + sum(vertices(branch) for branch in tree)


def density(tree: Tree) -> int:
    """gamma(tau)."""
    return vertices(tree) * prod(density(branch) for branch in tree)


def symmetry(tree: Tree) -> int:
    """sigma(tau): the number of automorphisms."""
    distinct = sorted(set(tree))
    return prod(factorial(tree.count(branch)) * symmetry(branch) ** tree.count(branch) for branch in distinct)


def elementary_weight(tree: Tree, tableau: ButcherTableau) -> Expr:
    """Phi(tau) of a tableau."""
    return expand(sum(weight * value for weight, value in zip(tableau.b, _stage_values(tree, tableau), strict=True)))


def _stage_values(tree: Tree, tableau: ButcherTableau) -> list[Expr]:
    branches = [_stage_values(branch, tableau) for branch in tree]
    inner = [[sum(a * v for a, v in zip(row, values, strict=True)) for values in branches] for row in tableau.A]
    return [prod(row, start=Integer(1)) for row in inner]


def error_coefficient(tree: Tree, tableau: ButcherTableau) -> Expr:
    """Coefficient of h^|tau| F(tau) in the local truncation error (exact minus numeric)."""
    value = expand((Rational(1, density(tree)) - elementary_weight(tree, tableau)) / symmetry(tree))
    return cancel(value) if value.free_symbols else value  # a family's weights are rational in its symbols


def order(tableau: ButcherTableau, limit: int = 8) -> int:
    """Order of a tableau: the largest p up to `limit` at which every condition holds identically."""
    for p in range(1, limit + 1):
        if any(error_coefficient(tree, tableau) != 0 for tree in trees(p)):
            return p - 1
    return limit


def differential_latex(tree: Tree, letter: str = "f") -> str:
    """The elementary differential as it is written: f'f, f''(f,f)."""
    if not tree:
        return letter
    head = letter + "'" * len(tree)
    inner = [differential_latex(branch, letter) for branch in tree]
    return head + inner[0] if len(inner) == 1 else f"{head}({','.join(inner)})"
