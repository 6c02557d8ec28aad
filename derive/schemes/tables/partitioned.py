r"""Symplectic schemes of $\dot x = f(y)$, $\dot y = g(x)$ that alternate drifts of x and kicks of y.

Drifts and kicks are the flows of the two parts. In place of a drift by the fraction a followed by a kick by a stands
symplectic Euler, in place of a kick followed by a drift its adjoint: for a field of the form above that is the same
map, and for every other field in two parts a scheme of the same order (McLachlan 1995; Hairer, Lubich, Wanner,
Geometric Numerical Integration, theorem II.5.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from sympy import Expr, Integer, Rational, expand

from derive.schemes.additive import AdditiveTableau
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.tables.splittings import STRANG, composed, triple_jump

R = Rational


def drift_kick(drifts: Sequence[Any], kicks: Sequence[Any], order: int, title: str) -> AdditiveTableau:
    r"""The scheme that alternates drifts and kicks, drift first.

    Symplectic Euler and its adjoint take turns with fractions $\alpha_1, \beta_1, \alpha_2, \ldots$ of h, so that the
    drifts are $\beta_{i-1} + \alpha_i$ and the kicks $\alpha_i + \beta_i$. Each has one stage, between drift and kick.

    Args:
        drifts: fractions of h by which x moves.
        kicks: fractions of h by which y moves, as many or one less.
        order: the order it claims.
        title: its name.

    Returns:
        Two tableaus, of the part that drives x and of the part that drives y.
    """
    fractions: list[Expr] = []
    carried: Expr = Integer(0)
    for drift, kick in zip_longest(drifts, kicks, fillvalue=Integer(0)):
        fractions += [expand(drift - carried), expand(kick - drift + carried)]
        carried = fractions[-1]
    used = [(fraction, place % 2) for place, fraction in enumerate(fractions) if fraction != 0]
    return AdditiveTableau((_part(0, used), _part(1, used)), order=order, title=title)


def _part(moved_first: int, used: Sequence[tuple[Expr, int]]) -> ButcherTableau:
    """The tableau of a part: its unknown has moved before the stage where the stage's scheme moves it first."""
    weights = [fraction for fraction, _ in used]
    rows = [[*weights[: i + (first == moved_first)]] for i, (_, first) in enumerate(used)]
    return ButcherTableau(
        A=[[*row, *[0] * (len(used) - len(row))] for row in rows],
        b=weights,
        c=[expand(sum(row)) for row in rows],
        title="drifts" if moved_first == 0 else "kicks",
    )


symplectic_euler = partial(drift_kick, (1,), (1,), order=1, title="symplectic Euler")
stormer_verlet = partial(drift_kick, (0, 1), (R(1, 2), R(1, 2)), order=2, title="Störmer-Verlet")
ruth3 = partial(drift_kick, (1, R(-2, 3), R(2, 3)), (R(-1, 24), R(3, 4), R(7, 24)), order=3, title="Ruth, order 3")


def ruth4() -> AdditiveTableau:
    """Forest and Ruth 1990: the triple jump of drift, kick, drift."""
    stages = composed(STRANG, triple_jump())
    drifts, kicks = ([fraction for part, fraction in stages if part == moved] for moved in (0, 1))
    return drift_kick(drifts, kicks, order=4, title="Forest-Ruth, order 4")
