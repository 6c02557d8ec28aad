"""States of written-out systems rebuilt by the inverse: every scheme where it is explicit, and how far it goes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from codegen.emission import emit
from codegen.runtime.inverse_growth import CAUTION, inverse_growth
from codegen.verification.loaded import load_text
from derive import ODE, Spec, cos, matvec, parameter, sin, state, tanh, time
from derive.schemes import SCHEMES

torch.set_num_threads(1)
DOUBLE, SIZE, BATCH, STEPS = torch.float64, 3, 8, 200
TOL = {torch.float32: 1e-3, torch.float64: 1e-6}
x, y, p, q, t = state("x", "d"), state("y", "d"), state("p", ()), state("q", ()), time("t")
w, b, a = parameter("w", ("d", "d")), parameter("b", "d"), parameter("a")
u, v = parameter("u", ("d", "d"), per_layer=True), parameter("v", "d", per_layer=True)
SHAPES = {"w": (SIZE, SIZE), "b": (SIZE,), "a": (), "u": (STEPS, SIZE, SIZE), "v": (STEPS, SIZE)}

VECTOR = ODE((x,), (tanh(matvec(w, x) + b * cos(t)) - a * x**3,), time=t)
PENDULUM = ODE((p, q), (-a * sin(q), p))
SPRING = ODE((p, q), (-a * q, p))
STREAMS = ODE((x, y), (tanh(matvec(w, y) + b), -tanh(matvec(w, x))))
LAYERS = ODE((x, y), (tanh(matvec(u, y)), v - x))
YOSHIDA = replace(SCHEMES["yoshida4"], substep=SCHEMES["forward_euler"], order=None)
CASES = {
    "leapfrog of a vector": (VECTOR, "leapfrog"),
    "leapfrog of scalars": (PENDULUM, "leapfrog"),
    "symplectic Euler of scalars": (PENDULUM, "symplectic_euler"),
    "symplectic Euler of layers": (LAYERS, "symplectic_euler"),
    "Störmer-Verlet of streams": (STREAMS, "stormer_verlet"),
    "Ruth of streams": (STREAMS, "ruth3"),
    "composition of streams": (STREAMS, YOSHIDA),
    "Adams-Bashforth of scalars": (SPRING, "ab2"),
    "backward Euler of a vector": (VECTOR, "backward_euler"),
    "BDF of scalars": (PENDULUM, "bdf3"),
}


@cache
def emitted(name):
    ode, scheme = CASES[name]
    return load_text(emit(Spec("own", "Own", "own", ode, scheme=scheme)))


def module(name, dtype=DOUBLE, **options):
    """A module with numbers that are the same at every call, and its inputs."""
    ode, kind, random = CASES[name][0], emitted(name).Module, torch.Generator().manual_seed(3)
    wanted = kind.__init__.__annotations__
    given = {key: 0.5 * torch.randn(shape, generator=random).abs() for key, shape in SHAPES.items() if key in wanted}
    options |= {"step_size": 0.02} if ode is LAYERS else {"steps": STEPS, "t1": 4.0}
    vectors = bool(ode.state[0].shape)
    shapes = [(BATCH, SIZE)] * len(ode.state) if vectors else [(BATCH, len(ode.state))]
    inputs = [torch.randn(*shape, generator=random).to(dtype).requires_grad_() for shape in shapes]
    return kind(**{key: one.to(dtype) for key, one in given.items()}, **options), inputs


def outputs(net, inputs):
    out = net(*inputs)
    return out if isinstance(out, tuple) else (out,)


def gradients(net, inputs):
    return torch.autograd.grad(sum(one.sin().sum() for one in outputs(net, inputs)), [*inputs, *net.parameters()])


def error(found, expected):
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_rebuilt_states_give_the_gradients_of_those_run_again(name, dtype):
    found, expected = (gradients(*module(name, dtype, memory=memory)) for memory in ("invert", "recompute"))
    assert error(found, expected) < 10 * TOL[dtype]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("Adams", "backward", "BDF"))])
def test_a_reversible_scheme_stores_a_handful_of_states(name):
    net, inputs = module(name, memory="invert")
    recording = outputs(net, inputs)[0].grad_fn.recording
    assert len(recording.kept) <= 4 and len(recording.inverted) >= STEPS - 2


def test_an_inverse_that_grows_errors_fast_stores_more():
    kept = {}
    for name in ("leapfrog of scalars", "Adams-Bashforth of scalars"):
        net, inputs = module(name, memory="invert")
        kept[name] = len(outputs(net, inputs)[0].grad_fn.recording.kept)
    assert kept["leapfrog of scalars"] < 10 < kept["Adams-Bashforth of scalars"] < STEPS


@pytest.mark.parametrize("name", ["leapfrog of a vector", "leapfrog of scalars", "Adams-Bashforth of scalars"])
def test_growth_is_the_largest_eigenvalue_of_the_inverse_step(name):
    net, (start,) = module(name)
    local, shared = net.step_parameters(start.detach())
    random = torch.Generator().manual_seed(5)
    new = tuple(torch.randn(start.shape, generator=random, dtype=DOUBLE) for _ in range(2))

    def undo(state):
        return net.rules.inverse(None, state, tuple(column[0] for column in local), shared)

    def of_one(flat):
        return torch.cat(undo(flat.split(start.shape[-1])))

    jacobians = torch.func.vmap(torch.func.jacrev(of_one))(torch.cat(new, -1)).detach()
    largest = float(torch.linalg.eigvals(jacobians).abs().max())
    assert 0.9 * (largest - 1) <= float(inverse_growth(undo, new).detach()) - 1 < 0.02 + 2 * (largest - 1)


def test_growth_of_no_samples_and_of_a_state_at_rest():
    assert float(inverse_growth(lambda state: state, (torch.zeros(0, 2),))) == 1.0
    assert float(inverse_growth(lambda state: (3 * state[0],), (torch.zeros(4, 2),))) == pytest.approx(1 + CAUTION * 2)
    assert not math.isfinite(float(inverse_growth(lambda state: (state[0] / 0.0,), (torch.ones(4, 2),))))


@pytest.mark.parametrize("name", ["leapfrog of a vector", "Ruth of streams"])
def test_an_inverse_that_is_not_that_of_the_step_is_an_error(name):
    net, inputs = module(name, memory="invert")
    inverse = net.rules.inverse
    net.rules = net.rules._replace(inverse=lambda *args, **given: tuple(1.0001 * s for s in inverse(*args, **given)))
    with pytest.raises(
        emitted(name).InversionError, match=r"Own: the state before step \d+, .* differs .*; allowed: tol"
    ):
        gradients(net, inputs)


def test_growth_that_is_not_measured_is_an_error():
    net, inputs = module("Adams-Bashforth of scalars", memory="invert")
    net.rules = net.rules._replace(growth=lambda undo, new: new[0].new_ones(()))
    with pytest.raises(emitted("Adams-Bashforth of scalars").InversionError, match="Errors grow faster than measured"):
        gradients(net, inputs)


def test_a_smaller_tolerance_stores_more():
    kept = {}
    for tol in (1e-9, 1e-3):
        net, inputs = module("Adams-Bashforth of scalars", memory="invert", tol=tol)
        kept[tol] = len(outputs(net, inputs)[0].grad_fn.recording.kept)
    assert kept[1e-9] > kept[1e-3]


def test_a_scheme_without_an_explicit_inverse_refuses():
    kind = load_text(emit(Spec("own", "Own", "own", PENDULUM, scheme="rk4"))).Module
    with pytest.raises(
        ValueError, match=r"memory='invert'; allowed: 'store', 'recompute', 'checkpoint'\. Modules have"
    ):
        kind(a=1.0, steps=3, memory="invert")
