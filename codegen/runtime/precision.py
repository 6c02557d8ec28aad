"""Precision under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def lowered(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` in the precision of autocast, which leaves float64 and integers alone."""
    return value.to(dtype) if value.is_floating_point() and value.dtype != torch.float64 else value
