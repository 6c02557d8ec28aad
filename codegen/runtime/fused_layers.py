"""Matrix products of many rows, with the tanh of their result in the same kernel, which takes as long again else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from codegen.runtime.dense_kernel import KERNEL, kernel_serves
from codegen.runtime.quick_tanh import tanh_into

LEAST_TANH, LEAST_PRODUCT = 2**14, 2**18  # elements of a result from which on the kernel takes less time


def linear_tanh(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """tanh(W x + b) of vectors x (..., inputs), with W (outputs, inputs)."""
    outputs, inputs = weight.shape
    if x.numel() * outputs >= LEAST_TANH * inputs and kernel_serves(x, inputs):
        fused: Tensor = KERNEL(x, weight, bias, "tanh", [], "")
        return fused
    value = functional.linear(x, weight, bias)
    return value.tanh() if torch.is_grad_enabled() else tanh_into(value, value)
