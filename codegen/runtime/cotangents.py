"""Cotangents of parameters: a parameter carries no batch axes, its cotangent is the sum over them."""

from __future__ import annotations

from torch import Tensor


def sum_to(value: Tensor, like: Tensor) -> Tensor:
    """Cotangent of a parameter that was broadcast: the sum over batch axes, and for a scalar over features too."""
    return value.sum_to_size(like.shape).to(like.dtype)


def batch_outer(left: Tensor, right: Tensor) -> Tensor:
    """Sum over the batch of left right^T: (..., m), (..., n) -> (m, n), the cotangent of a matrix."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    if left.shape[1] > right.shape[1]:  # a product with few columns takes much longer than one with few rows
        return (right.mT @ left).mT
    return left.mT @ right
