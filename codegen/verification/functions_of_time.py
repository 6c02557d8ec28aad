"""Functions of time that stand in for parameters: the same in torch, in NumPy and in mpmath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import sympy
import torch
from sympy import Expr
from torch import Tensor, nn

from codegen.verification.measures import uniform
from derive.numeric import Numeric
from derive.power_series import array_of

SHARE = 0.4  # of the swing in the mean
PACE = (0.5, 0.25)
DIGITS = 60


class Wave(nn.Module):
    """mean + swing s/(1 + s^2), s = t/2 + 1/4: smooth, bounded, rational, so that every arithmetic has it.

    Attributes:
        mean: the parameter that it stands for.
        swing: of the same shape.
    """

    def __init__(self, mean: Tensor, swing: Tensor) -> None:
        super().__init__()
        self.mean, self.swing = nn.Parameter(mean.detach().clone()), nn.Parameter(swing.detach().clone())

    def forward(self, t: Tensor) -> Tensor:
        """Its value at a time."""
        return self.mean + self.swing * shape_of_wave(t)

    def copied(self) -> Wave:
        """The same with parameters of its own."""
        return Wave(self.mean, self.swing)

    def numeric(self, t: Any, lift: Any) -> Numeric:
        """Its value in another arithmetic."""
        mean, swing = (_array(part.detach(), lift) for part in (self.mean, self.swing))
        value = mean + swing * shape_of_wave(t)
        return value if self.mean.dim() else value[0]


def shape_of_wave(t: Any) -> Any:
    """s/(1 + s^2)."""
    s = PACE[0] * t + PACE[1]
    return s / (1 + s * s)


def _array(value: Tensor, lift: Any) -> Numeric:
    entries = [lift(np.float64(entry)) for entry in value.reshape(-1).tolist()]
    floats = isinstance(entries[0], float)
    return (np.array(entries) if floats else array_of(entries)).reshape(tuple(value.shape) or (1,))


def waves(values: Sequence[Tensor]) -> list[Wave]:
    """A function of time around each value."""
    generator = torch.Generator().manual_seed(13)
    return [Wave(v, SHARE * v * uniform(v.shape, 0.5, 1.0, generator)) for v in values]


def number(node: Expr, like: Any) -> Any:
    """A node of a scheme in the arithmetic of another number."""
    return mpmath.mpf(str(sympy.N(node, DIGITS))) if isinstance(like, mpmath.mpf) else float(node)
