"""How much an inverse step of a written-out system amplifies an error: measured on the inverse itself, at a state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from codegen.runtime.steps import Shared, State

INVERSE_STEPS = 16  # that a direction goes through
LAST = 4  # of them that are measured
CAUTION = 1.5  # the Jacobian changes between two measurements, and what grows most may not lead yet


def inverse_growth(undo: Callable[[State], State], new: State) -> Tensor:
    """0-dim estimate of what an inverse step multiplies an error by: of the sample where it is largest.

    A random direction goes through the Jacobian of `undo` (new state -> old state) several times, by differences and
    at one state: what grows less is then gone, as it is after so many inverse steps. A norm of the Jacobian would say
    more than that, for the state of a multistep scheme holds several times.
    """
    if new[0].numel() == 0:
        return new[0].new_ones(())
    generator = torch.Generator(new[0].device).manual_seed(0)
    errors = tuple(torch.randn(x.shape, generator=generator, device=x.device).to(x.dtype) for x in new)
    old, size = undo(new), _sample_norm(new)
    size = math.sqrt(torch.finfo(size.dtype).eps) * torch.where(size > 0, size, 1.0)
    tiny = torch.finfo(size.dtype).tiny
    growths = []
    for _ in range(INVERSE_STEPS):
        scale = size / _sample_norm(errors).clamp_min(tiny)
        moved = undo(tuple(x + scale * error for x, error in zip(new, errors, strict=True)))
        errors = tuple((x - y) / size for x, y in zip(moved, old, strict=True))
        growths.append(_sample_norm(errors))
    growth = torch.stack(growths[-LAST:]).log().mean(0).exp().amax()
    return torch.where(growth > 1, 1 + CAUTION * (growth - 1), growth)


def _sample_norm(state: State) -> Tensor:
    """The norm over the features of all tensors of a state, (..., 1)."""
    squares = [(x * x).sum(-1, keepdim=True) for x in state]
    return torch.stack(squares).sum(0).sqrt()


def measured_growth(local: Sequence[float], shared: Shared, measured: float) -> float:
    """Factor by which an inverse step amplifies an error: what is measured, and not less than one."""
    return max(measured, 1.0)
