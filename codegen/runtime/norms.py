"""Lengths and directions of vectors that neither overflow nor underflow, with the gradient 0 at the zero vector."""

from __future__ import annotations

import torch
from torch import Tensor


def safe_norm(v: Tensor) -> Tensor:
    """|v| over the last axis, kept with size 1: scaled by the largest component, so that no square overflows."""
    largest = v.detach().abs().amax(-1, keepdim=True)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return scale * torch.linalg.vector_norm(v / scale, dim=-1, keepdim=True)


def unit_vector(v: Tensor) -> Tensor:
    """v / |v|, and 0 where v is 0."""
    length = safe_norm(v)
    return v / torch.where(length > 0, length, torch.ones_like(length))


def quadratic_root(p: Tensor, q: Tensor) -> Tensor:
    """The root above 0 of r^2 + p r = q for q >= 0, without cancellation and without a square that overflows."""
    size = p.abs() + torch.hypot(p, 2 * torch.sqrt(q))
    return torch.where(p > 0, 2 * q / torch.where(size > 0, size, torch.ones_like(size)), size / 2)
