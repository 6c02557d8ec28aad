"""memory="exact": two-step schemes in fixed point, whose steps are undone bit for bit from the last two states.

The step x_{n+1} = w x_{n-1} + g(x_n) runs on integers X = 2^F x as X_{n+1} = M(X_{n-1}) + round(2^F g(2^-F X_n)): g is
evaluated at the same numbers in both directions, so that only M, the product with w = p/q, has to be made invertible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from codegen.runtime.blocks import Evaluation, StepTape
from codegen.runtime.closed_calls import closed_field
from codegen.runtime.finite_states import not_finite
from codegen.runtime.information_buffer import InformationBuffer
from codegen.runtime.step_functions import FiniteTest
from codegen.runtime.steps import (
    LARGEST_Q,
    InversionError,
    Plan,
    Recording,
    Shared,
    State,
    StepError,
    row_of_step,
    rows_of,
)
from codegen.runtime.sweep import ReverseSweep

FRACTION_BITS = {torch.float32: 32, torch.float64: 40}  # F, by the dtype of the state
STATE_LIMIT = 2**61  # of the integers, with one bit to spare


class FixedPointOverflowError(StepError):
    """A state is too large for the fixed point numbers."""


class Exact(NamedTuple):
    """A step as w x_{n-1} + g(x_n): what its reversal in fixed point needs to know; methods are the sweeps.

    weight(local, shared) -> w, the weight of the oldest state
    at_weight(w, local, shared) -> (local, shared) with which the step has that weight
    rest(field, newer_state, local, shared) -> g
    """

    weight: Callable[..., Any]
    at_weight: Callable[..., tuple[tuple[Any, ...], Shared]]
    rest: Callable[..., Tensor]

    def rounded(
        self, owner: str, q: int, x: Tensor, local: tuple[Tensor, ...], shared: Shared
    ) -> tuple[tuple[Any, ...], Shared]:
        """The parameters with w rounded to the nearest p/q, p not 0; the gradient passes straight through.

        Raises:
            TypeError: x has a dtype without a fixed point.
            ValueError: w is 0, above 1 in size, or not finite.
        """
        if x.dtype not in FRACTION_BITS:
            allowed = " or ".join(str(dtype) for dtype in FRACTION_BITS)
            raise TypeError(f"{owner}: x has dtype {x.dtype}; allowed with memory='exact': {allowed}")
        weight = torch.as_tensor(self.weight(local, shared), device=x.device).to(x.dtype)
        if not torch.compiler.is_compiling():
            answers: list[bool] = []
            allowed_values = (weight != 0) & (weight.abs() <= 1)
            FiniteTest.apply(answers, torch.where(allowed_values, 0.0, math.nan).detach())  # no answer under vmap
            if answers == [False]:
                raise refused_weight(owner, weight.detach().reshape(-1).tolist())
        whole = torch.round(weight * q)
        whole = torch.where(whole == 0, torch.sign(weight), whole)
        return self.at_weight((whole / q).detach() + (weight - weight.detach()), local, shared)

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """((output,), what the reverse sweep needs: the last two states, a checksum of every state, the buffer)."""
        (x,), local, shared_tensors, parameters = plan.split(inputs)
        steps = FixedPointSteps(plan, self, x, local, plan.full_shared(shared_tensors))
        evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=True, closed=True)
        hidden = any(not isinstance(block.function, nn.Module) for block in plan.blocks.distinct)
        buffer = InformationBuffer(steps.factors)
        newest = older = steps.on_grid(steps.watched(x.double()))
        fine, point = steps.off_grid(newest)
        sums, visited = [newest.sum()], [point]
        with plan.as_called():
            for n in range(plan.steps):
                # Graphs are made and dropped, since some operations round otherwise where none is asked for.
                field = evaluation.field(n, closed_field) if hidden else StepTape(evaluation, n).field()
                increment = steps.increment(n, field, fine, point)
                made = steps.on_grid(steps.watched(increment))
                if n >= steps.first:
                    made += buffer.multiply(n - steps.first, older)
                newest, older = made, newest
                fine, point = steps.off_grid(newest)
                sums.append(newest.sum())
                if plan.trajectory:
                    visited.append(point)
        steps.check_range()
        output = torch.stack(visited) if plan.trajectory else point
        return (output,), [newest, older, torch.stack(sums), *buffer.all_words()]

    def reverse(
        self,
        plan: Plan,
        recording: Recording,
        needs: Sequence[bool],
        inputs: Sequence[Tensor],
        stored: Sequence[Tensor],
        bars: Sequence[Tensor],
    ) -> tuple[Tensor | None, ...]:
        """Cotangents of the inputs, with every state rebuilt."""
        return ExactReverse(self, plan, recording, needs, inputs, stored).run(bars)


def refused_weight(owner: str, weights: Sequence[float]) -> ValueError:
    """The error of the first weight that has no inverse in fixed point."""
    row = next(row for row, weight in enumerate(weights) if weight == 0 or not abs(weight) <= 1)
    what = "with weight 0 a step forgets the older state" if weights[row] == 0 else "above 1 the states would grow"
    return ValueError(
        f"{owner}: the weight of the oldest state is {weights[row]:g} in row {row}; allowed with memory='exact': "
        f"from -1 to 1 but not 0 ({what}). Use memory='store' or 'checkpoint' otherwise"
    )


class FixedPointSteps:
    """The steps of one call on integers 2^F x: what both directions evaluate alike.

    `factors` are the weights p/q of the steps after the first ones; `first` is how many steps the start makes.
    """

    def __init__(self, plan: Plan, rules: Exact, x: Tensor, local: Sequence[Tensor], shared: Shared) -> None:
        self.plan = plan
        self.rules = rules
        self.dtype = x.dtype
        self.unit = 2.0 ** FRACTION_BITS[x.dtype]
        self.fineness = torch.tensor(1.0 / self.unit, dtype=torch.float64, device=x.device)
        self.first = min(len(plan.rules.start), plan.steps)
        self.rows = rows_of(local, plan.steps)
        self.shared = shared
        self.factors = self._factors(local)
        self.at_factor = [
            rules.at_weight(float(factor), row, shared)
            for factor, row in zip(self.factors, self.rows[self.first :], strict=True)
        ]
        self.limit = STATE_LIMIT / self.unit / self._largest_sum()
        self.ranges: list[Tensor] = []

    def _factors(self, local: Sequence[Tensor]) -> list[Fraction]:
        """p/q of every step, from one host read."""
        if self.first == self.plan.steps:
            return []
        found = torch.as_tensor(self.rules.weight(local, self.shared)).detach().double().reshape(-1).tolist()
        known = [Fraction(weight).limit_denominator(LARGEST_Q) for weight in found]
        steps = self.plan.steps
        return [known[row_of_step(n, steps, len(known))] for n in range(self.first, steps)]

    def _largest_sum(self) -> float:
        """Bound of the states x_n where every increment is at most 1."""
        newest = older = largest = 1.0
        for factor in self.factors:
            newest, older = 1.0 + abs(factor) * older, newest
            largest = max(largest, newest)
        return largest

    def increment(self, n: int, evaluate: Callable[..., Tensor], x: Tensor, point: Tensor) -> Tensor:
        """g(x_n), what step n adds to the product with the older state; in the start the new state itself.

        The block sees x_n in the dtype of the net, `point`; the sums around it are float64.
        """

        def field(*points: Any) -> Tensor:
            return evaluate(*points[:-1], point)

        if n < self.first:
            start: State = self.plan.rules.start[n].step(field, (x,) * self.plan.rules.width, self.rows[n], self.shared)
            return start[0]
        local, shared = self.at_factor[n - self.first]
        return self.rules.rest(field, (x,), local, shared)

    def watched(self, value: Tensor) -> Tensor:
        """The value, of which `check_range` will look at the extremes."""
        self.ranges += torch.aminmax(value) if value.numel() else ()
        return value

    def on_grid(self, value: Tensor) -> Tensor:
        """Integers 2^F x, rounded to the nearest."""
        return (value * self.unit).round_().to(torch.int64)

    def off_grid(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        """x in float64 and in the dtype of the net."""
        x = whole * self.fineness
        return x, x.to(self.dtype)

    def check_range(self) -> None:
        """Raise where a value was not finite or too large, naming the step that made it."""
        if not self.ranges:
            return
        found = torch.stack(self.ranges).abs().tolist()
        bad = next((place for place, size in enumerate(found) if not size <= self.limit), None)
        if bad is None:
            return
        state, size, name, steps = bad // 2, found[bad], self.plan.name, self.plan.steps
        if not math.isfinite(size):
            raise not_finite(name, state, steps, bool(self.plan.blocks.of_step))
        raise FixedPointOverflowError(
            f"{name}: x_{state} of x_0 … x_{steps}"
            + (f" (made by step {state - 1})" if state else "")
            + " gets a term "
            f"of size {size:.3g}; allowed with memory='exact': up to {self.limit:.3g}, for {steps} steps with "
            f"{int(math.log2(self.unit))} bits behind the point. Scale the states down, or use memory='checkpoint'"
        )


class ExactReverse(ReverseSweep):
    """The reverse sweep that undoes the steps on integers; inverse and adjoint share the block calls."""

    def __init__(
        self,
        rules: Exact,
        plan: Plan,
        recording: Recording,
        needs: Sequence[bool],
        inputs: Sequence[Tensor],
        stored: Sequence[Tensor],
    ) -> None:
        super().__init__(plan, recording, needs, inputs, stored)
        self.steps = FixedPointSteps(plan, rules, self.x[0], self.local, self.shared)

    def _reverse_steps(self) -> None:
        steps, first = self.steps, self.steps.first
        newest, older, sums, *words = self.bank
        buffer = InformationBuffer(steps.factors, words)
        (x, point), found = steps.off_grid(older), []
        for n in reversed(range(first, self.plan.steps)):
            calls = StepTape(self.evaluation, n)
            product = newest - steps.on_grid(steps.increment(n, calls.field(), x, point))
            oldest = buffer.undo(n - first, product)
            x, older_point = steps.off_grid(oldest)
            found.append(oldest.sum())
            self._adjoint(calls, (point, older_point))
            newest, older, point = older, oldest, older_point
        broken = [(n + first, left) for n, left in buffer.leftovers()]
        for n in reversed(range(first)):
            calls = StepTape(self.evaluation, n)
            broken.append((n, (newest != steps.on_grid(steps.increment(n, calls.field(), x, point))).any()))
            self._adjoint(calls, (point,) * self.plan.rules.width)
        broken.append((0, (older != steps.on_grid(self.x[0].double())).any()))
        rebuilt = torch.stack(found[::-1]) if found else sums[:0]
        self._check_bits([n for n, _ in broken], torch.stack([one for _, one in broken]), rebuilt != sums[: len(found)])

    def _check_bits(self, steps: list[int], broken: Tensor, changed: Tensor) -> None:
        """Raise naming the step nearest to the output that did not come back; the one host read of the sweep.

        `broken` belongs to `steps`; `changed` says of x_0, x_1, … whether the state differs, by its sum.
        """
        failed = torch.cat((broken, changed)).tolist()
        if any(failed):
            places = [*steps, *(n + 1 for n in range(len(changed)))]
            n = max(place for place, bad in zip(places, failed, strict=True) if bad)
            raise InversionError(
                f"{self.plan.name}: the state before step {n} did not come back bit for bit: the block of step {n} "
                "gave other values when it was called again, or what was kept for the backward pass was changed; "
                "allowed with memory='exact': blocks that repeat themselves exactly. Use memory='checkpoint' otherwise"
            )
