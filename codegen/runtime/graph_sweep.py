"""The sweeps of steps that call an opaque field several times: one graph of autograd per step, kept or rebuilt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.blocks import Evaluation, closed_field
from codegen.runtime.steps import Plan, Recording, Shared, State, check_finite, row_of_step, rows_of, state_bank
from codegen.runtime.sweep import added, place_states, segment_length


class StepGraph:
    """One step as a function of the leaves that need gradients: the state, block parameters and what else is wanted."""

    def __init__(
        self, plan: Plan, evaluation: Evaluation, n: int, state: Tensor, row: Sequence[Tensor], shared: Shared,
        wanted: Sequence[bool],
    ) -> None:  # fmt: skip
        """`wanted`: for each per-step and each shared quantity, whether its gradient is."""
        flags = iter(wanted)
        with torch.enable_grad():
            self.state = state.detach().requires_grad_()
            self.given = [leaf_of(value, next(flags)) for value in (*row, *shared)]
            self.parameters = evaluation.leaves_of(n)
            field = evaluation.field_of_leaves(n)
            width = len(row)
            step = plan.rules.of_step(n).step
            (self.new,) = step(field, (self.state,), tuple(self.given[:width]), tuple(self.given[width:]))

    def pull_back(self, bar: Tensor, wanted: Sequence[bool], needed: Callable[[int], bool]) -> Iterator[Tensor | None]:
        """Cotangents of the state, of the per-step and shared quantities that are wanted, then of the parameters."""
        given = [value for value, flag in zip(self.given, wanted, strict=True) if flag]
        parameters = [leaf for place, leaf in self.parameters if needed(place)]
        return iter(torch.autograd.grad(self.new, [self.state, *given, *parameters], bar, allow_unused=True))


def leaf_of(value: Any, wanted: bool) -> Any:
    """A tensor outside of all graphs, as a leaf that gets a gradient where one is wanted."""
    return value.detach().requires_grad_(wanted) if isinstance(value, Tensor) else value


class GraphSweeps:
    """Forward and reverse sweep with one graph per step: `store` keeps them, the other modes build them again."""

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """(output, what is stored beside it)."""
        (x,), local, tensors, parameters = plan.split(inputs)
        shared = plan.full_shared(tensors)
        evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=True)
        keeping = plan.memory == "store"
        hidden = any(not isinstance(block.function, nn.Module) for block in plan.blocks.distinct)
        wanted = [isinstance(v, Tensor) and v.requires_grad for v in (*(one for one in local if len(one)), *shared)]
        kept: dict[int, State] = {}
        every, state, visited = segment_length(plan), x, [x]
        with plan.as_called():
            for n, row in enumerate(rows_of(local, plan.steps)):
                if n % every == 0:
                    kept[n] = (state,)
                if keeping:
                    recording.graphs.append((StepGraph(plan, evaluation, n, state, row, shared, wanted), wanted))
                    state = recording.graphs[-1][0].new.detach()
                else:
                    field = evaluation.field(n, closed_field if hidden else None)
                    (state,) = plan.rules.of_step(n).step(field, (state,), row, shared)
                if plan.trajectory:
                    visited.append(state)
        output = torch.stack(visited) if plan.trajectory else state
        check_finite(plan, recording, inputs, (output,))
        return (output,), place_states(recording, kept, [x, *visited[1:]] if plan.trajectory else [x, output])

    def reverse(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor],
        stored: Sequence[Tensor], bars: State,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Cotangents of the inputs from that of the output."""
        last, rest = (stored[:1], stored[1:]) if plan.trajectory else (bars, stored)
        bank = state_bank(plan.trajectory, (inputs[0],), tuple(last), rest)
        return GraphReverse(plan, recording, needs, inputs, bank).run(bars[0])


class GraphReverse:
    """Cotangents of all inputs, one step's graph after the other."""

    def __init__(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor], bank: Sequence[Tensor]
    ) -> None:
        self.plan, self.recording, self.needs, self.bank = plan, recording, needs, bank
        (self.x,), self.local, tensors, parameters = plan.split(inputs)
        self.shared = plan.full_shared(tensors)
        self.rows = rows_of(self.local, plan.steps)
        self.evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=False)
        self.columns = [place for place, column in enumerate(self.local) if len(column)]
        first = 1 + len(self.local)
        places = itertools.count(first)
        self.shared_needs = [number is None and needs[next(places)] for number in plan.shared]
        self.offset = first + plan.shared_count
        self.wanted = [*(needs[1 + place] for place in self.columns), *self.shared_needs]
        self.bar_local: list[dict[int, Tensor]] = [{} for _ in self.local]
        self.bar_shared: list[Tensor | None] = [None] * len(self.shared)
        self.bar_parameters: list[Tensor | None] = [None] * len(parameters)

    def run(self, bar_output: Tensor) -> tuple[Tensor | None, ...]:
        """From the cotangent of the last state, or of all states."""
        along = bar_output.unbind(0) if self.plan.trajectory else ()
        bar = along[-1] if along else bar_output.view_as(bar_output)
        graphs, self.recording.graphs = self.recording.graphs, []
        if any(wanted != self.wanted for _, wanted in graphs):
            graphs = []
        with self.plan.as_called():
            end = self.plan.steps
            for start in sorted(self.recording.kept, reverse=True):
                tape = graphs or self._states(start, end)
                for n in range(end - 1, start - 1, -1):
                    bar = self._pull_back(n, tape.pop(), bar)
                    if along:
                        bar = bar + along[n]
                end = start
        return self._cotangents(bar)

    def _states(self, start: int, end: int) -> list[Any]:
        """States of a segment, run again from the stored one; their graphs are built one at a time."""
        ((place, dtype),) = self.recording.kept[start]
        states: list[Any] = [self.bank[place].to(dtype)]
        for n in range(start, end - 1):
            step = self.plan.rules.of_step(n).step
            states += step(self.evaluation.field(n), (states[-1],), self.rows[n], self.shared)
        return states

    def _pull_back(self, n: int, known: Any, bar: Tensor) -> Tensor:
        """Cotangent of the state before a step; those of everything else are added up."""
        if isinstance(known, Tensor):
            graph = StepGraph(self.plan, self.evaluation, n, known, self.rows[n], self.shared, self.wanted)
        else:
            graph = known[0]
        needed = self._needed
        with self.plan.without_autocast():
            bars = graph.pull_back(bar.to(graph.new.dtype), self.wanted, needed)
        before = next(bars)
        flags = iter(self.wanted)
        for place in self.columns:
            if next(flags) and (one := next(bars)) is not None:
                row = row_of_step(n, self.plan.steps, len(self.local[place]))
                self.bar_local[place][row] = (
                    one if row not in self.bar_local[place] else self.bar_local[place][row] + one
                )
        for place, flag in enumerate(flags):
            if flag:
                self.bar_shared[place] = added(self.bar_shared[place], next(bars))
        for place, _ in graph.parameters:
            if needed(place):
                self.bar_parameters[place] = added(self.bar_parameters[place], next(bars))
        return torch.zeros_like(graph.state) if before is None else before

    def _needed(self, place: int) -> bool:
        return self.needs[self.offset + place]

    def _cotangents(self, bar: Tensor) -> tuple[Tensor | None, ...]:
        """In the order of the inputs."""
        bars: list[Tensor | None] = [bar.to(self.x.dtype)]
        for column, by_row in zip(self.local, self.bar_local, strict=True):
            found = [by_row[n] if n in by_row else torch.zeros_like(column[n]) for n in range(len(column))]
            bars.append(torch.stack(found) if by_row else None)
        bars += [bar for bar, number in zip(self.bar_shared, self.plan.shared, strict=True) if number is None]
        bars += self.bar_parameters
        return tuple(bar if wanted else None for bar, wanted in zip(bars, self.needs, strict=True))
