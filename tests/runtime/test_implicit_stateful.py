"""Implicit steps of fields with random numbers and buffers: all evaluations of a step find the same, once per step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.runtime.implicit_modules import module_of, start

JIT = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"  # torch's own use, in its forward mode
pytestmark = pytest.mark.filterwarnings(JIT)
SCHEMES = ["backward_euler", "trapezoid", "gauss4"]
FORMS = [("derived", "store"), ("derived", "recompute"), ("derived", "checkpoint"), ("autograd", "store")]


def stateful(dropout=0.5):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 4), norm).double()


def run(name, gradient, memory, solver="newton", dropout=0.5, seed=3):
    """Value, gradients, and what the run leaves: buffers and the next random number."""
    field, x = stateful(dropout), start(5, 4).requires_grad_()
    options = {"gradient": gradient, "memory": memory, "solver": solver, "tol": 1e-13}
    net = module_of(name).Module(field, steps=3, t1=0.6, **options)
    torch.manual_seed(seed)
    value = (start(5, 4).cos() * net(x)).sum()
    after = torch.rand(())
    found = torch.autograd.grad(value, [x, *field.parameters()])
    return [value.detach(), *found, *field.buffers(), after]


@pytest.mark.parametrize("name", SCHEMES)
def test_forms_and_modes_agree(name):
    first, *others = [run(name, *form) for form in FORMS] + [run(name, "derived", "store", "krylov")]
    for other in others:
        for one, two in zip(first, other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-9)
    assert not torch.allclose(first[0], run(name, "derived", "store", seed=4)[0])  # the mask is drawn, not fixed


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(("gradient", "memory"), FORMS)
def test_buffers_are_updated_once_for_each_step_and_never_backward(name, gradient, memory):
    field, x = stateful(), start(5, 4).requires_grad_()
    net = module_of(name).Module(field, steps=3, t1=0.6, gradient=gradient, memory=memory)
    y = net(x)
    norm = field[-1]
    assert int(norm.num_batches_tracked) == 3
    before = copy.deepcopy(norm.state_dict())
    state = torch.get_rng_state()
    y.sum().backward()
    assert all(torch.equal(old, norm.state_dict()[key]) for key, old in before.items())
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        net(x)
    assert int(norm.num_batches_tracked) == 6


@pytest.mark.parametrize(("gradient", "memory"), FORMS)
def test_the_first_evaluation_of_a_step_updates_the_buffers(gradient, memory):
    field, x = stateful(dropout=0.0), start(5, 4).requires_grad_()
    by_hand = copy.deepcopy(field)
    net = module_of("backward_euler").Module(field, steps=2, t1=0.6, gradient=gradient, memory=memory)
    path = net.trajectory(x)
    by_hand(path[0])
    by_hand(path[1])
    for one, other in zip(field.buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_the_mask_of_a_step_is_one_mask(gradient):
    """With a linear field and one mask m for each step: x_{n+1} = x_n / (1 + h m_n)."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))

        def forward(self, t, x):
            return self.rate * nn.functional.dropout(torch.ones_like(x)) * x

    net = module_of("backward_euler").Module(Masked(), steps=2, t1=1.0, gradient=gradient)
    torch.manual_seed(5)
    x = start(4, 3).requires_grad_()
    y = net(x)
    torch.manual_seed(5)
    wanted = x.detach()
    for _ in range(2):
        wanted = wanted / (1 + 0.5 * nn.functional.dropout(torch.ones_like(wanted)))
    torch.testing.assert_close(y.detach(), wanted, rtol=1e-9, atol=1e-10)
    (bar,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(bar, wanted / x.detach(), rtol=1e-9, atol=1e-10)


def test_second_derivatives_see_the_same_numbers():
    found = []
    for gradient in ("derived", "autograd"):
        net = module_of("trapezoid").Module(stateful(), steps=2, t1=0.6, gradient=gradient, tol=1e-13)
        torch.manual_seed(3)
        x = start(5, 4).requires_grad_()
        (bar,) = torch.autograd.grad((start(5, 4).cos() * net(x)).sum(), x, create_graph=True)
        found.append(torch.autograd.grad((bar * start(5, 4)).sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-7, atol=1e-8)
