"""How NeuralODE chooses its steps, and what of the choice its gradients and its memory see."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import generated.neural_ode as emitted
from benchmarks.neural_ode import peak_bytes
from generated.neural_ode import NeuralODE


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Beginning and size of every step that is tried."""
    seen: list[tuple[float, float]] = []
    plain = emitted.PairStages.attempt

    def watched(self: object, step: int, t: float, h: float, state: Tensor) -> object:
        seen.append((t, h))
        return plain(self, step, t, h, state)

    monkeypatch.setattr(emitted.PairStages, "attempt", watched)
    return seen


def one() -> Tensor:
    return torch.ones(1, dtype=torch.float64)


def bumps(t: Tensor, x: Tensor) -> Tensor:
    return sum((1 / (1e-4 + (t - at) ** 2) for at in (0.2, 0.5, 0.83)), 0 * x)


def test_no_growth_right_after_a_rejection(attempts: list[tuple[float, float]]) -> None:
    module = NeuralODE(bumps, rtol=1e-7, atol=1e-7)
    module(one())
    assert module.stats.rejected >= 3
    grown = []
    for (t, h), (after, size), (_, following) in zip(attempts, attempts[1:], attempts[2:], strict=False):
        if t == after:  # the step at t was rejected, and is repeated with a smaller one
            assert size < h
            grown.append(following > size * (1 + 1e-9))
        elif following > size > h:
            grown.append(False)
    assert grown and not any(grown)
    limits = emitted._CONTROL
    assert limits.factor(1e-9, 1.0, 5, True) == 1.0 and limits.factor(1e-9, 1.0, 5, False) == limits.largest


def test_the_rest_of_the_interval_is_shared_by_the_last_two_steps(attempts: list[tuple[float, float]]) -> None:
    for end in (0.29, 0.5, -0.4):
        attempts.clear()
        module = NeuralODE(lambda t, x: torch.cos(3 * t) + 0 * x, t1=end, rtol=1e-4, atol=1e-4, first_step=0.26)
        module(one())
        accepted = [h for (t, h), (after, _) in pairwise([*attempts, (math.nan, 0.0)]) if t != after]
        assert accepted == pytest.approx([end / 2, end / 2])
    assert emitted._fitted(0.0, 0.7, 1.0) == (0.5, 0.5) and emitted._fitted(0.0, 0.4, 1.0) == (0.4, 0.4)


@pytest.mark.parametrize("method", ["cash_karp", "rkf45"])
def test_a_step_that_was_cut_does_not_cut_the_next(method: str, attempts: list[tuple[float, float]]) -> None:
    module = NeuralODE(lambda t, x: torch.cos(t) + 0 * x, t1=9.0, method=method)
    counts = []
    for times in ([3.0, 9.0], [3.0, 3.0 + 1e-7, 9.0]):
        module.trajectory(one(), times)
        counts.append(module.stats.accepted)
    assert counts[1] <= counts[0] + 2
    cut = next(n for n, (_, h) in enumerate(attempts) if h == pytest.approx(1e-7, rel=1e-3))
    assert attempts[cut + 1][1] > 1e-2


class Growth(nn.Module):
    def __init__(self, velocity: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.velocity = velocity

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.velocity(t, x)


@pytest.mark.parametrize("adjoint", ["discrete", "continuous"])
@pytest.mark.parametrize(
    ("velocity", "exponent"),
    [(lambda t, x: 0.7 * x, lambda t: 0.7 * t), (lambda t, x: torch.cos(t) * x, torch.sin)],
)
def test_gradients_in_the_ends_by_closed_forms(
    adjoint: str, velocity: Callable[[Tensor, Tensor], Tensor], exponent: Callable[[Tensor], Tensor]
) -> None:
    """x' = g'(t) x: x(t) = x0 exp(g(t) - g(t0)), at t1 and at times of their own."""
    t0, t1 = (torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (0.3, 1.9))
    times = torch.tensor([0.5, 1.1, 1.6], dtype=torch.float64, requires_grad=True)
    module = NeuralODE(Growth(velocity), t0=t0, t1=t1, rtol=1e-10, atol=1e-12, adjoint=adjoint)
    x = torch.tensor([0.4, -1.3], dtype=torch.float64)
    exact = [x * torch.exp(exponent(t) - exponent(t0)) for t in (t1, *times.unbind())]
    found, weights = [module(x), *module.trajectory(x, times)], (1.0, -2.0, 0.5, 3.0)
    for places in ((0,), (1, 2, 3)):
        leaves = [t0, t1] if places == (0,) else [t0, times]
        pair = [
            torch.autograd.grad(sum((weights[n] * outputs[n].sin()).sum() for n in places), leaves)
            for outputs in (found, exact)
        ]
        for found_bar, expected in zip(*pair, strict=True):
            assert torch.allclose(found_bar, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("adjoint", "outputs"), [("discrete", 1000), ("continuous", 150)])
def test_memory_does_not_grow_with_the_number_of_outputs(adjoint: str, outputs: int) -> None:
    field = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)).double()
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    module = NeuralODE(field, t1=2.0, rtol=1e-7, atol=1e-9, adjoint=adjoint)

    def peak(count: int) -> int:
        times = torch.linspace(0.0, 2.0, count, dtype=torch.float64)
        return peak_bytes(lambda: torch.autograd.grad(module.trajectory(x, times)[-1].sum(), list(field.parameters())))

    peak(2)
    few, many = peak(2), peak(outputs)
    given_out = 2 * outputs * x.numel() * 8  # with what arrives at them
    assert many <= 1.2 * few + 1.02 * given_out, (few, many, given_out)
