"""Newton's method for the equations z = g(z) of a step, and the linear systems with I - g'(z) and its transpose.

Batch axes lead and every sample is solved for itself: a sample that has converged is left alone, so that its result
does not depend on its neighbours. Each iteration reads one number on the host, to know whether to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.blocks import StepError

Parts = tuple[Tensor, ...]  # the unknowns of one system, each of shape (..., features)
Linear = Callable[[Parts], Parts]  # an affine map of unknowns
Equations = Callable[..., tuple[Parts, Linear]]  # (linearize, z) -> g(z) and the pullback u -> g'(z)^T u

ROUNDINGS = 8  # multiples of the dtype's eps below which nothing can be gained
KRYLOV_SIZE, RESTARTS = 30, 20
INNER_TOL = 1e-4  # relative residual of the linear systems inside matrix-free Newton
STAGNATION = 0.5


class ConvergenceError(StepError):
    """The equations of a step were not solved."""


class Solver(NamedTuple):
    """How equations are solved; see `Implicit` for what the options mean."""

    kind: str
    tol: float
    max_iter: int


class Packing:
    """Several unknowns as one vector (..., n); further axes may lead, as those of unit vectors do."""

    def __init__(self, like: Parts, axes: int) -> None:
        self.axes = axes
        self.features = [part.shape[part.dim() - axes :] for part in like]
        self.batch = like[0].shape[: like[0].dim() - axes]
        self.sizes = [shape.numel() for shape in self.features]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts side by side."""
        return torch.cat([part.reshape(*part.shape[: part.dim() - self.axes], -1) for part in parts], -1)

    def split(self, z: Tensor) -> Parts:
        """The parts again."""
        pieces = zip(z.split(self.sizes, -1), self.features, strict=True)
        return tuple(piece.reshape(*piece.shape[:-1], *shape) for piece, shape in pieces)

    def linear_part(self, affine: Linear, like: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Constant and linear part of an affine map of vectors."""
        constant = self.join(affine(self.split(torch.zeros_like(like))))
        return constant, lambda u: self.join(affine(self.split(u))) - constant


def newton(equations: Equations, linearize: Any, guess: Parts, axes: int, solver: Solver, owner: str) -> Tensor:
    """The solution of z = g(z) as one vector (..., n).

    Raises:
        ConvergenceError: a sample's residual stays above the tolerance.
    """
    packing = Packing(guess, axes)
    z = packing.join(guess)
    eps = torch.finfo(z.dtype).eps
    tol = max(solver.tol, ROUNDINGS * eps)
    settled = torch.zeros(packing.batch, dtype=torch.bool, device=z.device)
    for iteration in range(solver.max_iter + 1):
        values, pull_back = equations(linearize, packing.split(z))
        residual = packing.join(values) - z
        scale = 1 + z.abs().amax(-1)
        error = torch.where(settled, 0.0, residual.abs().amax(-1) / scale)
        worst = on_host(error)
        if worst <= tol:
            return z
        if not math.isfinite(worst) or iteration == solver.max_iter:
            raise ConvergenceError(_not_solved(owner, error, worst, iteration, tol))
        step = solve_linear(packing, pull_back, residual, solver, linearize.transposed)
        # Where the step is rounding the equations are solved as well as the dtype allows.
        settled = settled | (step.abs().amax(-1) <= ROUNDINGS * eps * scale)
        z = z + torch.where((error > tol).unsqueeze(-1), step, 0.0)
    raise AssertionError("the loop returns or raises")


def _not_solved(owner: str, error: Tensor, worst: float, iteration: int, tol: float) -> str:
    try:
        flat = torch.nan_to_num(error, nan=math.inf).reshape(-1)
        sample = f" (sample {int(flat.argmax())} of {flat.numel()} is the worst)"
    except RuntimeError:  # under vmap no single sample can be named
        sample = ""
    return (
        f"{owner}: Newton's iteration did not converge: residual {worst:.2e}{sample} after {iteration} iterations; "
        f"allowed: {tol:g}. Use more steps (a smaller step size), a larger max_iter or tol, or a smoother field"
    )


def solve_linear(
    packing: Packing, pull_back: Linear, right: Tensor, solver: Solver, transposed: Callable[..., Any]
) -> Tensor:
    """The solution of (I - G) step = right, given u -> G^T u."""
    _, pull = packing.linear_part(pull_back, right)
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
    right, pull = packing.linear_part(affine, packing.join(like))
    if solver.kind == "newton":
        return packing.split(dense_solve(matrix_of(pull, right).mT, right))
    eps = torch.finfo(right.dtype).eps
    mu, worst = gmres(lambda u: u - pull(u), right, max(ROUNDINGS * eps, min(solver.tol, 1e-10)))
    if not worst <= max(solver.tol, 1e4 * eps):
        raise ConvergenceError(
            f"{owner}: the linear equations of the adjoint were not solved: relative residual {worst:.2e}; "
            f"allowed: {max(solver.tol, 1e4 * eps):g}. Use solver='newton', or more steps"
        )
    return packing.split(mu)


def matrix_of(pull: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """I - G, of shape (..., n, n), from u -> G^T u on all unit vectors at once (a leading axis)."""
    count = like.shape[-1]
    identity = torch.eye(count, dtype=like.dtype, device=like.device)
    units = identity.reshape(count, *[1] * (like.dim() - 1), count).expand(count, *like.shape)
    return identity - pull(units).movedim(0, -2)


def dense_solve(matrix: Tensor, right: Tensor) -> Tensor:
    """One system for each sample; a singular one gives what is not finite, which the caller sees."""
    exact = torch.promote_types(right.dtype, torch.float32)
    found, _ = torch.linalg.solve_ex(matrix.to(exact), right.to(exact).unsqueeze(-1))
    return found.squeeze(-1).to(right.dtype)


def gmres(apply: Callable[[Tensor], Tensor], right: Tensor, tol: float) -> tuple[Tensor, float]:
    """Restarted GMRES on every sample: (solution, largest relative residual)."""
    tiny = torch.finfo(right.dtype).tiny
    size = _norm(right).clamp_min(tiny)
    found, residual, worst = torch.zeros_like(right), right, math.inf
    for _ in range(RESTARTS):
        basis, hessenberg = _arnoldi(apply, residual)
        found = found + (basis[..., :-1, :].mT @ _least_squares(hessenberg, _norm(residual))).squeeze(-1)
        residual = right - apply(found)
        before, worst = worst, on_host((_norm(residual) / size).squeeze(-1))
        if worst <= tol or not worst <= STAGNATION * before:
            break
    return found, worst


def _norm(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


def _arnoldi(apply: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal rows (..., m+1, n) of the Krylov space, zero once it is exhausted, and the matrix (..., m+1, m)."""
    eps, tiny = torch.finfo(start.dtype).eps, torch.finfo(start.dtype).tiny
    count = min(start.shape[-1], KRYLOV_SIZE)
    basis = (start / _norm(start).clamp_min(tiny)).unsqueeze(-2)
    columns = []
    for place in range(count):
        image = apply(basis[..., place, :])
        rest, weights = image, torch.zeros_like(basis[..., 0])
        for _ in range(2):  # once more, for orthogonality to rounding
            part = (basis @ rest.unsqueeze(-1)).squeeze(-1)
            rest, weights = rest - (part.unsqueeze(-2) @ basis).squeeze(-2), weights + part
        length = _norm(rest)
        length = torch.where(length > 10 * eps * _norm(image), length, 0.0)
        columns.append(torch.nn.functional.pad(torch.cat((weights, length), -1), (0, count - place - 1)))
        fresh = torch.where(length > 0, rest / length.clamp_min(tiny), 0.0)
        basis = torch.cat((basis, fresh.unsqueeze(-2)), -2)
    return basis, torch.stack(columns, -1)


def _least_squares(hessenberg: Tensor, size: Tensor) -> Tensor:
    """y of smallest |H y - size e_1|, as a column; what belongs to an exhausted space does not matter."""
    exact = torch.promote_types(hessenberg.dtype, torch.float32)
    q, r = torch.linalg.qr(hessenberg.to(exact))
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    limit = torch.finfo(exact).eps * diagonal.abs().amax(-1, keepdim=True)
    r = r + torch.diag_embed(torch.where(diagonal.abs() > limit, 0.0, 1.0).to(exact))
    right = q[..., 0, :, None] * size.to(exact).unsqueeze(-1)
    return torch.linalg.solve_triangular(r, right, upper=True).to(hessenberg.dtype)


class Answer:
    """Carries a number out of a Function, and whether vmap was on; transforms copy lists, but not this."""

    number = math.nan
    batched = False


class HostRead(torch.autograd.Function):
    """The largest entry of a tensor: also inside transforms, and under vmap of all samples together."""

    @staticmethod
    def forward(answer: Answer, value: Tensor) -> Tensor:
        """One host read."""
        answer.number = float(value.amax()) if value.numel() else 0.0
        return value.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], answer: Answer, value: Tensor) -> tuple[Tensor, None]:
        """The batched tensor as a whole."""
        answer.batched = True
        return HostRead.apply(answer, value), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        """Nothing to differentiate."""


def on_host(value: Tensor) -> float:
    """The largest entry; not a number where one is."""
    return asked(value).number


def asked(value: Tensor) -> Answer:
    """The largest entry, and whether the tensor is seen under vmap."""
    answer = Answer()
    HostRead.apply(answer, value.detach())
    return answer
