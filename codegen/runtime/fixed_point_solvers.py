"""Iterations for z = f(z), every sample for itself: Picard, Anderson and Broyden, bounded and with the best state kept.

A sample that has converged is left alone, so that its result does not depend on its neighbours. Each iteration reads
one number on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from codegen.runtime.linear_systems import ROUNDINGS, dense_solve, on_host

Map = Callable[[Tensor], Tensor]  # of vectors (..., n)

MIXED = 5  # differences that Anderson's mixing combines
LARGEST_RANK = 64  # of what Broyden's method adds to -I; it begins anew beyond


class FixedPointRules(NamedTuple):
    """What is derived of the iterations.

    residual: (z, f(z)) -> f(z) - z.
    secant: (last step, B times the change of the residual in it) -> (column that the update of B adds, denominator).
    """

    residual: Callable[[Tensor, Tensor], Tensor]
    secant: Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class Solution(NamedTuple):
    """What an iteration has found, and how: all but `z` have one number for each sample.

    z: the state of the smallest residual.
    residual: |f(z) - z| / (1 + |z|), in the Euclidean norm of a sample.
    iterations: steps made.
    converged: whether the residual is within the tolerance.
    """

    z: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


class Iteration(Protocol):
    """One method, with what it remembers."""

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """The next state from a state, its image and its residual."""


class Picard:
    """z <- f(z)."""

    def __init__(self, rules: FixedPointRules) -> None:
        pass

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """See `Iteration`."""
        return y


class Anderson:
    """The image, corrected by the combination of the last ones whose residual is the smallest."""

    def __init__(self, rules: FixedPointRules) -> None:
        self.last: tuple[Tensor, Tensor] | None = None
        self.differences: list[tuple[Tensor, Tensor]] = []

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """See `Iteration`."""
        if self.last is not None:
            self.differences = [*self.differences, (y - self.last[0], g - self.last[1])][-MIXED:]
        self.last = y, g
        if not self.differences:
            return y
        images, residuals = (torch.stack(rows, -2) for rows in zip(*self.differences, strict=True))
        size = torch.linalg.vector_norm(residuals, dim=-1, keepdim=True)
        unit = residuals / size.clamp_min(torch.finfo(z.dtype).tiny)
        empty = (size.squeeze(-1) == 0).to(z.dtype)
        ridge = torch.diag_embed(empty + ROUNDINGS * torch.finfo(z.dtype).eps)
        weights = dense_solve(unit @ unit.mT + ridge, (unit @ g.unsqueeze(-1)).squeeze(-1)).unsqueeze(-2)
        return y - ((weights / size.mT.clamp_min(torch.finfo(z.dtype).tiny)) @ images).squeeze(-2)


class Broyden:
    """z <- z - B g with the rank-one updates of B kept as columns and rows, from B = -I."""

    def __init__(self, rules: FixedPointRules) -> None:
        self.rules = rules
        self.last: tuple[Tensor, Tensor] | None = None
        self.columns: list[Tensor] = []
        self.rows: list[Tensor] = []

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """See `Iteration`."""
        if self.last is not None:
            self._update(z - self.last[0], g - self.last[1])
        self.last = z, g
        return z - self._times(g, self.rows, self.columns)

    def _update(self, step: Tensor, difference: Tensor) -> None:
        if len(self.rows) == LARGEST_RANK:
            self.columns, self.rows = [], []
        image = self._times(difference, self.rows, self.columns)
        column, slope = self.rules.secant(step, image)
        size = torch.linalg.vector_norm(step, dim=-1, keepdim=True)
        size = size * torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        usable = slope.abs() > ROUNDINGS * torch.finfo(step.dtype).eps * size
        row = self._times(step, self.columns, self.rows)
        self.columns.append(torch.where(usable, column, 0.0))
        self.rows.append(row)

    @staticmethod
    def _times(vector: Tensor, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """(-I + sum of right left^T) vector."""
        if not left:
            return -vector
        inner = torch.stack(left, -2) @ vector.unsqueeze(-1)
        return (inner.mT @ torch.stack(right, -2)).squeeze(-2) - vector


SOLVERS: dict[str, Callable[[FixedPointRules], Iteration]] = {
    "broyden": Broyden,
    "anderson": Anderson,
    "picard": Picard,
}


def iterate(function: Map, start: Tensor, solver: str, rules: FixedPointRules, tol: float, max_iter: int) -> Solution:
    """The fixed point of every sample, or the state of the smallest residual on the way.

    Samples end where they converge, or where their residual is not finite; at least one evaluation is made.
    """
    iteration = SOLVERS[solver](rules)
    z = best = start
    smallest = torch.full_like(start[..., 0], math.inf)
    lost = torch.zeros_like(smallest, dtype=torch.bool)
    count = torch.zeros_like(smallest, dtype=torch.int64)
    for step in range(max_iter + 1):
        y = function(z)
        g = rules.residual(z, y)
        error = torch.linalg.vector_norm(g, dim=-1) / (1 + torch.linalg.vector_norm(z, dim=-1))
        better = error < smallest
        best, smallest = torch.where(better.unsqueeze(-1), z, best), torch.where(better, error, smallest)
        lost = lost | ~torch.isfinite(error)
        active = ~(lost | (smallest <= tol))
        if step == max_iter or not on_host(active.to(smallest.dtype)) > 0:
            break
        count = count + active
        moved = iteration.next(z, y, g)
        z = torch.where(active.unsqueeze(-1), moved, best)
    return Solution(best, smallest, count, smallest <= tol)
