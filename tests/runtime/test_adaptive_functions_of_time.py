"""Adaptive steps of a written-out field whose parameters are functions of time."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torchdiffeq
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Adaptive, Spec, matvec, parameter, state, tanh
from generated.neural_ode import NeuralODE
from tests.runtime.waves import DOUBLE, Wave, tensor

torch.set_num_threads(1)
SIZE = 3
x, w, b = state("x", "d"), parameter("w", ("d", "d")), parameter("b", "d")


@cache
def kind_of(scheme="dopri5"):
    system = Adaptive(ODE((x,), (tanh(matvec(w, x)) + b - x,)), scheme)
    return load_text(emit(Spec("own", "Own", "own", system, may_vary=(w, b)))).Module


@cache
def linear():
    return load_text(emit(Spec("own", "Own", "own", Adaptive(ODE((x,), (b - x,))), may_vary=(b,)))).Module


def ends():
    return {name: torch.tensor(value, dtype=DOUBLE, requires_grad=True) for name, value in (("t0", 0.2), ("t1", 1.4))}


def run(net):
    start = tensor(4, SIZE, seed=5).requires_grad_()
    times = torch.tensor([0.3, 0.9, 1.3], dtype=DOUBLE, requires_grad=True)
    outputs = (net(start), net.trajectory(start, times))
    loss = sum((one.sin() * tensor(*one.shape, seed=6)).sum() for one in outputs)
    return [*outputs, *torch.autograd.grad(loss, [start, times, net.t0, net.t1, *net.parameters()])]


@pytest.mark.parametrize("scheme", ["dopri5", "bs32"])
@pytest.mark.parametrize("memory", ["recompute", "store"])
def test_derived_and_plain_gradients_agree_on_the_accepted_steps(scheme, memory):
    def net(**options):
        return kind_of(scheme)(w=Wave(SIZE, SIZE, seed=2), b=Wave(SIZE, seed=3), **ends(), **options)

    for one, other in zip(run(net(memory=memory)), run(net(gradient="autograd")), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_the_adjoint_equation_is_near():
    found, expected = (
        run(kind_of()(w=tensor(SIZE, SIZE), b=Wave(SIZE), **ends(), rtol=1e-11, atol=1e-12, adjoint=adjoint))
        for adjoint in ("continuous", "discrete")
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_closed_form_of_a_linear_equation_with_its_gradients():
    """x' = a sin t - x: x(t) = e^(t0 - t) (x0 - p(t0)) + p(t), p = a (sin t - cos t)/2."""

    class Sine(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(tensor(SIZE, seed=4))

        def forward(self, t):
            return self.a * torch.sin(t)

    drive, start, given = Sine(), tensor(4, SIZE).requires_grad_(), ends()
    t0, t1 = given["t0"], given["t1"]
    found = linear()(b=drive, **given, rtol=1e-11, atol=1e-13)(start)
    first, last = (drive.a * (torch.sin(t) - torch.cos(t)) / 2 for t in (t0, t1))
    exact = torch.exp(t0 - t1) * (start - first) + last
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-10)
    leaves = [start, t0, t1, drive.a]
    bars = [torch.autograd.grad((one**2).sum(), leaves) for one in (found, exact)]
    for one, other in zip(*bars, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_torchdiffeq_finds_the_same():
    coupling, drive = Wave(SIZE, SIZE, seed=2), Wave(SIZE, seed=3)
    net = kind_of()(w=coupling, b=drive, t1=1.0, rtol=1e-9, atol=1e-11)
    start = tensor(4, SIZE)

    def field(t, x):
        return torch.tanh(x @ coupling(t).mT) + drive(t) - x

    with torch.no_grad():
        times = torch.tensor([0.0, 1.0], dtype=DOUBLE)
        expected = torchdiffeq.odeint(field, start, times, rtol=1e-10, atol=1e-12)[-1]
        torch.testing.assert_close(net(start), expected, rtol=1e-7, atol=1e-8)
        opaque = NeuralODE(field, t1=1.0, rtol=1e-9, atol=1e-11)  # an opaque field sees the time anyway
        torch.testing.assert_close(opaque(start), net(start), rtol=1e-12, atol=1e-13)


def test_constants_take_the_steps_in_place_and_find_what_constant_functions_find():
    values = {"w": tensor(SIZE, SIZE, seed=2), "b": tensor(SIZE, seed=3)}
    constant = {name: lambda t, value=value: value for name, value in values.items()}
    found, expected = (kind_of()(**given, rtol=1e-8)(tensor(4, SIZE)) for given in (values, constant))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_a_plain_function_that_hides_what_is_learned_needs_autograd():
    hidden = tensor(SIZE).requires_grad_()
    drive = {"b": lambda t: hidden * torch.cos(t)}
    with pytest.raises(RuntimeError, match=r"Own: .* uses tensors needing gradients that are not its parameters"):
        linear()(**drive)(tensor(4, SIZE))
    linear()(**drive, gradient="autograd")(tensor(4, SIZE)).sum().backward()
    assert hidden.grad.abs().min() > 0


def test_values_may_have_batch_axes_and_what_is_wrong_is_said():
    each = tensor(4, SIZE, seed=8)
    together = linear()(b=lambda t: each * torch.cos(t), rtol=1e-10, atol=1e-12)(tensor(4, SIZE))
    alone = linear()(b=lambda t: each[1] * torch.cos(t), rtol=1e-10, atol=1e-12)(tensor(4, SIZE)[1])
    torch.testing.assert_close(together[1], alone, rtol=1e-8, atol=1e-9)
    with pytest.raises(TypeError, match=r"Own: b takes 2 required arguments \(t, x\); allowed: b\(t\)"):
        linear()(b=lambda t, x: x)
    with pytest.raises(RuntimeError, match=r"Own: w\(t\) has shape \(3,\); allowed: of shape \(d, d\)"):
        kind_of()(w=lambda t: tensor(SIZE), b=tensor(SIZE))(tensor(4, SIZE))
