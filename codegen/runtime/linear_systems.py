"""Linear systems with I - G for every sample: packed unknowns, GMRES, dense matrices, and samples that are coupled.

Batch axes lead and every sample is solved for itself. Where a map couples the samples (batch norm in training,
attention or convolution along an axis of them) the axes along which it does so are found and belong to the unknowns.
Each cycle of GMRES reads one number on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]  # the unknowns of one system, each of shape (..., features)
Linear = Callable[[Parts], Parts]  # a linear or affine map of unknowns

ROUNDINGS = 8  # multiples of the dtype's eps below which nothing can be gained
KRYLOV_SIZE, RESTARTS = 30, 20
STAGNATION = 0.5
LARGEST_DENSE = 1024  # numbers of unknowns up to which systems are solved with one dense matrix


class Packing:
    """Several unknowns as one vector (..., n); further axes may lead, as those of unit vectors do."""

    def __init__(self, like: Parts, axes: int) -> None:
        self.axes = min(axes, like[0].dim())  # a single number has none
        self.features = [part.shape[part.dim() - self.axes :] for part in like]
        self.batch = like[0].shape[: like[0].dim() - self.axes]
        self.sizes = [shape.numel() for shape in self.features]
        self.size = sum(self.sizes)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts side by side."""
        flat = [(*part.shape[: part.dim() - self.axes], size) for part, size in zip(parts, self.sizes, strict=True)]
        return torch.cat([part.reshape(shape) for part, shape in zip(parts, flat, strict=True)], -1)

    def split(self, z: Tensor) -> Parts:
        """The parts again."""
        pieces = zip(z.split(self.sizes, -1), self.features, strict=True)
        return tuple(piece.reshape((*piece.shape[:-1], *shape)) for piece, shape in pieces)

    def of_vectors(self, linear: Linear) -> Callable[[Tensor], Tensor]:
        """A map of unknowns as a map of vectors."""
        return lambda u: self.join(linear(self.split(u)))


def coupled_axes(affine: Linear, like: Parts, axes: int, constant: Parts | None = None) -> int:
    """How many trailing axes the unknowns of one system have: those given, and further ones where samples are coupled.

    A linear map that acts on every sample by itself commutes with factors of the samples. The map is asked at two
    vectors, as often as axes are coupled and once more; factors that are powers of two make no rounding of their own.

    An affine map is given with its `constant`, the value at zero.
    """
    if not like[0].numel():
        return axes
    constant = constant or tuple(torch.zeros_like(part) for part in like)
    size = torch.stack([part.abs().amax() for part in constant]).amax()
    size = torch.where(size > 0, size, 1.0)
    bars = tuple(size * _directions(part) for part in like)
    plain: Parts = ()
    while like[0].shape[: like[0].dim() - axes].numel() > 1:
        plain = plain or affine(bars)
        factors = _factors(like[0], axes)
        scaled = affine(tuple(factors * bar for bar in bars))
        if not on_host(torch.stack([_excess(factors, *row) for row in zip(scaled, plain, constant, strict=True)])) > 0:
            break
        axes += 1
    return axes


def _directions(like: Tensor) -> Tensor:
    return torch.arange(1, 1 + like.numel(), device=like.device).cos().to(like.dtype).reshape(like.shape)


def _factors(like: Tensor, axes: int) -> Tensor:
    """One of +-1, +-2, +-4, +-8 for each sample, in no order that a field could have."""
    batch = like.shape[: like.dim() - axes]
    number = torch.arange(batch.numel(), device=like.device)
    digits = (43758.5453 * (12.9898 * (number + 1)).sin()).to(torch.int64)
    factors = (1 - 2 * (digits & 1)) * 2 ** ((digits >> 1) & 3)
    return factors.to(like.dtype).reshape(*batch, *[1] * axes)


def _excess(factors: Tensor, scaled: Tensor, plain: Tensor, constant: Tensor) -> Tensor:
    """Above zero where the linear part of a map does not take the factors out, up to rounding."""
    linear = factors * (plain - constant)
    rounding = ROUNDINGS * torch.finfo(plain.dtype).eps * (linear.abs() + (factors * constant).abs())
    return ((scaled - constant - linear).abs() - rounding).amax()


def matrix_of(pull: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """I - G, of shape (..., n, n), from u -> G^T u on all unit vectors at once (a leading axis)."""
    return transposed_rest(pull(unit_vectors(like)))


def unit_vectors(like: Tensor) -> Tensor:
    """The n unit vectors for every sample of vectors (..., n), along a leading axis."""
    count = like.shape[-1]
    identity = torch.eye(count, dtype=like.dtype, device=like.device)
    return identity.reshape(count, *[1] * (like.dim() - 1), count).expand(count, *like.shape)


def transposed_rest(rows: Tensor) -> Tensor:
    """I - G, of shape (..., n, n), from what G^T makes of the unit vectors."""
    return torch.eye(len(rows), dtype=rows.dtype, device=rows.device) - rows.movedim(0, -2)


def dense_solve(matrix: Tensor, right: Tensor) -> Tensor:
    """One system for each sample; a singular one gives what is not finite, which the caller sees."""
    exact = torch.promote_types(right.dtype, torch.float32)
    found, _ = torch.linalg.solve_ex(matrix.to(exact), right.to(exact).unsqueeze(-1))
    return found.squeeze(-1).to(right.dtype)


def gmres(apply: Callable[[Tensor], Tensor], right: Tensor, tol: float, every: int = 0) -> tuple[Tensor, float]:
    """Restarted GMRES on every sample: (solution, largest relative residual).

    `every`: after so many products it is seen whether these are enough; 0 for whole cycles.
    """
    tiny = torch.finfo(right.dtype).tiny
    size = _norm(right).clamp_min(tiny)
    found, residual, worst = torch.zeros_like(right), right, math.inf
    for _ in range(RESTARTS):
        basis, hessenberg = _arnoldi(apply, residual, tol * size, every)
        found = found + (basis[..., :-1, :].mT @ _least_squares(hessenberg, _norm(residual))).squeeze(-1)
        residual = right - apply(found)
        before, worst = worst, on_host((_norm(residual) / size).squeeze(-1))
        if worst <= tol or not worst <= STAGNATION * before:
            break
    return found, worst


def _norm(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


def _arnoldi(apply: Callable[[Tensor], Tensor], start: Tensor, allowed: Tensor, every: int) -> tuple[Tensor, Tensor]:
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
        if every and (place + 1) % every == 0 and place + 1 < count:
            hessenberg = torch.stack(columns, -1)[..., : place + 2, :]
            if not on_host(_left_over(hessenberg) * _norm(start).squeeze(-1) - allowed.squeeze(-1)) > 0:
                return basis, hessenberg
    return basis, torch.stack(columns, -1)


def _left_over(hessenberg: Tensor) -> Tensor:
    """|H y - e_1| for the best y."""
    exact = torch.promote_types(hessenberg.dtype, torch.float32)
    q, _ = torch.linalg.qr(hessenberg.to(exact), mode="complete")
    return q[..., 0, -1].abs().to(hessenberg.dtype)


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
