"""Steps that call an opaque field several times, in every memory mode, against plain autograd and steps by hand."""

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


class Counted(nn.Module):
    """A field that counts its calls and adds a parameter of the size of a state without batch axes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.shift = 0, nn.Parameter(torch.linspace(-1, 1, 3, dtype=DOUBLE))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return self.shift - x.sin()


class Falling(nn.Module):
    """A field that is infinite at one of its random draws."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.where(torch.rand(()) < 0.05, torch.inf, x)


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
@pytest.mark.parametrize("sizes", [0.3, torch.tensor([0.1, 0.5, 0.2], dtype=DOUBLE, requires_grad=True)])
def test_a_network_and_parameters_of_each_step(memory: str, sizes: float | Tensor) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        blocks = [inner("plain") for _ in range(3)]
        rows = torch.linspace(-1, 1, 9, dtype=DOUBLE).reshape(3, 3)
        net = module(True)(blocks, b=rows, step_size=sizes, memory=memory, gradient=gradient)
        start = torch.ones(2, 3, dtype=DOUBLE, requires_grad=True)
        calls: list[Tensor] = []
        blocks[1].register_forward_hook(lambda block, given, value, calls=calls: calls.append(value))
        leaves = [start, *net.parameters(), *([sizes] if isinstance(sizes, Tensor) else [])]
        results.append(torch.autograd.grad(net(start).sin().sum(), leaves))
        again = {"store": 0, "recompute": 4, "checkpoint": 4}[memory] if gradient == "derived" else 0
        assert len(calls) == 4 + again
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


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("tensors", [False, True])
def test_steps_written_by_hand(memory: str, tensors: bool) -> None:
    end = torch.tensor(0.9, dtype=DOUBLE, requires_grad=True)
    field, start = Counted(), torch.tensor([0.3, -0.4, 2.0], dtype=DOUBLE, requires_grad=True)
    leaves = [start, field.shift, *([end] if tensors else [])]
    net = module(False)(field, a=1.0, steps=4, t1=end if tensors else 0.9, memory=memory)
    output = net(start)
    found = [output, *torch.autograd.grad(output.sin().sum(), leaves)]
    assert field.calls == {"store": 16, "recompute": 32, "checkpoint": 16 + 8 + 16}[memory]
    h, value = end / 4, start
    for _ in range(4):
        f_1 = field(h, value)
        f_2 = field(h, value + h * f_1 / 2)
        f_3 = field(h, value + h * f_2 / 2)
        f_4 = field(h, value + h * f_3)
        value = value + h * (f_1 + 2 * f_2 + 2 * f_3 + f_4) / 6
    expected = [value, *torch.autograd.grad(value.sin().sum(), leaves)]
    assert all((one - other).norm() <= 1e-13 * other.norm() for one, other in zip(found, expected, strict=True))


class Pushing(nn.Module):
    """Every other call, the one whose weight is 1, gives a parameter itself: its cotangent is that of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.push = 0, nn.Parameter(torch.ones(3, dtype=DOUBLE))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.zeros_like(x) if self.calls % 2 else self.push


@pytest.mark.parametrize("memory", MEMORY)
def test_a_cotangent_that_several_quantities_have(memory: str) -> None:
    spec = Spec(id="own", class_name="Own", title="own", system=ODE((x,), (Network("f")(x),)), scheme="midpoint")
    net = load_text(emit(spec)).Own(Pushing(), steps=3, t1=3.0, memory=memory)
    start = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE)
    (net(start) * weight).sum().backward()
    assert torch.equal(start.grad, weight) and torch.equal(net.field.push.grad, 3 * weight)


@pytest.mark.parametrize("memory", MEMORY)
def test_memory_modes_hold_under_autocast(memory: str) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        field = Counted()
        field.inner = inner("plain").float()
        field.register_forward_hook(lambda module, given, value: module.inner(given[1]) + value)
        net = module(False)(field.float(), a=torch.tensor(0.8), steps=4, memory=memory, gradient=gradient)
        start = torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(start)
        calls = field.calls
        output.sin().sum().backward()
        assert (field.calls > calls) == (gradient == "derived" and memory != "store")
        results.append([output.detach(), start.grad, *(p.grad for p in net.parameters())])
    assert all(one.dtype == other.dtype for one, other in zip(*results, strict=True))
    assert all((one - other).norm() <= 1e-2 * other.norm() for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("memory", MEMORY)
def test_a_random_state_that_is_not_finite_is_found_again(memory: str) -> None:
    torch.manual_seed(5)
    (first, *_) = [n for n, draw in enumerate(torch.rand(80)) if draw < 0.05]
    net = module(False)(Falling(), a=torch.tensor(0.8), steps=20, memory=memory)
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match=rf"Own: x_{first // 4 + 1} of x_0 … x_20 is the first"):
        net(torch.ones(2, 3, requires_grad=True))
