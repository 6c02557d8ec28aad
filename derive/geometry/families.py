"""For which values of its symbols a scheme is symplectic or symmetric.

A verdict on the tableau itself holds for generic values; special ones may make stages equal or superfluous. So single
trees leave a few values first, and each of them is judged as a scheme of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from sympy import Eq, false, true
from sympy.logic.boolalg import Boolean, Or

from derive.geometry.symmetry import adjoint_method, is_symmetric
from derive.geometry.symplectic import alternates, is_symplectic
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.schemes.substitution import with_values
from derive.series.bseries import BSeries, adjoint, difference
from derive.series.conditions import all_vanish
from derive.series.domains import Arithmetic, Element, arithmetic_of, exact
from derive.series.one_step import step_series
from derive.series.trees import Tree, tree, trees
from derive.verdict import Verdict

# A family of which trees this large leave every value has so high an order that its generic verdict stands.
_LARGEST_TREES = 8

TreeResiduals = Callable[[BSeries, int], Iterator[Element]]


def symplectic_condition(scheme: Scheme) -> Boolean | None:
    """Values of the symbols for which a scheme is symplectic, as `is_symplectic`; of several, necessary equations."""
    plain = is_symplectic(scheme).value
    if plain is None or isinstance(scheme, LinearMultistep):
        return plain
    if isinstance(scheme, Splitting):
        return plain if scheme.substep is None else symplectic_condition(scheme.substep)
    return _condition(scheme, plain, is_symplectic, _symplectic_residuals)


def symmetric_condition(scheme: Scheme) -> Boolean:
    """Values of the symbols for which a scheme is symmetric, as `is_symmetric`; of several, necessary equations."""
    plain = is_symmetric(scheme).value
    if isinstance(scheme, LinearMultistep):
        return plain if plain == true else _palindromic(scheme)
    return _condition(scheme, plain, is_symmetric, _symmetric_residuals)


def _condition(
    scheme: ButcherTableau | AdditiveTableau | Splitting,
    plain: Boolean,
    verdict: Callable[[Scheme], Verdict],
    residuals: TreeResiduals,
) -> Boolean:
    series = step_series(scheme)
    symbols = series.arithmetic.symbols
    if plain != false or not symbols:
        return plain
    sizes = (all_vanish(series.arithmetic, residuals(series, size)) for size in range(1, _LARGEST_TREES + 1))
    necessary = next((found for found in sizes if found != true), false)
    if necessary == false or len(symbols) > 1:
        return necessary
    values = [equation.rhs for equation in Or.make_args(necessary)]
    proved = [value for value in values if verdict(with_values(scheme, {symbols[0]: value})).value == true]
    return Or(*(Eq(symbols[0], value) for value in proved))


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
