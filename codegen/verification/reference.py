"""The reference: a recurrence run sample by sample through the evaluator, and the exact solution of its ODE."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sympy import Expr

from derive.evaluator import Values, evaluate, value_of
from derive.networks import Network
from derive.operators import Numeric
from derive.past_values import Memory
from derive.program import Program
from derive.recurrence import Recurrence
from derive.sampling import TanhNetwork
from derive.symbols import Quantity
from derive.systems import ODE

Vector = Any  # a NumPy array of all unknowns
EXTRAPOLATIONS = 8  # even sequences 2, 4, ..., 16: an error of order 16 in the big step
BIG_STEPS = 4


def run_recurrence(
    recurrence: Recurrence,
    start: Program | None,
    initial: Sequence[Numeric],
    given: Sequence[Values],
    networks: Mapping[Network, TanhNetwork],
    before: Mapping[Quantity, Sequence[Numeric]] = {},
) -> list[dict[Quantity, Numeric]]:
    """All quantities of every step.

    Args:
        recurrence: the step; its first ones are made by `start` where it holds several past values.
        start: see above.
        initial: values of the state before the first step; of the newest part alone where there is a start, which does
            not read the others.
        given: what each step reads besides the state.
        networks: stand-ins for opaque networks.
        before: of each state or input that is read several steps later, the values before the first step, newest first.
    """
    state = dict(zip(recurrence.old, itertools.cycle(initial), strict=False))
    memories = {
        source: Memory(kept, [value for value in recurrence.past if value.source == source])
        for source, kept in before.items()
    }
    steps = []
    for n, values in enumerate(given):
        program = recurrence.step if start is None or n >= recurrence.lags - 1 else start
        for source in [q for q in memories if q in recurrence.inputs]:
            memories[source].append(values[source])
        past = {value: number for memory in memories.values() for value, number in memory.known().items()}
        known = evaluate(program, {**values, **state, **past}, networks)
        after = recurrence.new if program is recurrence.step else program.outputs
        state = {old: known[new] for old, new in zip(recurrence.old, after, strict=True)}
        for source in [q for q in memories if q in state]:
            memories[source].append(state[source])
        steps.append({**values, **known, **state})
    return steps


def velocity(
    ode: ODE, speed: Expr | float, values_at: Callable[[Any], Values], networks: Mapping[Network, TanhNetwork]
) -> Callable[[Any, Vector], Vector]:
    """The right-hand side `speed * f` of the equation that a scheme is consistent with, on vectors of all unknowns."""

    def field(t: Any, y: Vector) -> Vector:
        known = {**values_at(t), **split(ode.state, y)}
        if ode.time is not None:
            known[ode.time] = t
        parts = [
            np.ravel(value_of(part, known, networks) + 0 * known[x])
            for x, part in zip(ode.state, ode.velocity, strict=True)
        ]
        return speed * np.concatenate(parts)

    return field


def split(unknowns: Sequence[Quantity], y: Vector) -> dict[Quantity, Numeric]:
    """Unknowns from the vector of all of them: one vector, several scalars, or several vectors of one length."""
    if len(unknowns) == 1:
        return {unknowns[0]: y if unknowns[0].shape else y[0]}
    parts = np.split(np.asarray(y), len(unknowns)) if unknowns[0].shape else y
    return dict(zip(unknowns, parts, strict=True))


def solve(field: Callable[[Any, Vector], Vector], t0: Any, t1: Any, y: Vector, big_steps: int = BIG_STEPS) -> Vector:
    """Solution of y' = field(t, y) at t1 by extrapolation of the midpoint rule, in the arithmetic of its arguments."""
    big = (t1 - t0) / big_steps
    for n in range(big_steps):
        y = _extrapolated(field, t0 + n * big, big, y)
    return y


def _extrapolated(field: Callable[[Any, Vector], Vector], t: Any, big: Any, y: Vector) -> Vector:
    table: list[Vector] = []
    for row in range(EXTRAPOLATIONS):
        entry = _midpoints(field, t, big, y, 2 * (row + 1))
        fresh = [entry]
        for column in range(row):
            ratio = ((row + 1) ** 2) / ((row - column) ** 2 * (big / big))
            fresh.append(fresh[column] + (fresh[column] - table[column]) / (ratio - 1))
        table = fresh
    return table[-1]


def _midpoints(field: Callable[[Any, Vector], Vector], t: Any, big: Any, y: Vector, count: int) -> Vector:
    """Gragg's smoothed midpoint rule: its error has even powers of the step only."""
    h = big / count
    before, now = y, y + h * field(t, y)
    for place in range(1, count):
        before, now = now, before + 2 * h * field(t + place * h, now)
    return (before + now + h * field(t + big, now)) / 2
