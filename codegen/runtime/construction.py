"""What constructors do with their arguments: parameters, numbers of steps, the grid of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.arguments import as_floating
from codegen.runtime.arities import check_arguments


def as_parameter(owner: str, name: str, value: float | Tensor, shape: tuple[str, ...], steps: int = 0) -> nn.Parameter:
    """A learnable copy of a number or tensor; a parameter is kept as it is, so that it can be shared.

    With `steps` it may have a value for each step, on a leading axis.
    """
    data = as_floating(owner, name, value, f"a number or a tensor of shape ({', '.join(shape)})")
    if not (data.dim() == len(shape) or (steps and data.dim() == len(shape) + 1)):
        read = f"{name} has shape {tuple(data.shape)}"
        allowed = f"shape ({', '.join(shape)})" + (f" or ({', '.join(['steps', *shape])})" if steps else "")
        raise ValueError(f"{owner}: {read}; allowed: {allowed}, {len(shape)} axes, read {data.dim()}")
    if data.dim() > len(shape) and len(data) != steps:
        raise ValueError(f"{owner}: {name} has {len(data)} rows on axis 0; allowed: {steps}, one for each step")
    return value if isinstance(value, nn.Parameter) else nn.Parameter(data.detach().clone())


def check_steps(owner: str, steps: int) -> int:
    """A number of steps, 1 or more."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{owner}: steps={steps!r}; allowed: a whole number, 1 or more")
    return steps


def check_number(owner: str, name: str, value: Any) -> float | Tensor:
    """A finite real number, or a tensor that holds one and may need a gradient."""
    allowed = "a real number or a real tensor of shape ()"
    if isinstance(value, Tensor):
        if value.dim() or value.is_complex() or value.dtype == torch.bool:
            read = f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
            raise ValueError(f"{owner}: {name} is {read}; allowed: {allowed}")
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {name}={value!r}; allowed: {allowed}")
    elif not math.isfinite(value):
        raise ValueError(f"{owner}: {name}={value!r}; allowed: a finite number")
    return value


def check_step_size(owner: str, value: Any, steps: int) -> float | Tensor:
    """A step size for all layers, or a tensor with one for each."""
    if isinstance(value, Tensor) and value.shape == (steps,) and value.is_floating_point():
        return value
    if isinstance(value, Tensor) and value.dim():
        read = f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
        allowed = f"a real number, or a real tensor of shape () or ({steps},), one for each layer"
        raise ValueError(f"{owner}: step_size is {read}; allowed: {allowed}")
    return check_number(owner, "step_size", value)


def layer_times(x: Tensor, step_size: float | Tensor, steps: int) -> Tensor:
    """The times t_n (steps,) of layers that count from time zero."""
    if isinstance(step_size, Tensor) and step_size.dim():
        return torch.cumsum(step_size, 0) - step_size
    return step_size * torch.arange(steps, dtype=x.dtype, device=x.device)


def check_blocks(owner: str, blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """The networks of the steps."""
    allowed = "an iterable of nn.Module, one for each step"
    if not isinstance(blocks, Iterable):
        raise TypeError(f"{owner}: blocks is of type {type(blocks).__name__}; allowed: {allowed}")
    found = list(blocks)
    for n, block in enumerate(found):
        if not isinstance(block, nn.Module):
            raise TypeError(f"{owner}: blocks[{n}] is {block!r} of type {type(block).__name__}; allowed: {allowed}")
        check_arguments(owner, "block", block)
    return found


def check_block_rows(
    owner: str, blocks: Iterable[Sequence[nn.Module]], names: tuple[str, ...]
) -> list[tuple[nn.Module, ...]]:
    """The networks of the steps, several for each."""
    allowed = f"an iterable of ({', '.join(names)}), {len(names)} nn.Module for each step"
    if not isinstance(blocks, Iterable):
        raise TypeError(f"{owner}: blocks is of type {type(blocks).__name__}; allowed: {allowed}")
    rows = []
    for n, row in enumerate(blocks):
        if not isinstance(row, Iterable):
            raise TypeError(f"{owner}: blocks[{n}] is {row!r} of type {type(row).__name__}; allowed: {allowed}")
        found = tuple(row)
        wrong = next((one for one in found if not isinstance(one, nn.Module)), None)
        if wrong is not None:
            raise TypeError(f"{owner}: blocks[{n}] has {wrong!r} of type {type(wrong).__name__}; allowed: {allowed}")
        if len(found) != len(names):
            raise ValueError(f"{owner}: blocks[{n}] has {len(found)} networks; allowed: {allowed}")
        rows.append(found)
    return rows


def block_rows(blocks: nn.ModuleList) -> list[tuple[nn.Module, ...]]:
    """The networks of each step as the step takes them."""
    return [tuple(row) for row in blocks if isinstance(row, nn.ModuleList)]


def check_field(owner: str, field: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The one network of all steps."""
    if not callable(field):
        raise TypeError(
            f"{owner}: field is {field!r} of type {type(field).__name__}; allowed: an nn.Module or a function"
        )
    check_arguments(owner, "field", field)
    return field


def check_dtype(owner: str, x: Tensor, **parameters: Tensor) -> None:
    """Outside autocast, a state and the parameters of written-out equations have one dtype."""
    if torch.is_autocast_enabled(x.device.type):
        return
    for name, parameter in parameters.items():
        if parameter.dtype != x.dtype:
            raise TypeError(
                f"{owner}: x has dtype {x.dtype}, and {name} has {parameter.dtype}; allowed: the same dtype"
            )


def check_start(owner: str, start: str, readers: tuple[str, ...], blocks: int) -> None:
    """Refuse a start that reads a parameter of the second step where there is none."""
    if start in readers and blocks < 2:
        raise ValueError(f"{owner}: start={start!r} with {blocks} block(s); allowed: two blocks or more")


def time_grid(x: Tensor, t0: float | Tensor, t1: float | Tensor, steps: int) -> tuple[float | Tensor, Tensor]:
    """Step size h (scalar) and the times t_n = t0 + n h (steps,), in the dtype and on the device of the state.

    Gradients flow to t0 and t1 where these are tensors; where both are numbers, h is one as well.
    """
    start, end = (
        torch.as_tensor(time, dtype=x.dtype, device=x.device) if isinstance(time, Tensor) else float(time)
        for time in (t0, t1)
    )
    h = (end - start) / steps
    return h, start + h * torch.arange(steps, dtype=x.dtype, device=x.device)
