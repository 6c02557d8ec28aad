"""Matrix products of a sweep, each by the kernel that takes the least time for its size."""

from __future__ import annotations

import torch
from torch import Tensor

from codegen.runtime.dense_kernel import KERNEL, kernel_serves

LEAST_WORK, LEAST_SIDE = (
    2**21,
    4,
)  # multiplications, and rows and columns, from which on oneDNN takes less time than MKL


def is_large(left: Tensor, right: Tensor) -> bool:
    """Whether left (n, k) times right (k, m) is a product for oneDNN."""
    if left.shape[0] * right.numel() < LEAST_WORK:
        return False
    return min(*left.shape, right.shape[1]) >= LEAST_SIDE and kernel_serves(left, right.shape[0])


def dense(matrix: Tensor) -> Tensor:
    """A matrix without gaps between its rows or columns: with them, as a second factor, it takes a thousand times."""
    if matrix.is_contiguous() or matrix.t().is_contiguous():
        return matrix
    return matrix.t().contiguous().t() if matrix.stride(0) == 1 else matrix.contiguous()


def large_product(left: Tensor, right: Tensor, base: Tensor | None = None) -> Tensor:
    """left (n, k) times right (k, m), plus `base` (m), if any, by oneDNN.

    The kernel copies a first factor that is transposed; where that is the larger one, the transposed product is made.
    """
    if base is None and left.stride(0) == 1 and left.numel() > right.numel():
        turned: Tensor = KERNEL(right.t(), dense(left), None, "none", [], "")
        return turned.t()
    found: Tensor = KERNEL(left, dense(right).t(), base, "none", [], "")
    return found


def product(left: Tensor, right: Tensor, base: Tensor | None = None) -> Tensor:
    """left (n, k) times right (k, m), plus `base` (m), if any."""
    if is_large(left, right):
        return large_product(left, right, base)
    return torch.mm(left, right) if base is None else torch.addmm(base, left, right)


def set_product(target: Tensor, left: Tensor, right: Tensor, base: Tensor | None = None) -> None:
    """target = left right + base: left (n, k), right (k, m), `base` (n, m) or (m) or none; `target` is none of them."""
    if is_large(left, right):
        found = large_product(left, right)
        target.copy_(found) if base is None else torch.add(base, found, out=target)
    elif base is None:
        torch.mm(left, right, out=target)
    else:
        torch.addmm(base, left, right, out=target)


def add_product(target: Tensor, left: Tensor, right: Tensor, alpha: float = 1) -> None:
    """target += alpha left right: left (n, k), right (k, m)."""
    if is_large(left, right):
        target.add_(large_product(left, right), alpha=alpha)
    else:
        target.addmm_(left, right, alpha=alpha)


def sum_of_products(like: Tensor, count: int) -> Tensor:
    """Zeros for the sum of products of `count` rows each; a matrix lies as large products come out, transposed."""
    large = like.dim() == 2 and like.numel() * count >= LEAST_WORK and kernel_serves(like, like.shape[1])
    return like.new_zeros(like.shape[::-1]).t() if large else like.new_zeros(like.shape)
