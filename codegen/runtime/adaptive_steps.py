"""Steps whose size an embedded pair chooses: stages of one step, control of the size, the loop from t0 on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from codegen.runtime.adaptive_pairs import Pair
from codegen.runtime.block_errors import StepError

EARLY_ERROR = 1e-3  # what the first step may err, as a share of the tolerance: nothing is known of its derivatives yet
SMALLEST_STEP = 4 * torch.finfo(torch.float64).eps  # times the larger of the two times


class StepUnderflowError(StepError):
    """The step size has become as small as the rounding of the time."""


class StepCountError(StepError):
    """More steps than allowed."""


class NoEventError(StepError):
    """The event did not happen."""


class Control(NamedTuple):
    """h_next = h clip(safety e^(-alpha/k) e_prev^(beta/k), smallest, largest)."""

    safety: float
    alpha: float
    beta: float
    smallest: float
    largest: float

    def factor(self, error: float, earlier: float, power: int, rejected: bool) -> float:
        """What the step size is multiplied by; a step that is repeated may not grow, nor the one after it."""
        if not math.isfinite(error):
            return self.smallest
        error, earlier = max(error, 1e-10), max(earlier, 1e-4)
        wanted = self.safety * error ** (-self.alpha / power) * earlier ** (self.beta / power)
        return min(max(wanted, self.smallest), 1.0 if rejected else self.largest)


@dataclass
class SolveStats:
    """Evaluations of the field, and steps accepted and rejected, of the last solution and of its backward pass."""

    evaluations: int = 0
    accepted: int = 0
    rejected: int = 0
    backward_evaluations: int = 0
    backward_accepted: int = 0
    backward_rejected: int = 0


class Options(NamedTuple):
    """What a solution is asked for."""

    owner: str
    pair: Pair
    control: Control
    rtol: float
    atol: float
    first_step: float | None
    max_steps: int


@dataclass
class Solution:
    """The accepted steps from t0 towards t1: where each begins, its size, the state there, the outputs inside it.

    `last` is the state at the end; `outputs` has a row for each time that was asked for. Where an event ends it, it is
    the one output, with its time and the velocity of the dense output there; `ending` is the step that it is in (state,
    beginning, size, end) and its place there, from 0 to 1. `refused` has the shares of the tolerance that the error of
    the last rejected step had.
    """

    t0: float
    t1: float
    starts: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    rows: list[range] = field(default_factory=list)
    last: Tensor | None = None
    outputs: Tensor | None = None
    ending: tuple[Tensor, float, float, float, float] | None = None
    event: float | None = None
    velocity: Tensor | None = None
    refused: Tensor | None = None
    evaluations: int = 0
    rejected: int = 0

    @property
    def stretches(self) -> bool:
        """Whether the steps grow with the interval; with outputs at times of their own, t0 shifts them as they are."""
        return self.outputs is None

    def shares(self, step: int) -> tuple[float, float]:
        """How the beginning and the size of a step move with t1: by (s, w), and with t0 by (1 - s, -w).

        These are its shares of the interval, if the steps grow with it.
        """
        if not self.stretches:
            return 0.0, 0.0
        span = self.t1 - self.t0
        return (self.starts[step] - self.t0) / span, self.sizes[step] / span


class Search(Protocol):
    """What looks for an event in accepted steps."""

    last: float

    def begin(self, t: float, state: Tensor) -> None:
        """Read the event at the beginning."""

    def found_in(
        self, stages: PairStages, step: int, place: tuple[float, float, float], state: Tensor, new: Tensor
    ) -> float | None:
        """Where in an accepted step (beginning, size, end) from one state to a new one the event is, from 0 to 1."""


class PairStages(ABC):
    """Slopes of the stages of one step on a flat state. The first slope of a step is the last one of that before.

    `ending`: whether the step under way leads to the end, so that its last slope serves its error estimate alone.

    Args:
        pair: the table.
        like: a flat state.
    """

    def __init__(self, pair: Pair, like: Tensor) -> None:
        self.pair, self.last, self.count = pair, pair.last, len(pair.c)
        self.slopes = like.new_empty(self.count, like.numel())
        self.before = [self.slopes[:stage].t() for stage in range(self.count)]
        self.rows_of_slopes = self.slopes.unbind(0)
        self.into: Sequence[Tensor | None] = [None] * self.count  # where points are written; a field may keep its input
        self.weights = table_weights(pair, like.dtype, like.device)
        self.evaluations, self.ending = 0, False

    @abstractmethod
    def slope(self, step: int, stage: int, t: float, point: Tensor, row: int) -> None:
        """Write the field at a stage into a row of the slopes; counted by `evaluations`."""

    def begin(self, t: float, state: Tensor) -> None:
        """The first slope of the first step."""
        self.slope(0, 0, t, state, 0)

    def attempt(self, step: int, t: float, h: float, state: Tensor) -> tuple[Tensor, Tensor]:
        """State after a step, and the estimate of its error."""
        *rows, error = torch._foreach_mul(self.weights, h)
        for stage in range(1, self.last):
            self._stage(step, stage, t, h, state, rows[stage])
        new = torch.addmv(state, self.before[self.last], rows[self.last])
        self.slope(step + 1, 0, t + h, new, self.last)
        return new, torch.mv(for_norms(self.slopes[: self.last + 1]).t(), error)

    def _stage(self, step: int, stage: int, t: float, h: float, state: Tensor, weights: Tensor) -> None:
        point = torch.addmv(state, self.before[stage], weights, out=self.into[stage])
        self.slope(step, stage, t + self.pair.c[stage] * h, point, stage)

    def extend(self, step: int, t: float, h: float, state: Tensor) -> None:
        """The stages that the dense output of the step needs besides."""
        for stage in range(self.last + 1, self.count):
            self._stage(step, stage, t, h, state, self.weights[stage] * h)

    def accept(self) -> None:
        """The last slope becomes the first one of the next step."""
        self.rows_of_slopes[0].copy_(self.rows_of_slopes[self.last])

    def inside(self, state: Tensor, h: float, weights: Sequence[Sequence[float]], out: Tensor | None = None) -> Tensor:
        """States inside the step, which is extended: a row for each row of weights."""
        return torch.addmm(state, state.new_tensor(weights) * h, self.slopes, out=out)


def moving_forward() -> bool:
    """Whether a level of forward-mode differentiation is open, whose tangents only the plain form carries."""
    try:
        with forward_ad.dual_level():
            return False
    except RuntimeError:
        return True


@lru_cache(maxsize=64)
def table_weights(pair: Pair, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """The weights of earlier slopes in each stage, and those of the error, in float32 at least, as tensors."""
    rows = [torch.tensor(row[:stage] or (0.0,), dtype=dtype, device=device) for stage, row in enumerate(pair.A)]
    finer = torch.promote_types(dtype, torch.float32)
    return *rows, torch.tensor(pair.error[: pair.last + 1], dtype=finer, device=device)


@lru_cache(maxsize=64)
def table_columns(pair: Pair, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """The weights of each slope in later stages."""
    columns = [[row[stage] for row in pair.A[stage + 1 :]] or [0.0] for stage in range(len(pair.c))]
    return tuple(torch.tensor(column, dtype=dtype, device=device) for column in columns)


def for_norms(value: Tensor) -> Tensor:
    """In float32 where it is of fewer bits, in which quotients by tolerances overflow."""
    return value if value.dtype in (torch.float32, torch.float64) else value.float()


def scaled_norm(value: Tensor, scale: Tensor) -> Tensor:
    """Root of the mean square of value / scale."""
    return torch.linalg.vector_norm(value / scale) / math.sqrt(max(value.numel(), 1))


def first_step(stages: PairStages, options: Options, t: float, state: Tensor, span: float) -> float:
    """A first step size (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, II.4).

    Their estimate of the error, h^power times the larger of the first two derivatives, gets the constant of the pair.
    """
    slope, scale = stages.slopes[0], options.atol + options.rtol * for_norms(state).abs()
    size, speed = torch.stack((scaled_norm(state, scale), scaled_norm(slope, scale))).tolist()
    if not math.isfinite(size) or not math.isfinite(speed):
        what = "x0" if not bool(torch.isfinite(state).all()) else f"the field at t = {t:g}"
        raise StepError(f"{options.owner}: {what} has values that are not finite; allowed: finite numbers")
    if options.first_step is not None:
        return min(options.first_step, abs(span))
    guess = min(1e-6 if min(size, speed) < 1e-5 else 0.01 * size / speed, abs(span))
    moved = torch.add(state, slope, alpha=math.copysign(guess, span))
    stages.slope(0, 1, t + math.copysign(guess, span), moved, 1)
    bend = scaled_norm(for_norms(stages.slopes[1]) - slope, scale).item() / guess
    steepest = max(speed, bend) if math.isfinite(bend) else math.inf
    other = (
        max(1e-6, 1e-3 * guess)
        if steepest <= 1e-15
        else (0.001 / (options.pair.constant * steepest)) ** (1 / options.pair.power)
    )
    return min(100 * guess, max(other, 1e-3 * guess), abs(span))


def adaptive_steps(
    stages: PairStages, options: Options, state: Tensor, t0: float, t1: float, times: Sequence[float] | None = None,
    keep: bool = True, search: Search | None = None,
) -> Solution:  # fmt: skip
    """From t0 to t1, or until all `times` are passed, or until `search` finds its event.

    Raises:
        StepUnderflowError: no step is small enough.
        StepCountError: more steps than allowed.
        NoEventError: t1 is reached and the event was not found.
    """
    found, control, power = Solution(t0, t1), options.control, options.pair.power
    if times is not None:
        found.outputs = state.new_empty(len(times), state.numel())
    stages.begin(t0, state)
    t, h = t0, math.copysign(first_step(stages, options, t0, state, t1 - t0), t1 - t0)
    done, earlier, after_rejection = 0, 1.0, False
    if search is not None:
        search.begin(t0, state)
    size = for_norms(state).abs()
    while t != t1 and (times is None or done < len(times)):
        wanted = h
        h, end = _fitted(t, h, t1 if times is None or not options.pair.stops else _next_stop(t, t1, times[done:]))
        _check_step(stages, options, found, t, h, state)
        stages.ending = end == t1 and times is None
        new, estimate = stages.attempt(len(found.starts), t, h, state)
        new_size = for_norms(new).abs()
        scale = torch.maximum(size, new_size).mul_(options.rtol).add_(options.atol)
        error = scaled_norm(estimate, scale).item()
        if not error <= 1.0:
            found.rejected, found.refused, after_rejection = found.rejected + 1, estimate / scale, True
            h *= control.factor(error, earlier, power, True)
            continue
        done = _record(found, stages, state, new, (t, h, end), times, done, keep)
        place = None if search is None else search.found_in(stages, len(found.starts) - 1, (t, h, end), state, new)
        if place is not None:
            found.last, found.ending = new, (state, t, h, end, place)
            break
        stages.accept()
        h *= control.factor(error, earlier, power, after_rejection)
        h = wanted if abs(wanted) > abs(h) and options.pair.stops else h  # a step that was cut says nothing of the next
        t, state, size, earlier, after_rejection = end, new, new_size, max(error, 1e-4), False
    else:
        if search is not None:
            raise NoEventError(
                f"{options.owner}: event(t, x) does not change its sign between t = {t0:g} and {t1:g}, where it is "
                f"{search.last:g}; allowed: a function that does, or a later t1"
            )
    found.last, found.evaluations = state if found.last is None else found.last, stages.evaluations
    return found


def _next_stop(t: float, t1: float, times: Sequence[float]) -> float:
    """The first of the times after t, or t1."""
    return next((time for time in times if (time - t) * (t1 - t) > 0.0), t1)


def _fitted(t: float, h: float, t1: float) -> tuple[float, float]:
    """A step that ends at t1, or leaves enough for another one of its size; and where it ends."""
    rest = t1 - t
    if abs(rest) <= abs(h) * (1 + 1e-10):
        return rest, t1
    h = rest / 2 if abs(rest) < 2 * abs(h) else h
    return h, t + h


def _record(
    found: Solution, stages: PairStages, state: Tensor, new: Tensor, step: tuple[float, float, float],
    times: Sequence[float] | None, done: int, keep: bool,
) -> int:  # fmt: skip
    """Keep an accepted step and fill in the outputs inside it; returns how many outputs there are."""
    t, h, end = step
    found.starts.append(t)
    found.sizes.append(h)
    if keep:
        found.states.append(state)
    stop = done
    while times is not None and stop < len(times) and (times[stop] - end) * h <= 0:
        stop += 1
    if found.outputs is not None and times is not None and stop > done:
        weights = [stages.pair.weights((times[n] - t) / h) for n in range(done, stop)]
        stages.extend(len(found.starts) - 1, t, h, state)
        rows = found.outputs[done:stop]
        if moving_forward():  # where nothing is written in place
            rows.copy_(stages.inside(state, h, weights))
        else:
            stages.inside(state, h, weights, rows)
    found.rows.append(range(done, stop))
    return stop


def _check_step(stages: PairStages, options: Options, found: Solution, t: float, h: float, state: Tensor) -> None:
    """Refuse steps that are too small or too many, naming the component that needs them."""
    if len(found.starts) + found.rejected >= options.max_steps:
        raise StepCountError(
            f"{options.owner}: {len(found.starts)} accepted and {found.rejected} rejected steps lead to t = {t:g} with "
            f"h = {h:g}; allowed: max_steps={options.max_steps}; give a larger max_steps, rtol or atol"
            f"{if_drawn(stages, t, state)}"
        )
    if found.rejected and abs(h) <= SMALLEST_STEP * max(abs(found.t0), abs(found.t1)):
        raise StepUnderflowError(underflow_message(stages, options, found, t, h, state))


def underflow_message(stages: PairStages, options: Options, found: Solution, t: float, h: float, state: Tensor) -> str:
    """Where the steps ended, and what asked for smaller ones."""
    assert found.refused is not None
    shares = found.refused.abs().nan_to_num(nan=math.inf)
    worst = int(shares.argmax()) if shares.numel() else 0
    error = float(shares[worst])
    why = f"an error {error:.3g} times the tolerance" if math.isfinite(error) else "a slope that is not finite"
    return (
        f"{options.owner}: the step size underflows at t = {t:.9g}, h = {h:.3g}: component {worst} of the flattened "
        f"state, x = {float(state[worst]):.6g} with slope {float(stages.slopes[0, worst]):.3g}, had {why} in a step "
        f"that was rejected; allowed: a field that is finite and smooth there, or larger tolerances than "
        f"rtol={options.rtol:g}, atol={options.atol:g}{if_drawn(stages, t, state)}"
    )


def if_drawn(stages: PairStages, t: float, state: Tensor) -> str:
    """What is said where two calls of the field at one place differ; no step resolves such a field."""
    found = []
    for _ in range(2):
        stages.slope(0, 0, t, state, 0)
        found.append(stages.rows_of_slopes[0].clone())
    gap = float((found[0] - found[1]).abs().max()) if state.numel() else 0.0
    if not gap > 0.0:
        return ""
    return (
        f". Two calls of the field at this place differ by {gap:.3g}: it draws random numbers, as dropout does in "
        "training, and errors of its draws do not shrink with h; call eval() on it, or draw once for a whole solution"
    )
