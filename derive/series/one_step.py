"""The B-series of one-step schemes: of tableaus, and of compositions of the flows of a splitting."""

from __future__ import annotations

from functools import partial, reduce

from sympy import Expr, Rational, S, expand

from derive.errors import UnsupportedError
from derive.schemes import AdditiveTableau, ButcherTableau, Splitting
from derive.series.bseries import BSeries, compose, rescaled
from derive.series.domains import Arithmetic, Element, arithmetic_of, exact
from derive.series.trees import Tree, density
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
        return _exact_splitting(scheme) if scheme.substep is None else Stages(additive_tableau(scheme)).series()
    raise UnsupportedError(
        f"{getattr(scheme, 'title', scheme)}: B-series of one step are for Runge-Kutta, partitioned, additive and "
        "splitting schemes; give a ButcherTableau, an AdditiveTableau or a Splitting"
    )


def additive_tableau(scheme: Splitting) -> AdditiveTableau:
    """The additive scheme that a splitting becomes when a tableau stands for each flow.

    Raises:
        UnsupportedError: the flows are exact.
    """
    substep = scheme.substep
    if substep is None:
        raise UnsupportedError(f"{scheme.title}: exact flows have no tableau; give Splitting(..., substep=...)")
    before: dict[int, list[Expr]] = {part: [] for part in range(scheme.parts)}
    rows: dict[int, list[list[Expr]]] = {part: [] for part in before}
    total = substep.stages * len(scheme.stages)
    for own, fraction in scheme.stages:
        for row in substep.A:
            for part, weights in before.items():
                inner = [fraction * entry if part == own else S.Zero for entry in row]
                rows[part].append([*weights, *inner, *[S.Zero] * (total - len(weights) - len(inner))])
        for part, weights in before.items():
            weights.extend(fraction * weight if part == own else S.Zero for weight in substep.b)
    parts = [
        ButcherTableau(A=rows[part], b=weights, c=[expand(sum(row)) for row in rows[part]])
        for part, weights in before.items()
    ]
    return AdditiveTableau(parts, digits=substep.digits, title=scheme.title)


def _exact_splitting(scheme: Splitting) -> BSeries:
    """The exact flows of single parts, one after the other."""
    arithmetic = arithmetic_of(exact(fraction) for _, fraction in scheme.stages)
    flows = [
        rescaled(
            BSeries(arithmetic, scheme.parts, partial(_flow_of_part, arithmetic, part)), arithmetic.element(exact(time))
        )
        for part, time in scheme.stages
    ]
    return reduce(compose, flows)


def _flow_of_part(arithmetic: Arithmetic, part: int, tau: Tree) -> Element:
    """1/gamma on trees of one colour."""
    return arithmetic.rational(Rational(1, density(tau))) if _is_of(tau, part) else arithmetic.domain.zero


def _is_of(tau: Tree, part: int) -> bool:
    return tau.colour == part and all(_is_of(branch, part) for branch in tau.branches)
