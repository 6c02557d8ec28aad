r"""The modified Hamiltonian of a symplectic scheme: the energy that its steps do keep.

The modified field of a symplectic scheme obeys $b(u \circ v) + b(v \circ u) = 0$: it is the same, up to sign, on all
trees that differ in their root only, and is the field of $\tilde H = \sum \frac{h^{|\tau|-1}}{\alpha(\tau)} b(\tau)
H(\tau)$, one rooting for each free tree, $\alpha$ the number of its automorphisms as a free tree, with the elementary
Hamiltonians $H([\tau_1 \dots \tau_m]) = H^{(m)}(F(\tau_1), \dots, F(\tau_m))$ (Hairer, Lubich, Wanner, Geometric
Numerical Integration, IX.9.2 and IX.10.2). Of a partitioned scheme for H = T(y) + U(x) the root belongs to the
potential whose gradient its colour is.
"""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, S

from derive.errors import UnsupportedError
from derive.geometry.symplectic import alternates, is_symplectic
from derive.series.differentials import DifferentialTable
from derive.series.notation import differential, letter
from derive.series.one_step import OneStep
from derive.series.rk import OneStepVerdicts
from derive.series.trees import Tree, tree, trees

POTENTIALS = ("T", "U")


def modified_hamiltonian(scheme: OneStep, order: int) -> dict[int, dict[str, Expr]]:
    """Power of h -> {elementary Hamiltonian such as `H''(f,f)`: coefficient}, up to h^order.

    Of two parts they are of H = T + U with x' = f = dT/dy, y' = g = -dU/dx, and only those of a separable field.

    Raises:
        UnsupportedError: the scheme is not symplectic, or has more than two parts.
    """
    trees_of = modified_trees(scheme, order)
    colours = OneStepVerdicts(scheme).series.colours
    return {
        power: {_elementary(tau, colours): value for tau, value in terms.items()} for power, terms in trees_of.items()
    }


def modified_trees(scheme: OneStep, order: int) -> dict[int, dict[Tree, Expr]]:
    """The same by trees, one rooting for each free tree.

    Raises:
        UnsupportedError: as for `modified_hamiltonian`.
    """
    if is_symplectic(scheme).value != S.true:
        raise UnsupportedError(f"{scheme.title} is not symplectic: no modified Hamiltonian; see modified_equation")
    verdicts = OneStepVerdicts(scheme)
    colours = verdicts.series.colours
    if colours > len(POTENTIALS):
        raise UnsupportedError(f"{scheme.title} has {colours} parts; modified Hamiltonians are for one or two")
    return {power: _of_power(table, power + 1, colours) for power, table in verdicts.modified_equation(order).items()}


def _of_power(table: DifferentialTable, size: int, colours: int) -> dict[Tree, Expr]:
    """The table has b/sigma; a free tree has as many more automorphisms as vertices at which it is rooted alike."""
    terms = {tau: table[tau] / rootings(tau).count(tau) for tau in representatives(size, colours)}
    return {tau: value for tau, value in terms.items() if value != 0}


def representatives(size: int, colours: int) -> Iterator[Tree]:
    """One rooting of each free tree whose elementary Hamiltonian does not vanish: where most branches meet."""
    for tau in trees(size, colours):
        if (colours == 1 or alternates(tau)) and tau == max(rootings(tau), key=_width) and not _vanishes(tau):
            yield tau


def _width(tau: Tree) -> tuple[int, Tree]:
    return len(tau.branches), tau


def rootings(tau: Tree) -> list[Tree]:
    """The tree with every vertex as the root in turn."""
    return [tau, *(moved for rest, branch in _edges_at_root(tau) for moved in _rootings_below(branch, rest))]


def _rootings_below(tau: Tree, above: Tree) -> list[Tree]:
    """The same for the vertices of a branch; the rest of the tree hangs on it."""
    found = [tree(*tau.branches, above, colour=tau.colour)]
    for rest, branch in _edges_at_root(tau):
        found += _rootings_below(branch, tree(*rest.branches, above, colour=rest.colour))
    return found


def _vanishes(tau: Tree) -> bool:
    """Two equal halves joined by an edge: H(tau) is the symplectic form of a vector with itself."""
    return any(rest == branch for rooted in rootings(tau) for rest, branch in _edges_at_root(rooted))


def _edges_at_root(tau: Tree) -> Iterator[tuple[Tree, Tree]]:
    """(what keeps the root, what hangs below), for each edge at the root."""
    for place, branch in enumerate(tau.branches):
        yield tree(*tau.branches[:place], *tau.branches[place + 1 :], colour=tau.colour), branch


def _elementary(tau: Tree, colours: int) -> str:
    """The differential of the root's potential along the branches, as H''(f,f) and T'g."""
    potential = "H" if colours == 1 else POTENTIALS[tau.colour]
    return potential + differential(tau).removeprefix(letter(tau.colour))
