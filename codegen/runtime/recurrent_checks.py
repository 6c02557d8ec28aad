"""What a recurrent module is constructed and called with, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.precision import casts


def check_sizes(owner: str, sizes: Mapping[str, Any]) -> None:
    """Refuse sizes that are no whole numbers from 1 on."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{owner}: {name}={size!r}; allowed: a whole number, 1 or more")


def check_switches(owner: str, switches: Mapping[str, Any], dtype: Any) -> None:
    """Refuse switches that are neither True nor False, and a dtype that parameters cannot have."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{owner}: {name}={value!r}; allowed: True or False")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"{owner}: dtype={dtype!r}; allowed: a floating point torch.dtype, as torch.float64")


def check_dropout(owner: str, dropout: Any) -> None:
    """Refuse what is no probability."""
    if isinstance(dropout, bool) or not isinstance(dropout, float | int) or not 0.0 <= dropout <= 1.0:
        raise ValueError(f"{owner}: dropout={dropout!r}; allowed: a probability between 0 and 1")


def check_input(module: Any, x: Tensor, time_axis: int) -> None:
    """Refuse an input whose features, dtype or number of steps do not fit."""
    weight = next(module.parameters())
    if x.shape[-1] != module.input_size:
        allowed = f"axis {x.dim() - 1} of size {module.input_size} (input_size), read size {x.shape[-1]}"
        raise ValueError(f"{module.owner}: x has shape {tuple(x.shape)}; allowed: {allowed}")
    check_tensor(module.owner, "x", x, weight, "the parameters")
    if x.shape[time_axis] == 0:
        raise ValueError(f"{module.owner}: x has no step; allowed: axis {time_axis} of size 1 or more, read size 0")


def check_tensor(owner: str, name: str, value: Tensor, like: Tensor, of: str) -> None:
    """Refuse a tensor on another device or, outside of autocast, of another dtype than one that it meets."""
    if value.device != like.device:
        raise ValueError(f"{owner}: {name} is on {value.device}; allowed: the device of {of}, {like.device}")
    if value.dtype != like.dtype and not casts(value.device.type):
        raise TypeError(f"{owner}: {name} has dtype {value.dtype}; allowed: that of {of}, {like.dtype}")


def checked_state(owner: str, state: Any, shapes: Mapping[str, tuple[int, ...]], x: Tensor) -> list[Tensor]:
    """One tensor of the wanted shape for each state of the cell."""
    names = list(shapes)
    of_each = f"{names[0]}, a Tensor" if len(names) == 1 else f"a tuple of {len(names)} tensors: {', '.join(names)}"
    if not isinstance(state, Tensor | tuple | list):
        raise TypeError(f"{owner}: state is of type {type(state).__name__}; allowed: {of_each}")
    values = [state] if isinstance(state, Tensor) else list(state)
    if len(values) != len(names):
        found = "is one tensor" if isinstance(state, Tensor) else f"has {len(values)} entries"
        raise ValueError(f"{owner}: state {found}; allowed: {of_each}")
    for (name, wanted), value in zip(shapes.items(), values, strict=True):
        if not isinstance(value, Tensor):
            raise TypeError(f"{owner}: state {name} is of type {type(value).__name__}; allowed: a Tensor")
        place = f"{owner}: state {name} has shape {tuple(value.shape)}; allowed: shape {wanted}"
        if value.dim() != len(wanted):
            raise ValueError(f"{place}, {len(wanted)} axes, read {value.dim()}")
        for axis, (size, right) in enumerate(zip(value.shape, wanted, strict=True)):
            if size != right:
                raise ValueError(f"{place}, axis {axis} of size {right}, read size {size}")
        check_tensor(owner, f"state {name}", value, x, "x")
    return values
