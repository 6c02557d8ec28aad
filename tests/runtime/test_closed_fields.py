"""Tensors that a field reads and that are not its parameters: refused where their gradients would be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.runtime.closed_calls import refuse_others
from generated.backward_euler import BackwardEuler
from generated.continuous_flow import ContinuousFlow
from generated.langevin_flow import LangevinFlow
from generated.neural_ode import NeuralODE
from generated.neural_sde import NeuralSDE
from generated.resnet import ResNet
from generated.rk4 import RK4
from generated.stochastic_depth import StochasticDepth


class Scaled(nn.Module):
    """tanh(w x) * outside, where `outside` is a plain attribute."""

    def __init__(self, outside: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))
        self.outside = outside

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return torch.tanh(self.w * x) * self.outside


class Noise(nn.Module):
    """Constant noise."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """Diagonal."""
        return 0.1 * torch.ones_like(x)


NETS: dict[str, Callable[..., Any]] = {
    "adaptive": NeuralODE,
    "continuous adjoint": lambda f, **g: NeuralODE(f, adjoint="continuous", **g),
    "flow": lambda f, **g: ContinuousFlow(3, f, solver="adaptive", **g),
    "drift": lambda f, **g: NeuralSDE(f, Noise(), steps=3, **g),
    "diffusion": lambda f, **g: NeuralSDE(lambda t, x: x, f, steps=3, **g),
    "langevin": lambda f, **g: LangevinFlow(f, Noise(), steps=3, **g),
    "random depth": lambda f, **g: StochasticDepth([f, f], survival=0.5, **g),
    "recompute": lambda f, **g: RK4(f, steps=2, memory="recompute", **g),
    "depth": lambda f, **g: ResNet([f, f], **g),
    "checkpoint": lambda f, **g: ResNet([f, f], memory="checkpoint", **g),
    "implicit": lambda f, **g: BackwardEuler(f, steps=2, **g),
}


def run(net: Any, x: Tensor) -> Tensor:
    torch.manual_seed(3)
    value = net(x)
    return (value[0] if isinstance(value, tuple) else value).sum()


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("which", NETS)
def test_refused_or_right(which: str, leaf: bool) -> None:
    base = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    outside = base if leaf else base * 2
    x = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    net = NETS[which](Scaled(outside))
    try:
        (found,) = torch.autograd.grad(run(net, x), base, retain_graph=True)
    except (ValueError, RuntimeError) as error:
        assert "not its parameters" in str(error)
    else:
        (expected,) = torch.autograd.grad(run(NETS[which](Scaled(outside), gradient="autograd"), x), base)
        assert (found - expected).abs() <= 1e-12 * expected.abs()


@pytest.mark.parametrize("which", NETS)
def test_nothing_is_refused_without_gradients_or_without_such_tensors(which: str) -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    outside = torch.tensor(1.3, dtype=torch.float64)
    run(NETS[which](Scaled(outside)), x).backward()
    with torch.no_grad():
        assert run(NETS[which](Scaled(outside.requires_grad_())), x).isfinite()


def test_parameters_that_are_computed() -> None:
    """As functional_call gives them: their own history is none of the block's."""
    net, x = NeuralODE(Scaled(torch.tensor(1.0, dtype=torch.float64))), torch.ones(2, 3, dtype=torch.float64)
    w = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    value = torch.func.functional_call(net, {"field.w": w * 2}, (x,))
    assert torch.autograd.grad(value.sum(), w)[0].abs() > 0


def test_what_is_known() -> None:
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    refuse_others((a * 2).sin() + a, [a])
    refuse_others(a, [a])
    c = b * 3
    refuse_others(a * c, [a, c])
    for value, known in (((a * b), [a]), (a, [b]), (a * c, [a])):
        with pytest.raises(ValueError, match="not its parameters"):
            refuse_others(value, known)
