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
GROWTH = 1000.0  # of a residual over the smallest one, after which Anderson's mixing begins anew
LARGEST_WEIGHTS = 1e4  # sum of the weights in Anderson's mixing beyond which they are rounding
LARGEST_RANK = 64  # factors of Broyden's method; it begins anew beyond


class FixedPointRules(NamedTuple):
    """What is derived of the iterations.

    residual: (z, f(z)) -> f(z) - z.
    secant: (last step, -B times the residual with the old B) -> (the same with the new B, the column that the update of
        B adds, its denominator).
    passed: (last step, column, B v with the old B) -> B v with the new one.
    """

    residual: Callable[[Tensor, Tensor], Tensor]
    secant: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    passed: Callable[[Tensor, Tensor, Tensor], Tensor]


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
    """The image, corrected by the combination of the last ones whose residual is the smallest.

    A sample begins anew from its best state where its residual has grown by `GROWTH`, or where the least squares are so
    ill-conditioned that their weights are large: what it remembers is dropped, its next step is the best residual times
    a factor, and later ones take the mixed residual times that factor, which halves every time. On affine maps whose
    Jacobian has real eigenvalues below 1 small factors converge, however long it is. Restarts: Fang, Saad, Two classes
    of multisecant methods, 2009; bounded weights: Toth, Kelley, Convergence analysis for Anderson acceleration, 2015;
    damping: Evans, Pollock, Rebholz, Xiao, A proof that Anderson acceleration improves the convergence rate, 2020.
    """

    def __init__(self, rules: FixedPointRules) -> None:
        self.last: tuple[Tensor, Tensor] | None = None
        self.differences: list[tuple[Tensor, Tensor]] = []
        self.best: tuple[Tensor, ...] = ()  # size of the smallest residual, with its state, image and residual
        self.damping = torch.ones(())

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """See `Iteration`."""
        size = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        if self.last is None:
            self.best, self.damping = (size, z, y, g), torch.ones_like(size)
        grown = ~(size <= GROWTH * self.best[0])
        better = size < self.best[0]
        self.best = tuple(torch.where(better, n, o) for n, o in zip((size, z, y, g), self.best, strict=True))
        self._remember(y, g, grown)
        moved, weights = self._mixed(z, y, g)
        restarted = grown | ~(weights <= LARGEST_WEIGHTS)
        self.damping = torch.where(restarted, 0.5 * self.damping, self.damping)
        self._forget(restarted)
        return torch.where(restarted, self.best[1] + self.damping * self.best[3], moved)

    def _remember(self, y: Tensor, g: Tensor, grown: Tensor) -> None:
        """The last differences, none of samples that begin anew."""
        if self.last is not None:
            kept = min(MIXED, y.shape[-1])  # more than components would not be independent
            newest = (torch.where(grown, 0.0, y - self.last[0]), torch.where(grown, 0.0, g - self.last[1]))
            self.differences = [*self.differences, newest][-kept:]
        self.last = y, g

    def _forget(self, restarted: Tensor) -> None:
        """Samples that begin anew go on from their best state."""
        assert self.last is not None
        (y, g), (best_y, best_g) = self.last, self.best[2:]
        self.differences = [
            (torch.where(restarted, 0.0, one), torch.where(restarted, 0.0, other)) for one, other in self.differences
        ]
        self.last = torch.where(restarted, best_y, y), torch.where(restarted, best_g, g)

    def _mixed(self, z: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The image of smallest residual, and the sum of the weights in size, (..., 1)."""
        if not self.differences:
            return y, torch.zeros_like(g[..., :1])
        images, residuals = (torch.stack(rows, -2) for rows in zip(*self.differences, strict=True))
        size = torch.linalg.vector_norm(residuals, dim=-1, keepdim=True)
        unit = residuals / size.clamp_min(torch.finfo(z.dtype).tiny)
        empty = (size.squeeze(-1) == 0).to(z.dtype)
        ridge = torch.diag_embed(empty + ROUNDINGS * torch.finfo(z.dtype).eps)
        found = dense_solve(unit @ unit.mT + ridge, (unit @ g.unsqueeze(-1)).squeeze(-1)).unsqueeze(-2)
        weights = found / size.mT.clamp_min(torch.finfo(z.dtype).tiny)
        left = g - (weights @ residuals).squeeze(-2)
        return y - (weights @ images).squeeze(-2) - (1.0 - self.damping) * left, weights.abs().sum(-1)


class Broyden:
    """z <- z - B g; B is -I and a product of factors, each made of a step and the one after it.

    The product loses less to rounding than the same updates as a sum: on affine maps it ends when it should.
    """

    def __init__(self, rules: FixedPointRules) -> None:
        self.rules = rules
        self.factors: list[tuple[Tensor, Tensor]] = []  # steps, and the columns of the updates after them
        self.last: Tensor | None = None

    def next(self, z: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """See `Iteration`."""
        if len(self.factors) == LARGEST_RANK:
            self.factors, self.last = [], None
        step = g  # with B = -I
        for before, column in self.factors:
            step = self.rules.passed(before, column, step)
        if self.last is not None:
            following, column, gap = self.rules.secant(self.last, step)
            size = torch.linalg.vector_norm(self.last, dim=-1, keepdim=True)
            size = size * (size + torch.linalg.vector_norm(step, dim=-1, keepdim=True))
            usable = gap.abs() > ROUNDINGS * torch.finfo(z.dtype).eps * size
            step = torch.where(usable, following, step)
            self.factors.append((self.last, torch.where(usable, column, 0.0)))
        self.last = step
        return z + step


SOLVERS: dict[str, Callable[[FixedPointRules], Iteration]] = {
    "broyden": Broyden,
    "anderson": Anderson,
    "picard": Picard,
}


def iterate(function: Map, start: Tensor, solver: str, rules: FixedPointRules, tol: float, max_iter: int) -> Solution:
    """The fixed point of every sample, or the state of the smallest residual on the way.

    Samples end where they converge, or where their residual is not finite; at least one evaluation is made. A residual
    that is small beside the state alone is none of a fixed point: it has to be half the first one, unless that is
    small by itself or that of a good start. Else z <- z + x would be said to converge once z is large.
    """
    iteration = SOLVERS[solver](rules)
    z = best = start
    smallest = torch.full_like(start[..., 0], math.inf)
    first = smallest
    lost = converged = torch.zeros_like(smallest, dtype=torch.bool)
    count = torch.zeros_like(smallest, dtype=torch.int64)
    for step in range(max_iter + 1):
        y = function(z)
        g = rules.residual(z, y)
        size = torch.linalg.vector_norm(g, dim=-1)
        error = size / (1 + torch.linalg.vector_norm(z, dim=-1))
        enough = torch.maximum(0.5 * first, torch.full_like(first, tol))  # of a start, which has not grown, any
        first = first if step else size
        reached = (error <= tol) & (size <= enough) & ~converged
        better = reached | ((error < smallest) & ~converged)
        best, smallest = torch.where(better.unsqueeze(-1), z, best), torch.where(better, error, smallest)
        lost, converged = lost | ~torch.isfinite(error), converged | reached
        active = ~(lost | converged)
        if step == max_iter or not on_host(active.to(smallest.dtype)) > 0:
            break
        count = count + active
        moved = iteration.next(z, y, g)
        z = torch.where(active.unsqueeze(-1), moved, best)
    return Solution(best, smallest, count, converged)
