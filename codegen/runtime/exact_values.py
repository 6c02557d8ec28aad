"""Parameters that start with exact values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def exact_number(name: str, value: Any) -> float:
    """A finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r}; allowed: a finite real number")
    return float(value)


def set_exactly(
    owner: str, parameters: Iterable[tuple[str, Tensor]], values: Callable[[Tensor, Tensor], Mapping[str, Any]]
) -> None:
    """Give parameters their exact values.

    values: row and column of the entries, from 1 -> name without layer and direction -> a number, nested tuples of
        numbers, or a tensor that spreads to the shape of the parameter.
    """
    for name, parameter in parameters:
        row, *column = (
            torch.arange(1.0, 1.0 + n, dtype=parameter.dtype, device=parameter.device) for n in parameter.shape
        )
        exact = values(row.unsqueeze(-1), column[0]) if column else values(row, torch.ones_like(row))
        stem = re.sub(r"_l\d+(_reverse)?$", "", name)
        if stem not in exact:
            continue
        value = torch.as_tensor(exact[stem], dtype=parameter.dtype, device=parameter.device)
        if value.shape != parameter.shape and not isinstance(exact[stem], Tensor) and value.dim():
            read = f"{name} has shape {tuple(parameter.shape)} under these sizes"
            allowed = f"{tuple(value.shape)}, the shape of its exact values, as under the default sizes"
            raise ValueError(f"{owner}: {read}; allowed: {allowed}")
        with torch.no_grad():
            parameter.copy_(value.expand_as(parameter))
