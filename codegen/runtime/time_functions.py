"""Parameters that are functions of time: their values at the times of the stages, for all steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.arguments import check_size
from codegen.runtime.arities import required_arguments
from codegen.runtime.construction import as_parameter

TimeFunction = Callable[..., Tensor]


def as_time_function(
    owner: str, name: str, value: float | Tensor | TimeFunction, shape: tuple[str, ...], steps: int = 0
) -> Any:
    """A function of time as it is; anything else as a parameter, with `steps` perhaps with a value for each step."""
    if not callable(value):
        return as_parameter(owner, name, value, shape, steps)
    required = required_arguments(value.forward if isinstance(value, nn.Module) else value)
    if len(required) > 1:
        read = f"{len(required)} required arguments ({', '.join(required)})"
        raise TypeError(f"{owner}: {name} takes {read}; allowed: {name}(t), further ones with a default")
    return value


def value_at(owner: str, name: str, function: TimeFunction, shape: tuple[str, ...], t: Tensor, batched: bool) -> Tensor:
    """`function(t)`, checked: a tensor of the parameter's shape; with `batched` batch axes may lead."""
    value: Any = function(t)
    if isinstance(value, Real) and not shape:
        value = t.new_tensor(float(value))
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name}(t) returned a {type(value).__name__}; allowed: a tensor {_shown(shape)}")
    if not value.is_floating_point():
        raise TypeError(f"{owner}: {name}(t) has dtype {value.dtype}; allowed: a floating dtype, such as torch.float32")
    if not shape and value.numel() == 1:
        return value.reshape(())
    if value.dim() == len(shape) or (batched and value.dim() > len(shape)):
        return value
    batch = f", or ({', '.join(['...', *shape])}) with batch axes" if batched else ""
    raise ValueError(f"{owner}: {name}(t) has shape {tuple(value.shape)}; allowed: {_shown(shape)}{batch}")


def _shown(shape: tuple[str, ...]) -> str:
    return f"of shape ({', '.join(shape)})"


def at_time(owner: str, name: str, value: Any, shape: tuple[str, ...], t: Tensor, batched: bool) -> Tensor:
    """A parameter at one time."""
    return value if isinstance(value, Tensor) else value_at(owner, name, value, shape, t, batched)


def at_times(owner: str, name: str, value: Any, shape: tuple[str, ...], times: Tensor, batched: bool = False) -> Tensor:
    """A parameter at one time in each step (steps,): a function at these times, a value for each step, or one for all.

    What is no function is not changed: a value for each step stands for the whole step.
    """
    if isinstance(value, Tensor):
        return value
    return torch.stack([value_at(owner, name, value, shape, t, batched) for t in times.unbind(0)])


def at_stages(
    owner: str, name: str, value: Any, shape: tuple[str, ...], times: Sequence[Tensor], batched: bool = False
) -> tuple[Tensor, ...]:
    """The same at several times in each step, with a value for each step of what has one for all."""
    if isinstance(value, Tensor):
        rows = value if value.dim() > len(shape) else value.expand(len(times[0]), *value.shape)
        return (rows,) * len(times)
    return tuple(at_times(owner, name, value, shape, moment, batched) for moment in times)


def check_sizes(owner: str, **given: tuple[Any, tuple[str | int, ...]]) -> None:
    """Every named dimension has one size, that of the first tensor that has it; functions have no shape yet."""
    known: dict[str, int] = {}
    for name, (value, axes) in given.items():
        for place, size in enumerate(axes if isinstance(value, Tensor) else ()):
            axis = place - len(axes)
            expected = size if isinstance(size, int) else known.setdefault(size, value.shape[axis])
            check_size(owner, name, value, axis, expected)
