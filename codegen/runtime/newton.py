"""Newton's method for the equations z = g(z) of a step, and the linear systems with I - g'(z) and its transpose.

Batch axes lead and every sample is solved for itself: a sample that has converged is left alone, so that its result
does not depend on its neighbours. Where the field couples the samples (batch norm in training, attention or convolution
along an axis of them) the axes along which it does so are found and belong to the unknowns: they are looked for where
Newton's iteration is slow, and where multipliers do not solve their equations. Each iteration and each system of
multipliers reads one number on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.block_errors import StepError
from codegen.runtime.linear_systems import (
    LARGEST_DENSE,
    ROUNDINGS,
    Linear,
    Packing,
    Parts,
    asked,
    coupled_axes,
    dense_solve,
    gmres,
    matrix_of,
    on_host,
    transposed_rest,
    unit_vectors,
)

Equations = Callable[..., tuple[Parts, Linear]]  # (linearize, z) -> g(z) and the pullback u -> g'(z)^T u

LOOSEST = 1e-2  # residual with which even half precision goes on: a step that is rounding ends it there
INNER_TOL = 1e-4  # relative residual of the linear systems inside matrix-free Newton
SLOW = 0.1  # of one residual to the one before: where Newton gains less, samples may be coupled


class ConvergenceError(StepError):
    """The equations of a step were not solved."""


class Solver(NamedTuple):
    """How equations are solved; see `Implicit` for what the options mean."""

    kind: str
    tol: float
    max_iter: int

    def of_coupled(self, size: int) -> Solver:
        """The same for the `size` numbers of coupled samples: many are solved without a matrix."""
        return self if size <= LARGEST_DENSE else self._replace(kind="krylov")


def newton(equations: Equations, linearize: Any, guess: Parts, axes: int, solver: Solver, owner: str) -> Parts:
    """The solution of z = g(z).

    Raises:
        ConvergenceError: a sample's residual stays above the tolerance.
    """
    packing = Packing(guess, axes)
    z = packing.join(guess)
    eps = torch.finfo(z.dtype).eps
    tol = max(solver.tol, min(ROUNDINGS * eps, LOOSEST))
    settled = torch.zeros(packing.batch, dtype=torch.bool, device=z.device)
    before = math.inf
    for iteration in range(solver.max_iter + 1):
        values, pull_back = equations(linearize, packing.split(z))
        residual = packing.join(values) - z
        scale = 1 + z.abs().amax(-1)
        error = torch.where(settled, 0.0, residual.abs().amax(-1) / scale)
        worst = on_host(error)
        enough = tol if iteration else max(solver.tol, eps)  # guesses as good as rounding is would add up, step by step
        if worst <= enough:
            return packing.split(z)
        failed = not math.isfinite(worst) or iteration == solver.max_iter
        if failed or worst > SLOW * before or (iteration == 0 and solver.kind == "krylov"):
            point = guess if failed else packing.split(z)
            wider = coupled_axes(equations(linearize, guess)[1] if failed else pull_back, point, axes)
            if wider > axes:
                size = Packing(guess, wider).size
                owner = f"{owner} (the field couples samples: {size} unknowns are solved for together)"
                return newton(equations, linearize, point, wider, solver.of_coupled(size), owner)
        if failed:
            given = getattr(equations, "keywords", {}).get("h")
            raise ConvergenceError(_not_solved(owner, error, worst, (iteration, solver.max_iter), tol, given))
        before = worst
        step = solve_linear(packing.of_vectors(pull_back), residual, solver, linearize.transposed)
        # Where the step is rounding the equations are solved as well as the dtype allows.
        settled = settled | (step.abs().amax(-1) <= ROUNDINGS * eps * scale)
        z = z + torch.where((error > enough).unsqueeze(-1), step, 0.0)
    raise AssertionError("the loop returns or raises")


def _not_solved(owner: str, error: Tensor, worst: float, iterations: tuple[int, int], tol: float, h: Any) -> str:
    done, allowed = iterations
    try:
        flat = torch.nan_to_num(error, nan=math.inf).reshape(-1)
        sample = f" (sample {int(flat.argmax())} of {flat.numel()} is the worst)" if flat.numel() > 1 else ""
    except RuntimeError:  # under vmap no single sample can be named
        sample = ""
    what = f"{owner}: Newton's iteration did not converge: residual {worst:.2e}{sample} after {done} iterations"
    if not done and not math.isfinite(worst):
        return f"{what}; allowed: a state and a field that are finite where the step begins"
    size = "" if h is None else f", h = {asked(h).number if isinstance(h, Tensor) else h:.3g}"
    return (
        f"{what}; allowed: {tol:g}. Likely causes: the step is too large for this field{size} (use more steps); the "
        "field is not smooth there, as relu, abs or a branch on x make it; two calls of it at one point give different "
        f"values; max_iter={allowed} or tol is too small"
    )


def solve_linear(
    pull: Callable[[Tensor], Tensor], right: Tensor, solver: Solver, transposed: Callable[..., Any]
) -> Tensor:
    """The solution of (I - G) step = right, given u -> G^T u."""
    if solver.kind == "newton":
        return dense_solve(matrix_of(pull, right), right)
    push = transposed(pull, right)
    return gmres(lambda v: v - push(v), right, INNER_TOL)[0]


def multipliers(affine: Linear, like: Parts, axes: int, solver: Solver, owner: str) -> Parts:
    """The solution of mu = G^T mu + c, given mu -> G^T mu + c.

    Raises:
        ConvergenceError: the matrix-free solver stays far from the solution.
    """
    packing = Packing(like, axes)
    image, start = packing.of_vectors(affine), torch.zeros_like(packing.join(like))
    eps = torch.finfo(start.dtype).eps
    if solver.kind == "newton":
        allowed = ROUNDINGS * eps
        rows = image(torch.cat((start.unsqueeze(0), unit_vectors(start))))
        right = rows[0]
        matrix = transposed_rest(rows[1:] - right).mT
        mu = dense_solve(matrix, right)
        worst = on_host(_relative_residual(matrix, mu, image(mu)))
    else:
        allowed, right = max(solver.tol, 1e4 * eps), image(start)
        mu, worst = gmres(lambda u: u - (image(u) - right), right, max(ROUNDINGS * eps, min(solver.tol, 1e-10)))
    if worst <= allowed:
        return packing.split(mu)
    wider = coupled_axes(affine, like, axes, packing.split(right))
    if wider > axes:
        return multipliers(affine, like, wider, solver.of_coupled(Packing(like, wider).size), owner)
    if solver.kind == "krylov":
        raise ConvergenceError(
            f"{owner}: the linear equations of the adjoint were not solved: relative residual {worst:.2e}; "
            f"allowed: {allowed:g}. Use solver='newton', or more steps"
        )
    return packing.split(mu)


def _relative_residual(matrix: Tensor, mu: Tensor, right: Tensor) -> Tensor:
    """Of mu = G^T mu + c, against what mu and the matrix I - G^T are made of: more than rounding means coupling."""
    size = (1 + matrix.abs().sum(-1).amax(-1)) * mu.abs().amax(-1)
    return (right - mu).abs().amax(-1) / size.clamp_min(torch.finfo(mu.dtype).tiny)
