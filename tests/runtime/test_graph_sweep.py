"""Steps that call an opaque field several times: one graph per step, in every memory mode, against plain autograd."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, parameter, state, time

DOUBLE = torch.float64
MEMORY = ["store", "recompute", "checkpoint"]
x, t, a = state("x", "d"), time("t"), parameter("a")
f, g = Network("f", takes_time=True), Network("f", per_layer=True)
b = parameter("b", "d", per_layer=True)


@cache
def module(layered: bool) -> Any:
    velocity = g(x) + b * x if layered else f(t, x) * a
    system = ODE((x,), (velocity,), time=None if layered else t)
    text = emit(Spec(id="own", class_name="Own", title="own", system=system, scheme="rk4"))
    assert "sweeps=GraphSweeps()" in text and "_step_adjoint" not in text
    return load_text(text).Own


class Timed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rate = inner, nn.Parameter(torch.tensor(0.7, dtype=DOUBLE))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        value: Tensor = self.inner(x) * torch.cos(self.rate * t)
        return value


def inner(kind: str) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)]
    extra = {"dropout": [nn.Dropout(0.3)], "batch norm": [nn.BatchNorm1d(3)]}.get(kind, [])
    return nn.Sequential(*extra, *layers).double()


def found(kind: str, memory: str, gradient: str, trajectory: bool) -> list[Tensor]:
    field = Timed(inner(kind))
    if kind == "frozen":
        field.inner[0].requires_grad_(False)
    times = [torch.tensor(value, dtype=DOUBLE, requires_grad=True) for value in (0.1, 0.9)]
    net = module(False)(
        field, a=torch.tensor(0.8, dtype=DOUBLE), steps=5, t0=times[0], t1=times[1], memory=memory, gradient=gradient
    )
    start = torch.randn(4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    torch.manual_seed(1)
    output = net.trajectory(start) if trajectory else net(start)
    weight = torch.linspace(0.5, 1.5, output.numel(), dtype=DOUBLE).reshape(output.shape)
    leaves = [start, *times, *(p for p in net.parameters() if p.requires_grad)]
    loss = (output * weight).sin().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    again = torch.autograd.grad(loss, leaves)
    return [output.detach(), *first, *again, *(buffer.double() for buffer in net.buffers()), torch.rand(2)]


@pytest.mark.parametrize("trajectory", [False, True])
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("kind", ["plain", "dropout", "batch norm", "frozen"])
def test_gradients_are_those_of_the_plain_steps(kind: str, memory: str, trajectory: bool) -> None:
    pairs = zip(*(found(kind, memory, form, trajectory) for form in ("derived", "autograd")), strict=True)
    assert all((one - other).norm() <= 1e-12 * other.norm().clamp_min(1e-30) for one, other in pairs)


@pytest.mark.parametrize("memory", MEMORY)
def test_a_network_and_parameters_of_each_step(memory: str) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        blocks = [inner("plain") for _ in range(3)]
        rows = torch.linspace(-1, 1, 9, dtype=DOUBLE).reshape(3, 3)
        net = module(True)(blocks, b=rows, step_size=0.3, memory=memory, gradient=gradient)
        start = torch.ones(2, 3, dtype=DOUBLE, requires_grad=True)
        net(start).sin().sum().backward()
        results.append([start.grad, *(p.grad for p in net.parameters())])
    assert all((one - other).norm() <= 1e-12 * other.norm() for one, other in zip(*results, strict=True))


def test_transforms_and_second_derivatives() -> None:
    start = torch.randn(4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    results = []
    for gradient in ("derived", "autograd"):
        net = module(False)(Timed(inner("plain")), a=torch.tensor(0.8, dtype=DOUBLE), steps=2, gradient=gradient)
        state_of = {name: value.detach() for name, value in net.named_parameters()}

        def loss(numbers: dict[str, Tensor], one: Tensor, net: nn.Module = net) -> Tensor:
            value: Tensor = functional_call(net, numbers, (one,)).sin().sum()
            return value

        per_sample = vmap(grad(loss), in_dims=(None, 0))(state_of, start)
        leaf = start.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(leaf).sin().sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad((slope**2).sum(), leaf)
        results.append([*per_sample.values(), *grad(loss)(state_of, start).values(), second])
    assert all((one - other).norm() <= 1e-11 * other.norm() for one, other in zip(*results, strict=True))


def test_autocast_and_plain_functions() -> None:
    values = []
    for memory in ("store", "recompute"):
        net = module(False)(lambda t, x: -x, a=torch.tensor(0.8), steps=3, memory=memory)
        start = torch.ones(2, 3, requires_grad=True)
        net(start).sum().backward()
        values.append(start.grad)
    assert torch.equal(*values)
    net = module(False)(Timed(inner("plain")).float(), a=torch.tensor(0.8), steps=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(torch.ones(2, 3, requires_grad=True)).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())
