"""Events of NeuralODE: where they are found, derivatives of all orders against closed forms, what bad ones get."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torchdiffeq import odeint_event

from generated.neural_ode import NeuralODE, located

Event = Callable[[Tensor, Tensor], Tensor]


class Fall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.tensor(9.81, dtype=torch.float64))
        self.calls = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.stack((x[1], -self.g))


def falling(**options: str) -> NeuralODE:
    return NeuralODE(Fall(), t1=10.0, rtol=1e-9, atol=1e-9, **options)


def thrown() -> Tensor:
    return torch.tensor([10.0, 3.0], dtype=torch.float64, requires_grad=True)


def clock(**options: float) -> NeuralODE:
    """Whose state is the time."""
    return NeuralODE(lambda t, x: torch.ones_like(x), **options)


def zero() -> Tensor:
    return torch.zeros(1, dtype=torch.float64)


def close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= tolerance * b.norm(), ((a - b).norm() / b.norm(), tolerance)


def test_events_are_those_of_torchdiffeq() -> None:
    module, x = falling(), thrown()
    field = module.field
    time, state = module.until(x, lambda t, x: x[0])
    exact = (x[1] + torch.sqrt(x[1] ** 2 + 2 * field.g * x[0])) / field.g
    leaves = [x, field.g]
    close(list(torch.autograd.grad(time, leaves, retain_graph=True)), list(torch.autograd.grad(exact, leaves)), 1e-9)
    assert time.item() == pytest.approx(exact.item(), rel=1e-11) and abs(state[0].item()) < 1e-9
    options = {"event_fn": lambda t, x: x[0], "rtol": 1e-9, "atol": 1e-9}
    other, states = odeint_event(field, x, torch.tensor(0.0, dtype=torch.float64), **options)
    assert time.item() == pytest.approx(other.item(), rel=1e-7)
    ours, theirs = (torch.autograd.grad(s[1], leaves) for s in (state, states[-1]))
    close(list(ours), list(theirs), 1e-6)


def test_an_event_that_does_not_happen() -> None:
    with pytest.raises(RuntimeError, match=r"event\(t, x\) does not change its sign between t = 0 and 1"):
        NeuralODE(lambda x: -x).until(torch.ones(1), lambda t, x: x[0] + 1)


def test_an_event_of_many_numbers() -> None:
    with pytest.raises(ValueError, match="one element"):
        NeuralODE(lambda x: -x).until(torch.ones(2), lambda t, x: x)


@pytest.mark.parametrize("options", [{}, {"gradient": "autograd"}, {"memory": "store"}, {"method": "dop853"}])
def test_derivatives_up_to_the_third_order_are_exact(options: dict[str, str]) -> None:
    """A fall onto a moving floor c cos t: parabolas are exact, and Newton's steps on them find derivatives."""
    module, x, c = falling(**options), thrown(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    g = module.field.g
    time, state = module.until(x, lambda t, x: x[0] - c * torch.cos(t))
    exact = time.detach()
    for _ in range(6):
        height = x[0] + x[1] * exact - g * exact**2 / 2 - c * torch.cos(exact)
        exact = exact - height / (x[1] - g * exact + c * torch.sin(exact))
    parabola = torch.stack((x[0] + x[1] * exact - g * exact**2 / 2, x[1] - g * exact))
    leaves = [x, g, c]
    for loss in (lambda t, s: t, lambda t, s: t**2 + t * s.sin().sum(), lambda t, s: s[1]):
        found, expected = loss(time, state), loss(exact, parabola)
        for tolerance in (1e-10, 1e-9, 1e-7):
            pair = [torch.autograd.grad(value, leaves, create_graph=True) for value in (found, expected)]
            close(list(pair[0]), list(pair[1]), tolerance)
            found, expected = (sum((n * bar.sin()).sum() for n, bar in enumerate(bars, 1)) for bars in pair)


@pytest.mark.parametrize("adjoint", ["discrete", "continuous"])
def test_derivatives_in_the_initial_time(adjoint: str) -> None:
    """x' = x t: x(s) = 2 at s = sqrt(t0^2 + 2 log(2/x0))."""
    t0 = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    module = NeuralODE(lambda t, x: t * x, t0=t0, t1=5.0, rtol=1e-10, atol=1e-12, adjoint=adjoint)
    time, _ = module.until(x, lambda t, x: x - 2)
    exact = torch.sqrt(t0**2 + 2 * torch.log(2 / x)).sum()
    pair = [torch.autograd.grad(value, [t0, x], create_graph=True) for value in (time, exact)]
    close(*map(list, pair), 1e-7)
    second = [torch.autograd.grad(sum(bar.sum() ** 2 for bar in bars), [t0, x]) for bars in pair]
    close(*([torch.cat([bar.reshape(-1) for bar in bars])] for bars in second), 1e-5)


def test_derivatives_by_the_transforms_of_torch() -> None:
    def squared(x: Tensor) -> Tensor:
        return falling().until(x, lambda t, x: x[0])[0] ** 2

    def exact(x: Tensor) -> Tensor:
        return ((x[1] + torch.sqrt(x[1] ** 2 + 2 * 9.81 * x[0])) / 9.81) ** 2

    x = thrown().detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own forward mode loads what torch deprecates
        for way in (torch.func.grad, torch.func.hessian, lambda f: torch.func.jacrev(torch.func.grad(f))):
            close([way(squared)(x)], [way(exact)(x)], 1e-10)
        with forward_ad.dual_level():
            found = forward_ad.unpack_dual(squared(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
        close([found], [torch.func.grad(exact)(x).sum()], 1e-10)


def test_first_gradients_need_one_sweep() -> None:
    module, x = falling(), thrown()
    time, state = module.until(x, lambda t, x: x[0])
    before = module.field.calls
    (time + state.sum()).backward()
    assert module.field.calls - before == 6 * module.stats.accepted + 1  # one more for the dense output of one step


@pytest.mark.parametrize(
    ("event", "first", "end"),
    [
        (lambda t, x: (x[0] - 2) * (x[0] - 2.2) * (x[0] - 4.5), 2.0, 10.0),
        (lambda t, x: (x[0] - 5) ** 2 - 1e-3, 5 - math.sqrt(1e-3), 10.0),
        (lambda t, x: 1e-3 - (x[0] - 5) ** 2 + 0 * t, 5 - math.sqrt(1e-3), 10.0),
        (lambda t, x: (t - 0.4) * (t - 0.6), 0.4, 1.0),
        (lambda t, x: t - 10.0, 10.0, 10.0),
        (lambda t, x: x[0] * (3 - x[0]), 3.0, 10.0),  # zero at the beginning
        (lambda t, x: torch.cos(x[0]), math.pi / 2, 10.0),
        (lambda t, x: 1e-200 * (x[0] - 7), 7.0, 10.0),
        (lambda t, x: x[0] + 2, -2.0, -10.0),
    ],
)
def test_the_first_zero_is_found_within_long_steps(event: Event, first: float, end: float) -> None:
    for method in ("dopri5", "bs32", "dop853"):
        assert float(clock(t1=end, method=method).until(zero(), event)[0]) == pytest.approx(first, rel=1e-8)


def test_an_event_is_located_to_rounding_and_not_before_it() -> None:
    for root in (1 / 3, 0.7, 1e-9):
        place = located(lambda theta, root=root: root - theta, 0.0, 1.0)
        assert root - place <= 0.0 < root - math.nextafter(place, 0.0)
    assert located(lambda theta: theta - 0.5, 0.0, 1.0) == 0.5
    time = clock(t1=10.0).until(zero(), lambda t, x: x[0] ** 3 - 2)[0]
    assert float(time) == pytest.approx(2 ** (1 / 3), rel=1e-13)


def test_an_event_is_read_a_few_times_in_each_step() -> None:
    calls, module = [], clock(t1=10.0)
    with pytest.raises(RuntimeError, match="does not change its sign"):
        module.until(zero(), lambda t, x: calls.append(float(t)) or 11 - x[0])
    with torch.no_grad():
        module(zero())
    assert len(calls) == 1 + 3 * 4 * module.stats.accepted  # it comes nearer, and never goes away


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_an_event_alone_may_be_what_is_learned(gradient: str) -> None:
    level = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.ones(1, dtype=torch.float64)
    module = NeuralODE(nn.Identity(), t1=5.0, rtol=1e-10, atol=1e-12, gradient=gradient)
    time, state = module.until(x, lambda t, x: x - level)
    (first,) = torch.autograd.grad(time, level, create_graph=True)
    (second,) = torch.autograd.grad(first, level, retain_graph=True)
    assert [float(first.detach()), float(second)] == pytest.approx([0.5, -0.25], rel=1e-5)
    (first,) = torch.autograd.grad(state.sum() ** 2, level, create_graph=True)
    (second,) = torch.autograd.grad(first, level)
    assert [float(first.detach()), float(second)] == pytest.approx([4.0, 2.0], rel=1e-5)


def test_an_event_that_is_not_finite() -> None:
    with pytest.raises(RuntimeError, match=r"event\(t, x\) is nan at t = 0; allowed: a function that is finite along"):
        clock().until(zero(), lambda t, x: torch.sqrt(x[0] - 2))
    with pytest.raises(RuntimeError, match=r"event\(t, x\) is nan at t = 0\.\d+; allowed"):
        clock().until(zero(), lambda t, x: torch.sqrt(0.5 - x[0]) + 1)
    with pytest.raises(RuntimeError, match=r"event\(t, x\) is -inf at t = 0"):
        clock().until(zero(), lambda t, x: torch.log(x[0]))


def test_an_event_that_only_touches_zero() -> None:
    with pytest.raises(RuntimeError, match="has the slope 0 along the solution at t = 1, where it is zero"):
        clock(t1=2.0, first_step=1.0).until(zero(), lambda t, x: torch.where(t < 1, 1.0, -0.0) + 0 * x[0])


def test_samples_have_events_of_their_own() -> None:
    with pytest.raises(NotImplementedError, match="vmap over until, whose samples would end at different times"):
        torch.vmap(lambda x: clock().until(x, lambda t, x: x[0] - 0.5)[0])(torch.zeros(3, 1))
