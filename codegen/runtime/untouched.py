"""Calls of functions that must leave their arguments as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def call_untouched(function: Callable[..., Tensor], arguments: Sequence[Any]) -> Tensor:
    """The value.

    Raises:
        ValueError: the function has changed a tensor in place that it was given: the state, which is read afterwards.
    """
    versions = _versions(arguments)
    value = function(*arguments)
    if versions != _versions(arguments):
        raise ValueError(
            "it changes what it is given in place; allowed: a function that leaves it as it is, as with "
            "nn.ReLU(inplace=False), or x = x.clone() first"
        )
    return value


def _versions(arguments: Sequence[Any]) -> list[int]:
    """How often each tensor was changed; nothing of inference tensors and in compiled code, which do not count."""
    if torch.compiler.is_compiling():
        return []
    return [one._version for one in arguments if isinstance(one, Tensor) and not one.is_inference()]
