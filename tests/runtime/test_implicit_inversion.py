"""Rebuilding the states of implicit steps whose inverse is explicit: no equations are solved in the backward pass."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, load, state
from derive.schemes import SCHEMES

torch.set_num_threads(1)
DOUBLE, SIZE = torch.float64, 3
INVERTIBLE = ["backward_euler", "bdf1", "bdf2", "bdf4"]


@cache
def module_of(scheme):
    return load_text(emit(load("rk4"), scheme))


class Net(nn.Module):
    """A small nonlinear field with time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(SIZE, 8).double(), nn.Linear(8, SIZE).double()

    def forward(self, t, x):
        return self.outer(torch.tanh(self.inner(x) + t))


def start():
    return torch.randn(4, SIZE, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def gradients(net, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x).sin().sum(), [x, *net.parameters()])


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("scheme", INVERTIBLE)
def test_rebuilt_states_give_the_gradients_of_those_run_again(scheme, solver):
    field = Net()
    options = {"steps": 60, "t1": 0.6, "tol": 1e-13, "solver": solver}
    found, expected = (
        gradients(module_of(scheme).Module(field, memory=memory, **options), start())
        for memory in ("invert", "recompute")
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scheme", ["backward_euler", "bdf2"])
def test_no_equations_are_solved_to_undo_a_step(scheme, monkeypatch):
    module = module_of(scheme)
    solved, newton = [], module.newton
    monkeypatch.setattr(module, "newton", lambda *given: solved.append(given[-1]) or newton(*given))
    out = module.Module(Net(), steps=30, memory="invert")(start().requires_grad_())
    recording = out.grad_fn.recording
    by_start = 0 if scheme == "backward_euler" else 1
    assert len(solved) == 30 - by_start and len(recording.kept) < 10
    solved.clear()
    out.sin().sum().backward()
    assert len(solved) == 30 - by_start - len(recording.inverted)
    assert len(recording.inverted) == 30 - by_start


@pytest.mark.parametrize("scheme", ["bdf1", "bdf2", "bdf4", "bdf6"])
def test_the_amplification_is_the_spectral_radius_of_the_inverse_step(scheme):
    table, h = SCHEMES[scheme], 0.1
    alpha, beta = [float(a) for a in table.alpha], float(table.beta[0])
    for lipschitz in (0.0, 0.5, 3.0, 1 / (h * beta)):  # at the last one the step itself has no solution
        radii = []
        for z in (h * lipschitz, -h * lipschitz, 1j * h * lipschitz):
            polynomial = [1 - z * beta, *(-a for a in alpha)]  # in zeta; its reverse has the roots 1/zeta
            radii.append(max(abs(np.roots(polynomial[::-1]))))
        found = module_of(scheme)._amplification((), (h,), lipschitz)
        assert found == pytest.approx(max(radii), rel=1e-9)


def test_the_residual_of_the_equations_counts_as_rounding():
    kept = {}
    for tol in (1e-13, 1e-8):
        net = module_of("bdf2").Module(Net(), steps=60, memory="invert", tol=tol)
        kept[tol] = len(net(start().requires_grad_()).grad_fn.recording.kept)
    assert kept[1e-8] > kept[1e-13]


def test_a_rebuilt_state_that_is_off_is_an_error():
    net = module_of("bdf2").Module(Net(), steps=60, memory="invert", tol=1e-14, inverse_tol=1e-6)
    net.rules = net.rules._replace(amplification=lambda local, shared, lipschitz: 1.0)
    with pytest.raises(
        RuntimeError, match=r"RK4: the state before step \d+, .* differs .*; allowed: inverse_tol=1e-06"
    ):
        gradients(net, start())
    with pytest.raises(ValueError, match=r"inverse_tol=-1; allowed: a number above 0"):
        module_of("bdf2").Module(Net(), steps=3, inverse_tol=-1)


def test_a_scheme_without_an_explicit_inverse_has_no_such_mode():
    with pytest.raises(ValueError, match="memory='invert'; allowed: 'store', 'recompute', 'checkpoint'"):
        module_of("trapezoid").Module(Net(), steps=3, memory="invert")


def test_two_streams_have_the_inverse_as_a_method():
    x, y, f = state("x", "d"), state("y", "d"), Network("f")
    kind = load_text(emit(Spec("own", "Own", "own", ODE((x, y), (f(y) - x, -x - y)), scheme="backward_euler"))).Module

    class Plain(Net):
        def forward(self, x):
            return super().forward(0.0, x)

    given = start(), start().flip(0)
    net = kind(Plain(), steps=20, tol=1e-14)
    for one, other in zip(net.inverse(*net(*given)), given, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
    leaves = [one.clone().requires_grad_() for one in given]
    found, expected = (
        torch.autograd.grad(kind(net.field, steps=20, tol=1e-14, memory=memory)(*leaves)[0].sin().sum(), leaves)
        for memory in ("invert", "store")
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
