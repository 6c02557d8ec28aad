"""How relations on delay equations are tested: runs of the step, exact solutions stretch by stretch, pairings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import mpmath
from sympy import Expr, Integer, exp

from derive.checks import ResidualCheck
from derive.convergence import DIGITS, OrderCheck, distance, solution
from derive.delay import Delay, DelayODE
from derive.delay_steps import DelayStep
from derive.discretization import discretize
from derive.evaluator import NetworkModel, evaluate
from derive.networks import Network
from derive.operators import Numeric
from derive.program import Program
from derive.sampling import Sampler
from derive.schemes import scheme_by_name
from derive.symbols import Quantity, Role, constant, time
from derive.systems import ODE

STRETCH = mpmath.mpf(1) / 16  # the shortest of the delays; the others are its multiples
SUBSTEPS = 8  # of Taylor polynomials for the exact solution on a stretch
SHOWN = 4  # the highest order that shows over a few numbers of steps
FEW = 2  # steps on a stretch, where two runs are compared
CLOSE = 1e-25
Values = Mapping[Quantity, Numeric]
Record = list[Numeric]  # one value for each unknown


def run(
    made: DelayStep,
    given: Callable[[int], Values],
    initial: Sequence[Numeric],
    history: Callable[[int, int], Record],
    lags: Mapping[Delay, int],
    steps: int,
    networks: Mapping[Network, NetworkModel],
) -> list[Record]:
    """The states from the initial one on, step by step through the evaluator.

    Args:
        made: the step.
        given: number of the step -> everything it reads but values of the unknowns.
        initial: the state at the initial time.
        history: (number of a step before the first, number of a record) -> values of the unknowns there.
        lags: delay -> its number of steps.
        steps: how many.
        networks: stand-ins.
    """
    states: list[Record] = [list(initial)]
    records: list[list[Record]] = []
    for n in range(steps):
        known = {**given(n), **dict(zip(made.old, states[-1], strict=True))}
        for read in made.reads:
            past = n - lags[read.delay]
            values = history(past, read.record) if past < 0 else records[past][read.record]
            known |= dict(zip(read.values, values, strict=True))
        found = evaluate(made.step, {q: known[q] for q in made.step.inputs}, networks)
        records.append([[found[q] for q in made.outputs[place]] for place in made.records])
        states.append([found[q] for q in made.new])
    return states


def sampler_of(system: DelayODE) -> Sampler:
    """Random values of everything that an equation reads, and of its state."""
    return Sampler({*system.quantities, *system.state, *([system.time] if system.time else [])}, system.networks)


def ranks(system: DelayODE) -> dict[Delay, int]:
    """Delay -> how many stretches it has in checks: 1, 2, 3, ..."""
    return {delay: place for place, delay in enumerate(system.delays, 1)}


def stretches(system: DelayODE, count: int) -> tuple[ODE, list[tuple[Quantity, ...]]]:
    """The first stretches of a solution side by side as an ODE of the time since their begin.

    Its history is the initial value times exp(t); the initial time is 0. Returns also the unknowns of each stretch.
    """
    clock, length = system.time or time(), constant("stretch_length")
    unknowns = [tuple(x.renamed(f"{x.name}_stretch{j}") for x in system.state) for j in range(count)]
    begins = {x: x.renamed(f"{x.name}_begin", role=Role.PARAMETER) for x in system.state}
    velocities: list[Expr] = []
    for j, own in enumerate(unknowns):
        table: dict[Any, Expr] = {clock: clock + j * length, **dict(zip(system.state, own, strict=True))}
        for q, (x, delay) in system.delayed.items():
            before = j - ranks(system)[delay]
            place = system.state.index(x)
            table[q] = unknowns[before][place] if before >= 0 else begins[x] * exp(clock + before * length)
        velocities += [velocity.xreplace(table) for velocity in system.velocity]
    return ODE(tuple(y for own in unknowns for y in own), tuple(velocities), clock), unknowns


def plain_values(system: DelayODE, values: Values, state: Sequence[Numeric]) -> dict[Quantity, Numeric]:
    """What the stretches of a system read, with the initial value as the begin of its history."""
    begins = {x.renamed(f"{x.name}_begin", role=Role.PARAMETER): v for x, v in zip(system.state, state, strict=True)}
    return {**values, **begins, constant("stretch_length"): STRETCH}


@cache
def exact_end(system: DelayODE) -> tuple[Sampler, dict[Quantity, Numeric], Record]:
    """A sample, and the exact solution one stretch after the longest delay."""
    sampler = sampler_of(system)
    values = sampler.values()
    initial = [values[x] for x in system.state]
    times = [STRETCH * k / SUBSTEPS for k in range(SUBSTEPS + 1)]
    begins = list(initial)
    for count in range(1, len(system.delays) + 2):
        ode, _ = stretches(system, count)
        known = {**plain_values(system, values, initial), **dict(zip(ode.state, begins, strict=True))}
        *_, last = solution(ode, known, times, sampler)
        begins = [*initial, *(last[y] for y in ode.state)]
    return sampler, values, begins[-len(system.state) :]


def error_of_steps(system: DelayODE, made: DelayStep, count: int) -> Any:
    """Distance of the state after all stretches, with so many steps on each, from the exact one."""
    sampler, values, exact = exact_end(system)
    states = sampled_run(system, made, count, sampler, values)
    with mpmath.workdps(DIGITS):
        return mpmath.sqrt(sum(distance(a, b) ** 2 for a, b in zip(states[-1], exact, strict=True)))


def order_check(system: DelayODE, made: DelayStep) -> OrderCheck | ResidualCheck:
    """That the scheme has its order: it shows where it is low, and is the scheme's own on the stretches in any case."""
    if made.order > SHOWN:
        return side_by_side_check(system, made)
    return OrderCheck(partial(error_of_steps, system, made), Integer(made.order))


def side_by_side_check(system: DelayODE, made: DelayStep) -> ResidualCheck:
    """That a Runge-Kutta step is that of its tableau on the stretches, whose nodes are where the past is read."""
    detail = f"{FEW} steps on each stretch, read at these nodes, against the tableau on all stretches, 60 digits"
    return ResidualCheck(partial(_side_by_side, system, made), made.nodes, detail, CLOSE)


def _side_by_side(system: DelayODE, made: DelayStep, nodes: tuple[Expr, ...]) -> float:
    sampler = sampler_of(system)
    values = sampler.values()
    initial = [values[x] for x in system.state]
    begins, step = list(initial), STRETCH / FEW
    for count in range(1, len(system.delays) + 2):
        ode, _ = stretches(system, count)
        recurrence = discretize(ode, scheme_by_name(system.scheme))
        known = {**plain_values(system, values, initial), **dict(zip(recurrence.old, begins, strict=True))}
        for n in range(FEW):
            given = {**known, **times_at(recurrence.step, n, step)}
            found = evaluate(recurrence.step, {q: given[q] for q in recurrence.step.inputs}, sampler.networks)
            known |= {old: found[new] for old, new in zip(recurrence.old, recurrence.new, strict=True)}
        begins = [*initial, *(known[q] for q in recurrence.old)]
    expected = begins[-len(system.state) :]
    found_states = sampled_run(system, replace(made, nodes=nodes), FEW, sampler, values)[-1]
    gaps = (distance(a, b) / (distance(b, 0 * b) + 1) for a, b in zip(found_states, expected, strict=True))
    return float(max(gaps))


def times_at(step: Program, n: int, size: Any) -> dict[Quantity, Any]:
    """The size of a step and its time, as far as its program reads them."""
    sizes = {q: size for q in step.inputs if q.role is Role.STEP_SIZE}
    return {**sizes, **{q: n * size for q in step.inputs if q.role is Role.TIME}}


def sampled_run(
    system: DelayODE,
    made: DelayStep,
    count: int,
    sampler: Sampler,
    values: Values,
    nudge: Values | None = None,
) -> list[Record]:
    """The states up to one stretch after the longest delay; the history is exp(t) times the initial value.

    Args:
        system: the equation.
        made: its step.
        count: steps on a stretch.
        sampler: for stand-ins.
        values: everything that is read, the initial value among it.
        nudge: added to the initial value.
    """
    step = STRETCH / count
    initial = [values[x] + (nudge[x] if nudge else 0) for x in system.state]

    def history(n: int, record: int) -> Record:
        return [mpmath.exp((n + mpmath.mpf(str(made.nodes[record].evalf(DIGITS)))) * step) * x for x in initial]

    def given(n: int) -> Values:
        return {**values, **times_at(made.step, n, step)}

    lags = {delay: rank * count for delay, rank in ranks(system).items()}
    steps = (len(system.delays) + 1) * count
    return run(made, given, initial, history, lags, steps, sampler.networks)
