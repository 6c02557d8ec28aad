"""The discrete adjoint of accepted steps: the stages of one step after the other, run again and pulled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.adaptive_pairs import Pair
from codegen.runtime.adaptive_steps import Solution, table_columns, table_weights


class StepBars(NamedTuple):
    """Cotangents that one step leaves: of its beginning and size, and of the times of the outputs inside it."""

    t: float
    h: float
    times: list[float]


class Gathered:
    """Cotangents of parameters: added in place from the second term on, as the first may be someone else's tensor."""

    def __init__(self) -> None:
        self.bars: dict[int, Tensor] = {}
        self.owned: set[int] = set()

    def add(self, terms: Sequence[tuple[int, Tensor | None]]) -> None:
        """Add terms by their places."""
        for place, term in terms:
            if term is None:
                continue
            if place not in self.bars:
                self.bars[place] = term
            elif place in self.owned:
                self.bars[place] += term
            else:
                self.bars[place] = self.bars[place] + term
                self.owned.add(place)


class DenseBars:
    """What arrives at the outputs inside one step: of the state, of each slope, and of the time of each output."""

    def __init__(self, pair: Pair, solution: Solution, step: int, times: Sequence[float], bars: Tensor) -> None:
        rows = solution.rows[step]
        t, h = solution.starts[step], solution.sizes[step]
        self.bars = bars[rows.start : rows.stop]
        places = [(times[n] - t) / h for n in rows]
        self.weights = self.bars.new_tensor([pair.weights(place) for place in places])
        self.velocities = [pair.velocities(place) for place in places]

    def of_slopes(self) -> Tensor:
        """(stages, elements), without the factor h."""
        return self.weights.t() @ self.bars

    def of_state(self) -> Tensor:
        """The sum over the outputs."""
        return self.bars.sum(0)

    def of_times(self, slopes: Tensor) -> Tensor:
        """What arrives at the time of each output: its product with the velocity of the dense output."""
        return (self.bars * (self.bars.new_tensor(self.velocities) @ slopes)).sum(1)


class Pulled(NamedTuple):
    """A slope with its pullback: flat cotangent -> (cotangent of the point, of the time or None)."""

    value: Tensor
    pull_back: Callable[[Tensor], tuple[Tensor, Tensor | None]]


LinearizeStage = Callable[[int, int, float, Tensor], Pulled]


class Reverse:
    """The reverse sweep over the accepted steps of a solution.

    Args:
        pair, solution, times: what was solved.
        linearize: (step, stage, t, flat point) -> the slope there with its pullback.
        timed: whether cotangents of times are wanted.
    """

    def __init__(
        self, pair: Pair, solution: Solution, times: Sequence[float], linearize: LinearizeStage, timed: bool
    ) -> None:
        self.pair, self.solution, self.times, self.linearize, self.timed = pair, solution, times, linearize, timed
        like = solution.states[0] if solution.states else solution.last
        assert like is not None
        self.count = len(pair.c)
        self.bar_points, self.slopes = (like.new_empty(self.count, like.numel()) for _ in range(2))
        self.bar_slopes = torch.empty_like(self.slopes if timed else self.slopes[:0])
        *self.rows, _ = table_weights(pair, like.dtype, like.device)
        self.columns = table_columns(pair, like.dtype, like.device)
        self.bar_t0, self.bar_t1 = like.new_zeros(()), like.new_zeros(())
        self.bar_times = like.new_zeros(len(times))

    def run(self, bar: Tensor, bars_inside: Tensor | None) -> Tensor:
        """Cotangent of the first state, from those of the last one and of the outputs; both flat."""
        for step in reversed(range(len(self.solution.starts))):
            dense = None
            if bars_inside is not None and len(self.solution.rows[step]):
                dense = DenseBars(self.pair, self.solution, step, self.times, bars_inside)
            bar = self._pull_back(step, bar, dense)
        return bar

    def _pull_back(self, step: int, bar: Tensor, dense: DenseBars | None) -> Tensor:
        """The derived adjoint of one step: cotangents of slopes and points, last stage first."""
        solution, b = self.solution, self.pair.b
        t, h, state = solution.starts[step], solution.sizes[step], solution.states[step]
        last = self.count if dense is not None else self.pair.last  # b has zeros from there on
        pulled = self._stages(step, t, h, state, last)
        beyond = None if dense is None else dense.of_slopes().mul_(h)
        weights = torch._foreach_mul(self.columns, h)
        times: list[Tensor | None] = [None] * last
        for stage in reversed(range(last)):
            own = bar * (h * b[stage]) if beyond is None else beyond[stage].add_(bar, alpha=h * b[stage])
            if stage + 1 < last:
                later = self.bar_points[stage + 1 : last].t()
                own = torch.addmv(own, later, weights[stage][: last - stage - 1])
            if self.timed and self.solution.stretches:
                self.bar_slopes[stage].copy_(own)
            at_point, times[stage] = pulled.pop().pull_back(own)
            self.bar_points[stage].copy_(at_point)
        if self.timed:
            self._add_times(step, times, dense, last)
        new = bar + self.bar_points[:last].sum(0)
        return new if dense is None else new + dense.of_state()

    def _stages(self, step: int, t: float, h: float, state: Tensor, last: int) -> list[Pulled]:
        """The stages run again."""
        weights, pulled = torch._foreach_mul(self.rows, h), []
        for stage in range(last):
            point = state if stage == 0 else torch.addmv(state, self.slopes[:stage].t(), weights[stage])
            now = (step + 1, 0) if stage == self.pair.last else (step, stage)
            found = self.linearize(*now, t + self.pair.c[stage] * h, point)
            self.slopes[stage].copy_(found.value)
            pulled.append(found)
        return pulled

    def _add_times(self, step: int, times: list[Tensor | None], dense: DenseBars | None, last: int) -> None:
        """Cotangents of the ends of the interval, with which a step moves; a dense output is in no step that grows."""
        solution = self.solution
        found = [(node, bar) for node, bar in zip(self.pair.c, times, strict=False) if bar is not None]
        bar_t = sum((bar for _, bar in found), torch.zeros_like(self.bar_t0))
        if dense is not None:
            moved = dense.of_times(self.slopes)
            rows = solution.rows[step]
            self.bar_times[rows.start : rows.stop] = moved
            bar_t = bar_t - moved.sum()
        if not solution.stretches:
            self.bar_t0 = self.bar_t0 + bar_t
            return
        share, width = solution.shares(step)
        bar_h = (self.bar_slopes[:last] * self.slopes[:last]).sum() / solution.sizes[step]
        bar_h = sum((node * bar for node, bar in found), bar_h)
        self.bar_t0 = self.bar_t0 + (1 - share) * bar_t - width * bar_h
        self.bar_t1 = self.bar_t1 + share * bar_t + width * bar_h


def replayed(
    pair: Pair, solution: Solution, times: Sequence[Any], field: Callable[[int, int, Any, Tensor], Tensor],
    x: Tensor, t0: Any, t1: Any,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """The plain form: last state and outputs by the accepted steps, as plain tensor operations.

    `times` are numbers, or tensors that gradients flow to; `field` is called as (step, stage, t, x); the steps are
    moved with t0 and t1, numbers or tensors.
    """
    moved_begin, moved_end = t0 - solution.t0, t1 - solution.t1  # zero, and what gradients flow through
    outputs: list[Tensor] = []
    count = len(pair.c)
    for step, (start, size) in enumerate(zip(solution.starts, solution.sizes, strict=True)):
        share, width = solution.shares(step)
        t = start + (1 - share) * moved_begin + share * moved_end
        h = size + width * (moved_end - moved_begin)
        rows = solution.rows[step]
        slopes: list[Tensor] = []
        for stage in range(count if len(rows) else pair.last):
            point = x + h * _sum(pair.A[stage], slopes) if stage else x
            now = (step + 1, 0) if stage == pair.last else (step, stage)
            slopes.append(field(*now, t + pair.c[stage] * h, point))
        for n in rows:
            theta = (times[n] - t) / h
            powers = [theta**power for power in range(1, len(pair.dense[0]) + 1)]
            outputs.append(x + h * _sum([_dot(row, powers) for row in pair.dense], slopes))
        x = x + h * _sum(pair.b, slopes)
    return x, outputs


def _sum(weights: Sequence[Any], slopes: Sequence[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, slopes, strict=False) if isinstance(w, Tensor) or w != 0.0]
    return torch.stack(terms).sum(0) if terms else torch.zeros_like(slopes[0])


def _dot(row: Sequence[float], powers: Sequence[Any]) -> Any:
    return sum(c * power for c, power in zip(row, powers, strict=True))
