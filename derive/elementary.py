"""Elementary differentials of a concrete field, and its flow as a power series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial
from typing import Any

from sympy import Expr, Integer

from derive.evaluator import value_of
from derive.linearization import pushforward
from derive.operators import Numeric
from derive.power_series import flow
from derive.sampling import Sampler
from derive.series.trees import Tree, density, symmetry, trees
from derive.symbols import Quantity, Role
from derive.systems import ODE

Fields = Sequence[tuple[Expr, ...]]


def elementary_differential(ode: ODE, tau: Tree, fields: Fields = ()) -> tuple[Expr, ...]:
    """F(tau) of a field, one expression per unknown; a time argument counts as an unknown of velocity 1.

    The branches are put in as placeholders, so that only the field is differentiated and never a direction.

    Args:
        ode: the unknowns, the time, and the field of trees of one colour.
        tau: the tree.
        fields: right-hand sides of every unknown for each colour; each sees the time move with its own steps.
    """
    branches = [elementary_differential(ode, branch, fields) for branch in tau.branches]
    holders: dict[Quantity, Expr] = {}
    values = (fields or (ode.velocity,))[tau.colour]
    for place, (branch, direction) in enumerate(zip(tau.branches, branches, strict=True)):
        tangents: dict[Quantity, Expr] = {}
        for unknown, part in zip(ode.state, direction, strict=True):
            if part == 0:
                continue
            holder = Quantity(f"branch{place}_{unknown.name}", unknown.shape, Role.TANGENT)
            holders[holder] = part
            tangents[unknown] = holder
        if ode.time is not None and not branch.branches and branch.colour == tau.colour:
            tangents[ode.time] = Integer(1)
        values = tuple(pushforward(value, tangents) for value in values)
    return tuple(value.xreplace(holders) for value in values)


def derivative_along_flow(ode: ODE, order: int) -> tuple[Expr, ...]:
    """x^(order) along solutions: the sum of order!/(gamma sigma) F(tau) over the trees with that many vertices."""
    total = [Integer(0) for _ in ode.state]
    for tau in trees(order):
        total = [t + labellings(tau) * part for t, part in zip(total, elementary_differential(ode, tau), strict=True)]
    return tuple(total)


def labellings(tau: Tree) -> Integer:
    """|tau|!/(gamma sigma): how often F(tau) occurs in the derivative of that order along solutions."""
    return Integer(factorial(tau.order) // (density(tau) * symmetry(tau)))


def taylor(
    ode: ODE,
    velocity: tuple[Expr, ...],
    values: Mapping[Quantity, Numeric],
    sampler: Sampler,
    order: int,
) -> list[list[Any]]:
    """Taylor coefficients of the solution of `state' = velocity` through the sampled state, per unknown."""

    def field(clock: Any, point: list[Any]) -> list[Any]:
        known = {**values, **dict(zip(ode.state, point, strict=True))}
        if ode.time is not None:
            known[ode.time] = clock
        return [value_of(part, known, sampler.networks) for part in velocity]

    start = [values[unknown] for unknown in ode.state]
    clock = values[ode.time] if ode.time is not None else 0 * _entry(start[0])
    return flow(field, clock, start, order)


def _entry(value: Numeric) -> Any:
    return value.ravel()[0] if hasattr(value, "ravel") else value
