"""Every shipped scheme is emitted for a field that is passed in and for one that is written out, and trains."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, cos, load, matvec, parameter, sin, state, tanh, time
from derive.errors import DeriveError
from derive.schemes import SCHEMES, AdditiveTableau, Splitting

torch.set_num_threads(1)
DOUBLE, STEPS, SIZE = torch.float64, 7, 3
x, y, t = state("x", "d"), state("y", "d"), time("t")
p, q = state("p", ()), state("q", ())
w, b, a = parameter("w", ("d", "d")), parameter("b", "d"), parameter("a")
f, g = Network("f", takes_time=True), Network("g")
linear, cubic = matvec(w, x) + b * cos(t), -a * x**3

PASSED_IN = {
    "one unknown": ODE((x,), (f(t, x),), time=t),
    "two streams": ODE((x, y), (f(t, y), g(x)), time=t),
    "a sum": ODE((x,), (f(t, x) + g(x),), time=t, parts=((f(t, x),), (g(x),))),
}
WRITTEN = {
    "one unknown": ODE((x,), (tanh(linear) + cubic,), time=t),
    "two streams": ODE((p, q), (-a * sin(q) + cos(t), p), time=t),
    "a sum": ODE((x,), (linear + cubic,), time=t, parts=((linear,), (cubic,))),
}


def kind_of(scheme):
    kinds = {AdditiveTableau: "two streams", Splitting: "a sum"}
    return next((name for kind, name in kinds.items() if isinstance(scheme, kind)), "one unknown")


def emitted(ode, scheme):
    return load_text(emit(Spec("own", "Own", "own", ode, scheme=scheme))).Module


def stable_times(scheme):
    """Short enough for the scheme that is not zero-stable."""
    return 0.05 if scheme == "unstable_explicit_2step" else 0.7


def tensor(*shape, scale=0.4, seed=1):
    return scale * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Timed(nn.Module):
    """tanh(W x + b + t)."""

    def __init__(self, seed):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(tensor(*shape, seed=seed)) for shape in ((SIZE, SIZE), (SIZE,)))

    def forward(self, t, x):
        return torch.tanh(x @ self.weight.mT + self.bias + t)


class Plain(Timed):
    """The same without a time."""

    def forward(self, x):
        return super().forward(0.0, x)


def module(kind, ode, scheme, **options):
    """A module with networks or parameters that are the same at every call."""
    networks = [Timed(4 + place) if one.takes_time else Plain(4 + place) for place, one in enumerate(ode.networks)]
    given = {
        "w": tensor(SIZE, SIZE),
        "b": tensor(SIZE),
        "a": torch.tensor(0.8, dtype=DOUBLE),
        "theta": torch.tensor(0.6, dtype=DOUBLE),
    }
    wanted = inspect.signature(kind).parameters
    numbers = {name: value for name, value in given.items() if name in wanted}
    options |= {"tol": 1e-14} if "solver" in wanted else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not zero-stable")
        return kind(*networks, **numbers, steps=STEPS, t1=stable_times(scheme), **options)


def run(net, ode):
    """Values and all gradients of a nonlinear functional of the trajectory."""
    vectors = bool(ode.state[0].shape)
    shapes = [(4, SIZE)] * len(ode.state) if vectors else [(4, len(ode.state))]
    inputs = [tensor(*shape, seed=7 + place).requires_grad_() for place, shape in enumerate(shapes)]
    out = net.trajectory(*inputs)
    outputs = out if isinstance(out, tuple) else (out,)
    loss = sum((tensor(*one.shape, scale=1.0, seed=3) * one.sin()).sum() for one in outputs)
    return [*outputs, *torch.autograd.grad(loss, [*inputs, *net.parameters()])]


def modes(kind):
    """The memory modes that the docstring of the class names."""
    return [
        mode for mode in ("store", "recompute", "checkpoint", "invert") if mode in kind.__doc__.split("memory: ")[1]
    ]


def check(ode, name, scheme):
    kind = emitted(ode, scheme)
    expected = run(module(kind, ode, name, gradient="autograd"), ode)
    for memory in modes(kind):
        found = run(module(kind, ode, name, memory=memory), ode)
        assert len(found) == len(expected) > 1
        for one, other in zip(found, expected, strict=True):
            bound = 1e-6 if memory == "invert" else 1e-11
            torch.testing.assert_close(one, other, rtol=bound, atol=bound)


EXACT = [name for name, scheme in SCHEMES.items() if isinstance(scheme, Splitting) and scheme.substep is None]
EMITTED = [name for name in SCHEMES if name not in EXACT]


@pytest.mark.slow
@pytest.mark.parametrize("fields", [PASSED_IN, WRITTEN], ids=["passed in", "written out"])
@pytest.mark.parametrize("name", EMITTED)
def test_every_scheme_has_a_module_whose_derived_gradient_is_autograd_s(name, fields):
    check(fields[kind_of(SCHEMES[name])], name, name)


@pytest.mark.parametrize("name", ["bdf2", "am2"])
def test_an_implicit_step_with_two_past_values_has_a_module(name):
    check(PASSED_IN["one unknown"], name, name)


@pytest.mark.parametrize("fields", [PASSED_IN, WRITTEN], ids=["passed in", "written out"])
@pytest.mark.parametrize("name", EXACT)
def test_splittings_with_exact_flows_are_refused_and_emitted_with_a_substep(name, fields):
    with pytest.raises(DeriveError, match=r"exact flows have no tableau; give Splitting\(\.\.\., substep="):
        emitted(fields["a sum"], name)
    check(fields["a sum"], name, replace(SCHEMES[name], substep=SCHEMES["heun"], order=None))


@pytest.mark.parametrize("name", EXACT)
def test_exact_flows_of_parts_that_do_not_see_what_they_drive_are_emitted(name):
    check(ODE((x, y), (g(y), Network("k")(x))), name, name)


def test_a_field_in_one_part_is_refused_by_a_scheme_for_two():
    with pytest.raises(
        DeriveError, match=r"symplectic Euler is for 2 parts, the field has 1; give ODE\(\.\.\., parts="
    ):
        emit(load("rk4"), "symplectic_euler")
