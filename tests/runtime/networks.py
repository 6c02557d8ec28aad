"""Small networks that the tests put into nets in depth."""

from __future__ import annotations

import torch
from torch import nn


def tanh_blocks(count: int, width: int, layers: int = 2, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    """Linear-Tanh-Linear (layers=2), Linear-Tanh-Linear-Tanh-Linear (3), …"""
    made: list[nn.Module] = []
    for _ in range(count):
        parts: list[nn.Module] = [nn.Linear(width, width, dtype=dtype)]
        for _ in range(layers - 1):
            parts += [nn.Tanh(), nn.Linear(width, width, dtype=dtype)]
        made.append(nn.Sequential(*parts))
    return made


def tolerance(memory: str) -> float:
    """Of the difference of derived and plain form in float64; fixed point has 40 bits behind the point."""
    return 1e-8 if memory == "exact" else 1e-12
