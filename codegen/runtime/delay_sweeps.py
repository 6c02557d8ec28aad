"""Sweeps over steps that read past values: these stand in lists, so that a step costs the same for any delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from codegen.runtime.blocks import StepTape
from codegen.runtime.delay_steps import DelayedSteps, both_of, filled
from codegen.runtime.steps import Cotangents, Plan, Recording, Shared, State, check_finite, rows_of, stacked, state_bank
from codegen.runtime.sweep import ReverseSweep, forward_sweep, place_states


@dataclass(frozen=True)
class DelaySweeps:
    """Forward and reverse sweep where all states are stored and no networks are called; the usual ones elsewhere."""

    steps: DelayedSteps

    def serves(self, memory: str, casting: bool, per_step: bool) -> bool:
        """Whether these do what is asked, by whatever means."""
        return not per_step

    def reading_per_step(self, place: int) -> DelaySweeps:
        """Steps of one length divide a time interval: nothing else is asked for."""
        return self

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """(outputs, states and records that are no outputs)."""
        if not _in_lists(plan):
            return forward_sweep(plan, recording, inputs)
        rules, streams = self.steps.rules, plan.streams
        first, local, tensors, _ = plan.split(inputs)
        shared, rows = plan.full_shared(tensors), rows_of(local, plan.steps)
        records, x, kept = self.before(first, rows), first, {}
        visited = [first]
        for n, row in enumerate(rows):
            points = self.points(x, records, n)
            found = rules.step(None, points, row[: rules.local], shared)
            records.append(tuple(value for place in rules.records for value in self.steps.group(found, place)))
            kept[n] = (*x, *records[-1])
            x = tuple(found[:streams])
            visited.append(x)
        outputs = stacked(visited) if plan.trajectory else x
        check_finite(plan, recording, inputs, outputs)
        known = [value for stream in zip(*visited[1:], strict=True) for value in stream] if plan.trajectory else outputs
        return outputs, place_states(recording, kept, [*first, *known])

    def reverse(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor],
        stored: Sequence[Tensor], bars: State,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Cotangents of the inputs; the last states are not asked for."""
        x, known, others = inputs[: plan.streams], bars, stored
        if plan.keeps_output:
            known, others = tuple(stored[: plan.streams]), stored[plan.streams :]
        bank = state_bank(plan.trajectory, tuple(x), known, others)
        if not _in_lists(plan):
            return ReverseSweep(plan, recording, needs, inputs, bank).run(bars)
        return DelayReverse(self, plan, recording, needs, inputs, bank).run(bars)

    def before(self, x: State, rows: Sequence[tuple[Tensor, ...]]) -> list[State]:
        """The records of the steps before the first, oldest first."""
        kept, streams = self.steps.kept, len(x)
        begin = self.steps.begin(x, rows[0] if rows else ())
        return [begin[streams + lag * kept : streams + (lag + 1) * kept] for lag in reversed(range(self.steps.depth))]

    def points(self, x: State, records: Sequence[State], n: int) -> State:
        """What step n reads; `records` begin with those of the steps before the first."""
        found = [*x]
        for lag, record in self.steps.reads:
            found += self.steps.group(records[n + self.steps.depth - lag], record)
        return tuple(found)


def _in_lists(plan: Plan) -> bool:
    return plan.memory == "store" and not plan.blocks.of_step and not plan.autocast[0]


class DelayReverse(ReverseSweep):
    """The reverse sweep with the state alone as what a step passes on; past values are sent to their records."""

    def __init__(
        self,
        sweeps: DelaySweeps,
        plan: Plan,
        recording: Recording,
        needs: Sequence[bool],
        inputs: Sequence[Tensor],
        bank: Sequence[Tensor],
    ) -> None:
        rules = plan.rules._replace(adjoint=self._pull_back_step, start=(), width=1)
        super().__init__(replace(plan, rules=rules), recording, needs, inputs, bank)
        self.sweeps, self.steps = sweeps, sweeps.steps
        states = [self._stored(n) for n in range(plan.steps)]
        self.states = [state[: plan.streams] for state in states]
        self.records = [*sweeps.before(self.x, self.rows), *(state[plan.streams :] for state in states)]
        self.sent: list[list[Tensor | None]] = [[None] * self.steps.kept for _ in self.records]

    def _reverse_steps(self) -> None:
        for n in reversed(range(self.plan.steps)):
            self._adjoint(StepTape(self.evaluation, n), self.states[n])
            self.sent.pop()

    def _pull_back_step(
        self, linearize: Any, state: State, local: tuple[Tensor, ...], shared: Shared, bar_new: State
    ) -> Cotangents:
        """The adjoint of the newest step that has not been reversed."""
        steps, rules, streams = self.steps, self.steps.rules, len(state)
        n = len(self.sent) - 1 - steps.depth
        bars = steps.of_outputs((*bar_new, *filled(self.sent[-1], state)))
        points = self.sweeps.points(state, self.records, n)
        found, bar_local, bar_shared = rules.adjoint(linearize, points, local[: rules.local], shared, bars)
        for group, (lag, record) in enumerate(steps.reads, 1):
            target = self.sent[n + steps.depth - lag]
            for stream, bar in enumerate(steps.group(found, group)):
                place = record * streams + stream
                target[place] = both_of(target[place], bar)
        bar_x, given = found[:streams], len(local) - rules.local
        if n > 0:
            return bar_x, (*bar_local, *[None] * given), bar_shared
        before = [bar for sent in reversed(self.sent[:-1]) for bar in sent]
        bar_x, history = steps.of_begin((*bar_x, *before), state, given=bool(given))
        return bar_x, (*bar_local, *history), bar_shared
