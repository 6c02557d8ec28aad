"""Parameters that are functions of time: read at the times of the stages, with gradients to what they are made of."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, cos, matvec, parameter, state, tanh, time
from derive.schemes import SCHEMES
from generated.ctrnn_hopfield import CTRNN
from generated.cubic_ode import CubicODE
from tests.runtime.waves import DOUBLE, Wave, tensor

torch.set_num_threads(1)
STEPS, SIZE = 6, 3
x, y, t, f = state("x", "d"), state("y", "d"), time("t"), Network("f")
w, b, a = parameter("w", ("d", "d")), parameter("b", "d"), parameter("a")
SPECS = {
    "written out": ODE((x,), (tanh(matvec(w, x) + b * cos(t)) - a * x**3,), time=t),
    "autonomous": ODE((x,), (matvec(w, x) + b - a * x**3,)),
    "passed in": ODE((x,), (f(x) + tanh(matvec(w, x) + b * cos(t)) - a * x,), time=t),
    "partitioned": ODE((x, y), (matvec(w, y) + b, -a * x**3 + b)),
}
SCHEMES_OF = {
    "written out": ["forward_euler", "rk4", "backward_euler", "gauss4", "leapfrog", "bdf2", "ab3"],
    "autonomous": ["forward_euler", "heun", "rk4", "trapezoid", "ab2"],
    "passed in": ["forward_euler", "rk4", "backward_euler", "ab2"],
    "partitioned": ["symplectic_euler", "stormer_verlet"],
}
PAIRS = [(name, scheme) for name, schemes in SCHEMES_OF.items() for scheme in schemes]


@cache
def kind_of(name, scheme):
    return load_text(emit(Spec("own", "Own", "own", SPECS[name], scheme=scheme, may_vary=(w, b, a)))).Module


def module(name, scheme, values, steps=STEPS, **options):
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(SIZE, 4), nn.Tanh(), nn.Linear(4, SIZE)).double()]
    if scheme in ("backward_euler", "gauss4", "bdf2", "trapezoid"):
        options["tol"] = 1e-14
    return kind_of(name, scheme)(*(networks if name == "passed in" else []), **values, steps=steps, **options)


def values_of(functions="wba"):
    shapes = {"w": (SIZE, SIZE), "b": (SIZE,), "a": ()}
    return {
        name: Wave(*shape, seed=place) if name in functions else tensor(*shape, seed=place)
        for place, (name, shape) in enumerate(shapes.items())
    }


def run(net, streams=1):
    starts = [tensor(4, SIZE, seed=5 + place).requires_grad_() for place in range(streams)]
    paths = net.trajectory(*starts)
    paths = paths if isinstance(paths, tuple) else (paths,)
    loss = sum((path.sin() * tensor(*path.shape, seed=6)).sum() for path in paths)
    ends = [net.t0, net.t1]
    return [*paths, *torch.autograd.grad(loss, [*starts, *ends, *net.parameters()])]


def ends():
    return {name: torch.tensor(value, dtype=DOUBLE, requires_grad=True) for name, value in (("t0", 0.2), ("t1", 1.0))}


@pytest.mark.parametrize("functions", ["b", "wba"])
@pytest.mark.parametrize(("name", "scheme"), PAIRS)
def test_every_memory_mode_has_autograd_s_gradient(name, scheme, functions):
    assert scheme in SCHEMES
    streams = 2 if name == "partitioned" else 1
    expected = run(module(name, scheme, values_of(functions), gradient="autograd", **ends()), streams)
    for memory in ("store", "recompute", "checkpoint"):
        found = run(module(name, scheme, values_of(functions), memory=memory, **ends()), streams)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("functions", ["b", "wba"])
@pytest.mark.parametrize("scheme", ["rk4", "leapfrog"])
def test_what_is_no_function_is_as_a_constant_function(scheme, functions):
    values = values_of(functions)
    plain = {name: value for name, value in values.items() if name not in functions}
    constant = values | {name: lambda t, value=value: value for name, value in plain.items()}
    found, expected = (module("written out", scheme, given)(tensor(4, SIZE)) for given in (values, constant))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def error_of(net, exact):
    with torch.no_grad():
        return float((net(tensor(4, 1)) - exact).norm())


def test_a_function_keeps_the_order_of_the_scheme_and_a_value_held_over_the_step_has_order_one():
    """x' = b(t) - x with b = sin: x(t) = e^-t (x_0 + 1/2) + (sin t - cos t)/2."""
    start, end = tensor(4, 1), torch.tensor(2.0, dtype=DOUBLE)
    exact = torch.exp(-end) * (start + 0.5) + (torch.sin(end) - torch.cos(end)) / 2
    kind = load_text(emit(Spec("own", "Own", "own", ODE((x,), (b - x,)), scheme="rk4", may_vary=(b,)))).Module
    for of_steps, order in (
        (lambda n: torch.sin, 4),
        (lambda n: torch.sin(2.0 / n * torch.arange(n, dtype=DOUBLE)), 1),
    ):
        found = []
        for steps in (16, 32):
            given = of_steps(steps)
            drive = (lambda t, given=given: given(t).reshape(1)) if callable(given) else given[:, None]
            found.append(error_of(kind(b=drive, steps=steps, t1=2.0).double(), exact))
        assert abs(torch.log2(torch.tensor(found[0] / found[1])) - order) < 0.1
        assert found[1] < 1e-6 if order == 4 else found[1] > 1e-3


def test_the_stages_are_read_at_their_times():
    seen = []

    def drive(t):
        seen.append(float(t))
        return tensor(SIZE)

    net = module("autonomous", "rk4", {"w": tensor(SIZE, SIZE), "b": drive, "a": tensor()}, steps=2, t0=0.0, t1=1.0)
    net(tensor(SIZE))
    assert sorted(seen) == [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]


def test_gradients_of_both_orders_by_differences():
    net = module("written out", "heun", values_of(), steps=2, t0=0.1, t1=0.7)
    names = [name for name, _ in net.named_parameters()]

    def run(start, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (start,)).sin()

    inputs = (tensor(1, SIZE).requires_grad_(), *(p.detach().clone().requires_grad_() for p in net.parameters()))
    assert torch.autograd.gradcheck(run, inputs, eps=1e-6, rtol=1e-6, atol=1e-8)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize(("name", "scheme"), [("autonomous", "forward_euler"), ("autonomous", "rk4")])
@pytest.mark.parametrize("batch", [(4,), (2, 1)])
def test_values_may_have_batch_axes(name, scheme, batch):
    each = tensor(*batch, SIZE, seed=3).requires_grad_()
    values = {"w": tensor(SIZE, SIZE), "a": tensor()}
    net = module(name, scheme, values | {"b": lambda t: each * torch.cos(t)})
    start = tensor(*batch, SIZE, seed=8)
    found = net(start)
    (bar,) = torch.autograd.grad(found.sin().sum(), each)
    for place, (sample, drive) in enumerate(zip(start.reshape(-1, SIZE), each.reshape(-1, SIZE), strict=True)):
        own = drive.detach().requires_grad_()
        alone = module(name, scheme, values | {"b": lambda t, own=own: own * torch.cos(t)})(sample)
        torch.testing.assert_close(found.reshape(-1, SIZE)[place], alone)
        (expected,) = torch.autograd.grad(alone.sin().sum(), own)
        torch.testing.assert_close(bar.reshape(-1, SIZE)[place], expected)


def test_the_catalogue_s_systems_take_functions():
    n = 4
    drive = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, n)).double()

    def net(**options):
        given = {"tau": torch.ones(n, dtype=DOUBLE), "theta": tensor(n, seed=2), "w": tensor(n, n, seed=3)}
        return CTRNN(I=Driven(drive), **given, steps=STEPS, **options)

    found = [net(), net(gradient="autograd"), net(memory="recompute")]
    paths = [one.trajectory(tensor(2, n, seed=4)) for one in found]
    bars = [
        torch.autograd.grad(path.sin().sum(), list(one.parameters())) for one, path in zip(found, paths, strict=True)
    ]
    for path, bar in zip(paths, bars, strict=True):
        torch.testing.assert_close(path, paths[0], rtol=1e-13, atol=1e-13)
        for one, other in zip(bar, bars[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    cubic = CubicODE(w=Wave(3, 3), b=tensor(3), steps=STEPS).double()
    torch.testing.assert_close(torch.vmap(cubic)(tensor(2, 3)), cubic(tensor(2, 3)))
    assert {"w.mean", "w.swing"} < set(cubic.state_dict())


class Driven(nn.Module):
    """A network of the time."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t):
        return self.net(t.reshape(1))


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ({"b": lambda t, x: x}, TypeError, r"b takes 2 required arguments \(t, x\); allowed: b\(t\)"),
        ({"b": lambda t: [1.0]}, TypeError, r"b\(t\) returned a list; allowed: a tensor of shape \(d\)"),
        (
            {"b": lambda t: torch.ones(3, dtype=torch.int64)},
            TypeError,
            r"b\(t\) has dtype torch.int64; allowed: a float",
        ),
        ({"b": lambda t: t}, ValueError, r"b\(t\) has shape \(\); allowed: of shape \(d\), or \(..., d\) with batch"),
        ({"w": lambda t: tensor(3)}, ValueError, r"w\(t\) has shape \(3,\); allowed: of shape \(d, d\)"),
        (
            {"w": lambda t: tensor(3, 2)},
            ValueError,
            r"w has shape \(6, 3, 2\); allowed: axis -1 of size 3, read size 2",
        ),
        ({"w": lambda t: tensor(3, 3).float()}, TypeError, "x has dtype torch.float64, and w has torch.float32"),
        ({"b": lambda t: tensor(5), "w": lambda t: tensor(5, 5)}, ValueError, "x has shape .*axis -1 of size 5, read"),
    ],
)
def test_what_is_wrong_with_a_function_is_said(given, error, complaint):
    with pytest.raises(error, match=f"CubicODE: {complaint}"):
        CubicODE(**({"w": tensor(3, 3), "b": tensor(3)} | given), gamma=tensor(), steps=STEPS)(tensor(2, 3))
