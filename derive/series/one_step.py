"""The B-series of one-step schemes: of tableaus, and of compositions of the flows of a splitting."""

from __future__ import annotations

from functools import partial, reduce

from derive.errors import UnsupportedError
from derive.schemes import AdditiveTableau, ButcherTableau, Splitting
from derive.series.bseries import BSeries, compose, exact_flow, rescaled
from derive.series.domains import Arithmetic, Element, arithmetic_of, exact
from derive.series.trees import Tree
from derive.series.weights import Stages

OneStep = ButcherTableau | AdditiveTableau | Splitting


def step_series(scheme: OneStep) -> BSeries:
    """The B-series of one step of size h.

    Raises:
        UnsupportedError: the scheme is no one-step scheme.
    """
    if isinstance(scheme, ButcherTableau | AdditiveTableau):
        return Stages(scheme).series()
    if isinstance(scheme, Splitting):
        return _splitting_series(scheme)
    raise UnsupportedError(
        f"{getattr(scheme, 'title', scheme)}: B-series of one step are for Runge-Kutta, partitioned, additive and "
        "splitting schemes; give a ButcherTableau, an AdditiveTableau or a Splitting"
    )


def _splitting_series(scheme: Splitting) -> BSeries:
    """Flows of single parts, or what a tableau puts in their place, one after the other."""
    substep = scheme.substep
    entries = [fraction for _, fraction in scheme.stages]
    if substep is not None:
        entries += [entry for row in (*substep.A, substep.b) for entry in row]
    arithmetic = arithmetic_of(map(exact, entries), None if substep is None else substep.digits)
    alone = exact_flow(arithmetic, 1) if substep is None else Stages(substep).series()
    flows = [
        rescaled(BSeries(arithmetic, scheme.parts, partial(_of_part, alone, arithmetic, part)), arithmetic.element(c))
        for part, c in scheme.stages
    ]
    return reduce(compose, flows)


def _of_part(alone: BSeries, arithmetic: Arithmetic, part: int, tau: Tree) -> Element:
    """The coefficient of a one-coloured series whose field is one part of several."""
    own = _uncoloured(tau, part)
    if own is None:
        return arithmetic.domain.zero
    return arithmetic.element(alone.arithmetic.expression(alone(own)))


def _uncoloured(tau: Tree, part: int) -> Tree | None:
    """The tree with colour 0 in the place of `part`; None where it has other colours."""
    branches = [_uncoloured(branch, part) for branch in tau.branches]
    kept = tuple(branch for branch in branches if branch is not None)
    return Tree(tau.order, 0, kept) if tau.colour == part and len(kept) == len(branches) else None
