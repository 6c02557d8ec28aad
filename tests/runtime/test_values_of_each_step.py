"""Parameters that may be given with a value for each step: held over the step, with a gradient for each."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, cos, load, matvec, parameter, state, tanh, time
from derive.errors import SpecError
from generated.ctrnn_hopfield import CTRNN
from generated.cubic_ode import CubicODE

torch.set_num_threads(1)
DOUBLE, STEPS, SIZE = torch.float64, 6, 3
x, t, f = state("x", "d"), time("t"), Network("f")
w, b, a = parameter("w", ("d", "d")), parameter("b", "d"), parameter("a")
SPECS = {
    "written out": ODE((x,), (tanh(matvec(w, x) + b * cos(t)) - a * x**3,), time=t),
    "passed in": ODE((x,), (f(x) + tanh(matvec(w, x) + b * cos(t)) - a * x,), time=t),
}
SCHEMES = ["forward_euler", "rk4", "backward_euler", "gauss4", "leapfrog", "bdf2"]


def tensor(*shape, seed=1, scale=0.5):
    return scale * torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


@cache
def kind_of(name, scheme):
    spec = Spec("own", "Own", "own", SPECS[name], scheme=scheme, may_vary=(w, b, a))
    return load_text(emit(spec)).Module


def module(name, scheme, values, **options):
    torch.manual_seed(0)
    networks = (
        [nn.Sequential(nn.Linear(SIZE, 4), nn.Tanh(), nn.Linear(4, SIZE)).double()] if name == "passed in" else []
    )
    kind = kind_of(name, scheme)
    if scheme in ("backward_euler", "gauss4", "bdf2"):
        options["tol"] = 1e-14
    return kind(*networks, **values, steps=STEPS, t1=0.8, **options)


def run(net):
    start = tensor(4, SIZE, seed=5).requires_grad_()
    path = net.trajectory(start)
    loss = (path.sin() * tensor(*path.shape, seed=6)).sum()
    return [path, *torch.autograd.grad(loss, [start, *net.parameters()])]


def values_of(varied):
    shapes = {"w": (SIZE, SIZE), "b": (SIZE,), "a": ()}
    rows = {name: (STEPS, *shape) if name in varied else shape for name, shape in shapes.items()}
    return {name: tensor(*shape, seed=place) for place, (name, shape) in enumerate(rows.items())}


@pytest.mark.parametrize("varied", ["b", "wb", "wba"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", SPECS)
def test_every_memory_mode_has_autograd_s_gradient_of_each_step(name, scheme, varied):
    values = values_of(varied)
    expected = run(module(name, scheme, values, gradient="autograd"))
    for memory in ("store", "recompute", "checkpoint"):
        net = module(name, scheme, values, memory=memory)
        found = run(net)
        assert [p.shape for p in net.parameters()] == [one.shape for one in found[2:]]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", SPECS)
def test_equal_values_are_one_value_and_its_gradient_is_their_sum(name):
    one = values_of("")
    rows = {key: value.expand(STEPS, *value.shape).clone() for key, value in one.items()}
    found, expected = (run(module(name, "rk4", values, memory="recompute")) for values in (rows, one))
    torch.testing.assert_close(found[0], expected[0])
    for bar, whole in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(bar if bar.shape == whole.shape else bar.sum(0), whole, rtol=1e-11, atol=1e-12)


def test_the_value_at_the_start_of_a_step_is_held_at_all_its_stages():
    values = values_of("wba")
    net = module("written out", "rk4", values)
    point, h = tensor(4, SIZE, seed=5), 0.8 / STEPS
    found = net.trajectory(point)
    for n in range(STEPS):
        w_n, b_n, a_n = values["w"][n], values["b"][n], values["a"][n]

        def field(time, x, w_n=w_n, b_n=b_n, a_n=a_n):
            return torch.tanh(x @ w_n.mT + b_n * torch.cos(torch.tensor(time, dtype=DOUBLE))) - a_n * x**3

        k1 = field(n * h, point)
        k2 = field((n + 0.5) * h, point + h / 2 * k1)
        k3 = field((n + 0.5) * h, point + h / 2 * k2)
        k4 = field((n + 1) * h, point + h * k3)
        point = point + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        torch.testing.assert_close(found[n + 1], point, rtol=1e-12, atol=1e-12)


def test_the_catalogue_s_systems_take_a_step_axis():
    inputs, n = tensor(STEPS, 4), 4
    net = CTRNN(I=inputs, tau=torch.ones(n, dtype=DOUBLE), theta=tensor(n, seed=2), w=tensor(n, n, seed=3), steps=STEPS)
    state = tensor(2, n, seed=4)
    expected = state
    for n_th in inputs:
        expected = expected + (torch.sigmoid(expected - net.theta) @ net.w + n_th - expected) / STEPS
    torch.testing.assert_close(net(state), expected)
    net(state).sum().backward()
    assert net.I.grad.shape == (STEPS, n) and net.I.grad.abs().min() > 0
    cubic = CubicODE(w=tensor(STEPS, 3, 3), b=tensor(STEPS, 3), steps=STEPS).double()
    cubic(tensor(2, 3)).square().sum().backward()
    assert cubic.w.grad.shape == (STEPS, 3, 3) and cubic.b.grad.shape == (STEPS, 3)
    torch.testing.assert_close(torch.vmap(cubic)(tensor(2, 3)), cubic(tensor(2, 3)))


def test_second_derivatives():
    point = tensor(2, 3).requires_grad_()

    def run(point, b):
        net = CubicODE(w=tensor(2, 3, 3), b=tensor(2, 3), steps=2).double()
        return torch.func.functional_call(net, {"b": b}, (point,)).sin()

    assert torch.autograd.gradgradcheck(run, (point, tensor(2, 3, seed=2).requires_grad_()))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"w": (5, 3, 3)}, "w has 5 rows on axis 0; allowed: 6, one for each step"),
        ({"w": (6, 6, 3, 3)}, r"w has shape \(6, 6, 3, 3\); allowed: shape \(d, d\) or \(steps, d, d\)"),
        ({"b": (6, 4)}, r"w has shape \(3, 3\); allowed: axis -2 of size 4, read size 3"),
        ({"gamma": (6,)}, r"gamma has shape \(6,\); allowed: shape \(\), 0 axes"),
    ],
)
def test_a_step_axis_of_another_size_is_refused(given, complaint):
    with pytest.raises(ValueError, match=f"CubicODE: .*{complaint}"):
        CubicODE(**{name: tensor(*shape) for name, shape in ({"w": (3, 3), "b": (3,)} | given).items()}, steps=STEPS)


def test_what_may_vary_is_said_in_the_derivation_and_the_docstring():
    assert "(steps, n) with a value for each step, that of its start held to its end" in CTRNN.__doc__
    text = emit(load("ctrnn_hopfield"))
    assert "may have a value for each step: w, I; that of its start is held over the step" in text
    with pytest.raises(SpecError, match=r"own: may_vary has x; allowed: parameters of an ODE .*\(a, b, w\)"):
        Spec("own", "Own", "own", SPECS["written out"], scheme="rk4", may_vary=(x,))
