r"""Linear relations between elementary differentials where diffusions commute, and what they leave of conditions.

$Dg_k[g_j] = Dg_j[g_k]$ holds everywhere, so that all its derivatives do, along whatever directions, and in every place
of a larger differential. A sum $\sum_\tau a_\tau F(\tau)$ vanishes for all such diffusions where a is in the span of
these relations: the conditions on a are the functionals that vanish on that span. Products of differentials, as means
of products of coefficients have them, are relations where one factor is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from math import factorial, prod
from typing import Any, TypeVar

from sympy import QQ
from sympy.polys.matrices import DomainMatrix

from derive.series.trees import Tree, symmetry, tree
from derive.stochastic.trees import forests, survives, trees_of, weight

Term = TypeVar("Term")
Relation = Mapping[Tree, int]
Condition = tuple[tuple[Any, Any], ...]  # tree or forest -> factor of its coefficient


@cache
def conditions(size: int, motions: int, structure: str) -> tuple[Condition, ...]:
    """Combinations of the coefficients of trees of a weight that must be those of the solution."""
    if structure != "commutative":
        return tuple(((tau, 1),) for tau in trees_of(size, motions) if survives(tau, structure))
    return _annihilators(trees_of(size, motions), list(relations(size, motions)), symmetry)


@cache
def conditions_on_means(size: int, motions: int, structure: str) -> tuple[Condition, ...]:
    """Combinations of the means of products of coefficients that must be those of the solution, for forests."""
    found = forests(size, motions)
    if structure != "commutative":
        return tuple(((one, 1),) for one in found if all(survives(tau, structure) for tau in one))
    products = [
        _summed((tuple(sorted((tau, *others), key=_place)), count) for tau, count in relation.items())
        for part in range(1, size + 1)
        for relation in relations(part, motions)
        for others in forests(size - part, motions)
    ]
    ordered = tuple(tuple(sorted(one, key=_place)) for one in found)
    return _annihilators(ordered, products, _symmetry_of_forest)


def _place(tau: Tree) -> tuple[int, Tree]:
    """The order in which the trees of a forest stand."""
    return weight(tau), tau


@cache
def relations(size: int, motions: int) -> tuple[Relation, ...]:
    """Sums of elementary differentials of a weight that vanish where diffusions commute."""
    found: list[Relation] = []
    for j, k in combinations(range(1, motions + 1), 2):
        for branches in forests(size - 2, motions) if size >= 2 else ():
            found.append(_difference(_grown(j, k, branches), _grown(k, j, branches)))
    for part in range(2, size):
        for relation in relations(part, motions):
            for colour in range(motions + 1):
                rest = size - part - (1 if colour else 2)
                for others in forests(rest, motions) if rest >= 0 else ():
                    found.append(_summed((tree(tau, *others, colour=colour), c) for tau, c in relation.items()))
    return tuple(one for one in found if one)


def _grown(inner: int, outer: int, branches: Sequence[Tree]) -> Relation:
    """The derivatives of Dg_outer[g_inner] along the branches: each of them reaches one of the two."""
    trees = []
    for places in product((True, False), repeat=len(branches)):
        upper = [one for one, above in zip(branches, places, strict=True) if above]
        lower = [one for one, above in zip(branches, places, strict=True) if not above]
        trees.append((tree(tree(*upper, colour=inner), *lower, colour=outer), 1))
    return _summed(trees)


def _difference(one: Relation, other: Relation) -> Relation:
    return _summed([*one.items(), *((tau, -count) for tau, count in other.items())])


def _summed(terms: Iterable[tuple[Term, int]]) -> dict[Term, int]:
    found: dict[Term, int] = {}
    for term, count in terms:
        found[term] = found.get(term, 0) + count
    return {term: count for term, count in found.items() if count}


def _symmetry_of_forest(forest: Sequence[Tree]) -> int:
    counts = {tau: forest.count(tau) for tau in forest}
    return prod(factorial(count) * symmetry(tau) ** count for tau, count in counts.items())


def _annihilators(
    terms: Sequence[Any], vanishing: Sequence[Mapping[Any, int]], symmetry_of: Callable[[Any], int]
) -> tuple[Condition, ...]:
    """A basis of the functionals on coefficients that vanish on the relations; a coefficient counts 1/symmetry."""
    bound = sorted({term for relation in vanishing for term in relation})
    found: list[Condition] = [((term, 1),) for term in terms if term not in bound]
    if not bound:
        return tuple(found)
    rows = [[QQ(relation.get(term, 0)) for term in bound] for relation in vanishing]
    for row in DomainMatrix(rows, (len(rows), len(bound)), QQ).nullspace().to_list():
        pairs = [(term, c / symmetry_of(term)) for term, c in zip(bound, row, strict=True) if c]
        found.append(tuple((term, factor / pairs[0][1]) for term, factor in pairs))
    places = {term: place for place, term in enumerate(terms)}
    return tuple(sorted(found, key=lambda condition: places[condition[0][0]]))
