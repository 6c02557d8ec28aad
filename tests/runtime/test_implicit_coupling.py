"""Implicit steps of fields that couple the samples of a batch; other fields are solved sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codegen.runtime.linear_systems import coupled_axes
from tests.runtime.implicit_modules import Net, module_of, start

JIT = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"  # torch's own use, in its forward mode
pytestmark = pytest.mark.filterwarnings(JIT)


class Swarm(nn.Module):
    """Every sample is drawn by the sum over an axis of samples."""

    def __init__(self, axis=0):
        super().__init__()
        self.axis = axis
        self.w = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, t, x):
        return -self.w * torch.sin(x.sum(self.axis, keepdim=True)) + 0.1 * x


class Causal(nn.Module):
    """Sample n feels the samples before it, and is felt by none of them."""

    def forward(self, t, x):
        return torch.tanh(x.cumsum(0))


def normalized():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()


def assert_gradient(value, x):
    """Against differences along two directions."""
    (bar,) = torch.autograd.grad(value(x), x)
    with torch.no_grad():
        for direction in (torch.ones_like(x), x.cos()):
            ahead, behind = (value(x + step * direction) for step in (1e-5, -1e-5))
            torch.testing.assert_close((bar * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-7, atol=1e-8)


def pull_back_of(value, point):
    return lambda bars: torch.autograd.grad(value, point, bars[0], retain_graph=True)


FIELDS = {
    "sum over the batch": (Swarm, (4, 3)),
    "sum over a further axis": (lambda: Swarm(axis=1), (2, 4, 2)),
    "one direction": (Causal, (2, 2)),
    "batch norm": (normalized, (5, 3)),
}


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("field", FIELDS)
def test_gradients_are_those_of_finite_differences(field, solver, gradient):
    make, shape = FIELDS[field]
    weights = start(*shape).cos()
    net = module_of("trapezoid").Module(make(), steps=2, t1=0.4, solver=solver, gradient=gradient, tol=1e-13)

    def value(x):
        return (weights * net(x)).sum()

    assert_gradient(value, start(*shape).requires_grad_())


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("name", ["backward_euler", "gauss4"])
def test_gradients_of_parameters_and_of_solvers_agree(name, memory):
    found = []
    for gradient, solver in [("derived", "newton"), ("derived", "krylov"), ("autograd", "newton")]:
        field, x = normalized(), start(5, 3).requires_grad_()
        options = {"gradient": gradient, "solver": solver, "memory": memory, "tol": 1e-13}
        net = module_of(name).Module(field, steps=2, **options)
        value = (start(5, 3).cos() * net(x)).sum()
        found.append(torch.autograd.grad(value, [x, *field.parameters()]))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_many_coupled_samples_are_solved_without_a_matrix(monkeypatch):
    """For x' = a sum(x) + b x the sum and the rest grow by their own factors."""
    module = module_of("backward_euler")
    dense = module.matrix_of

    def small(pull, like):
        assert like.shape[-1] == 2
        return dense(pull, like)

    monkeypatch.setattr(module, "matrix_of", small)
    x = start(600, 2).requires_grad_()
    net = module.Module(lambda t, x: x.mean(0) - 0.5 * x, steps=1, t1=0.5, memory="recompute")
    y = net(x)
    mean = x.mean(0, keepdim=True)
    exact = mean / (1 - 0.5 * 0.5) + (x - mean) / (1 + 0.5 * 0.5)
    torch.testing.assert_close(y, exact, rtol=1e-9, atol=1e-9)
    weights = start(600, 2).cos()
    found, wanted = (torch.autograd.grad((weights * one).sum(), x)[0] for one in (y, exact))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9)


def test_coupling_that_begins_during_the_iteration_is_found():
    """No sample feels another at the guess; at the solution all do."""

    def field(t, x):
        return 1 - torch.relu(x.sum(0) - 0.3).square() + 0 * x

    net = module_of("backward_euler").Module(field, steps=1, t1=0.3, memory="recompute", tol=1e-13)
    assert_gradient(lambda x: net(x)[0, 0], (0.01 * start(3, 1)).requires_grad_())


def test_coupled_transforms():
    net = module_of("backward_euler").Module(Swarm(), steps=2, t1=0.4, tol=1e-13)
    x = start(2, 3, 2)
    one_by_one = torch.stack([net(row) for row in x])
    torch.testing.assert_close(torch.vmap(net)(x), one_by_one, rtol=1e-11, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(net, x[0])
    torch.testing.assert_close(torch.func.jacrev(net)(x[0]), jacobian, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(torch.func.jacfwd(net)(x[0]), jacobian, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_is_no_coupling(dtype):
    """A deep field with huge and tiny samples: every sample still has equations of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(7, 7), nn.Tanh()) for _ in range(6))).to(dtype)
    x = (torch.logspace(-6, 6, 40).unsqueeze(-1) * torch.randn(40, 7)).to(dtype).requires_grad_()
    y = net(x)
    assert coupled_axes(pull_back_of(y, x), (x,), 1) == 1


@pytest.mark.parametrize(("axis", "axes"), [(0, 3), (1, 2), (2, 1)])
def test_only_the_axes_that_are_coupled_join(axis, axes):
    x = start(16, 16, 3).requires_grad_()
    y = torch.tanh(x.sum(axis, keepdim=True) + x)
    assert coupled_axes(pull_back_of(y, x), (x.detach(),), 1) == axes


@pytest.mark.parametrize("shift", [1, 2, 8, 13, 16, 21, 32])
def test_coupling_of_single_pairs_is_found(shift):
    x = start(64, 1).requires_grad_()
    y = x.roll(shift, 0) * x
    assert coupled_axes(pull_back_of(y, x), (x.detach(),), 1) == 2


def test_a_field_of_single_samples_is_not_solved_as_one_vector(monkeypatch):
    module = module_of("trapezoid")
    sizes = []
    dense = module.matrix_of
    monkeypatch.setattr(module, "matrix_of", lambda pull, like: sizes.append(like.shape[-1]) or dense(pull, like))
    for size in (1e-8, 1.0, 1e8):
        (size * module.Module(Net(), steps=2)(start(5, 4, 3).requires_grad_())).sum().backward()
    assert set(sizes) == {3}


def test_an_empty_batch():
    x = start(0, 3).requires_grad_()
    module_of("trapezoid").Module(Net(), steps=2)(x).sum().backward()
    assert x.grad.shape == (0, 3)
