"""What constructors do with their arguments: parameters, numbers of steps, the grid of times."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def as_parameter(value: float | Tensor) -> nn.Parameter:
    """A learnable copy of a number or tensor; a parameter is kept as it is, so that it can be shared."""
    if isinstance(value, nn.Parameter):
        return value
    kind = None if isinstance(value, Tensor) else torch.get_default_dtype()
    return nn.Parameter(torch.as_tensor(value, dtype=kind).detach().clone())


def check_steps(owner: str, steps: int) -> int:
    """A number of steps, 1 or more."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{owner}: steps={steps!r}; allowed: a whole number, 1 or more")
    return steps


def check_start(owner: str, start: str, readers: tuple[str, ...], blocks: int) -> None:
    """Refuse a start that reads a parameter of the second step where there is none."""
    if start in readers and blocks < 2:
        raise ValueError(f"{owner}: start={start!r} with {blocks} block(s); allowed: two blocks or more")


def time_grid(x: Tensor, t0: float | Tensor, t1: float | Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Step size h (scalar) and the times t_n = t0 + n h (steps,), in the dtype and on the device of the state.

    Gradients flow to t0 and t1 where these are tensors.
    """
    start, end = (torch.as_tensor(time, dtype=x.dtype, device=x.device) for time in (t0, t1))
    h = (end - start) / steps
    return h, start + h * torch.arange(steps, dtype=x.dtype, device=x.device)
