"""Adaptive steps of a field that is written out: stages in place, and a reverse sweep over blocks of steps at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.adaptive_events import EventSearch, place_event
from codegen.runtime.adaptive_field import FieldCalls
from codegen.runtime.adaptive_function import Bars, SolveCall, Wanted
from codegen.runtime.adaptive_opaque import TIMES, OpaqueForm
from codegen.runtime.adaptive_pairs import Pair
from codegen.runtime.adaptive_reverse import DenseBars
from codegen.runtime.adaptive_steps import PairStages, Solution, adaptive_steps, moving_forward
from codegen.runtime.adaptive_written_calls import FieldAt, WrittenCalls
from codegen.runtime.explicit_field import (
    Combination,
    Shape,
    Tableau,
    Values,
    WrittenField,
    from_columns,
    to_columns,
    unknowns_of,
)
from codegen.runtime.explicit_stacks import BarStacks, ValueStacks
from codegen.runtime.sweep import added

BLOCK_NUMBERS = 2**18  # what the stacks of a block of steps hold at most, unless one step has more


class WrittenStages(PairStages):
    """Slopes of a written field, in place."""

    def __init__(self, pair: Pair, at: FieldAt) -> None:
        super().__init__(pair, at.start.view(-1))
        self.at, unknowns, shape = at, at.field.unknowns, at.start.shape
        self.values = tuple(at.start.new_empty(*at.batch, *size) for size in at.shapes)
        self.out = [unknowns_of(slope.view(shape), unknowns) for slope in self.rows_of_slopes]
        self.points = torch.empty_like(self.slopes).unbind(0)
        self.into = self.into if moving_forward() else self.points
        self.inner = [unknowns_of(point.view(shape), unknowns) for point in self.points]

    def slope(self, step: int, stage: int, t: float, point: Tensor, row: int) -> None:
        """One evaluation; what lies in a row of the points is known as unknowns already."""
        self.evaluations += 1
        at = self.at
        known = point is self.points[row]
        state = self.inner[row] if known else unknowns_of(point.view(at.start.shape), at.field.unknowns)
        clock = () if at.field.time < 0 else at.clock(point.new_tensor(t))
        at.field.value(state, clock, at.held, self.values, self.out[row])


class ManySteps:
    """What the stacks of a block of steps are made for; sums over stages are without the sizes of the steps."""

    def __init__(self, at: FieldAt, pair: Pair, stages: int) -> None:
        self.field, self.start, self.batch = at.field, at.start, at.batch
        self.shapes, self.bar_shapes = at.shapes, at.bar_shapes
        rows, b = pair.A[:stages], pair.b[:stages]
        self.tableau = Tableau(tuple(row[:stages] for row in rows), b, pair.c[:stages])

    @staticmethod
    def scaled(weights: Sequence[float]) -> list[float]:
        """As they are."""
        return list(weights)

    def block_length(self) -> int:
        """How many steps go together."""
        each: Sequence[Shape] = (*self.shapes, *self.bar_shapes)
        values = sum(math.prod(self.batch) * math.prod(shape) for shape in each)
        one = len(self.tableau.b) * (4 * self.start.numel() + values)
        return max(1, BLOCK_NUMBERS // max(1, one))


class WrittenReverse:
    """The derived adjoint of accepted steps: stages of all steps of a block at once, cotangents step by step."""

    def __init__(self, at: FieldAt, pair: Pair, call: SolveCall, inside: Tensor | None) -> None:
        self.at, self.pair, self.call, self.inside = at, pair, call, inside
        assert call.solution is not None
        self.solution: Solution = call.solution
        stages = len(pair.c) if inside is not None else pair.last  # b has zeros from there on
        self.many = ManySteps(at, pair, stages)
        self.block: ValueStacks | None = None
        self.bars: BarStacks
        self.bar_shared: list[Tensor | None] = [None] * len(at.shared)
        self.evaluations = 0
        self.bar_t0, self.bar_t1 = at.start.new_zeros(()), at.start.new_zeros(())
        self.bar_times = at.start.new_zeros(len(call.times or ()))

    def run(self, bar: Tensor) -> Tensor:
        """Cotangent of the first state, in columns."""
        count, length = len(self.solution.starts), self.many.block_length()
        for stop in range(count, 0, -length):
            self._reverse(max(0, stop - length), stop, bar)
        return bar

    def _reverse(self, first: int, stop: int, bar: Tensor) -> None:
        """Steps of one block, in place on the cotangent."""
        length, solution = stop - first, self.solution
        if self.block is None or self.block.length != length:
            self.block = ValueStacks(self.many, length)
            self.bars = BarStacks(self.many, length)
            self.moved = self.at.start.new_empty(self.block.stages, length, *self.at.start.shape)
            self.to_point = [Combination(row, self.moved) for row in self.many.tableau.A]
        block, c = self.block, self.many.tableau.c
        sizes = bar.new_tensor(solution.sizes[first:stop])
        nodes = [[t + node * h for t, h in zip(solution.starts[first:stop], solution.sizes[first:stop], strict=True)]
                 for node in c]  # fmt: skip
        clock = self.at.clock(bar.new_tensor(nodes))
        states = torch.stack(solution.states[first:stop]).reshape(-1)
        self._values(block, states, sizes, clock)
        coefficients = self.at.field.coefficients(block.point, clock, self.at.held, block.value, block.slope)
        dense = [self._dense(n) for n in range(first, stop)]
        self._loop(block, block.rows(coefficients), first, bar, dense)
        self._add_gradients(block, clock, sizes, first, dense)

    def _values(self, block: ValueStacks, states: Tensor, sizes: Tensor, clock: Values) -> None:
        """Values of all stages, one stage of all steps at a time."""
        field, at = self.at.field, self.at
        scale = sizes.view(-1, *[1] * at.start.dim())
        for stage in range(block.stages):
            self.to_point[stage].into(block.flat_points[stage], states)
            now = tuple(self._spread(value[stage]) for value in clock)
            field.value(block.stage_point[stage], now, at.held, block.stage_value[stage], block.stage_slope[stage])
            torch.mul(block.slopes[stage], scale, out=self.moved[stage])
        self.evaluations += block.stages * block.length

    def _spread(self, value: Tensor) -> Tensor:
        """What depends on the time (steps, 1, ...) as rows of a stage of all steps."""
        return value if self.at.field.unknowns else value.expand(-1, *self.at.batch, -1).flatten(0, 1)

    def _dense(self, step: int) -> tuple[DenseBars, Tensor] | None:
        """What arrives at the outputs inside a step, and its part of each slope."""
        if self.inside is None or not len(self.solution.rows[step]):
            return None
        found = DenseBars(self.pair, self.solution, step, self.call.times or (), self.inside)
        return found, found.of_slopes()

    def _loop(
        self, block: ValueStacks, coefficients: list[list[Values]], first: int, bar: Tensor,
        dense: Sequence[tuple[DenseBars, Tensor] | None],
    ) -> None:  # fmt: skip
        """Cotangents of slopes, points and states, one step after the other."""
        pull_back, held, stages, flat = self.at.field.pull_back, self.at.held, range(block.stages)[::-1], bar.view(-1)
        bars = self.bars
        for n in range(block.length)[::-1]:
            h, inside = self.solution.sizes[first + n], dense[n]
            for i in stages:
                own = bars.flat_bar_slopes[i][n]
                bars.to_bar_slope[i].into(own, flat)
                if inside is not None:
                    own.add_(inside[1][i])
                own.mul_(h)
                pull_back(
                    block.row_point[i][n], block.row_value[i][n], block.row_slope[i][n], coefficients[i][n], held,
                    bars.row_bar_slope[i][n], bars.row_bar[i][n], bars.bar_state[i],
                )  # fmt: skip
            bars.to_bar_state.into(flat, flat)
            if inside is not None:
                flat.add_(inside[0].of_state())

    def _add_gradients(
        self, block: ValueStacks, clock: Values, sizes: Tensor, first: int,
        dense: Sequence[tuple[DenseBars, Tensor] | None],
    ) -> None:  # fmt: skip
        """Cotangents of what all steps share, and of times and sizes of the steps."""
        bars = self.bars
        local, shared = self.at.field.gradients(
            block.point, clock, self.at.held, block.value, block.slope, bars.bar_slope, bars.bar
        )
        self.bar_shared = [added(old, bar) for old, bar in zip(self.bar_shared, shared, strict=True)]
        if not self.call.timed:
            return
        self._add_times(block, sizes, first, dense, local[0] if local else None)

    def _add_times(
        self, block: ValueStacks, sizes: Tensor, first: int, dense: Sequence[tuple[DenseBars, Tensor] | None],
        local: Tensor | None,
    ) -> None:  # fmt: skip
        """Cotangents of the ends of the interval; `local` is what arrives at the times of the stages."""
        solution = self.solution
        at_nodes = sizes.new_zeros(block.stages, block.length) if local is None else local.reshape(block.stages, -1)
        bar_t = at_nodes.sum(0)
        for n, inside in enumerate(dense):
            if inside is not None:
                moved = inside[0].of_times(block.slopes[:, n].flatten(1))
                rows = solution.rows[first + n]
                self.bar_times[rows.start : rows.stop] = moved
                bar_t[n] -= moved.sum()
        if not solution.stretches:
            self.bar_t0 = self.bar_t0 + bar_t.sum()
            return
        over = tuple(range(2, block.slopes.dim()))
        bar_h = (self.bars.bar_slopes * block.slopes).sum((0, *over)) / sizes
        bar_h = bar_h + bar_h.new_tensor(self.many.tableau.c) @ at_nodes
        shares = [solution.shares(step) for step in range(first, first + block.length)]
        share, width = bar_h.new_tensor(shares).unbind(-1)
        self.bar_t0 = self.bar_t0 + (1 - share) @ bar_t - width @ bar_h
        self.bar_t1 = self.bar_t1 + share @ bar_t + width @ bar_h


class WrittenForm(OpaqueForm):
    """A field that is written out: a module as any other, with derived functions that work in place.

    Args:
        module: the field as a module.
        written: its derived functions.
        names: what they read besides state and time, in their order; the step size is an empty name.
        given: the other arguments of `OpaqueForm`.
    """

    def __init__(self, module: nn.Module, written: WrittenField, names: Sequence[str], *given: Any) -> None:
        super().__init__(module, *given)
        self.module, self.written, self.names = module, written, names
        self.places = {slot.name: slot.place for slot in self.blocks.field.parameters}
        kinds = {parameter.dtype for parameter in self.parameters} | {given[1].dtype}
        self.known: tuple[Any, ...] = ()
        self.in_place = not self.autocast[0] and len(kinds) == 1 and given[1].dim() > 0

    def _begin(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor]) -> bool:
        """Read the numbers of a sweep; whether it takes several steps at once, which scalar unknowns always do."""
        if not self.in_place:
            return False
        known, pair = (x.shape, *map(id, parameters)), call.options.pair
        if known != self.known:  # the reverse sweep mostly finds the tensors of the forward one
            self.known, self.at = known, self._at(x, parameters)
        if self.memory == "store" or self.adjoint == "continuous":
            return False
        return self.written.unknowns > 0 or ManySteps(self.at, pair, pair.last).block_length() > 1

    def _at(self, x: Tensor, parameters: Sequence[Tensor]) -> FieldAt:
        layout: list[Tensor | None] = []
        for name in self.names:
            place = self.places.get(name)
            number = None if place is not None or not name else x.new_tensor(getattr(self.module, name))
            layout.append(number if place is None else parameters[place])
        return FieldAt(self.written, x, layout)

    def calls(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor], live: bool) -> FieldCalls:
        """One by one, without graphs where the derived functions fit."""
        if not self.in_place or self.written.unknowns > 0:
            return super().calls(call, x, parameters, live)
        given = (self.blocks, parameters, self.snapshots, self.device, live, call.timed)
        return WrittenCalls(self.at, [self.places.get(name) for name in self.names], *given)

    def solve(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor]) -> Solution:
        """See `FieldForm`."""
        with torch.no_grad(), self.as_called():
            self.module(x.new_tensor(call.ends[0]), x[:0] if x.dim() > 1 else x)  # its checks of sizes and dtypes
        if not self._begin(call, x, parameters):
            return super().solve(call, x, parameters)
        at = self.at
        with torch.no_grad():
            stages = WrittenStages(call.options.pair, at)
            back = self._in_rows(at, x)
            search = None
            if self.event is not None:
                search = EventSearch(self.blocks.owner, lambda t, state: self.event(t, back(state[None])[0]))
            found = adaptive_steps(stages, call.options, at.start.view(-1), *call.ends, call.times, call.keep, search)
            if search is not None:
                place_event(found, stages)
                assert found.velocity is not None
                found.velocity = back(found.velocity[None])[0]
            assert found.last is not None
            found.last = back(found.last[None])[0]
            found.outputs = None if found.outputs is None else back(found.outputs)
        self.count(call, found)
        return found

    @staticmethod
    def _in_rows(at: FieldAt, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Flat states in columns (..., elements) as flat states in rows."""
        unknowns = at.field.unknowns
        if unknowns <= 1:
            return lambda flat: flat
        return lambda flat: flat.view(len(flat), *at.start.shape).mT.reshape(len(flat), -1)

    def reverse(
        self,
        call: SolveCall,
        x: Tensor,
        parameters: Sequence[Tensor],
        wanted: Wanted,
        bar: Tensor,
        inside: Tensor | None,
    ) -> Bars:
        """See `FieldForm`."""
        if not self._begin(call, x, parameters):
            return super().reverse(call, x, parameters, wanted, bar, inside)
        at = self.at
        unknowns = at.field.unknowns
        columns = None
        if inside is not None:
            columns = to_columns(inside.view(len(inside), *x.shape), unknowns, 1).reshape(len(inside), -1)
        sweep = WrittenReverse(at, call.options.pair, call, columns)
        start = to_columns(bar.view(x.shape), unknowns).clone(memory_format=torch.contiguous_format)
        first = from_columns(sweep.run(start), unknowns, x.shape)
        call.stats.backward_evaluations, call.stats.backward_accepted = sweep.evaluations, 0
        found: list[Tensor | None] = [first, sweep.bar_t0, sweep.bar_t1, sweep.bar_times]
        by_name = dict(zip(self.names, sweep.bar_shared, strict=True))
        names = {place: name for name, place in self.places.items()}
        found += [by_name.get(names[place]) for place in range(len(parameters))]
        assert len(found) == TIMES + len(parameters)
        return tuple(one if want else None for one, want in zip(found, wanted, strict=True))
