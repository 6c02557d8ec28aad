"""The equilibrium as a node of the graph: its gradient solves one linear equation, which is a node of the graph itself.

So every order of derivatives is that of the solution, whatever has found it, in reverse and in forward mode. Under vmap
the mapped axis is one more batch axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.fixed_point_solvers import FixedPointRules, Solution, iterate
from codegen.runtime.forward_mode import pushforward
from codegen.runtime.linear_systems import (
    LARGEST_DENSE,
    ROUNDINGS,
    Packing,
    coupled_axes,
    dense_solve,
    gmres,
    matrix_of,
    on_host,
)

TIGHTER, ASK_AFTER = 0.1, 5  # of the tolerance of the equilibrium, for the gradient's equation; products of GMRES


class FixedPointCall(NamedTuple):
    """One equation to be solved.

    function: (z, operands) -> f(z), of z's shape; it gives the same for the same tensors whenever it is called.
    plain: the same in plain code, which is what second derivatives and forward mode are taken of.
    first: the same for the very first evaluation; it raises where the map does not fit.
    axes: how many trailing axes of z are one vector.
    solver, tol, max_iter: see the class.
    rounding: relative rounding error of the map's values.
    rules: what is derived of the iterations.
    on_solution: told what was found.
    on_multiplier: told the relative residual of the gradient's equation, and what is allowed.
    """

    function: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    first: Callable[..., Tensor]
    axes: int
    solver: str
    tol: Callable[[], float]
    max_iter: int
    rounding: Callable[[], float]
    rules: FixedPointRules
    on_solution: Callable[[Solution], None]
    on_multiplier: Callable[[float, float], None]

    def mapped(self, randomness: str) -> FixedPointCall:
        """The same for tensors that all have one more axis in front."""
        each = (self.function, self.plain, self.first)
        function, plain, first = (torch.vmap(one, randomness=randomness) for one in each)
        return self._replace(function=function, plain=plain, first=first)

    def in_plain_code(self) -> FixedPointCall:
        """The same without a derived backward of the map."""
        return self._replace(function=self.plain)

    def solve(self, start: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        """The equilibrium."""
        packing = Packing((start,), self.axes)
        known = [self.first(start, *operands).to(start.dtype)]

        def image(z: Tensor) -> Tensor:
            return packing.join((known.pop() if known else self.function(packing.split(z)[0], *operands),))

        with torch.autocast(start.device.type, enabled=False):
            found = iterate(image, packing.join((start,)), self.solver, self.rules, self.tol(), self.max_iter)
        self.on_solution(found)
        return packing.split(found.z)[0]

    def in_state(self, operands: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
        """The map of the state alone."""
        return lambda z: self.function(z, *operands)

    def products(self, transposed: bool, z: Tensor, operands: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
        """v -> J^T v, or v -> J v, at a state."""
        pull = torch.func.vjp(self.in_state(operands), z)[1]
        if transposed:
            return lambda v: pull(v)[0]
        push = torch.func.vjp(lambda v: pull(v)[0], torch.zeros_like(z))[1]
        return lambda v: push(v)[0]

    def multiplier(self, products: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
        """The solution of u = M u + right: by GMRES, coupled samples together, by a dense matrix where that fails."""
        rounding = self.rounding()
        tight = max(ROUNDINGS * rounding, TIGHTER * self.tol())
        allowed = max(100 * ROUNDINGS * rounding, 10 * self.tol())
        with torch.autocast(right.device.type, enabled=False):
            found, worst = self._solved(products, right, self.axes, tight, allowed)
            if not worst <= allowed:
                wider = coupled_axes(lambda parts: (products(parts[0]),), (right,), self.axes)
                if wider > self.axes:
                    found, worst = self._solved(products, right, wider, tight, allowed)
        self.on_multiplier(worst, allowed)
        return found

    @staticmethod
    def _solved(
        products: Callable[[Tensor], Tensor], right: Tensor, axes: int, tight: float, allowed: float
    ) -> tuple[Tensor, float]:
        packing = Packing((right,), axes)
        image = packing.of_vectors(lambda parts: (products(parts[0]),))
        packed = packing.join((right,))
        found, worst = gmres(lambda u: u - image(u), packed, tight, ASK_AFTER)
        if not worst <= allowed and packing.size <= LARGEST_DENSE:
            matrix = matrix_of(lambda rows: torch.stack([image(row) for row in rows.unbind(0)]), packed)
            dense = dense_solve(matrix.mT, packed)
            size = torch.linalg.vector_norm(packed, dim=-1).clamp_min(torch.finfo(packed.dtype).tiny)
            left = on_host(torch.linalg.vector_norm(packed + image(dense) - dense, dim=-1) / size)
            found, worst = (dense, left) if left < worst else (found, worst)
        return packing.split(found)[0], worst


def equilibrium(call: FixedPointCall, start: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
    """The equilibrium with its derivatives in the operands."""
    found: Tensor = Found.apply(call, start, *operands)
    result: Tensor = Equilibrium.apply(call, found, *operands)
    return result


def plain_equilibrium(call: FixedPointCall, start: Tensor, operands: tuple[Tensor, ...], orders: int) -> Tensor:
    """The equilibrium in plain code: found without a graph, then corrected by Newton steps with a constant matrix.

    A correction leaves the solution where it is, and makes one more order of its derivatives exact.
    """
    found: Tensor = Found.apply(call, start, *operands)
    held = tuple(operand.detach() for operand in operands)
    z = found
    for _order in range(orders):
        z = z + Multiplier.apply(call, False, call.function(z, *operands) - z, found, *held)
    return z


def unrolled_equilibrium(call: FixedPointCall, start: Tensor, operands: tuple[Tensor, ...], steps: int) -> Tensor:
    """The equilibrium with the derivatives of its last steps alone."""
    z: Tensor = Found.apply(call, start, *operands)
    for _step in range(steps):
        z = call.function(z, *operands)
    return z


def in_front(info: Any, dims: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Tensors with the mapped axis in front, where need be the same for all of it."""
    return tuple(
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=True)
    )


class Found(torch.autograd.Function):
    """The equilibrium as a constant: no derivative is taken of the iteration."""

    @staticmethod
    def forward(call: FixedPointCall, start: Tensor, *operands: Tensor) -> Tensor:
        """Iterate."""
        return call.solve(start, operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: FixedPointCall, *tensors: Tensor) -> tuple[Tensor, int]:
        """All at once."""
        return Found.apply(call.mapped(info.randomness), *in_front(info, in_dims[1:], tensors)), 0

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        """Nothing to differentiate."""


class Equilibrium(torch.autograd.Function):
    """The equilibrium as a function of the operands, with the gradient from the implicit-function theorem."""

    @staticmethod
    def forward(call: FixedPointCall, found: Tensor, *operands: Tensor) -> Tensor:
        """The state that was found."""
        return found.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the state and the operands."""
        ctx.call, _, *operands = inputs
        ctx.save_for_backward(output, *operands)
        ctx.save_for_forward(output, *operands)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of the operands that need them."""
        z, *operands = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        found = iter(EquilibriumBackward.apply(ctx.call, needs, bar, z, *operands) if any(needs) else ())
        return None, None, *(next(found) if need else None for need in needs)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: FixedPointCall, *tensors: Tensor) -> tuple[Tensor, int]:
        """All at once."""
        return Equilibrium.apply(call.mapped(info.randomness), *in_front(info, in_dims[1:], tensors)), 0

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """(I - J)^-1 times what the operands move directly."""
        z, *operands = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(operands, tangents[2:], strict=True))
        (direct,) = pushforward(lambda *given: (ctx.call.plain(z, *given),), tuple(operands), moves)
        found: Tensor = Multiplier.apply(ctx.call.in_plain_code(), False, direct, z, *operands)
        return found


Pulled = tuple[Tensor, ...]


def pulled_back(call: FixedPointCall, needs: tuple[bool, ...], u: Tensor, z: Tensor, operands: Pulled) -> Pulled:
    """(df/d operand)^T u for the operands that need it."""
    wanted = [operand for operand, need in zip(operands, needs, strict=True) if need]

    def function(*given: Tensor) -> Tensor:
        rest = iter(given)
        return call.function(z, *(next(rest) if need else o for o, need in zip(operands, needs, strict=True)))

    found: Pulled = torch.func.vjp(function, *wanted)[1](u)
    return found


class EquilibriumBackward(torch.autograd.Function):
    """(cotangent of the state, state, operands) -> cotangents of the operands that need them."""

    @staticmethod
    def forward(call: FixedPointCall, needs: tuple[bool, ...], bar: Tensor, z: Tensor, *operands: Tensor) -> Pulled:
        """The multiplier, then its products with the derivatives in the operands."""
        u = call.multiplier(call.products(True, z, operands), bar)
        return pulled_back(call, needs, u, z, operands)

    @staticmethod
    def plain(call: FixedPointCall, needs: tuple[bool, ...], bar: Tensor, z: Tensor, *operands: Tensor) -> Pulled:
        """The same from parts that are differentiable."""
        call = call.in_plain_code()
        u = Multiplier.apply(call, True, bar, z, *operands)
        return pulled_back(call, needs, u, z, operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pulled) -> None:
        """Keep all."""
        ctx.call, ctx.needs, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        """Second derivatives."""
        plain = partial(EquilibriumBackward.plain, ctx.call, ctx.needs)
        return None, None, *torch.func.vjp(plain, *ctx.saved_tensors)[1](bars)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: FixedPointCall, needs: tuple[bool, ...], *tensors: Tensor) -> Any:
        """All at once."""
        given = in_front(info, in_dims[2:], tensors)
        found = EquilibriumBackward.apply(call.mapped(info.randomness), needs, *given)
        return found, (0,) * len(found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Forward mode over reverse mode."""
        tensors = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(tensors, tangents[2:], strict=True))
        return pushforward(partial(EquilibriumBackward.plain, ctx.call, ctx.needs), tensors, moves)


class Multiplier(torch.autograd.Function):
    """(I - J^T)^-1 right, or (I - J)^-1 right, at a state."""

    @staticmethod
    def forward(call: FixedPointCall, transposed: bool, right: Tensor, z: Tensor, *operands: Tensor) -> Tensor:
        """Solve."""
        return call.multiplier(call.products(transposed, z, operands), right)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the solution and the place."""
        ctx.call, ctx.transposed, _, *place = inputs
        ctx.save_for_backward(output, *place)
        ctx.save_for_forward(output, *place)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        """The other matrix for the right side; the derivative of <covector, J direction> for the place."""
        u, z, *operands = ctx.saved_tensors
        call, transposed = ctx.call, ctx.transposed
        w = Multiplier.apply(call, not transposed, bar, z, *operands)
        covector, direction = (u, w) if transposed else (w, u)

        def product(z: Tensor, *operands: Tensor) -> Tensor:
            found: Tensor = torch.func.vjp(call.in_state(operands), z)[1](covector)[0]
            return found

        return None, None, w, *torch.func.vjp(product, z, *operands)[1](direction)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: FixedPointCall, transposed: bool, *tensors: Tensor) -> tuple[Tensor, int]:
        """All at once."""
        return Multiplier.apply(call.mapped(info.randomness), transposed, *in_front(info, in_dims[2:], tensors)), 0

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """The same matrix, for what moves the equation."""
        u, *place = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(place, tangents[3:], strict=True))

        def product(z: Tensor, *operands: Tensor) -> tuple[Tensor]:
            return (ctx.call.products(ctx.transposed, z, operands)(u),)

        (moved,) = pushforward(product, tuple(place), moves)
        right = moved if tangents[2] is None else tangents[2] + moved
        found: Tensor = Multiplier.apply(ctx.call, ctx.transposed, right, *place)
        return found
