"""Modules of delay equations: closed forms, hand-written loops, histories, transforms, and what they refuse."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import module_rows
from derive import DelayODE, Network, Spec, constant, delayed, load, parameter, state, tanh, time
from derive.errors import SpecError, UnsupportedError

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
SPECS = Path(__file__).parents[2] / "examples" / "specs"
MODES = ("store", "recompute", "checkpoint")
DTYPE = torch.float64
x, y, tau = state("x", "d"), state("y", "d"), constant("tau")
x_tau, y_tau = delayed(x, tau), delayed(y, tau)


def spec(system, **options):
    return Spec(id="delay_module", class_name="DelayModule", title="Under test", system=system, **options)


def module(system, **options):
    return load_text(emit(spec(system, **options))).Module


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def logistic():
    return load_text(emit(load(SPECS / "delayed_logistic.py"))).Module


@pytest.fixture(scope="module")
def feedback():
    return load_text(emit(load(SPECS / "delayed_feedback.py"))).Module


@pytest.fixture(scope="module")
def pair():
    """Two unknowns, each a vector of its own, that hear each other late."""
    return module(DelayODE((x, y), (y_tau - x, -x_tau * y), {x_tau: (x, tau), y_tau: (y, tau)}, scheme="heun"))


def test_polynomials_of_the_method_of_steps():
    """x' = -x(t - 1), x = 1 before 0: exact on the first three stretches by a scheme of order 4."""
    kind = module(DelayODE((x,), (-x_tau,), {x_tau: (x, tau)}, scheme="rk4"))
    path = kind(tau_steps=5, steps=15, t1=3.0).trajectory(torch.ones(1, dtype=DTYPE))
    for n, value in enumerate(path[:, 0].tolist()):
        t = n / 5
        terms = ((-1) ** k * (t - k + 1) ** k / math.factorial(k) for k in range(n // 5 + 2))
        assert value == pytest.approx(sum(terms), abs=1e-14)


def by_hand(net, x0, history, h):
    """Classical Runge-Kutta for Hutchinson's equation; values of every stage of every step in a list."""
    m, value, stages = net.lags["tau_steps"], x0, list(history.unflatten(0, (-1, 4)))

    def field(here, past):
        return net.r * here * (1 - past / net.K)

    path = [value]
    for n in range(net.steps):
        past = stages[len(history) // 4 - m + n]
        first = field(value, past[0])
        second = field(value + h / 2 * first, past[1])
        third = field(value + h / 2 * second, past[2])
        fourth = field(value + h * third, past[3])
        stages.append(torch.stack([value, value + h / 2 * first, value + h / 2 * second, value + h * third]))
        value = value + h / 6 * (first + 2 * second + 2 * third + fourth)
        path.append(value)
    return torch.stack(path)


@pytest.mark.parametrize("memory", MODES)
def test_against_a_loop_written_by_hand(logistic, memory):
    net = logistic(tau_steps=3, steps=8, t1=1.6, memory=memory).double()
    x0, history = draw(4, 2).mul(0.3).requires_grad_(), draw(12, 4, 2, seed=1).mul(0.3).requires_grad_()
    tensors = (x0, history, net.r, net.K)
    weight = draw(9, 4, 2, seed=2)
    found, expected = net.trajectory(x0, history=history), by_hand(net, x0, history, 0.2)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(net(x0, history=history), expected[-1], rtol=1e-13, atol=1e-14)
    for one, other in zip(*(torch.autograd.grad((weight * path.sin()).sum(), tensors) for path in (found, expected)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_implicit_part_against_a_loop_written_by_hand(feedback):
    matrices = [draw(3, 3, seed=seed) for seed in range(3)]
    net = feedback(A=matrices[0] - 2 * torch.eye(3), B_1=matrices[1], B_2=matrices[2], b=draw(3), steps=7, far_steps=3)
    x0 = draw(5, 3, seed=5).requires_grad_()
    h, path = 1.0 / 7, [x0] * 3
    inverse = torch.linalg.inv(torch.eye(3, dtype=DTYPE) - h * net.A)
    for _ in range(7):
        rest = torch.tanh(path[-1]) @ net.B_1.mT + torch.tanh(path[-3]) @ net.B_2.mT + net.b
        path.append((path[-1] + h * rest) @ inverse.mT)
    found = net(x0)
    torch.testing.assert_close(found, path[-1], rtol=1e-12, atol=1e-13)
    tensors = (x0, *net.parameters())
    pairs = zip(*(torch.autograd.grad(end.cos().sum(), tensors) for end in (found, path[-1])), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_a_history_that_is_the_initial_value(logistic, gradient):
    """The same as none; its gradient is then part of that of the initial value."""
    net = logistic(tau_steps=4, steps=9, gradient=gradient).double()
    x0 = draw(3, 2).requires_grad_()
    history = x0.detach().expand(16, 3, 2).clone().requires_grad_()
    alone, given = net(x0), net(x0, history=history)
    torch.testing.assert_close(alone, given, rtol=0, atol=0)
    (whole,) = torch.autograd.grad(alone.sum(), x0)
    parts = torch.autograd.grad(given.sum(), (x0, history))
    torch.testing.assert_close(whole, parts[0] + parts[1].sum(0), rtol=1e-13, atol=1e-14)
    assert parts[1].count_nonzero() != 0


def test_two_streams(pair):
    net = pair(tau_steps=2, steps=5)
    starts = (draw(4, 3), draw(4, 3, seed=1))
    past = (draw(4, 4, 3, seed=2), draw(4, 4, 3, seed=3))
    last, path = net(*starts, history=past), net.trajectory(*starts, history=past)
    assert [one.shape for one in path] == [(6, 4, 3), (6, 4, 3)]
    for one, values, begin in zip(last, path, starts, strict=True):
        assert torch.equal(values[-1], one) and torch.equal(values[0], begin)
    h = 0.2
    slopes = past[1][0] - starts[0], -past[0][0] * starts[1]  # of the first stage, two steps before the first
    points = [start + h * slope for start, slope in zip(starts, slopes, strict=True)]
    second = past[1][1] - points[0], -past[0][1] * points[1]
    for values, start, a, b in zip(path, starts, slopes, second, strict=True):
        torch.testing.assert_close(values[1], start + h * (a + b) / 2)
    with pytest.raises(ValueError, match="history has 1 tensors; allowed: 2, one for each unknown"):
        net(*starts, history=past[0])
    with pytest.raises(TypeError, match=re.escape("1 initial value(s); allowed: 2 (x, y)")):
        net(starts[0])


def test_times_of_a_history(logistic):
    times = logistic(tau_steps=2, steps=4, t0=1.0, t1=3.0).history_times()
    torch.testing.assert_close(times, torch.tensor([0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0], dtype=DTYPE))


def test_a_delay_longer_than_the_time_reads_the_history_alone(logistic):
    """x' = r x (1 - phi(t - tau)) is linear: its solution is an exponential of an integral."""
    net = logistic(tau_steps=50, steps=40, r=0.8).double()
    times = net.history_times()
    end = net(torch.full((1,), 0.4, dtype=DTYPE), history=times.cos()[:, None])
    exponent = 0.8 * (1 - (math.sin(1 - 1.25) - math.sin(-1.25)))
    assert end.item() == pytest.approx(0.4 * math.exp(exponent), rel=1e-8)


@pytest.mark.parametrize("memory", MODES)
def test_a_network_of_the_past(memory):
    """Opaque networks work as in every loop over steps."""
    t, f = time("t"), Network("f", takes_time=True)
    kind = module(DelayODE((x,), (f(t, x_tau) - x,), {x_tau: (x, tau)}, time=t, scheme="heun"))

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(3, 3).double()

        def forward(self, t, x):
            return torch.tanh(self.inner(x)) + t

    found = []
    for gradient in ("derived", "autograd"):
        field = Field()
        net = kind(field, tau_steps=2, steps=5, gradient=gradient, memory=memory)
        x0 = draw(4, 3).requires_grad_()
        end = net(x0)
        found.append((end, *torch.autograd.grad(end.sin().sum(), (x0, *field.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_transforms(logistic):
    net = logistic(tau_steps=2, steps=5).double()
    points = draw(6, 3).mul(0.4)
    torch.testing.assert_close(torch.func.vmap(net)(points), net(points))
    jacobian = torch.func.jacrev(net)(points[0])
    torch.testing.assert_close(torch.func.jacfwd(net)(points[0]), jacobian)
    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(net, points[0]))
    assert torch.autograd.gradgradcheck(net, points[:1].clone().requires_grad_())


def test_gradient_in_the_end_of_the_interval_moves_the_delay_too(logistic):
    """A delay is a number of steps: longer steps make it longer."""

    def end(t1):
        return logistic(tau_steps=2, steps=5, t1=t1).double()(torch.full((1,), 0.4, dtype=DTYPE))

    t1 = torch.tensor(1.5, dtype=DTYPE, requires_grad=True)
    (found,) = torch.autograd.grad(end(t1), t1)
    assert found.item() == pytest.approx((end(1.5 + 1e-6) - end(1.5 - 1e-6)).item() / 2e-6, rel=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(logistic, dtype):
    net, points = logistic(tau_steps=3, steps=6), draw(4, 2).mul(0.3)
    found = net.to(dtype)(points.to(dtype))
    assert found.dtype == dtype
    expected = logistic(tau_steps=3, steps=6).double()(points)
    torch.testing.assert_close(
        found.double(), expected, rtol=20 * torch.finfo(dtype).eps, atol=1e-2 if dtype == torch.bfloat16 else 1e-6
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda kind: kind(tau_steps=0, steps=3), ValueError, "tau_steps=0; allowed: the delay as a whole number"),
        (lambda kind: kind(tau_steps=1.5, steps=3), ValueError, "tau_steps=1.5"),
        (lambda kind: kind(tau_steps=True, steps=3), ValueError, "tau_steps=True"),
        (lambda kind: kind(tau_steps=2, steps=0), ValueError, "steps=0"),
        (lambda kind: kind(steps=3)(torch.ones(2, dtype=torch.int64)), TypeError, "dtype torch.int64"),
        (
            lambda kind: kind(tau_steps=1, steps=3)(torch.ones(2), history=torch.ones(3, 2)),
            ValueError,
            r"history has shape \(3, 2\); allowed: \(4, 2\), the values at history_times",
        ),
        (lambda kind: kind(steps=3)(torch.ones(2), history=torch.ones(40, 2).double()), TypeError, "torch.float64"),
        (lambda kind: kind(steps=3)(torch.ones(2), history=[1.0]), TypeError, "read list"),
        (lambda kind: kind(steps=3, memory="invert"), ValueError, "memory='invert'"),
        (lambda kind: kind(steps=3, t1=math.inf), ValueError, "t1"),
    ],
)
def test_refused(logistic, call, error, message):
    with pytest.raises(error, match=message):
        call(logistic)


def test_a_result_that_is_not_finite_names_the_step(logistic):
    with pytest.raises(RuntimeError, match="step"):
        logistic(tau_steps=1, steps=400, t1=400.0, r=50.0)(torch.full((2,), 3.0))


def test_defaults_are_whole_numbers_of_steps():
    system = DelayODE((x,), (-x_tau,), {x_tau: (x, tau)})
    with pytest.raises(SpecError, match=r"the default of the delay tau is 2.5; allowed: a whole number of steps"):
        emit(spec(system, defaults={"tau": 2.5}))
    per_layer = parameter("w", per_layer=True)
    with pytest.raises(UnsupportedError, match="a value for each layer"):
        emit(spec(DelayODE((x,), (-per_layer * x_tau,), {x_tau: (x, tau)})))


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (r"(bar_x_tau_1 = )-r ", r"\1r "),
        (r"(bar_x_3 = r .*) \+ bar_x_3_out  ", r"\1  "),
        (r"(lag - 1\) \* self\.kept)", r"\1 + self.rules.streams"),
        (r"\*bar_new\[streams \+ self\.kept :\]", "*bar_new[streams : len(bar_new) - self.kept]"),
        (r"reduce\(both_of, column\)", "reduce(both_of, column[:2])"),
        (r"(self\.sent\[n \+ steps\.depth - lag)\]", r"\1 + (lag > 1)]"),
        (r"for row in reversed\(stream\)", "for row in stream"),
    ],
)
def test_verification_notices(line, changed):
    """Each of these breaks the derived lines or the way past values and what they are sent travel."""
    given = load(SPECS / "delayed_logistic.py")
    text = emit(given)
    broken, count = re.subn(line, changed, text)
    assert count == 1
    assert any(not row.passed for row in module_rows(given, load_text(broken)))


def test_scalars_that_share_a_tensor():
    u, v, bound = state("u", ()), state("v", ()), constant("far")
    u_tau, v_far = delayed(u, tau), delayed(v, bound)
    kind = module(DelayODE((u, v), (tanh(v_far) - u, -u_tau * v), {u_tau: (u, tau), v_far: (v, bound)}))
    found = kind(tau_steps=1, far_steps=3, steps=4, t1=0.8).trajectory(draw(5, 2))
    path = [draw(5, 2)] * 4
    for _ in range(4):
        (a, b), past, far = path[-1].unbind(-1), path[-2][:, 0], path[-4][:, 1]
        path.append(torch.stack([a + 0.2 * (torch.tanh(far) - a), b - 0.2 * past * b], -1))
    torch.testing.assert_close(found, torch.stack(path[3:]))
