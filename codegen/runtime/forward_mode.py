"""Directional derivatives from pullbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def pushforward(function: Callable[..., Any], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Any:
    """Directional derivative of a function with a tuple of outputs, as the transpose of its pullback.

    Unlike torch.func.jvp it may run inside a forward-mode transform.
    """
    pair: tuple[Any, ...] = torch.func.vjp(function, *primals)
    outputs, pullback = pair
    zeros = tuple(torch.zeros_like(value) for value in outputs)
    transposed: tuple[Any, ...] = torch.func.vjp(pullback, zeros)
    return transposed[1](tangents)[0]
