"""The reverse sweep of explicit steps: by blocks of steps, whose states are known and whose stages go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from codegen.runtime.explicit_field import Values, from_columns, to_columns
from codegen.runtime.explicit_stacks import BarStacks, BlockSizes, ValueStacks, block_sizes
from codegen.runtime.explicit_steps import Steps
from codegen.runtime.sweep import added, segment_length


class ExplicitReverse:
    """Cotangents of all inputs; those of the slopes are without the factor h, which the sums have.

    `seeds`: of every stage, cotangents that come to values of the field from outside.
    """

    def __init__(
        self, steps: Steps, needs: Sequence[bool], x: Tensor, stored: Tensor, seeds: Sequence[Values] = ()
    ) -> None:
        self.steps, self.needs, self.x, self.stored = steps, needs, x, stored
        self.field, self.plan, self.seeds = steps.field, steps.plan, seeds
        self.bar_local: list[dict[int, Tensor]] = [{} for _ in steps.local]
        self.bar_shared: list[Tensor | None] = [None] * len(steps.shared)
        self.sizes: BlockSizes = block_sizes(steps, stored.numel())
        self.block: ValueStacks | None = None
        self.bars: BarStacks | None = None
        self.bar_h = steps.start.new_zeros(())
        place = self.field.step_size
        tensors = [n for n, number in enumerate(self.plan.shared) if number is None]
        self.wants_h = place in tensors and needs[1 + len(steps.local) + tensors.index(place)]

    def run(self, bar_output: Tensor) -> tuple[Tensor | None, ...]:
        """From the cotangent of the last state, or of all states."""
        unknowns = self.field.unknowns
        along = to_columns(bar_output, unknowns, 1).unbind(0) if self.plan.trajectory else ()
        bar = (along[-1] if along else to_columns(bar_output, unknowns)).clone()
        length = self.sizes.values
        for start, states in self._segments():
            for first in reversed(range(0, len(states), length)):
                self._reverse(states[first : first + length], start + first, bar, along)
        return self._cotangents(bar)

    def _segments(self) -> Iterator[tuple[int, Tensor]]:
        """First step and states of each segment, the last segment first."""
        steps, every = self.plan.steps, segment_length(self.plan)
        if self.plan.trajectory or every == 1:
            known = to_columns(self.stored, self.field.unknowns, 1) if self.plan.trajectory else self.stored
            yield 0, known[:steps]
            return
        for start in reversed(range(0, steps, every)):
            end = min(start + every, steps)
            states = self.stored.new_empty(end - start, *self.steps.start.shape)
            self.steps.run(self.stored[start // every], start, end - 1, states, 1)
            yield start, states

    def _reverse(self, states: Tensor, start: int, bar: Tensor, along: Sequence[Tensor]) -> None:
        """In `bar`, the cotangent of the first state of a block from that of the state after it; adds to gradients."""
        if self.block is None or self.block.length != len(states):
            self.block = ValueStacks(self.steps, len(states))
        block, held = self.block, self.steps.held(start)
        clock = self.steps.clock(start, start + block.length)
        with torch.inference_mode():
            self._values(block, states.reshape(-1), held, clock)
            coefficients = block.rows(self.field.coefficients(block.point, clock, held, block.value, block.slope))
        for first in reversed(range(0, block.length, self.sizes.bars)):
            end = min(first + self.sizes.bars, block.length)
            if self.bars is None or self.bars.length != end - first:
                self.bars = BarStacks(self.steps, end - first, self.seeds)
            with torch.inference_mode():
                self._loop(block, self.bars, first, coefficients, held, bar, along[start + first : start + end])
            self._add_gradients(block, self.bars, first, start, held, clock)

    def _values(self, block: ValueStacks, states: Tensor, held: Values, clock: Values) -> None:
        """The values of all stages, one stage of all steps at a time."""
        for stage in range(block.stages):
            block.to_point[stage].into(block.flat_points[stage], states)
            now = tuple(self._spread(value[stage]) for value in clock)
            self.field.value(block.stage_point[stage], now, held, block.stage_value[stage], block.stage_slope[stage])

    def _spread(self, value: Tensor) -> Tensor:
        """What depends on the time (steps, 1, ...) as rows of a stage of all steps."""
        return value if self.field.unknowns else value.expand(-1, *self.steps.batch, -1).flatten(0, 1)

    def _loop(
        self, block: ValueStacks, bars: BarStacks, first: int, coefficients: list[list[Values]], held: Values,
        bar: Tensor, along: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """The loop of the sweep: cotangents of states, slopes and values, one step after the other."""
        pull_back, stages, flat = self.field.pull_back, range(block.stages - 1, -1, -1), bar.view(-1)
        for place in range(bars.length - 1, -1, -1):
            n = first + place
            for i in stages:
                bars.to_bar_slope[i].into(bars.flat_bar_slopes[i][place], flat)
                pull_back(
                    block.row_point[i][n], block.row_value[i][n], block.row_slope[i][n], coefficients[i][n], held,
                    bars.row_bar_slope[i][place], bars.row_bar[i][place], bars.bar_state[i],
                )  # fmt: skip
            bars.to_bar_state.into(flat, flat)
            if along:
                bar.add_(along[place])

    def _add_gradients(
        self, block: ValueStacks, bars: BarStacks, first: int, start: int, held: Values, clock: Values
    ) -> None:
        """Gradients of what all steps share, and of what each has for itself."""
        part = slice(first, first + bars.length)
        point, now, value, slope = (
            stacks if bars.length == block.length else tuple(one[:, part] for one in stacks)
            for stacks in (block.point, clock, block.value, block.slope)
        )
        local, shared = self.field.gradients(point, now, held, value, slope, bars.bar_slope, bars.bar)
        self.bar_shared = [added(old, bar) for old, bar in zip(self.bar_shared, shared, strict=True)]
        if self.wants_h:
            self.bar_h = self.bar_h + (bars.bar_slopes * block.slopes[:, part]).sum()
        for place, bar in enumerate(local):
            if bar is not None and place != self.field.time:
                self.bar_local[place][start + first] = self.steps.h * bar
            elif bar is not None:
                bar_t = self.steps.h * bar.reshape(block.stages, bars.length)
                self.bar_local[place] |= dict(enumerate(bar_t.sum(0), start + first))
                self.bar_h = self.bar_h + bar_t.new_tensor(self.steps.tableau.c) @ bar_t.sum(1)

    def _cotangents(self, bar: Tensor) -> tuple[Tensor | None, ...]:
        """In the order of the inputs."""
        found: list[Tensor | None] = [from_columns(bar, self.field.unknowns, self.x.shape)]
        for column, by_row in zip(self.steps.local, self.bar_local, strict=True):
            found.append(torch.stack([by_row[n] for n in range(len(column))]) if by_row else None)
        for place, number in enumerate(self.plan.shared):
            total = self.bar_shared[place]
            if number is None:
                h = place == self.field.step_size
                found.append(self.bar_h if h else None if total is None else self.steps.h * total)
        return tuple(one if wanted else None for one, wanted in zip(found, self.needs, strict=True))
