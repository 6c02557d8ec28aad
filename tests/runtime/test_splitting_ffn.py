"""The splitting net beside the catalogue's own formulas, written in torch, and beside the solution of its ODE."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from generated.splitting_ffn import SplittingFFN

LAYERS, SIZE, H = 4, 3, 0.2
torch.manual_seed(0)
w, b = (0.7 * torch.randn(LAYERS, *axes, dtype=torch.float64) for axes in ((SIZE, SIZE), (SIZE,)))
x0 = torch.randn(5, SIZE, dtype=torch.float64)
GAMMA = torch.tensor(0.8, dtype=torch.float64)


def by_hand(x: Tensor, w: Tensor, b: Tensor, gamma: Tensor, step: Tensor | float) -> Tensor:
    """x_{l+1} = h(W_l x_l + B_l) with W = I + dt w, B = dt b, h(z) = z - gamma dt z^3."""
    for matrix, bias in zip(w, b, strict=True):
        z = x @ (torch.eye(SIZE, dtype=x.dtype) + step * matrix).T + step * bias
        x = z - gamma * step * z**3
    return x


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_value_and_gradients_are_those_of_the_formula(memory: str, gradient: str) -> None:
    step = torch.tensor(H, dtype=torch.float64, requires_grad=True)
    net = SplittingFFN(w=w, b=b, gamma=GAMMA, step_size=step, memory=memory, gradient=gradient)
    tensors = [x0.clone().requires_grad_(), w.clone().requires_grad_(), b.clone().requires_grad_()]
    tensors += [GAMMA.clone().requires_grad_(), torch.tensor(H, dtype=torch.float64, requires_grad=True)]
    x = x0.clone().requires_grad_()
    found, expected = net(x), by_hand(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, theirs in zip((x, net.w, net.b, net.gamma, step), tensors, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_backward_is_the_catalogue_s() -> None:
    """bar_z = h'(z) * lambda, d_w = dt bar_z x^T, d_b = dt bar_z, d_gamma = -dt lambda . z^3, lambda = W^T bar_z."""
    net = SplittingFFN(w=w[:1], b=b[:1], gamma=GAMMA, step_size=H)
    x, bar = x0[0].clone().requires_grad_(), torch.randn(SIZE, dtype=torch.float64)
    net(x).backward(bar)
    W = torch.eye(SIZE, dtype=torch.float64) + H * w[0]
    z = W @ x0[0] + H * b[0]
    bar_z = (1 - 3 * GAMMA * H * z**2) * bar
    expected = (W.T @ bar_z, H * torch.outer(bar_z, x0[0])[None], H * bar_z[None], -H * bar @ z**3)
    for mine, theirs in zip((x, net.w, net.b, net.gamma), expected, strict=True):
        torch.testing.assert_close(mine.grad, theirs, rtol=1e-13, atol=1e-13)


def test_transforms_and_second_derivatives() -> None:
    net = SplittingFFN(w=w, b=b, gamma=GAMMA, step_size=H)
    expected = vmap(jacrev(lambda x: by_hand(x, w, b, GAMMA, H)))(x0)
    torch.testing.assert_close(vmap(jacrev(net))(x0), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradgradcheck(net, (x0.clone().requires_grad_(),))


def test_the_global_order_is_one() -> None:
    """x' = -g x^3 with w = b = 0: x_0 / sqrt(1 + 2 g x_0^2 t), catalogue, `cubic_ode`; the splitting is Euler then."""
    exact = x0 / (1 + 2 * GAMMA * x0**2).sqrt()
    errors = []
    for steps in (100, 200, 400):
        zeros = torch.zeros(steps, SIZE, dtype=torch.float64)
        matrices = torch.zeros(steps, SIZE, SIZE, dtype=torch.float64)
        net = SplittingFFN(w=matrices, b=zeros, gamma=GAMMA, step_size=1 / steps)
        errors.append(float((net(x0) - exact).detach().abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05) and errors[1] / errors[2] == pytest.approx(2, abs=0.03)


def test_beyond_the_bound_the_cubic_folds() -> None:
    """E35: h rises only for |z| < 1/sqrt(3 gamma dt); two inputs on both sides of it share a value."""
    net = SplittingFFN(w=torch.zeros(1, 1, 1), b=torch.zeros(1, 1), gamma=1.0, step_size=1.0)
    one, other = net(torch.tensor([[0.3]])), net(torch.tensor([[0.8156605]]))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": b[:3]}, r"SplittingFFN: w has shape \(4, 3, 3\); allowed: axis -3 of size 3, read size 4"),
        ({"w": w[:, :2]}, r"SplittingFFN: w has shape \(4, 2, 3\)"),
        ({"w": w[0]}, r"SplittingFFN: w has shape \(3, 3\); allowed: shape \(steps, d, d\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplittingFFN(**{"w": w, "b": b, "gamma": GAMMA, "step_size": H, **change})(x0)
