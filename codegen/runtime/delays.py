"""A loop over steps of a delay equation: past values are those that the steps computed, or the history before t0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.step_net import StepLoop
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
        self.places = [self._place(lags[delay], record) for delay, record in rules.reads]

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

    def _points(self, state: State) -> State:
        streams = self.rules.streams
        return (*state[:streams], *(x for place in self.places for x in state[place : place + streams]))

    def _group(self, values: Sequence[Any], place: int) -> tuple[Any, ...]:
        streams = self.rules.streams
        return tuple(values[place * streams : (place + 1) * streams])

    def step(self, field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        """The new values, this step's records, and the older ones."""
        streams = self.rules.streams
        found = self.rules.step(field, self._points(state), local[: self.rules.local], shared)
        records = (x for record in self.rules.records for x in self._group(found, record))
        return (*found[:streams], *records, *state[streams : len(state) - self.kept])

    def adjoint(
        self, linearize: Any, state: State, local: tuple[Tensor, ...], shared: Shared, bar_new: State
    ) -> Cotangents:
        """What a past value is sent goes to the record that it was read from."""
        rules, streams = self.rules, self.rules.streams
        outputs = 1 + max(rules.records)
        bars: list[list[Tensor | None]] = [[None] * streams for _ in range(outputs)]
        bars[0] = list(bar_new[:streams])
        for place, record in enumerate(rules.records, 1):
            bars[record] = list(map(total, bars[record], self._group(bar_new, place)))
        given = tuple(bar for group in bars for bar in group)
        found, bar_local, bar_shared = rules.adjoint(
            linearize, self._points(state), local[: rules.local], shared, given
        )
        bar_state: list[Tensor | None] = [*found[:streams], *bar_new[streams + self.kept :], *[None] * self.kept]
        for group, place in enumerate(self.places, 1):
            for stream, bar in enumerate(self._group(found, group)):
                bar_state[place + stream] = total(bar_state[place + stream], bar)
        return tuple(bar_state), (*bar_local, *(None for _ in local[rules.local :])), bar_shared

    def first_step(self, field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        """The step from the initial value and what was before."""
        return self.step(field, self._begin(state, local), local, shared)

    def _begin(self, state: State, local: tuple[Tensor, ...]) -> State:
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
        begin, streams = self._begin(state, local), self.rules.streams
        bars, bar_local, bar_shared = self.adjoint(linearize, begin, local, shared, bar_new)
        full = [torch.zeros_like(x) if bar is None else bar for x, bar in zip(begin, bars, strict=True)]
        groups = [tuple(full[place : place + streams]) for place in range(0, len(full), streams)]
        rest = (None,) * (len(state) - streams)
        if len(local) == self.rules.local:
            sums = tuple(torch.stack(column).sum(0) for column in zip(*groups, strict=True))
            return (*sums, *rest), bar_local, bar_shared
        nodes = len(self.rules.nodes)
        steps = [groups[1 + lag * nodes : 1 + (lag + 1) * nodes] for lag in reversed(range(self.depth))]
        times = [group for records in steps for group in records]
        histories = tuple(torch.stack(column) for column in zip(*times, strict=True))
        return (*groups[0], *rest), (*bar_local[: self.rules.local], *histories), bar_shared


def total(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """A sum of cotangents of which either may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


class DelayNet(StepLoop):
    """A loop over the steps of a delay equation; every delay is a whole number of steps.

    `forward(x, history=None)`: x is the value at t0. Without a history the state had that value before t0, too. A
    history has the values at `history_times()`, on a leading axis, oldest first; of several streams a tuple of them.
    """

    steps: int
    t0: float | Tensor
    t1: float | Tensor

    def __init__(self, rules: DelayRules, *, lags: dict[str, int], **options: Any) -> None:
        lags = {name: check_lag(type(self).__name__, name, lag) for name, lag in lags.items()}
        delayed = DelayedSteps(rules, tuple(lags.values()))
        super().__init__(delayed.as_rules(), **options)
        self.lags, self.depth, self.nodes = lags, delayed.depth, rules.nodes

    def history_times(self) -> Tensor:
        """The times before t0 at which a history is read, oldest first: nodes of the steps of the longest delay."""
        start, end = (torch.as_tensor(time, dtype=torch.float64) for time in (self.t0, self.t1))
        begins = torch.arange(-self.depth, 0, dtype=torch.float64, device=start.device)
        nodes = torch.tensor(self.nodes, dtype=torch.float64, device=start.device)
        return start + (end - start) / self.steps * (begins[:, None] + nodes).flatten()

    def forward(self, *given: Tensor, history: Tensor | tuple[Tensor, ...] | None = None) -> Any:
        """Value of every stream at t0, (..., features) -> those at t1 of the same shapes."""
        return self._run(given, history, trajectory=False)

    def trajectory(self, *given: Tensor, history: Tensor | tuple[Tensor, ...] | None = None) -> Any:
        """The same -> all values from t0 to t1, (steps + 1, ..., features)."""
        return self._run(given, history, trajectory=True)

    def _run(self, given: tuple[Tensor, ...], history: Any, trajectory: bool) -> Any:
        names = self.stream_names()
        if len(given) != len(names):
            owner, allowed = type(self).__name__, ", ".join(names)
            raise TypeError(f"{owner}: {len(given)} initial value(s); allowed: {len(names)} ({allowed})")
        x = self.checked(**dict(zip(names, given, strict=True)))
        found = self.run_steps(x, trajectory, self._history(x, history))
        return found[0] if len(names) == 1 else found

    def stream_names(self) -> tuple[str, ...]:
        """Names of the tensors that hold one value of the state."""
        return ("x",)

    def _history(self, x: State, history: Any) -> tuple[Tensor, ...]:
        """The history of every stream, with an axis of one row, which the first step reads."""
        if history is None:
            return ()
        owner, rows = type(self).__name__, self.depth * len(self.nodes)
        given = history if isinstance(history, tuple) else (history,)
        if len(given) != len(x):
            raise ValueError(f"{owner}: history has {len(given)} tensors; allowed: {len(x)}, one for each unknown")
        for one, value in zip(given, x, strict=True):
            if not isinstance(one, Tensor) or one.dtype != value.dtype:
                read = f"dtype {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
                raise TypeError(f"{owner}: history: read {read}; allowed: a tensor of the dtype of x, {value.dtype}")
            if one.shape != (rows, *value.shape):
                raise ValueError(
                    f"{owner}: history has shape {tuple(one.shape)}; allowed: {(rows, *value.shape)}, the values at "
                    "history_times(), oldest first"
                )
        return tuple(one.unsqueeze(0) for one in given)


def check_lag(owner: str, name: str, lag: Any) -> int:
    """A delay in steps, 1 or more."""
    if isinstance(lag, bool) or not isinstance(lag, int) or lag < 1:
        raise ValueError(
            f"{owner}: {name}={lag!r}; allowed: the delay as a whole number of steps, 1 or more: "
            "choose `steps` so that the delay is a whole multiple of (t1 - t0) / steps"
        )
    return lag
