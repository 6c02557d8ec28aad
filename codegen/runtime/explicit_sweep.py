"""Explicit Runge-Kutta steps of a written-out field: what the autograd Functions of the loop over steps call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from codegen.runtime.explicit_field import Tableau, WrittenField, field_per_step, from_columns
from codegen.runtime.explicit_inner import InnerField, forward_inner, reverse_inner
from codegen.runtime.explicit_reverse import ExplicitReverse
from codegen.runtime.explicit_steps import Steps
from codegen.runtime.steps import Plan, Recording, State, check_finite
from codegen.runtime.sweep import segment_length


@dataclass(frozen=True)
class ExplicitSweeps:
    """Forward and reverse sweep of the steps of an explicit tableau."""

    field: WrittenField
    tableau: Tableau
    inner: InnerField | None = None

    def serves(self, memory: str, casting: bool, per_step: bool) -> bool:
        """Whether all tensors have one dtype, as what is written in place must, and all steps one size."""
        return not casting and not per_step

    def reading_per_step(self, place: int) -> ExplicitSweeps:
        """The same on the field that reads it so."""
        return replace(self, field=field_per_step(self.field, place), inner=None)

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """(output, what is stored beside it): the states of all steps, or the first of each segment."""
        x = inputs[0]
        if self.inner is not None and self.inner.serves(plan, inputs):
            output, stored = forward_inner(self.inner, self.tableau, plan, inputs)
            check_finite(plan, recording, inputs, (output,))
            return (output,), list(stored)
        steps = Steps(self.field, self.tableau, plan, inputs)
        every = 1 if plan.trajectory else segment_length(plan)
        count = plan.steps + 1 if plan.trajectory else -(-plan.steps // every)
        kept = steps.start.new_empty(count, *steps.start.shape)
        last = steps.run(steps.start, 0, plan.steps, kept, every)
        if plan.trajectory:
            output = from_columns(kept, self.field.unknowns, (count, *x.shape))
        else:
            output = from_columns(last, self.field.unknowns, x.shape)
        check_finite(plan, recording, inputs, (output,))
        return (output,), [] if plan.trajectory else [kept]

    def reverse(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor],
        stored: Sequence[Tensor], bars: State,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Cotangents of the inputs from that of the output, with the trajectory or what `forward` stored."""
        if self.inner is not None and self.inner.serves(plan, inputs):
            return reverse_inner(self.inner, self.tableau, plan, needs, inputs, stored, bars[0])
        steps = Steps(self.field, self.tableau, plan, inputs)
        return ExplicitReverse(steps, needs, inputs[0], stored[0]).run(bars[0])
