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


def product(left: Tensor, right: Tensor, base: Tensor | None = None) -> Tensor:
    """left (n, k) times right (k, m), plus `base` (m), if any."""
    if is_large(left, right):
        found: Tensor = KERNEL(left, right.t(), base, "none", [], "")
        return found
    return torch.mm(left, right) if base is None else torch.addmm(base, left, right)


def set_product(target: Tensor, left: Tensor, right: Tensor, base: Tensor | None = None) -> None:
    """target = left right + base: left (n, k), right (k, m), `base` (n, m) or (m) or none; `target` is none of them."""
    if is_large(left, right):
        found = KERNEL(left, right.t(), None, "none", [], "")
        target.copy_(found) if base is None else torch.add(base, found, out=target)
    elif base is None:
        torch.mm(left, right, out=target)
    else:
        torch.addmm(base, left, right, out=target)


def add_product(target: Tensor, left: Tensor, right: Tensor, alpha: float = 1) -> None:
    """target += alpha left right: left (n, k), right (k, m)."""
    if is_large(left, right):
        target.add_(KERNEL(left, right.t(), None, "none", [], ""), alpha=alpha)
    else:
        target.addmm_(left, right, alpha=alpha)
