"""Buffers of the reverse sweep of explicit steps: stacks of values and cotangents for a block of steps, and views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from codegen.runtime.explicit_field import (
    Combination,
    Shape,
    Tableau,
    Values,
    WrittenField,
    rows_of_stacks,
    unknowns_of,
)
from codegen.runtime.explicit_steps import Steps

LEAST_STACK, MOST_STACK = 2**16, 2**20  # elements that the values of a block may always have, and that never suffice
MOST_BARS = 2**17  # elements of cotangents from which on gradients are summed after fewer steps
SHARE_OF_STAGES = 0.13  # states and stacks together take less than this part of what the stages of all steps would


class Stacked(Protocol):
    """What stacks are made for: a field with its tableau, and the sizes of what is stacked."""

    field: WrittenField
    tableau: Tableau
    start: Tensor
    batch: torch.Size
    shapes: tuple[Shape, ...]
    bar_shapes: tuple[Shape, ...]

    def scaled(self, weights: Sequence[float]) -> list[float]:
        """Weights with the size of a step, where all steps have the same one."""


class Stacks:
    """What stacks (stages, steps, ...) have in common."""

    def __init__(self, steps: Stacked, length: int) -> None:
        self.stages, self.length, self.unknowns = len(steps.tableau.b), length, steps.field.unknowns
        self.state, self.batch = steps.start, steps.batch

    def of_state(self, kept: bool = True) -> Tensor:
        """An uninitialized stack of states; where they are not kept, one place stands for all stages."""
        stack = self.state.new_empty(self.stages if kept else 1, self.length, *self.state.shape)
        return stack.expand(self.stages, *stack.shape[1:])

    def components(self, stack: Tensor) -> Values:
        """The unknowns in a stack of states."""
        return unknowns_of(stack, self.unknowns, 2)

    def rows(self, stacks: Sequence[Tensor]) -> list[list[Values]]:
        """Stacks as a tuple for each stage and step."""
        return rows_of_stacks(stacks, self.stages, self.length)

    def of_shapes(self, shapes: Sequence[Shape], kept: Sequence[tuple[bool, bool]]) -> Values:
        """Uninitialized stacks; an axis that is not kept has one entry, which stands for all."""
        found = []
        for shape, whole in zip(shapes, kept, strict=True):
            axes = [axis if one else 1 for axis, one in zip((self.stages, self.length), whole, strict=True)]
            stack = self.state.new_empty(*axes, *self.batch, *shape)
            found.append(stack.expand(self.stages, self.length, *stack.shape[2:]))
        return tuple(found)


class ValueStacks(Stacks):
    """Points, values and slopes of all stages of some steps; what is not kept has one place for all stages.

    `stage_…[i]`: stage i of all steps, as one batch where matrices multiply it; `row_…[i][n]`: stage i of one step.
    """

    def __init__(self, steps: Stacked, length: int) -> None:
        super().__init__(steps, length)
        points, self.slopes = self.of_state(steps.field.state_kept), self.of_state()
        self.point, self.slope = self.components(points), self.components(self.slopes)
        self.value = self.of_shapes(steps.shapes, [(kept, True) for kept in steps.field.kept])
        self.flat_points = points.flatten(1).unbind(0)
        self.stage_point, self.stage_slope, self.stage_value = map(self._by_stage, (self.point, self.slope, self.value))
        self.row_point, self.row_slope, self.row_value = map(self.rows, (self.point, self.slope, self.value))
        self.to_point = [Combination(steps.scaled(row), self.slopes) for row in steps.tableau.A]

    def _by_stage(self, stacks: Values) -> list[Values]:
        return [
            tuple(stack[stage] if self.unknowns else stack[stage].flatten(0, 1) for stack in stacks)
            for stage in range(self.stages)
        ]


class BarStacks(Stacks):
    """Cotangents of slopes and values of all stages of some steps, and the sums over stages that lead to them.

    The sums are the derived adjoint of the tableau. `seeds` stand behind the cotangents of the slopes.
    """

    def __init__(self, steps: Stacked, length: int, seeds: Sequence[Values] = ()) -> None:
        super().__init__(steps, length)
        self.bar_slopes, bar_states = self.of_state(), self.state.new_empty(self.stages, *self.state.shape)
        bar_slope = self.components(self.bar_slopes)
        self.bar = self.of_shapes(steps.bar_shapes, [(kept, kept) for kept in steps.field.bars_kept])
        seeded = seeds or ((),) * self.stages
        self.bar_slope = (*bar_slope, *seeded[0])  # the gradients read no seeds
        by_stage = zip(self.rows(bar_slope), seeded, strict=True)
        self.row_bar_slope = [[(*row, *seed) for row in rows] for rows, seed in by_stage]
        self.row_bar = self.rows(self.bar)
        self.flat_bar_slopes = [stage.unbind(0) for stage in self.bar_slopes.flatten(2).unbind(0)]
        self.bar_state = [unknowns_of(bar, self.unknowns) for bar in bar_states]
        tableau, stages = steps.tableau, range(self.stages)
        self.to_bar_slope = [
            Combination(steps.scaled([row[stage] for row in tableau.A]), bar_states, tableau.b[stage])
            for stage in stages
        ]
        self.to_bar_state = Combination(steps.scaled([1.0 for _ in stages]), bar_states)


class BlockSizes(NamedTuple):
    """Steps whose values are computed together, and steps after which gradients are summed: a part of them."""

    values: int
    bars: int


def block_sizes(steps: Steps, stored: int) -> BlockSizes:
    """As many steps as the cache holds, and as leave the memory far below that of all stages.

    `stored`: elements of the states that the forward sweep has stored.
    """
    if steps.layered:
        return BlockSizes(1, 1)
    batch, size, stages = math.prod(steps.batch), math.prod(steps.start.shape), len(steps.tableau.b)
    points = stages if steps.field.state_kept else 1
    values = points * size + stages * (size + sum(batch * math.prod(shape) for shape in steps.shapes))
    bars = stages * (2 * size + sum(batch * math.prod(shape) for shape in steps.bar_shapes))
    spare = int(SHARE_OF_STAGES * steps.plan.steps * values) - stored - bars
    length = max(1, min(max(spare, LEAST_STACK), MOST_STACK) // max(1, values))
    part = max(1, min(length, MOST_BARS // max(1, bars)))
    return BlockSizes(length // part * part, part)
