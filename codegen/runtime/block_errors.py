"""What is said of a block that fails: which one it is, in which step, and what it was called with."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class StepError(RuntimeError):
    """A loop over steps that cannot go on; the message names the step."""


class Where(NamedTuple):
    """Which of how many networks of a step; its title is the argument that it is, where it is one."""

    step: int
    network: int
    width: int
    title: str = ""


CALL_FAILURES = (RuntimeError, ValueError, TypeError, IndexError)
"""What torch raises where a block does not fit its input."""

PASSED_ON = (StepError, torch.OutOfMemoryError)
"""Of these, what stays as it is: an inner net that failed names its own step, and a full memory is no block's fault."""


def block_name(where: Where) -> str:
    """`block of step 3`, `block[1] of step 3` where a step has several, or `field in step 3`."""
    step, network, width, title = where
    if title:
        return f"{title} in step {step}"
    return f"block of step {step}" if width == 1 else f"block[{network}] of step {step}"


def failed_call(owner: str, where: Where, points: tuple[Any, ...], error: Exception) -> StepError:
    """The error of a block with the step and the input added."""
    x = points[-1]
    given = f"{'x' if len(points) == 1 else '(t, x), x'} of shape {tuple(x.shape)} and dtype {x.dtype}"
    return StepError(f"{owner}: the {block_name(where)} was called with {given}: {error}")


def check_shape(owner: str, value: Tensor, state: Tensor, where: Where, function: Any = None) -> None:
    """A block keeps the shape of its state, unless it checks its value itself; the message names axis and sizes."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {block_name(where)}: it returned a {type(value).__name__}; allowed: a Tensor")
    if value.shape == state.shape or getattr(function, "checks_itself", False):
        return
    shapes = f"it was given x of shape {tuple(state.shape)} and returned {tuple(value.shape)}"
    place = f"{owner}: {block_name(where)}: {shapes}"
    if value.dim() != state.dim():
        raise ValueError(f"{place}; allowed: the same number of axes, {state.dim()}, read {value.dim()}")
    axis = next(a for a in range(state.dim()) if value.shape[a] != state.shape[a])
    raise ValueError(f"{place}; allowed: axis {axis} of size {state.shape[axis]}, read size {value.shape[axis]}")


def note_where(watched: list[Where] | None, where: Where, value: Tensor) -> None:
    """Add the place of a value that is not finite, where somebody wants to know."""
    if watched is not None and not bool(torch.isfinite(value).all()):
        watched.append(where)
