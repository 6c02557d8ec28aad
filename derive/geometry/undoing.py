r"""The inverse of a step, found by solving it for the old state, with the condition under which that is possible.

$x_n = x_{n+1} - h \sum_j b_j K_j$ with stages $X_i = x_{n+1} + h \sum_j (a_{ij} - b_j) K_j$: the adjoint
method with -h.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Abs, Expr, Integer, Max

from derive.geometry.reduction import reduced
from derive.schemes import ButcherTableau
from derive.series.weights import Stages


@dataclass(frozen=True)
class Undoing:
    """How a one-step scheme is undone.

    Attributes:
        tableau: of the inverse, a step of size -h; stages in an order in which it is explicit, where there is one.
        explicit: whether it needs no solve.
        bound: the fixed-point iteration for its stages converges if h Lip(f) * bound < 1; 0 where it is explicit.
    """

    tableau: ButcherTableau
    explicit: bool
    bound: Expr


def undoing(scheme: ButcherTableau) -> Undoing:
    """The inverse of a Runge-Kutta step."""
    stages = Stages(reduced(scheme))
    (A,), (b,) = stages.A, stages.b
    count = range(stages.count)
    matrix = [[b[j] - A[i][j] for j in count] for i in count]
    order = _explicit_order([[not stages.vanishes(entry) for entry in row] for row in matrix])
    places = list(count) if order is None else order
    show = stages.arithmetic.expression
    rows = [[show(matrix[i][j]) for j in places] for i in places]
    tableau = ButcherTableau(
        A=rows,
        b=[show(b[j]) for j in places],
        c=[sum(row) for row in rows],
        digits=scheme.digits,
        title=f"inverse of {scheme.title}, step -h",
    )
    sums = [sum((Abs(entry) for entry in row), Integer(0)) for row in rows]
    return Undoing(tableau, order is not None, Integer(0) if order is not None else Max(*sums))


def _explicit_order(reads: list[list[bool]]) -> list[int] | None:
    """An order in which every stage reads earlier ones only."""
    order: list[int] = []
    rest = list(range(len(reads)))
    while rest:
        ready = [i for i in rest if not any(reads[i][j] for j in rest)]
        if not ready:
            return None
        order += ready
        rest = [i for i in rest if i not in ready]
    return order
