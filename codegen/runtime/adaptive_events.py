"""Where a function of time and state changes its sign: located on the dense output, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.adaptive_steps import PairStages, Solution
from codegen.runtime.block_errors import StepError

ROOT_STEPS = 200


def located(value: Callable[[float], float], high_sign: float) -> float:
    """The place from 0 to 1 where a function first has the sign that it has at 1, by halving down to rounding.

    Values are asked for one at a time: each costs an evaluation of the event, and none of the field.
    """
    low, high = 0.0, 1.0
    for _ in range(ROOT_STEPS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        found = value(middle)
        if found == 0.0:
            return middle
        low, high = (low, middle) if found * high_sign > 0.0 else (middle, high)
    return high


def place_event(found: Solution, stages: PairStages, event: Callable[[float, Tensor], float]) -> None:
    """Give the event in the last step to a solution as its one output, with time and velocity there."""
    assert found.ending is not None
    state, t, h, now = found.ending
    stages.extend(len(found.starts) - 1, t, h, state)

    def inside(theta: float) -> Tensor:
        return stages.inside(state, h, [stages.pair.weights(theta)])

    theta = 1.0 if now == 0.0 else located(lambda theta: event(t + theta * h, inside(theta)[0]), now)
    found.event, found.outputs, found.rows[-1] = t + theta * h, inside(theta), range(1)
    found.velocity = stages.slopes.t() @ state.new_tensor(stages.pair.velocities(theta))


def with_gradients(
    owner: str, event: Callable[..., Tensor], moment: Tensor, x: Any, velocity: Any
) -> tuple[Tensor, list[Tensor]]:
    """Time and state of an event by one Newton step, which carries the gradient of the implicit function theorem.

    Args:
        owner: for messages.
        event: (t, *parts of the state) -> a tensor of one element.
        moment: the time that was found.
        x: parts of the state at that time, which follow their initial value and the parameters with the time held.
        velocity: of the parts, by the dense output.
    """
    value = event(moment, *x).reshape(())
    with torch.enable_grad():
        leaves = [moment.detach().requires_grad_(), *(part.detach().requires_grad_() for part in x)]
        at = event(*leaves).reshape(())
        slopes = torch.autograd.grad(at, leaves, allow_unused=True) if at.requires_grad else [None] * len(leaves)
    moves = [torch.ones_like(moment), *velocity]
    rate = sum(((g * v).sum() for g, v in zip(slopes, moves, strict=True) if g is not None), value.new_zeros(()))
    if not bool(rate != 0):
        raise StepError(
            f"{owner}: event(t, x) has the slope {float(rate):g} along the solution at t = {float(moment):g}, where it "
            "is zero; allowed: a function that passes through zero, so that the time has a gradient"
        )
    time = moment - ((value - value.detach()) / rate).to(moment.dtype)
    shift = time - moment.detach()
    return time, [part + shift.to(part.dtype) * v for part, v in zip(x, velocity, strict=True)]
