"""What parameters of written-out maps start from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def drawn_parameter(
    shape: Sequence[int],
    start: float | None,
    bound: float,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> nn.Parameter:
    """A parameter: a number throughout, or uniform within a bound."""
    values = torch.empty(tuple(shape), device=device, dtype=dtype)
    return nn.Parameter(nn.init.uniform_(values, -bound, bound) if start is None else values.fill_(start))
