"""Rules written by hand, in the form the generator emits them: ResNet, RK4 with a shared field, explicit systems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.arguments import check_size
from codegen.runtime.cotangents import batch_outer, sum_to
from codegen.runtime.step_net import StepNet
from codegen.runtime.steps import Rules


def resnet_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    (h,) = shared
    f = field(x)
    return (x + h * f,)


def resnet_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    (h,) = shared
    (bar_x_next,) = bar_new
    _, pullback_f = linearize(x)
    (bar_x_f,) = pullback_f(h * bar_x_next)
    return (bar_x_next + bar_x_f,), (), (None,)


class ResNet(StepNet):
    """x_{n+1} = x_n + h f_n(x_n)."""

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        step_size: float = 1.0,
        memory: str = "store",
        gradient: str = "derived",
    ) -> None:
        super().__init__(Rules(step=resnet_step, adjoint=resnet_adjoint), memory=memory, gradient=gradient)
        self.blocks = nn.ModuleList(blocks)
        self.step_size = step_size

    def step_blocks(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        return (), (self.step_size,)


def rk4_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    (t,) = local
    (h,) = shared
    k1 = field(t, x)
    k2 = field(t + h / 2, x + h / 2 * k1)
    k3 = field(t + h / 2, x + h / 2 * k2)
    k4 = field(t + h, x + h * k3)
    return (x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4),)


def rk4_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    (t,) = local
    (h,) = shared
    (bar_x_next,) = bar_new
    k1, pullback_1 = linearize(t, x)
    k2, pullback_2 = linearize(t + h / 2, x + h / 2 * k1)
    k3, pullback_3 = linearize(t + h / 2, x + h / 2 * k2)
    k4, pullback_4 = linearize(t + h, x + h * k3)
    bar_h = sum_to((k1 + 2 * k2 + 2 * k3 + k4) / 6 * bar_x_next, h)
    bar_t4, bar_x4 = pullback_4(h / 6 * bar_x_next)
    bar_t3, bar_x3 = pullback_3(h / 3 * bar_x_next + h * bar_x4)
    bar_t2, bar_x2 = pullback_2(h / 3 * bar_x_next + h / 2 * bar_x3)
    bar_t1, bar_x1 = pullback_1(h / 6 * bar_x_next + h / 2 * bar_x2)
    bar_h = bar_h + sum_to(k3 * bar_x4 + k2 / 2 * bar_x3 + k1 / 2 * bar_x2, h) + bar_t4 + bar_t3 / 2 + bar_t2 / 2
    bar_t = bar_t1 + bar_t2 + bar_t3 + bar_t4
    return (bar_x_next + bar_x1 + bar_x2 + bar_x3 + bar_x4,), (bar_t,), (bar_h,)


class RK4(StepNet):
    """The classical Runge-Kutta scheme with one shared field; times may be tensors that need gradients."""

    def __init__(
        self,
        field: Callable[..., Tensor],
        *,
        t0: float | Tensor = 0.0,
        t1: float | Tensor = 1.0,
        steps: int,
        memory: str = "store",
        gradient: str = "derived",
    ) -> None:
        super().__init__(Rules(step=rk4_step, adjoint=rk4_adjoint), memory=memory, gradient=gradient)
        self.field = field
        self.t0, self.t1, self.steps = t0, t1, steps

    def step_blocks(self) -> Sequence[Any]:
        return [self.field] * self.steps

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        t0, t1 = (torch.as_tensor(t, dtype=x.dtype, device=x.device) for t in (self.t0, self.t1))
        h = (t1 - t0) / self.steps
        return (t0 + h * torch.arange(self.steps, dtype=x.dtype, device=x.device),), (h,)


def cubic_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    w, b, gamma, h = shared
    a = x @ w.mT
    return (x + h * (a + b - gamma * x**3),)


def cubic_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    w, b, gamma, h = shared
    (bar_x_next,) = bar_new
    bar_a = h * bar_x_next
    bar_gamma = sum_to(-(x**3) * bar_a, gamma)
    bar_x = bar_x_next - 3 * gamma * x**2 * bar_a + bar_a @ w
    return (bar_x,), (), (batch_outer(bar_a, x), sum_to(bar_a, b), bar_gamma, None)


class CubicODE(StepNet):
    """x' = W x + b - gamma x^3 by forward Euler."""

    def __init__(self, *, w: Tensor, b: Tensor, gamma: Tensor, h: float, steps: int, memory: str = "store") -> None:
        super().__init__(Rules(step=cubic_step, adjoint=cubic_adjoint), memory=memory, gradient="derived")
        self.w, self.b, self.gamma = nn.Parameter(w), nn.Parameter(b), nn.Parameter(gamma)
        self.h, self.steps = h, steps

    def step_count(self) -> int:
        return self.steps

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        check_size("CubicODE", "x", x, -1, len(self.b))
        return (), (self.w, self.b, self.gamma, self.h)


def layer_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    w, b = local
    (h,) = shared
    s = torch.tanh(x @ (w - w.mT).mT + b)
    return (x + h * s,)


def layer_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    w, b = local
    (h,) = shared
    (bar_x_next,) = bar_new
    s = torch.tanh(x @ (w - w.mT).mT + b)
    bar_a = h * bar_x_next * (1 - s * s)
    bar_m = batch_outer(bar_a, x)
    return (bar_x_next + bar_a @ (w - w.mT),), (bar_m - bar_m.mT, sum_to(bar_a, b)), (None,)


class AntisymmetricNet(StepNet):
    """x_{n+1} = x_n + h tanh((W_n - W_n^T) x_n + b_n), W of shape (L, d, d)."""

    def __init__(self, *, w: Tensor, b: Tensor, h: float, memory: str = "store") -> None:
        super().__init__(Rules(step=layer_step, adjoint=layer_adjoint), memory=memory, gradient="derived")
        self.w, self.b, self.h = nn.Parameter(w), nn.Parameter(b), h

    def step_count(self) -> int:
        return len(self.w)

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        return (self.w, self.b), (self.h,)
