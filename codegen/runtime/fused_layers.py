"""Matrix products of many rows, with the tanh of their result in the same kernel: by oneDNN, on CPUs.

There torch's own product is MKL's, and its tanh takes as long again. The kernel is what torch.compile makes of a linear
layer; `python -m benchmarks.integrators` and `python -m benchmarks.revnet` show what it saves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from codegen.runtime.quick_tanh import tanh_into

LEAST_TANH, LEAST_PRODUCT = 2**14, 2**18  # elements of a result from which on the kernel takes less time


def _kernel() -> Any:
    """The kernel; None where torch was built without it."""
    found = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return torch.ops.mkldnn._linear_pointwise.default if found else None


KERNEL = _kernel()


def kernel_serves(x: Tensor, inputs: int) -> bool:
    """Whether the kernel multiplies x (..., inputs) by a matrix.

    Not within graphs of autograd, which it has no rule for; where sizes do not fit, torch says so best.
    """
    if KERNEL is None or x.dtype != torch.float32 or x.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return x.dim() > 1 and x.shape[-1] == inputs and x.numel() > 0


def linear_tanh(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """tanh(W x + b) of vectors x (..., inputs), with W (outputs, inputs)."""
    outputs, inputs = weight.shape
    if x.numel() * outputs >= LEAST_TANH * inputs and kernel_serves(x, inputs):
        fused: Tensor = KERNEL(x, weight, bias, "tanh", [], "")
        return fused
    value = functional.linear(x, weight, bias)
    return value.tanh() if torch.is_grad_enabled() else tanh_into(value, value)
