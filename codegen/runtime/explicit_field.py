"""What an explicit sweep is made of: the derived field, the tableau as numbers, sums of stages, stacks of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codegen.runtime.steps import Shared

Values = tuple[Tensor, ...]
Shape = tuple[int, ...]


class Tableau(NamedTuple):
    """A Butcher tableau as numbers."""

    A: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]


class WrittenField(NamedTuple):
    """The derived equations of a written-out field; what is in place writes into tensors that are given.

    held(local, shared) -> what depends on parameters alone
    clock(t, held) -> what depends on the time besides; t (..., 1, 1), or (..., 1) for scalar unknowns
    shapes(state, held) -> last axes of the values and of their cotangents
    value(state, clock, held, values, slopes): the field, in place
    coefficients(state, clock, held, values, slopes) -> what the cotangents are multiplied by, for all stages at once
    pull_back(state, values, slopes, coefficients, held, bar_slopes, bars, bar_state): the reverse sweep, in place
    gradients(state, clock, held, values, slopes, bar_slopes, bars) -> (bar_local, bar_shared)
    state_kept, kept, bars_kept: whether the state, and which values and cotangents, are read after their stage
    unknowns: how many scalars the state consists of; 0 for one vector
    time, step_size: their places among the per-step and the shared quantities; -1 where there is none
    """

    held: Callable[[Values, Shared], Values]
    clock: Callable[[Tensor, Values], Values]
    shapes: Callable[[Values, Values], tuple[tuple[Shape, ...], tuple[Shape, ...]]]
    value: Callable[[Values, Values, Values, Values, Values], None]
    coefficients: Callable[[Values, Values, Values, Values, Values], Values]
    pull_back: Callable[[Values, Values, Values, Values, Values, Values, Values, Values], None]
    gradients: Callable[..., tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]]
    state_kept: bool
    kept: tuple[bool, ...]
    bars_kept: tuple[bool, ...]
    unknowns: int
    time: int
    step_size: int


def field_per_step(field: WrittenField, place: int) -> WrittenField:
    """The field with the shared quantity at `place` as the last of the per-step ones."""

    def held(local: Values, shared: Shared) -> Values:
        return field.held(local[:-1], (*shared[:place], local[-1], *shared[place:]))

    def gradients(*given: Values) -> tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]:
        bar_local, bar_shared = field.gradients(*given)
        return (*bar_local, bar_shared[place]), (*bar_shared[:place], *bar_shared[place + 1 :])

    earlier = field.step_size > place
    return field._replace(held=held, gradients=gradients, step_size=field.step_size - earlier)


def to_columns(x: Tensor, unknowns: int, leading: int = 0) -> Tensor:
    """States (..., features) as (rows, features), those of scalar unknowns as (unknowns, rows); leading axes stay."""
    lead = x.shape[:leading]
    if unknowns == 0:
        return x.reshape(*lead, -1, x.shape[-1])
    return x.reshape(*lead, 1, -1) if unknowns == 1 else x.reshape(*lead, -1, unknowns).mT.contiguous()


def from_columns(state: Tensor, unknowns: int, shape: Sequence[int]) -> Tensor:
    """The inverse of `to_columns`."""
    return (state.mT if unknowns > 1 else state).reshape(shape)


def unknowns_of(state: Tensor, unknowns: int, leading: int = 0) -> Values:
    """The unknowns of a state in columns, behind leading axes."""
    return state.unbind(leading) if unknowns else (state,)


class Combination:
    """`scale * base + sum_j weights[j] * stack[j]`, in place, on flat tensors; zeros are passed over."""

    def __init__(self, weights: Sequence[float], stack: Tensor, scale: float = 1.0) -> None:
        used = [place for place, weight in enumerate(weights) if weight != 0.0]
        self.scale, self.factor = scale, stack.new_tensor(scale)
        self.count = len(used)
        if used:
            chosen = slice(used[0], used[-1] + 1)
            self.weight, self.first = weights[used[0]], stack[used[0]].flatten()
            self.stack, self.weights = stack[chosen].flatten(1).t(), stack.new_tensor(weights[chosen])

    def into(self, out: Tensor, base: Tensor) -> None:
        """Write into `out`."""
        if not self.count:
            torch.mul(base, self.factor, out=out)
        elif self.count == 1 and self.scale == 1.0:
            torch.add(base, self.first, alpha=self.weight, out=out)
        else:
            torch.addmv(base, self.stack, self.weights, beta=self.scale, out=out)


def rows_of_stacks(stacks: Sequence[Tensor], stages: int, steps: int) -> list[list[Values]]:
    """Stacks (stages, steps, ...) as a tuple for each stage and step."""
    if not stacks:
        return [[()] * steps] * stages
    by_stage = zip(*(stack.unbind(0) for stack in stacks), strict=True)
    return [list(zip(*(one.unbind(0) for one in stage), strict=True)) for stage in by_stage]
