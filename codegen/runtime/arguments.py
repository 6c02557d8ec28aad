"""Arguments of constructors: choices, tensors from numbers, sizes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

Choice = TypeVar("Choice", str, int)


def choose(owner: str, option: str, value: Choice, allowed: Sequence[Choice]) -> Choice:
    """`value` if it is allowed; else an error that says what is, and what was perhaps meant."""
    if value in allowed:
        return value
    close = difflib.get_close_matches(str(value), map(str, allowed), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{owner}: {option}={value!r}; allowed: {', '.join(map(repr, allowed))}{hint}")


def as_floating(owner: str, name: str, value: object, allowed: str) -> Tensor:
    """A tensor of a floating dtype, from a tensor or from numbers, which take the default dtype."""
    try:
        data = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{owner}: {name}={value!r}; allowed: {allowed}") from error
    if not data.is_floating_point():
        raise TypeError(f"{owner}: {name} has dtype {data.dtype}; allowed: a floating dtype, such as torch.float32")
    return data


def check_size(owner: str, what: str, tensor: Tensor, axis: int, size: int) -> None:
    """Error naming the axis and both sizes unless `tensor` has `size` there."""
    if tensor.dim() < -axis or tensor.shape[axis] != size:
        read = f"size {tensor.shape[axis]}" if tensor.dim() >= -axis else "no such axis"
        raise ValueError(
            f"{owner}: {what} has shape {tuple(tensor.shape)}; allowed: axis {axis} of size {size}, read {read}"
        )
