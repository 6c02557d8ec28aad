"""The sweeps of steps that call an opaque field several times: each step's graph of autograd is built when needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codegen.runtime.blocks import Block, Evaluation
from codegen.runtime.closed_calls import closed_field
from codegen.runtime.steps import Plan, Recording, State, check_finite, row_of_step, rows_of, state_bank
from codegen.runtime.sweep import place_states, segment_length

Leaf = tuple[int, int]  # (place among the inputs, row: 0 where an input is used as a whole)


def plus_slopes(x: Tensor, h: float | Tensor, *slopes: tuple[float, Tensor]) -> Tensor:
    """x + h * (the sum of weight * slope): one operation for each slope where the step size is a number."""
    if not isinstance(h, Tensor):
        for weight, slope in slopes:
            x = torch.add(x, slope, alpha=h * weight)
        return x
    weight, total = slopes[0]
    total = total if weight == 1 else weight * total
    for weight, slope in slopes[1:]:
        total = torch.add(total, slope, alpha=weight)
    return x + h * total


class GraphSweeps:
    """Forward sweep that stores states, and reverse sweep that builds the graph of one step after the other.

    Where all graphs are to be kept, autograd keeps them: the plain form has them as one.
    """

    def serves(self, memory: str, casting: bool, per_step: bool) -> bool:
        """Everything but memory="store"."""
        return memory != "store"

    def reading_per_step(self, place: int) -> GraphSweeps:
        """The same: what varies is read by the rules of the step."""
        return self

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """(output, what is stored beside it)."""
        (x,), local, tensors, parameters = plan.split(inputs)
        shared = plan.full_shared(tensors)
        evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=True, closed=True)
        through = None if all(isinstance(block.function, nn.Module) for block in plan.blocks.distinct) else closed_field
        kept: dict[int, State] = {}
        every, state, visited = segment_length(plan), x, [x]
        with plan.as_called():
            for n, row in enumerate(rows_of(local, plan.steps)):
                if n % every == 0:
                    kept[n] = (state,)
                (state,) = plan.rules.of_step(n).step(evaluation.field(n, through), (state,), row, shared)
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
    """Cotangents of all inputs, one step's graph after the other.

    The graph of a step is a function of leaves: the state, the step's rows of per-step parameters, shared tensors and
    parameters of networks. `bars` has the cotangents of all but the state, by the place of an input and a row of it.
    """

    def __init__(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor], bank: Sequence[Tensor]
    ) -> None:
        self.plan, self.recording, self.needs, self.inputs, self.bank = plan, recording, needs, inputs, bank
        _, self.local, tensors, parameters = plan.split(inputs)
        self.rows = rows_of(self.local, plan.steps)
        self.columns = [place for place, column in enumerate(self.local, 1) if len(column)]
        self.evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=False)
        first, self.offset = 1 + len(self.local), len(inputs) - len(parameters)
        leaves = [leaf_of(one, needs[place]) for place, one in enumerate(tensors, first)]
        self.shared = plan.full_shared(leaves)
        self.shared_leaves = {(place, 0): leaf for place, leaf in enumerate(leaves, first) if needs[place]}
        self.common: dict[tuple[Block, ...], dict[Leaf, Tensor]] = {}  # leaves that no other step has anew
        self.bars: dict[Leaf, Tensor] = {}
        self.owned: set[Leaf] = set()

    def run(self, bar_output: Tensor) -> tuple[Tensor | None, ...]:
        """From the cotangent of the last state, or of all states."""
        along = bar_output.unbind(0) if self.plan.trajectory else ()
        bar = along[-1] if along else bar_output.view_as(bar_output)
        end = self.plan.steps
        with self.plan.as_called():
            for start in sorted(self.recording.kept, reverse=True):
                states = self._states(start, end)
                for n in range(end - 1, start - 1, -1):
                    bar = self._pull_back(n, states.pop(), bar)
                    if along:
                        bar = bar + along[n]
                end = start
        return self._cotangents(bar)

    def _states(self, start: int, end: int) -> list[Tensor]:
        """States of a segment, run again from the stored one."""
        ((place, dtype),) = self.recording.kept[start]
        states = [self.bank[place].to(dtype)]
        for n in range(start, end - 1):
            step = self.plan.rules.of_step(n).step
            states += step(self.evaluation.field(n), (states[-1],), self.rows[n], self.shared)
        return states

    def _pull_back(self, n: int, state: Tensor, bar: Tensor) -> Tensor:
        """Cotangent of the state before a step; those of everything else are added up."""
        start = leaf_of(state, True)
        row = tuple(leaf_of(one, self.needs[place]) for place, one in zip(self.columns, self.rows[n], strict=True))
        leaves = dict(self._common_leaves(n))
        for place, one in zip(self.columns, row, strict=True):
            if self.needs[place]:
                leaves[place, row_of_step(n, self.plan.steps, len(self.inputs[place]))] = one
        with torch.enable_grad():
            field = self.evaluation.field_of_leaves(n)
            (new,) = self.plan.rules.of_step(n).step(field, (start,), row, self.shared)
        with self.plan.without_autocast():
            found = torch.autograd.grad(new, [start, *leaves.values()], bar.to(new.dtype), allow_unused=True)
        for leaf, term in zip(leaves, found[1:], strict=True):
            if term is not None:
                self._add(leaf, term)
        return torch.zeros_like(state) if found[0] is None else found[0]

    def _common_leaves(self, n: int) -> dict[Leaf, Tensor]:
        """Shared tensors and parameters of a step's networks, as far as their cotangents are wanted."""
        blocks = self.plan.blocks.of_step[n]
        if blocks not in self.common:
            parameters = {(self.offset + place, 0): leaf for place, leaf in self.evaluation.leaves_of(n)}
            wanted = {leaf: one for leaf, one in parameters.items() if self.needs[leaf[0]]}
            self.common[blocks] = self.shared_leaves | wanted
        return self.common[blocks]

    def _add(self, leaf: Leaf, term: Tensor) -> None:
        """Add to a cotangent: in place from the second term on, as the first may be a tensor of someone else."""
        if leaf not in self.bars:
            self.bars[leaf] = term
        elif leaf in self.owned:
            self.bars[leaf] += term
        else:
            self.bars[leaf] = self.bars[leaf] + term
            self.owned.add(leaf)

    def _cotangents(self, bar: Tensor) -> tuple[Tensor | None, ...]:
        """In the order of the inputs."""
        bars: list[Tensor | None] = [self.bars.get((place, 0)) for place in range(len(self.inputs))]
        bars[0] = bar.to(self.inputs[0].dtype)
        for place in self.columns:
            column = self.inputs[place]
            found = [self.bars.get((place, row)) for row in range(len(column))]
            if any(one is not None for one in found):
                rows = [torch.zeros_like(row) if one is None else one for one, row in zip(found, column, strict=True)]
                bars[place] = torch.stack(rows)
        return tuple(bar if wanted else None for bar, wanted in zip(bars, self.needs, strict=True))


def leaf_of(value: Tensor, wanted: bool) -> Tensor:
    """A tensor outside of all graphs, as a leaf that gets a gradient where one is wanted."""
    return value.detach().requires_grad_(wanted)
