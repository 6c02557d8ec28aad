"""oneDNN's kernel for matrix products on CPUs, where torch's own product is MKL's.

It is what torch.compile makes of a linear layer; `python -m benchmarks.integrators`, `.revnet` and `.recurrent` show
what it saves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
