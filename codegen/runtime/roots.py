"""Roots of monotone scalar equations: Newton's method within a bracket, gradients by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops import while_loop

Equation = Callable[..., tuple[Tensor, Tensor]]
Bracket = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Root, lower and upper bound, last step, how far to look next, and whether the root is found."""

ROOT_ITERATIONS, ASK_EVERY = 240, 8


def monotone_root(equation: Equation, start: Tensor, *coefficients: Tensor) -> Tensor:
    """The root of a monotone equation, for every component by itself.

    Two Newton steps from what the search found polish it, and carry its first three derivatives.

    Args:
        equation: (unknown, coefficients) -> (residual, slope).
        start: where the search begins.
        coefficients: what else the equation reads; they broadcast against the unknown.
    """
    given = [start.detach(), *(value.detach() for value in coefficients)]
    search: Callable[..., Tensor] = bracketed_root if torch.compiler.is_compiling() else BracketedRoot.apply
    root = search(equation, *given)
    for _ in range(2):
        residual, slope = equation(root, *coefficients)
        root = root - residual / slope
    return root


class BracketedRoot(torch.autograd.Function):
    """The root without gradients; under vmap all samples are searched together."""

    @staticmethod
    def forward(equation: Equation, start: Tensor, *coefficients: Tensor) -> Tensor:
        """The search."""
        return bracketed_root(equation, start, *coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[None, ...]:
        """Never asked for."""
        raise NotImplementedError("the search has no gradient; the Newton steps after it do")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], equation: Equation, *values: Tensor) -> tuple[Tensor, int]:
        """The mapped axis becomes a leading one, in front of all others."""
        dims = in_dims[1:]
        axes = max(value.dim() - (dim is not None) for value, dim in zip(values, dims, strict=True))
        moved = [
            value if dim is None else value.movedim(dim, 0).reshape(
                info.batch_size, *(1,) * (axes + 1 - value.dim()), *value.movedim(dim, 0).shape[1:]
            )
            for value, dim in zip(values, dims, strict=True)
        ]  # fmt: skip
        return BracketedRoot.apply(equation, *moved), 0


def bracketed_root(equation: Equation, start: Tensor, *coefficients: Tensor) -> Tensor:
    """Newton steps inside a bracket that shrinks; where one leaves it or gains little, the bracket is halved.

    Raises:
        RuntimeError: not all roots are found within the bound of iterations; compiled code does not ask.
    """
    root = torch.broadcast_tensors(start, *coefficients)[0].clone()
    rounding = 4 * torch.finfo(root.dtype).eps
    _, slope = equation(root, *coefficients)
    sign = torch.where(slope < 0, -torch.ones_like(root), torch.ones_like(root))

    def iterate(root: Tensor, low: Tensor, high: Tensor, step: Tensor, reach: Tensor, done: Tensor) -> Bracket:
        residual, slope = (sign * value for value in equation(root, *coefficients))
        low, high = torch.where(residual < 0, root, low), torch.where(residual > 0, root, high)
        newton = root - residual / slope
        closed = torch.isfinite(low) & torch.isfinite(high)
        good = (newton > low) & (newton < high) & (~closed | ((newton - root).abs() < 0.5 * step))
        other = torch.where(closed, 0.5 * low + 0.5 * high, root - residual.sign() * reach)
        following = torch.where(good, newton, other)
        reach = torch.where(closed, reach, 2 * reach)
        step = (following - root).abs()
        done = done | (residual == 0) | (step <= rounding * (1 + root.abs())) | ~torch.isfinite(residual)
        return torch.where(done, root, following), low, high, step, reach, done

    far = torch.full_like(root, torch.inf)
    bracket = (root, -far, far, far.clone(), 1 + root.abs(), torch.zeros_like(root, dtype=torch.bool))
    if torch.compiler.is_compiling():
        return compiled_search(iterate, bracket)
    for n in range(ROOT_ITERATIONS):
        bracket = iterate(*bracket)
        if n % ASK_EVERY == ASK_EVERY - 1 and bool(bracket[-1].all()):
            return bracket[0]
    raise RuntimeError(
        f"the inverse was not found: {int((~bracket[-1]).sum())} of {root.numel()} scalar equations have no root after "
        f"{ROOT_ITERATIONS} iterations; allowed: parameters of an invertible map, and values that it takes"
    )


def compiled_search(iterate: Callable[..., Bracket], bracket: Bracket) -> Tensor:
    """The loop as one operation of the compiled graph, which would else hold every iteration."""
    count = torch.zeros((), dtype=torch.int64, device=bracket[0].device)
    found: tuple[Tensor, ...] = while_loop(
        lambda count, *bracket: (count < ROOT_ITERATIONS) & ~bracket[-1].all(),
        lambda count, *bracket: (count + 1, *iterate(*bracket)),
        (count, *bracket),
    )
    return found[1]
