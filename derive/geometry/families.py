"""For which values of its symbols a scheme is symplectic or symmetric.

A verdict on the tableau itself holds for generic values; special ones may make stages equal or superfluous. So trees
leave a few cases first, and each of them is judged as a scheme of its own (`members`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from sympy import Expr, false, true
from sympy.logic.boolalg import Boolean

from derive.geometry.members import Family, Property, members
from derive.geometry.reduction import reduced
from derive.geometry.symmetry import adjoint_method, is_symmetric
from derive.geometry.symplectic import alternates, defects, is_symplectic
from derive.schemes import ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.schemes.substitution import entries
from derive.series.bseries import BSeries, adjoint, difference
from derive.series.conditions import all_vanish
from derive.series.domains import Arithmetic, Element, arithmetic_of, exact
from derive.series.trees import Tree, tree, trees
from derive.series.weights import Stages


def symplectic_condition(scheme: Scheme) -> Boolean | None:
    """Values of the symbols for which a scheme is symplectic, as `is_symplectic`.

    Raises:
        UnsupportedError: necessary equations are known, but not whether they suffice.
    """
    if isinstance(scheme, LinearMultistep):
        return is_symplectic(scheme).value
    if isinstance(scheme, Splitting):
        return is_symplectic(scheme).value if scheme.substep is None else symplectic_condition(scheme.substep)
    return false if _is_polynomial(scheme) else members(scheme, SYMPLECTIC)


def symmetric_condition(scheme: Scheme) -> Boolean:
    """Values of the symbols for which a scheme is symmetric, as `is_symmetric`.

    Raises:
        UnsupportedError: as for `symplectic_condition`.
    """
    if isinstance(scheme, LinearMultistep):
        return true if is_symmetric(scheme).value == true else _palindromic(scheme)
    return false if _is_polynomial(scheme) else members(scheme, SYMMETRIC)


def _is_polynomial(scheme: Scheme) -> bool:
    """Whether R is a polynomial of degree one or more: R(z) R(-z) = 1, which both properties imply, fails then."""
    return isinstance(scheme, ButcherTableau) and scheme.explicit


def _symplectic_residuals(series: BSeries, size: int) -> Iterator[Element]:
    """a(u o v) + a(v o u) - a(u) a(v) for trees of `size` vertices together."""
    for first in range(1, size):
        for u, v in product(trees(first, series.colours), trees(size - first, series.colours)):
            if series.colours == 1 or (u.colour != v.colour and alternates(u) and alternates(v)):
                yield series(_grafted(u, v)) + series(_grafted(v, u)) - series(u) * series(v)


def _grafted(u: Tree, v: Tree) -> Tree:
    return tree(*u.branches, v, colour=u.colour)


def _symmetric_residuals(series: BSeries, size: int) -> Iterator[Element]:
    """The adjoint minus the scheme."""
    gap = difference(adjoint(series), series)
    return (gap(tau) for tau in trees(size, series.colours))


def _palindromic(scheme: LinearMultistep) -> Boolean:
    """The weights of a multistep scheme equal to those of its adjoint."""
    mirrored = adjoint_method(scheme)
    if not isinstance(mirrored, LinearMultistep):
        return false
    own, other = ([exact(weight) for weight in (*s.alpha, *s.beta)] for s in (scheme, mirrored))
    arithmetic: Arithmetic = arithmetic_of([*own, *other])
    gaps = (arithmetic.element(a) - arithmetic.element(b) for a, b in zip(own, other, strict=True))
    return all_vanish(arithmetic, gaps)


def _quadratic_defects(scheme: Family) -> Sequence[Expr]:
    """b_i a_ij + b_j a_ji - b_i b_j, of the irreducible tableau."""
    if isinstance(scheme, Splitting):
        return ()
    stages = Stages(reduced(scheme))
    return [stages.arithmetic.expression(defect) for defect in defects(stages)]


def _mirrored_defects(scheme: Family) -> Sequence[Expr]:
    """A tableau minus that of its adjoint, stage by stage."""
    if isinstance(scheme, Splitting):
        return ()
    own, other = (entries(one) for one in (scheme, adjoint_method(scheme)))
    return [a - b for a, b in zip(own, other, strict=True)]


SYMPLECTIC = Property("symplectic", is_symplectic, _symplectic_residuals, _quadratic_defects)
SYMMETRIC = Property("symmetric", is_symmetric, _symmetric_residuals, _mirrored_defects)
