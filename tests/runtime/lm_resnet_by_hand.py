"""LM-ResNet with its rules written by hand: the model of what the generator emits.

x_1     = x_0 + h f_0(x_0)                                start="plain"
x_1     = x_0 + h f_0(x_0) / (1 + k_1)                    start="matched"
x_{n+1} = (1 - k_n) x_n + k_n x_{n-1} + h f_n(x_n)        n >= 1
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.cotangents import sum_to
from codegen.runtime.step_net import StepNet, choose
from codegen.runtime.steps import Rules


def start_plain_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    (h,) = shared
    f = field(x)  # (1)
    x_next = x + h * f  # (2)
    return (x_next, x)


def start_plain_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    (h,) = shared
    bar_x_next, bar_x_prev = bar_new
    f, pullback_f = linearize(x)  # (1)
    bar_f = h * bar_x_next
    (bar_x_f,) = pullback_f(bar_f)
    bar_x = bar_x_next + bar_x_prev + bar_x_f
    bar_h = sum_to(f * bar_x_next, h) if isinstance(h, Tensor) else None
    return (bar_x,), (None,), (bar_h,)


def start_matched_step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    (x,) = state
    (k,) = local
    (h,) = shared
    f = field(x)
    x_next = x + h * f / (1 + k)
    return (x_next, x)


def start_matched_adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    (x,) = state
    (k,) = local
    (h,) = shared
    bar_x_next, bar_x_prev = bar_new
    f, pullback_f = linearize(x)
    bar_f = h / (1 + k) * bar_x_next
    (bar_x_f,) = pullback_f(bar_f)
    bar_x = bar_x_next + bar_x_prev + bar_x_f
    bar_k = sum_to(-h / (1 + k) ** 2 * f * bar_x_next, k)
    bar_h = sum_to(f / (1 + k) * bar_x_next, h) if isinstance(h, Tensor) else None
    return (bar_x,), (bar_k,), (bar_h,)


def step(field: Any, state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    x, x_prev = state
    (k,) = local
    (h,) = shared
    f = field(x)  # (3)
    x_next = (1 - k) * x + k * x_prev + h * f  # (4)
    return (x_next, x)


def adjoint(linearize: Any, state: Any, local: Any, shared: Any, bar_new: Any) -> tuple[Any, Any, Any]:
    x, x_prev = state
    (k,) = local
    (h,) = shared
    bar_x_next, bar_x_carry = bar_new
    f, pullback_f = linearize(x)  # (3)
    bar_f = h * bar_x_next  # (5)
    (bar_x_f,) = pullback_f(bar_f)
    bar_x = (1 - k) * bar_x_next + bar_x_carry + bar_x_f  # (6)
    bar_x_prev = k * bar_x_next  # (7)
    bar_k = sum_to((x_prev - x) * bar_x_next, k)  # (8)
    bar_h = sum_to(f * bar_x_next, h) if isinstance(h, Tensor) else None  # (9)
    return (bar_x, bar_x_prev), (bar_k,), (bar_h,)


def inverse(field: Any, new_state: Any, local: Any, shared: Any) -> tuple[Tensor, ...]:
    x_next, x = new_state
    (k,) = local
    (h,) = shared
    f = field(x)
    x_prev = (x_next - (1 - k) * x - h * f) / k  # (10)
    return (x, x_prev)


def amplification(local: Sequence[float], shared: Sequence[float], lipschitz: float) -> float:
    """1 / |smallest root| of zeta^2 - (1 - k + mu) zeta - k, over mu = +-h Lip (11)."""
    (k,) = local
    (h,) = shared
    if k == 0.0:
        return math.inf
    growth = 0.0
    for mu in (-h * lipschitz, h * lipschitz):
        b = 1.0 - k + mu
        root = cmath.sqrt(b * b + 4.0 * k)
        # The product of the roots is -k: the smaller one by division, which does not cancel.
        growth = max(growth, max(abs(b + root), abs(b - root)) / 2.0 / abs(k))
    return growth


START_PLAIN = Rules(step=start_plain_step, adjoint=start_plain_adjoint)
START_MATCHED = Rules(step=start_matched_step, adjoint=start_matched_adjoint)
RULES = {
    "plain": Rules(step=step, adjoint=adjoint, inverse=inverse, amplification=amplification, start=(START_PLAIN,)),
    "matched": Rules(step=step, adjoint=adjoint, inverse=inverse, amplification=amplification, start=(START_MATCHED,)),
}


class LMResNet(StepNet):
    """x_{n+1} = (1 - k_n) x_n + k_n x_{n-1} + h f_n(x_n); `k` has shape (len(blocks) - 1,)."""

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        k: float | Sequence[float] = 0.0,
        step_size: float | Tensor = 1.0,
        start: str = "plain",
        memory: str = "store",
        tol: float | None = None,
        gradient: str = "derived",
    ) -> None:
        rules = RULES[choose("LMResNet", "start", start, list(RULES))]
        super().__init__(rules, memory=memory, gradient=gradient, tol=tol)
        self.blocks = nn.ModuleList(blocks)
        self.k = self.parameter_per_step("k", k, len(self.blocks) - 1)
        self.step_size = step_size

    def step_blocks(self) -> Sequence[nn.Module]:
        """Block n serves step n; block 0 the start."""
        return list(self.blocks)

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """k, and the step size."""
        return (self.k,), (self.step_size,)


def tanh_blocks(count: int, width: int, layers: int = 2, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    """Linear-Tanh-Linear (layers=2), Linear-Tanh-Linear-Tanh-Linear (3), …"""
    made: list[nn.Module] = []
    for _ in range(count):
        parts: list[nn.Module] = [nn.Linear(width, width, dtype=dtype)]
        for _ in range(layers - 1):
            parts += [nn.Tanh(), nn.Linear(width, width, dtype=dtype)]
        made.append(nn.Sequential(*parts))
    return made
