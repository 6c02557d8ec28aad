"""Buffers of the reverse sweep of explicit steps: stacks of values and cotangents for a block of steps, and views."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from codegen.runtime.explicit_field import Combination, Shape, Values, rows_of_stacks, unknowns_of
from codegen.runtime.explicit_steps import Steps

STACK_ELEMENTS = 2**16, 2**18  # what the stacks of a block may always have, and what those of two steps never exceed


class StageStacks:
    """Stacks (stages, steps, ...) for the stages of some steps; what is not kept has one place for all of them.

    `stage_…[i]`: stage i of all steps, as one batch where matrices multiply it; `row_…[i][n]`: stage i of one step.
    """

    def __init__(self, steps: Steps, length: int) -> None:
        field, state = steps.field, steps.start
        self.stages, self.length, self.unknowns = len(steps.tableau.b), length, field.unknowns
        points, self.slopes, self.bar_slopes = (state.new_empty(self.stages, length, *state.shape) for _ in range(3))
        self.bar_states = state.new_empty(self.stages, *state.shape)
        self.point, self.slope, self.bar_slope = map(self.components, (points, self.slopes, self.bar_slopes))
        self.value = self._stacks(steps, steps.shapes, [(kept, True) for kept in field.kept])
        self.bar = self._stacks(steps, steps.bar_shapes, [(kept, kept) for kept in field.bars_kept])
        self.flat_points = points.flatten(1).unbind(0)
        self.stage_point, self.stage_slope = self._by_stage(self.point), self._by_stage(self.slope)
        self.stage_value = self._by_stage(self.value)
        self.row_point, self.row_value, self.row_bar = (self.rows(s) for s in (self.point, self.value, self.bar))
        self.row_slope, self.row_bar_slope = self.rows(self.slope), self.rows(self.bar_slope)
        self.flat_bar_slopes = [stage.unbind(0) for stage in self.bar_slopes.flatten(2).unbind(0)]
        self.bar_state = [unknowns_of(bar, self.unknowns) for bar in self.bar_states]
        self._combine(steps)

    def components(self, stack: Tensor) -> Values:
        """The unknowns in a stack of states."""
        return unknowns_of(stack, self.unknowns, 2)

    def rows(self, stacks: Sequence[Tensor]) -> list[list[Values]]:
        """Stacks as a tuple for each stage and step."""
        return rows_of_stacks(stacks, self.stages, self.length)

    def _stacks(self, steps: Steps, shapes: Sequence[Shape], kept: Sequence[tuple[bool, bool]]) -> Values:
        """Uninitialized stacks; an axis that is not kept has one entry, which stands for all."""
        found = []
        for shape, whole in zip(shapes, kept, strict=True):
            axes = [axis if one else 1 for axis, one in zip((self.stages, self.length), whole, strict=True)]
            stack = steps.start.new_empty(*axes, *steps.batch, *shape)
            found.append(stack.expand(self.stages, self.length, *stack.shape[2:]))
        return tuple(found)

    def _by_stage(self, stacks: Values) -> list[Values]:
        return [
            tuple(stack[stage] if self.unknowns else stack[stage].flatten(0, 1) for stack in stacks)
            for stage in range(self.stages)
        ]

    def _combine(self, steps: Steps) -> None:
        """The sums over stages: the derived adjoint of the tableau."""
        tableau, stages = steps.tableau, range(self.stages)
        self.to_point = [Combination(steps.scaled(row), self.slopes) for row in tableau.A]
        self.to_bar_slope = [
            Combination(steps.scaled([row[stage] for row in tableau.A]), self.bar_states, tableau.b[stage])
            for stage in stages
        ]
        self.to_bar_state = Combination(steps.scaled([1.0 for _ in stages]), self.bar_states)


def steps_of_block(steps: Steps, stored: int) -> int:
    """Steps of a block: few enough to stay in the cache, and with less than half of what is `stored`, in elements."""
    if steps.layered:
        return 1
    batch = math.prod(steps.batch)
    values = sum(batch * math.prod(shape) for shape in (*steps.shapes, *steps.bar_shapes))
    one = len(steps.tableau.b) * (3 * math.prod(steps.start.shape) + values)
    least, most = STACK_ELEMENTS
    return max(1, min(max(stored // 2, least), most) // max(1, one))
