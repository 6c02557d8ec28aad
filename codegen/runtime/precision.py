"""Precision under autocast."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def without_autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast switched off, where the kind of device has one: "meta" has none."""
    return torch.autocast(device, enabled=False) if casts(device) else contextlib.nullcontext()


def casts(device: str) -> bool:
    """Whether autocast is on."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def lowered(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` in the precision of autocast, which leaves float64 and integers alone."""
    return value.to(dtype) if value.is_floating_point() and value.dtype != torch.float64 else value
