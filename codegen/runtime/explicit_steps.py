"""Forward steps of an explicit tableau on a written-out field, in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codegen.runtime.explicit_field import (
    Combination,
    Tableau,
    Values,
    WrittenField,
    rows_of_stacks,
    to_columns,
    unknowns_of,
)
from codegen.runtime.steps import Plan, rows_of


class Steps:
    """The steps of one call: numbers, and what depends on parameters and time alone."""

    def __init__(self, field: WrittenField, tableau: Tableau, plan: Plan, inputs: Sequence[Tensor]) -> None:
        self.plan, self.field, self.tableau = plan, field, tableau
        (x,), self.local, tensors, _ = plan.split(inputs)
        given = plan.full_shared(tensors)
        self.h = float(given[field.step_size])
        self.shared = tuple(v if isinstance(v, Tensor) else x.new_tensor(v) for v in given)
        self.by_step = rows_of(self.local, plan.steps)
        self.layered = len(self.local) > (field.time >= 0)
        self.common = None if self.layered else by_columns(field.held(self.by_step[0], self.shared))
        self.start = to_columns(x, field.unknowns)
        self.batch = self.start.shape[1:] if field.unknowns else self.start.shape[:1]
        self.shapes, self.bar_shapes = field.shapes(unknowns_of(self.start, field.unknowns), self.held(0))

    def held(self, n: int) -> Values:
        """What depends on parameters alone, at step n."""
        return by_columns(self.field.held(self.by_step[n], self.shared)) if self.common is None else self.common

    def times(self, start: int, end: int) -> Tensor | None:
        """Times of the stages of some steps, (stages, steps), with axes of size 1 for what columns have besides."""
        if self.field.time < 0:
            return None
        begin = self.local[self.field.time][start:end]
        nodes = begin + begin.new_tensor(self.tableau.c)[:, None] * self.h
        return nodes[..., None] if self.field.unknowns else nodes[..., None, None]

    def clock(self, start: int, end: int) -> Values:
        """What depends on the time besides, for the stages of some steps."""
        t = self.times(start, end)
        return () if t is None else self.field.clock(t, self.held(start))

    def scaled(self, weights: Sequence[float]) -> list[float]:
        """Weights times the step size."""
        return [self.h * weight for weight in weights]

    def run(
        self, state: Tensor, start: int, end: int, kept: Tensor, every: int, summed: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Run some steps; writes the states at `start`, `start + every`, ... into `kept` and returns the last.

        `summed`: the place of a value of the field, and the tensor to which its integral is added.
        """
        stages = Stages(self, summed)
        spare = (torch.empty_like(state), torch.empty_like(state))
        places = {start + every * place: one for place, one in enumerate(kept.unbind(0))}
        count = len(self.tableau.b)
        clock = (
            [] if self.layered else list(zip(*rows_of_stacks(self.clock(start, end), count, end - start), strict=True))
        )
        with torch.inference_mode():
            places[start].copy_(state)
            state = places[start]
            for n in range(start, end):
                new = places.get(n + 1)
                new = spare[n % 2] if new is None else new
                now = (
                    [stage for (stage,) in rows_of_stacks(self.clock(n, n + 1), count, 1)]
                    if self.layered
                    else clock[n - start]
                )
                stages.step(state, self.held(n), now, new)
                state = new
        return state


def by_columns(held: Values) -> Values:
    """Matrices with contiguous columns: a product with few of them is three times as fast as with contiguous rows."""
    return tuple(value.mT.contiguous().mT if value.dim() == 2 else value for value in held)


class Stages:
    """Points and slopes of the stages of one step, and the sums that lead from one to the next."""

    def __init__(self, steps: Steps, summed: tuple[int, Tensor] | None) -> None:
        count, self.unknowns, self.value = len(steps.tableau.b), steps.field.unknowns, steps.field.value
        self.summed, self.weights = summed, steps.scaled(steps.tableau.b)
        points, slopes = (steps.start.new_empty(count, *steps.start.shape) for _ in range(2))
        self.values = tuple(points.new_empty(*steps.batch, *shape) for shape in steps.shapes)
        self.points = [unknowns_of(point, self.unknowns) for point in points]
        self.slopes = [unknowns_of(slope, self.unknowns) for slope in slopes]
        self.flat = points.flatten(1).unbind(0)
        self.to_point = [Combination(steps.scaled(a), slopes) for a in steps.tableau.A]
        self.to_state = Combination(steps.scaled(steps.tableau.b), slopes)

    def step(self, state: Tensor, held: Values, clock: Sequence[Values], new: Tensor) -> None:
        """One step, into `new`."""
        flat = state.view(-1)
        for stage in range(len(self.points)):
            if stage:
                self.to_point[stage].into(self.flat[stage], flat)
            point = self.points[stage] if stage else unknowns_of(state, self.unknowns)
            self.value(point, clock[stage], held, self.values, self.slopes[stage])
            if self.summed is not None:
                place, total = self.summed
                total.add_(self.values[place], alpha=self.weights[stage])
        self.to_state.into(new.view(-1), flat)
