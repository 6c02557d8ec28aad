"""How many arguments a field takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor, nn


def field_arity(function: Callable[..., Tensor]) -> int:
    """1 for `field(x)`, 2 for `field(t, x)`: one required argument of `forward` means `field(x)`."""
    if not isinstance(function, nn.Module):
        return _arity(function)
    kind = type(function)
    if "forward" in vars(function):
        return _arity(function.forward)
    if kind not in ARITIES:
        ARITIES[kind] = _arity(function.forward)
    return ARITIES[kind]


ARITIES: dict[type[nn.Module], int] = {}
"""Of the classes met: reading a signature costs as much as a small block."""


def _arity(target: Callable[..., Tensor]) -> int:
    try:
        arguments = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return 2
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [a for a in arguments if a.kind in positional and a.default is inspect.Parameter.empty]
    return 1 if len(required) == 1 else 2
