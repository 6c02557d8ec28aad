"""Affine maps of rows, and their tanh, written into tensors that are given."""

from __future__ import annotations

import torch
from torch import Tensor

from codegen.runtime.fused_layers import KERNEL, LEAST_PRODUCT, LEAST_TANH, kernel_serves
from codegen.runtime.quick_tanh import tanh_into


def affine_into(left: Tensor, right: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """Write left @ right + bias into `out`."""
    if out.numel() >= LEAST_PRODUCT and kernel_serves(left, len(right)) and (bias is None or bias.dim() == 1):
        return out.copy_(KERNEL(left, right.mT, bias, "none", [], ""))
    return torch.mm(left, right, out=out) if bias is None else torch.addmm(bias, left, right, out=out)


def affine_tanh_into(left: Tensor, right: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """Write tanh(left @ right + bias) into `out`."""
    if out.numel() >= LEAST_TANH and kernel_serves(left, len(right)) and (bias is None or bias.dim() == 1):
        return out.copy_(KERNEL(left, right.mT, bias, "tanh", [], ""))
    return tanh_into(affine_into(left, right, bias, out), out)
