"""Where a function of time and state changes its sign: found and located on the dense output, with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.adaptive_steps import PairStages, Solution
from codegen.runtime.block_errors import StepError

POINTS = 4  # of each step at which an event is read: equidistant, the last one at its end
NUDGE = 1e-3  # of a step: by what it changes over this distance an event is seen to come nearer to zero
GOLDEN = (math.sqrt(5) - 1) / 2
DIP_STEPS = 45  # of the golden section: down to 1e-9 of a step
ROOT_STEPS = 200
EVENT_ORDERS = 3  # of derivatives of time and state of an event


def located(value: Callable[[float], float], low: float, high: float) -> float:
    """The first place after which a function has the sign that it has at `high`, or is zero, by halving to rounding.

    Values are asked for one at a time: each costs an evaluation of the event, and none of the field.
    """
    sign = math.copysign(1.0, value(low))
    for _ in range(ROOT_STEPS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if value(middle) * sign > 0.0 else (low, middle)
    return high


def dip(value: Callable[[float], float], low: float, high: float) -> float | None:
    """A place between two where a function that is positive there is not, if it has one minimum: by golden section."""
    width = GOLDEN * (high - low)
    left, right = high - width, low + width
    at_left, at_right = value(left), value(right)
    for _ in range(DIP_STEPS):
        if min(at_left, at_right) <= 0.0:
            return left if at_left <= 0.0 else right
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = value(right)
    return None


class EventSearch:
    """Reads an event on the dense output of step after step, until it is zero or has changed its sign.

    Where it comes nearer to zero after one point and goes away from it before the next, it is followed to its smallest
    size between them: so two zeros between neighbouring points are found as well.
    """

    def __init__(self, owner: str, event: Callable[[float, Tensor], float]) -> None:
        self.owner, self.event, self.last = owner, event, 0.0

    def begin(self, t: float, state: Tensor) -> None:
        """The value at the beginning; where it is zero, the first one that is not has the sign to be changed."""
        self.last = self._value(t, state)

    def found_in(
        self, stages: PairStages, step: int, place: tuple[float, float, float], state: Tensor, new: Tensor
    ) -> float | None:
        """Where in an accepted step (beginning, size, end) the event is, from 0 to 1; None where it is not."""
        t, h, end = place
        stages.extend(step, t, h, state)

        def read(theta: float) -> float:
            inside = new if theta == 1.0 else stages.inside(state, h, [stages.pair.weights(theta)])[0]
            return self._value(end if theta == 1.0 else t + theta * h, inside)

        low = 0.0
        for n in range(1, POINTS + 1):
            high = n / POINTS
            now = read(high)
            crossed = self._crossed(read, low, high, now)
            if crossed is not None:
                return located(read, low, crossed)
            low, self.last = high, now or self.last
        return None

    def _crossed(self, read: Callable[[float], float], low: float, high: float, now: float) -> float | None:
        """A place after `low` where the event is zero or has the other sign, as far as one is seen."""
        if self.last == 0.0:
            return None
        sign = math.copysign(1.0, self.last)
        if now * sign <= 0.0:
            return high
        nearer = read(low + NUDGE) * sign < self.last * sign and read(high - NUDGE) * sign < now * sign
        return dip(lambda theta: read(theta) * sign, low, high) if nearer else None

    def _value(self, t: float, state: Tensor) -> float:
        found = self.event(t, state)
        if not math.isfinite(found):
            raise StepError(
                f"{self.owner}: event(t, x) is {found} at t = {t:g}; allowed: a function that is finite along the "
                "solution"
            )
        return found


def place_event(found: Solution, stages: PairStages) -> None:
    """Give the event in the last step to a solution as its one output, with time and velocity there."""
    assert found.ending is not None
    state, t, h, end, theta = found.ending
    found.event = end if theta == 1.0 else t + theta * h
    found.outputs, found.rows[-1] = stages.inside(state, h, [stages.pair.weights(theta)]), range(1)
    found.velocity = stages.slopes.t() @ state.new_tensor(stages.pair.velocities(theta))


class Unmapped(torch.autograd.Function):
    """Refuses vmap over what it is applied to."""

    @staticmethod
    def forward(owner: str, *tensors: Tensor) -> None:
        """Nothing."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: None) -> None:
        """Nothing."""

    @staticmethod
    def jvp(ctx: Any, *ways: Tensor | None) -> None:
        """Nothing."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], owner: str, *tensors: Tensor) -> Any:
        """The message."""
        raise NotImplementedError(
            f"{owner}: vmap over until, whose samples would end at different times; allowed: one call for each sample"
        )


class LaterOrders(torch.autograd.Function):
    """Zero for a number that is zero and has no first derivative: only derivatives of derivatives pass through."""

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Where nothing arrives there is nothing to do."""
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, bar: Tensor | None) -> Tensor | None:
        """What arrives, where it may be differentiated."""
        return bar if torch.is_grad_enabled() else None

    @staticmethod
    def jvp(ctx: Any, way: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(way)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], value: Tensor) -> tuple[Tensor, int]:
        """The same for every sample."""
        return LaterOrders.apply(value), in_dims[0]


def with_gradients(
    owner: str,
    event: Callable[..., Tensor],
    moment: Tensor,
    at: Callable[[Tensor | None], tuple[Tensor, ...]],
    velocity: tuple[Tensor, ...],
) -> tuple[Tensor, list[Tensor]]:
    """Time and state of an event by Newton steps: each carries the derivatives of one more order.

    The first step is the implicit function theorem, with the derived gradient of the state at the time that was found.
    Those after it read the dense output at the time of the step before, and move nothing but later derivatives.

    Args:
        owner: for messages.
        event: (t, *parts of the state) -> a tensor of one element.
        moment: the time that was found.
        at: time -> parts of the state then; None is the time that was found, held.
        velocity: of the parts then, by the dense output.
    """
    x = at(None)
    value = event(moment, *x).reshape(())
    rate = _rate(owner, event, moment, x, velocity, value.dtype)
    time = moment - ((value - value.item()) / rate).to(moment.dtype)
    shift = time - moment
    end = [part + shift.to(part.dtype) * v for part, v in zip(x, velocity, strict=True)]
    if not any(one.requires_grad for one in (time, *end)):
        return time, end
    for _ in range(EVENT_ORDERS - 1):
        missed = event(time, *at(time)).reshape(()) / rate
        time = time - LaterOrders.apply(missed).to(moment.dtype)
    return time, [one + LaterOrders.apply(part - one) for one, part in zip(end, at(time), strict=True)]


def _rate(
    owner: str,
    event: Callable[..., Tensor],
    moment: Tensor,
    x: tuple[Tensor, ...],
    velocity: tuple[Tensor, ...],
    dtype: torch.dtype,
) -> Tensor:
    """The derivative of the event in time along the solution, as a number."""
    with torch.enable_grad():
        pull_back: Any = torch.func.vjp(lambda *at: event(*at).reshape(()), moment, *(part.detach() for part in x))[1]
        slopes = pull_back(moment.new_ones((), dtype=dtype))
    rate = torch.stack([(g * v).sum() for g, v in zip(slopes, (torch.ones_like(moment), *velocity), strict=True)]).sum()
    if not bool(rate != 0):
        raise StepError(
            f"{owner}: event(t, x) has the slope {float(rate):g} along the solution at t = {float(moment):g}, where it "
            "is zero; allowed: a function that passes through zero, so that the time has a gradient"
        )
    return rate.detach()
