"""How many arguments a field takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor, nn


def field_arity(function: Callable[..., Tensor]) -> int:
    """1 for `field(x)`, 2 for `field(t, x)`, 3 with a direction; one required argument means `field(x)`."""
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
    count = len(required_arguments(target))
    return count if count in (1, 3) else 2


def required_arguments(target: Callable[..., Tensor]) -> list[str]:
    """Names of the positional arguments without a default; nothing where they cannot be known."""
    try:
        arguments = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [a.name for a in arguments if a.kind in positional and a.default is inspect.Parameter.empty]


def check_arguments(owner: str, what: str, function: Callable[..., Tensor]) -> None:
    """Refuse a field or block that wants more than a time and a state."""
    required = required_arguments(function.forward if isinstance(function, nn.Module) else function)
    if len(required) > 2:
        read = f"{len(required)} required arguments ({', '.join(required)})"
        raise TypeError(
            f"{owner}: {what} takes {read}; allowed: {what}(x) or {what}(t, x), further ones with a default"
        )
