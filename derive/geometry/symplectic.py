r"""Symplectic schemes, and how nearly symplectic the others are.

A Runge-Kutta scheme keeps every quadratic first integral, and with it the symplectic form, iff
$b_i a_{ij} + b_j a_{ji} = b_i b_j$ in its irreducible form; a partitioned one that of $\dot x = f(y), \dot y = g(x)$
iff $b_i \hat a_{ij} + \hat b_j a_{ji} = b_i \hat b_j$. In B-series the condition reads
$a(u \circ v) + a(v \circ u) = a(u)\,a(v)$, $u \circ v$ with v grafted on the root of u, and can be tested order
by order.
Sources: Hairer, Lubich, Wanner, Geometric Numerical Integration, VI.4, VI.7; Aubry, Chartier 1998 (pseudo-symplectic).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

from sympy import Integer, S, oo

from derive.geometry.reduction import reduced
from derive.geometry.stages import name_of_stage
from derive.latex import latex
from derive.schemes import LinearMultistep, Scheme, Splitting
from derive.series.domains import Element
from derive.series.notation import differential
from derive.series.trees import Tree, tree, trees
from derive.series.weights import Stages, Tableau
from derive.verdict import Step, Verdict


def is_symplectic(scheme: Scheme) -> Verdict:
    """Whether the step keeps the symplectic form of every Hamiltonian field of the kind the scheme is for.

    Partitioned schemes: of every separable one, H = T(y) + U(x); the proof says whether of every other one too. None
    for multistep schemes, which are no maps of the phase space.
    """
    if isinstance(scheme, LinearMultistep):
        return Verdict(None, (Step("a multistep scheme is no map of the phase space"),))
    if isinstance(scheme, Splitting):
        return _of_flows(scheme)
    small = reduced(scheme)
    stages = Stages(small)
    steps = [Step(f"{scheme.title} reduces to {small.stages} stage(s)")] if small is not scheme else []
    for p, q in _pairs(stages):
        for i, j in product(range(stages.count), repeat=2):
            defect = _defect(stages, p, q, i, j)
            if not stages.vanishes(defect):
                return Verdict(S.false, (*steps, _counterexample(stages, p, q, i, j)))
    words = "b_i a_ij + b_j a_ji = b_i b_j for all i and j"
    steps.append(Step(words, _CONDITION if stages.colours == 1 else _PARTITIONED))
    if stages.colours > 1:
        steps.append(Step(_beyond_separable(stages)))
    return Verdict(S.true, tuple(steps))


_CONDITION = r"b_i a_{ij} + b_j a_{ji} = b_i b_j"
_DIGITS_SHOWN = 6
_PARTITIONED = r"b_i \hat a_{ij} + \hat b_j a_{ji} = b_i \hat b_j"


def symplecticity_order(scheme: Tableau) -> Integer:
    """The largest q with a(u o v) + a(v o u) = a(u) a(v) for all |u| + |v| <= q; oo for a symplectic scheme."""
    if is_symplectic(scheme).value == S.true:
        return oo
    stages = Stages(scheme)
    size = 2
    while first_violation(stages, size) is None:
        size += 1
    return Integer(size - 1)


def first_violation(stages: Stages, size: int) -> tuple[Tree, Tree] | None:
    """A pair of trees of `size` vertices together that violates the condition."""
    for left in range(1, size // 2 + 1):
        for u, v in product(trees(left, stages.colours), trees(size - left, stages.colours)):
            if _relevant(stages, u, v) and not stages.vanishes(_tree_defect(stages, u, v)):
                return u, v
    return None


def _tree_defect(stages: Stages, u: Tree, v: Tree) -> object:
    grafted = stages.weight(_grafted(u, v)) + stages.weight(_grafted(v, u))
    return grafted - stages.weight(u) * stages.weight(v)


def _grafted(u: Tree, v: Tree) -> Tree:
    return tree(*u.branches, v, colour=u.colour)


def _relevant(stages: Stages, u: Tree, v: Tree) -> bool:
    """In a separable field no part acts on itself: neighbours have different colours."""
    return stages.colours == 1 or (u.colour != v.colour and alternates(u) and alternates(v))


def alternates(tau: Tree) -> bool:
    """Whether neighbours have different colours, as in the trees of separable fields."""
    return all(branch.colour != tau.colour and alternates(branch) for branch in tau.branches)


def _pairs(stages: Stages) -> list[tuple[int, int]]:
    if stages.colours == 1:
        return [(0, 0)]
    return [(p, q) for p, q in combinations_with_replacement(range(stages.colours), 2) if p != q]


def _defect(stages: Stages, p: int, q: int, i: int, j: int) -> Element:
    b, c = stages.b[p][i], stages.b[q][j]
    return b * stages.A[q][i][j] + c * stages.A[p][j][i] - b * c


def defects(stages: Stages) -> Iterator[Element]:
    """What vanishes where a tableau satisfies the condition, which makes it symplectic, irreducible or not."""
    for p, q in _pairs(stages):
        for i, j in product(range(stages.count), repeat=2):
            yield _defect(stages, p, q, i, j)


def _counterexample(stages: Stages, p: int, q: int, i: int, j: int) -> Step:
    value = stages.arithmetic.expression(_defect(stages, p, q, i, j))
    number = latex(value) if stages.scheme.digits is None else str(value.evalf(_DIGITS_SHOWN))
    places = f"i = {name_of_stage(i)}, j = {name_of_stage(j)}"
    found = next(pair for size in range(2, 99) if (pair := first_violation(stages, size)) is not None)
    trees_text = " and ".join(differential(tau) for tau in found)
    condition = _CONDITION if stages.colours == 1 else _PARTITIONED
    return Step(
        f"violated at {places}; the B-series condition fails first for the trees {trees_text}",
        rf"{condition.replace('=', '-')} = {number} \neq 0",
    )


def _beyond_separable(stages: Stages) -> str:
    same = all(stages.vanishes(x - y) for row in stages.b[1:] for x, y in zip(stages.b[0], row, strict=True))
    return (
        "the weights b of the parts are equal: symplectic for every Hamiltonian, separable or not"
        if same
        else "the weights b of the parts differ: symplectic for separable Hamiltonians"
    )


def _of_flows(scheme: Splitting) -> Verdict:
    """A composition is as symplectic as what it is made of."""
    if scheme.substep is None:
        return Verdict(S.true, (Step("a composition of flows; the flow of a Hamiltonian part keeps the form"),))
    verdict = is_symplectic(scheme.substep)
    return Verdict(verdict.value, (Step(f"a composition of steps of {scheme.substep.title}"), *verdict.proof))
