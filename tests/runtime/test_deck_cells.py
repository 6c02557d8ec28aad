"""Cells of the decks that torch has not, beside closed forms and loops by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated.linear_recursion import LinearRecursion
from generated.lstm_general import LSTMGeneral

double = torch.float64
MEMORIES = ("store", "chunk")


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name.removesuffix("_l0"): value for name, value in module.named_parameters()}


def gradients(outputs: tuple[Tensor, ...], wanted: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum((value * torch.cos(3 * value)).sum() for value in outputs), tuple(wanted))


def compare(
    module: nn.Module, step: Callable[..., tuple[Tensor, ...]], x: Tensor, states: tuple[Tensor, ...], tolerance: float
) -> None:
    """Output, final states and all gradients against a loop over `step(parameters, x_t, *states)`."""
    wanted = [value.requires_grad_() for value in (x, *states)] + list(module.parameters())
    output, final = module(x, states if len(states) > 1 else states[0])
    now, outputs = tuple(state[0] for state in states), []
    for row in x.unbind(0):
        now = step(values(module), row, *now)
        outputs.append(now[0])
    finals = final if isinstance(final, tuple) else (final,)
    found, expected = (output, *finals), (torch.stack(outputs), *(state[None] for state in now))
    assert apart(found, expected) < tolerance
    assert apart(gradients(found, wanted), gradients(expected, wanted)) < tolerance


def general(p: dict[str, Tensor], x: Tensor, v: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """s = g_cs (W_s s) + g_cu (W_r tanh(s) + W_x x + theta), v = g_cr tanh(s); the last gate sees the new s."""

    def gate(k: str, seen: Tensor) -> Tensor:
        return torch.sigmoid(x @ p[f"W_x{k}"].mT + seen @ p[f"W_s{k}"].mT + v @ p[f"W_v{k}"].mT + p[f"b_{k}"])

    update = torch.tanh(s) @ p["W_r"].mT + x @ p["W_x"].mT + p["theta_s"]
    new = gate("cs", s) * (s @ p["W_s"].mT) + gate("cu", s) * update
    return gate("cr", new) * torch.tanh(new), new


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_general_formula_equals_a_loop_by_hand(memory: str) -> None:
    torch.manual_seed(0)
    module = LSTMGeneral(3, 4, memory=memory, dtype=double)
    assert len(values(module)) == 16
    x, v, s = torch.randn(9, 5, 3, dtype=double), *torch.randn(2, 1, 5, 4, dtype=double)
    compare(module, general, x, (v.clone(), s.clone()), 1e-12)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("steps", (1, 2, 30))
def test_the_linear_recursion_is_its_closed_form(memory: str, steps: int) -> None:
    """h_k = W^(k+1) h_(-1) + sum W^(k-j) C x_j with powers of the matrix, and the adjoint of <g, h_last>."""
    torch.manual_seed(0)
    module = LinearRecursion(3, 4, memory=memory, dtype=double)
    p, power = values(module), torch.linalg.matrix_power
    assert set(p) == {"W", "C"}
    W, C = p["W"], p["C"]
    x, h = torch.randn(steps, 2, 3, dtype=double), torch.randn(1, 2, 4, dtype=double)
    x.requires_grad_()
    h.requires_grad_()
    output, final = module(x, h)
    for k in range(steps):
        closed = h[0] @ power(W, k + 1).mT + sum(x[j] @ (power(W, k - j) @ C).mT for j in range(k + 1))
        assert apart([output[k]], [closed]) < 1e-12
    g = torch.randn(1, 2, 4, dtype=double)
    found = torch.autograd.grad((final * g).sum(), (x, h, W, C))
    back = [g[0] @ power(W, steps - 1 - j) for j in range(steps)]
    before = [h[0], *output[:-1].unbind(0)]
    expected = [
        torch.stack([bar @ C for bar in back]),
        (g[0] @ power(W, steps))[None],
        sum(bar.mT @ state for bar, state in zip(back, before, strict=True)),
        sum(bar.mT @ row for bar, row in zip(back, x.unbind(0), strict=True)),
    ]
    assert apart(found, expected) < 1e-12


def test_responses_of_the_linear_recursion_add_up() -> None:
    torch.manual_seed(0)
    module = LinearRecursion(3, 4, 2, dtype=double)
    one, other = torch.randn(2, 6, 2, 3, dtype=double).unbind(0)
    assert apart([module(2 * one - 3 * other)[0]], [2 * module(one)[0] - 3 * module(other)[0]]) < 1e-13


def test_the_response_grows_or_shrinks_by_the_spectral_radius() -> None:
    """The deck's |Re lambda| is not the criterion: 1.1 times a quarter turn has real part 0 and grows as 1.1^t."""
    module = LinearRecursion(1, 2, dtype=double)
    p = values(module)
    impulse = torch.zeros(60, 1, 1, dtype=double)
    impulse[0] = 1.0
    with torch.no_grad():
        p["C"].copy_(torch.tensor([[1.0], [0.0]]))
        for radius in (0.9, 1.1):
            p["W"].copy_(radius * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=double))
            lengths = module(impulse)[0][:, 0].norm(dim=-1)
            assert apart([lengths], [radius ** torch.arange(60, dtype=double)]) < 1e-12


@pytest.mark.parametrize("kind", (LinearRecursion, LSTMGeneral))
def test_layers_directions_and_lengths_come_with_the_mechanism(kind: Any) -> None:
    torch.manual_seed(0)
    module = kind(3, 4, 2, bidirectional=True, dtype=double)
    plain = kind(3, 4, 2, bidirectional=True, gradient="autograd", dtype=double)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(7, 4, 3, dtype=double)
    results = []
    for each in (module, plain):
        output, final = each(x, lengths=[7, 1, 3, 3])
        finals = final if isinstance(final, tuple) else (final,)
        results.append([output, *finals, *gradients((output, *finals), each.parameters())])
    assert apart(*results) < 1e-12
    assert not results[0][0][3:, 2:].any()
