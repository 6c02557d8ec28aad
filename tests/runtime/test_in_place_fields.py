"""Fields, blocks and cells that change their argument in place: refused, since the state is read afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated.deq import DEQ
from generated.neural_ode import NeuralODE
from generated.neural_sde import NeuralSDE
from generated.resnet import ResNet
from generated.revnet import RevNet
from generated.rk4 import RK4


def block() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3)).double()


class InPlaceCell(nn.Module):
    """z -> z / 2 + x, in place."""

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """The next z."""
        return z.mul_(0.5).add_(x)


NETS: dict[str, Callable[[str], Any]] = {
    "resnet": lambda gradient: ResNet([block(), block()], gradient=gradient),
    "recomputed": lambda gradient: ResNet([block(), block()], gradient=gradient, memory="recompute"),
    "revnet": lambda gradient: RevNet([(block(), block())], gradient=gradient),
    "rk4": lambda gradient: RK4(block(), steps=2, gradient=gradient),
    "function": lambda gradient: RK4(lambda t, x: x.mul_(0.5), steps=2, gradient=gradient),
    "adaptive": lambda gradient: NeuralODE(block(), gradient=gradient),
    "adaptive function": lambda gradient: NeuralODE(lambda t, x: x.mul_(0.5), gradient=gradient),
    "stochastic": lambda gradient: NeuralSDE(block(), lambda t, x: 0 * x, steps=2, gradient=gradient),
    "diffusion": lambda gradient: NeuralSDE(lambda t, x: x, lambda t, x: x.mul_(0.1), steps=2, gradient=gradient),
    "fixed point": lambda gradient: DEQ(InPlaceCell(), gradient=gradient),
}


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("which", NETS)
def test_refused_without_gradients(which: str, gradient: str) -> None:
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = (x, x) if which == "revnet" else (x,)
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match="in place; allowed: a function that leaves"):
        NETS[which](gradient)(*given)


@pytest.mark.parametrize("which", NETS)
def test_refused_in_training(which: str) -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    given = (x, x) if which == "revnet" else (x,)
    with pytest.raises((ValueError, RuntimeError), match=r"in.place"):
        NETS[which]("derived")(*given)
