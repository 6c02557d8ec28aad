"""The continuous adjoint: state, costate and gradients of parameters as one ODE, solved backwards with own steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.adaptive_pairs import Pair
from codegen.runtime.adaptive_reverse import Gathered, LinearizeStage
from codegen.runtime.adaptive_steps import PairStages, Solution, adaptive_steps


class BackwardStages(PairStages):
    """Slopes of (x, a, gradients): the field, minus its pullback of a to the point, and to the parameters."""

    def __init__(
        self, pair: Pair, like: Tensor, size: int, linearize: LinearizeStage, gathered: Gathered,
        places: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        super().__init__(pair, like)
        self.size, self.linearize, self.gathered, self.places = size, linearize, gathered, places

    def slope(self, step: int, stage: int, t: float, point: Tensor, row: int) -> None:
        """One evaluation with its pullback."""
        self.evaluations += 1
        out = self.rows_of_slopes[row]
        size = self.size
        found = self.linearize(step, stage, t, point[:size])
        at_point, _ = found.pull_back(point[size : 2 * size].clone())
        out[:size], out[size : 2 * size] = found.value, -at_point
        start = 2 * size
        rest = out[start:].zero_()
        for place, count in self.places:
            term = self.gathered.bars.pop(place, None)
            if term is not None:
                rest[:count].copy_(term.reshape(-1)).neg_()
            rest = rest[count:]
        self.gathered.owned.clear()


class Backsolve:
    """Solves from the last output time back to t0; at each output what arrives there is added to the costate."""

    def __init__(
        self,
        call: Any,
        linearize: LinearizeStage,
        gathered: Gathered,
        parameters: Sequence[Tensor],
        needed: Sequence[bool],
    ) -> None:
        self.call, self.linearize, self.gathered = call, linearize, gathered
        self.needed = [place for place, one in enumerate(needed) if one]
        self.parameters = parameters

    def run(self, bar: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cotangents of the first state, of t0, t1 and of the output times; those of parameters are gathered."""
        solution: Solution = self.call.solution
        t0, t1 = self.call.ends
        times = self.call.times
        size = bar.numel()
        assert solution.last is not None
        counts = [(place, self.parameters[place].numel()) for place in self.needed]
        rest = bar.new_zeros(sum(count for _, count in counts))
        bar_times = bar.new_zeros(len(times or ()))
        bar_t1 = bar.new_zeros(())
        if times is None:
            stops, states, bars = [t1], [solution.last], [bar]
        else:
            assert solution.outputs is not None and inside is not None
            stops, states, bars = list(times), list(solution.outputs), list(inside)
        state, costate = states[-1], torch.zeros_like(bar)
        for place in reversed(range(len(stops))):
            here = stops[place]
            state = states[place]
            speed = self._value(here, state)
            moved = bars[place] @ speed
            if times is None:
                bar_t1 = moved
            else:
                bar_times[place] = moved
            costate = costate + bars[place]
            before = stops[place - 1] if place else t0
            if before != here:
                state, costate, rest = self._back(torch.cat((state, costate, rest)), size, here, before, counts)
        self._spread(rest, counts)
        speed = self._value(t0, state)
        return costate, -(costate @ speed), bar_t1, bar_times

    def _value(self, t: float, state: Tensor) -> Tensor:
        return self.linearize(0, 0, t, state).value

    def _back(
        self, whole: Tensor, size: int, start: float, end: float, counts: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        options, stats = self.call.options, self.call.stats
        stages = BackwardStages(options.pair, whole, size, self.linearize, self.gathered, counts)
        found = adaptive_steps(stages, options, whole, start, end, keep=False)
        stats.backward_accepted += len(found.starts)
        stats.backward_rejected += found.rejected
        assert found.last is not None
        return found.last[:size], found.last[size : 2 * size], found.last[2 * size :]

    def _spread(self, rest: Tensor, counts: Sequence[tuple[int, int]]) -> None:
        """Gradients of parameters in their own shapes."""
        for place, count in counts:
            self.gathered.bars[place] = rest[:count].view(self.parameters[place].shape)
            rest = rest[count:]
