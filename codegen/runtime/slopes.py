"""Slopes of elementwise functions in their values, times a tensor, written into a tensor that is given."""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid_slope(scale: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Write scale * value * (1 - value), `scale` times the slope of the sigmoid where it has this value, into `out`."""
    slope: Tensor = torch.ops.aten.sigmoid_backward.grad_input(scale, value, grad_input=out)
    return slope


def tanh_slope(scale: Tensor, value: Tensor, out: Tensor) -> Tensor:
    """Write scale * (1 - value ** 2), `scale` times the slope of tanh where it has this value, into `out`."""
    slope: Tensor = torch.ops.aten.tanh_backward.grad_input(scale, value, grad_input=out)
    return slope
