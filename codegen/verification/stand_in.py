"""The torch form of the one stand-in for opaque networks: V tanh(W x + b + c t), the same that the evaluator knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class _StandIn(nn.Module):
    """The parameters of the stand-in.

    Args:
        shapes: name -> shape of each, in the order in which they stand in the flat vector of all.
        theta: that vector.
    """

    W: Tensor
    b: Tensor
    V: Tensor
    c: Tensor
    U: Tensor

    def __init__(self, shapes: Mapping[str, Sequence[int]], theta: Tensor) -> None:
        super().__init__()
        sizes = [torch.Size(shape).numel() for shape in shapes.values()]
        for (name, shape), part in zip(shapes.items(), theta.split(sizes), strict=True):
            self.register_parameter(name, nn.Parameter(part.reshape(tuple(shape)).clone()))


class StandIn(_StandIn):
    """`f(x) = V tanh(W x + b)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Value at x of shape (..., d)."""
        return torch.tanh(x @ self.W.mT + self.b) @ self.V.mT


class TimedStandIn(_StandIn):
    """`f(t, x) = V tanh(W x + b + c t)`."""

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Value at time t and x of shape (..., d)."""
        return torch.tanh(x @ self.W.mT + self.b + t * self.c) @ self.V.mT


class PairStandIn(_StandIn):
    """`f(z, x) = V tanh(W z + U x + b)`."""

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Value at two vectors."""
        return torch.tanh(z @ self.W.mT + x @ self.U.mT + self.b) @ self.V.mT


def stand_in(shapes: Mapping[str, Sequence[int]], theta: Tensor) -> nn.Module:
    """The stand-in with these parameters; it takes the time where it has a `c`, a second vector where it has a `U`."""
    kind = TimedStandIn if "c" in shapes else PairStandIn if "U" in shapes else StandIn
    return kind(shapes, theta)
