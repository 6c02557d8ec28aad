"""Steps that read past values: the derived rules, and what a loop over steps makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.steps import Cotangents, Rules, Shared, State


class DelayRules(NamedTuple):
    """The derived equations of one step, with past values as inputs.

    step(field, (values, past values), local, shared) -> outputs
    adjoint(linearize, (values, past values), local, shared, bar_outputs) -> (bars of both, bar_local, bar_shared)
    streams: how many tensors hold one value of the state; past values and outputs come in groups of as many.
    reads: (number of the delay, number of the record) of each group of past values.
    records: which group of the outputs is each of the records that a step keeps.
    nodes: times of the records, in steps after the begin of theirs.
    local: how many per-step parameters the step reads.
    """

    step: Callable[..., State]
    adjoint: Callable[..., Cotangents]
    streams: int
    reads: tuple[tuple[int, int], ...]
    records: tuple[int, ...]
    nodes: tuple[float, ...]
    local: int


class DelayedSteps:
    """Rules of a state that carries the records of as many steps as the longest delay has, newest first.

    The first state is made inside the first step: from a history, which comes after the per-step parameters, or from
    the initial value, which the state then had all along.
    """

    def __init__(self, rules: DelayRules, lags: Sequence[int]) -> None:
        self.rules, self.depth = rules, max(lags)
        self.kept = len(rules.records) * rules.streams  # tensors of one step
        self.reads = [(lags[delay], record) for delay, record in rules.reads]  # how long ago, which of the records
        self.places = [self._place(lag, record) for lag, record in self.reads]

    def _place(self, lag: int, record: int) -> int:
        """Where the record of so many steps ago stands in the state."""
        return self.rules.streams + (lag - 1) * self.kept + record * self.rules.streams

    @property
    def width(self) -> int:
        """Values of every stream in a state."""
        return 1 + self.depth * len(self.rules.records)

    def as_rules(self) -> Rules:
        """Rules for the loop over steps."""
        first = Rules(step=self.first_step, adjoint=self.first_adjoint)
        return Rules(step=self.step, adjoint=self.adjoint, start=(first,), streams=self.rules.streams, width=self.width)

    def points(self, state: State) -> State:
        """What the derived step reads: the values, and the past ones."""
        streams = self.rules.streams
        return (*state[:streams], *(x for place in self.places for x in state[place : place + streams]))

    def group(self, values: Sequence[Any], place: int) -> tuple[Any, ...]:
        """One group of a flat sequence of groups."""
        streams = self.rules.streams
        return tuple(values[place * streams : (place + 1) * streams])

    def step(self, field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        """The new values, this step's records, and the older ones."""
        streams = self.rules.streams
        found = self.rules.step(field, self.points(state), local[: self.rules.local], shared)
        records = (x for record in self.rules.records for x in self.group(found, record))
        return (*found[:streams], *records, *state[streams : len(state) - self.kept])

    def adjoint(
        self, linearize: Any, state: State, local: tuple[Tensor, ...], shared: Shared, bar_new: State
    ) -> Cotangents:
        """What a past value is sent goes to the record that it was read from."""
        rules, streams = self.rules, self.rules.streams
        given = self.of_outputs(bar_new)
        found, bar_local, bar_shared = rules.adjoint(linearize, self.points(state), local[: rules.local], shared, given)
        bar_state: list[Tensor | None] = [*found[:streams], *bar_new[streams + self.kept :], *[None] * self.kept]
        for group, place in enumerate(self.places, 1):
            for stream, bar in enumerate(self.group(found, group)):
                bar_state[place + stream] = both_of(bar_state[place + stream], bar)
        return tuple(bar_state), (*bar_local, *(None for _ in local[rules.local :])), bar_shared

    def of_outputs(self, bars: Sequence[Tensor]) -> State:
        """Cotangents of the outputs of a step from those of the new values and of its records, in groups."""
        found: list[list[Tensor | None]] = [[None] * self.rules.streams for _ in range(1 + max(self.rules.records))]
        found[0] = list(self.group(bars, 0))
        for place, record in enumerate(self.rules.records, 1):
            found[record] = list(map(both_of, found[record], self.group(bars, place)))
        return tuple(bar for group in found for bar in group if bar is not None)

    def first_step(self, field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        """The step from the initial value and what was before."""
        return self.step(field, self.begin(state, local), local, shared)

    def begin(self, state: State, local: tuple[Tensor, ...]) -> State:
        """The first state: the initial value, then records from the newest to the oldest."""
        x, history = state[: self.rules.streams], local[self.rules.local :]
        if not history:
            return x * self.width
        rows = [past.unflatten(0, (self.depth, len(self.rules.nodes))).unbind(0) for past in history]
        ordered = [[row.unbind(0) for row in reversed(stream)] for stream in rows]
        records = (
            stream[lag][record]
            for lag in range(self.depth)
            for record in range(len(self.rules.nodes))
            for stream in ordered
        )
        return (*x, *records)

    def first_adjoint(
        self, linearize: Any, state: State, local: tuple[Tensor, ...], shared: Shared, bar_new: State
    ) -> Cotangents:
        """What the records are sent belongs to the history, or to the initial value."""
        begin, streams = self.begin(state, local), self.rules.streams
        bars, bar_local, bar_shared = self.adjoint(linearize, begin, local, shared, bar_new)
        first, history = self.of_begin(bars, begin[:streams], given=len(local) > self.rules.local)
        return (*first, *[None] * (len(state) - streams)), (*bar_local[: self.rules.local], *history), bar_shared

    def of_begin(self, bars: Sequence[Tensor | None], like: State, given: bool) -> tuple[tuple[Any, ...], State]:
        """Cotangents of the initial values and of the history, where it is given, from those of the first state."""
        groups = [self.group(bars, place) for place in range(len(bars) // self.rules.streams)]
        if not given:
            return tuple(reduce(both_of, column) for column in zip(*groups, strict=True)), ()
        nodes = len(self.rules.nodes)
        steps = [groups[1 + lag * nodes : 1 + (lag + 1) * nodes] for lag in reversed(range(self.depth))]
        times = [filled(group, like) for records in steps for group in records]
        return groups[0], tuple(torch.stack(column) for column in zip(*times, strict=True))


def filled(bars: Sequence[Tensor | None], like: State) -> State:
    """Cotangents in groups of the streams, with zeros for those that nothing has sent."""
    count = len(like)
    return tuple(torch.zeros_like(like[n % count]) if bar is None else bar for n, bar in enumerate(bars))


def both_of(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """A sum of cotangents of which either may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
