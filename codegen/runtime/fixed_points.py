"""An equilibrium model: z = f(z, x), solved for every sample, with the gradient of the solution."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.choices import one_of
from codegen.runtime.fixed_point_cells import Cell
from codegen.runtime.fixed_point_gradients import (
    FixedPointCall,
    equilibrium,
    plain_equilibrium,
    unrolled_equilibrium,
)
from codegen.runtime.fixed_point_solvers import SOLVERS, FixedPointRules, Solution

DEFAULT_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-6}
LEAST_ROUNDINGS = 2  # of the map's precision, below which no tolerance is asked for
ORDERS = 3  # of derivatives that the plain form has

Image = Callable[..., Tensor]  # (with the derived backward?, networks, z, tensors) -> f(z)


class EquilibriumError(RuntimeError):
    """An equilibrium, or the equation of its gradient, was not solved."""


class EquilibriumWarning(UserWarning):
    """The same where on_failure="warn"."""


@dataclass
class EquilibriumInfo:
    """How the last equilibrium was found: tensors with one number for each sample.

    Attributes:
        residual: |f(z) - z| / (1 + |z|), in the Euclidean norm.
        iterations: steps made.
        converged: whether the residual is within the tolerance.
        gradient_residual: of the linear equation of the gradient, relative; None before the backward pass.
    """

    residual: Tensor
    iterations: Tensor
    converged: Tensor
    gradient_residual: float | None = None


class EquilibriumNet(nn.Module):
    """What all equilibrium models have in common; a subclass says what f is."""

    def __init__(
        self,
        *,
        solver: str,
        tol: float | None,
        max_iter: int,
        on_failure: str,
        phantom: int | None,
        gradient: str,
    ) -> None:
        super().__init__()
        self.owner = owner = type(self).__name__
        self.solver = one_of(f"{owner}: solver", solver, tuple(SOLVERS))
        self.tol = _checked_tol(owner, tol)
        self.max_iter = _checked_count(owner, "max_iter", max_iter)
        self.on_failure = one_of(f"{owner}: on_failure", on_failure, ("warn", "raise"))
        self.phantom = None if phantom is None else _checked_count(owner, "phantom", phantom)
        self.gradient = one_of(f"{owner}: gradient", gradient, ("derived", "autograd"))
        self.info: EquilibriumInfo | None = None

    def solve(
        self,
        image: Image,
        rules: FixedPointRules,
        start: Tensor,
        tensors: Sequence[Tensor],
        cells: Sequence[Cell],
        axes: int,
    ) -> Tensor:
        """The equilibrium of an image, differentiable in the tensors and in the parameters of the cells."""
        for name, held in self.named_parameters(recurse=False):
            if held.dtype != start.dtype and not torch.is_autocast_enabled(start.device.type):
                raise TypeError(
                    f"{self.owner}: z has dtype {start.dtype}, and {name} has {held.dtype}; allowed: the same dtype"
                )
        derived = self.gradient == "derived"
        problem = _Problem(self, image, start, tensors, cells)
        call = FixedPointCall(
            function=partial(problem.again, derived),
            plain=partial(problem.again, False),
            first=problem.first,
            axes=axes,
            solver=self.solver,
            tol=problem.tolerance,
            max_iter=self.max_iter,
            rounding=problem.rounding,
            rules=rules,
            on_solution=problem.note_solution,
            on_multiplier=problem.note_multiplier,
        )
        start, operands = start.detach(), problem.operands
        if self.phantom is not None:
            return unrolled_equilibrium(call, start, operands, self.phantom)
        if not derived:
            return plain_equilibrium(call, start, operands, ORDERS)
        return equilibrium(call, start, operands)

    def extra_repr(self) -> str:
        """Arguments that are not the usual ones."""
        usual = {"solver": "broyden", "tol": None, "max_iter": 100, "on_failure": "warn", "phantom": None,
                 "gradient": "derived"}  # fmt: skip
        given = {name: getattr(self, name) for name in usual}
        return ", ".join(f"{name}={value!r}" for name, value in given.items() if value != usual[name])


class _Problem:
    """One call of a net: the map with everything that it must find as it was, and what is told of the solution."""

    def __init__(
        self, net: EquilibriumNet, image: Image, start: Tensor, tensors: Sequence[Tensor], cells: Sequence[Cell]
    ) -> None:
        self.net, self.image, self.cells = net, image, cells
        self.every = (*tensors, *(p for cell in cells for p in cell.parameters))
        self.operands = tuple(t for t in self.every if t.is_floating_point())
        self.count = len(tensors)
        self.dtype = start.dtype
        device = start.device.type
        self.casting = torch.is_autocast_enabled(device)
        self.cast: Any = contextlib.nullcontext
        self.eps = torch.finfo(self.dtype).eps
        if self.casting:
            lower = torch.get_autocast_dtype(device)
            self.cast = lambda: torch.autocast(device, lower)
            self.eps = max(self.eps, torch.finfo(lower).eps)

    def rounding(self) -> float:
        """Relative rounding error of the map's values."""
        return self.eps

    def tolerance(self) -> float:
        """What the residual must not exceed: never less than the rounding errors of the map."""
        asked = self.net.tol if self.net.tol is not None else DEFAULT_TOLERANCES.get(self.dtype, 0.0)
        return max(asked, LEAST_ROUNDINGS * self.eps)

    def first(self, z: Tensor, *operands: Tensor) -> Tensor:
        """The first evaluation, which is checked."""
        closed = self.net.gradient == "derived" and self.net.phantom is None
        value = self._evaluated(False, z, operands, lambda cell, own: partial(cell.first, own, closed=closed))
        self._check(z, value)
        self.eps = max(self.eps, torch.finfo(value.dtype).eps)
        return value

    def again(self, derived: bool, z: Tensor, *operands: Tensor) -> Tensor:
        """Any further evaluation."""
        value = self._evaluated(derived, z, operands, lambda cell, own: partial(cell.again, own))
        return value.to(z.dtype)

    def _evaluated(self, derived: bool, z: Tensor, operands: Sequence[Tensor], called: Callable[..., Any]) -> Tensor:
        floating = iter(operands)
        every = [next(floating) if t.is_floating_point() else t for t in self.every]
        networks, place = [], self.count
        for cell in self.cells:
            networks.append(called(cell, every[place : place + len(cell.parameters)]))
            place += len(cell.parameters)
        with self.cast():
            return self.image(derived, networks, z, *every[: self.count])

    def _check(self, z: Tensor, value: Any) -> None:
        owner, name = self.net.owner, self.cells[0].name if self.cells else "f"
        if not isinstance(value, Tensor):
            raise TypeError(f"{owner}: {name}(z, x) is of type {type(value).__name__}; allowed: a Tensor")
        if value.shape != z.shape:
            raise ValueError(
                f"{owner}: {name} was given z of shape {tuple(z.shape)} and returned {tuple(value.shape)}; allowed: "
                "the shape of z. Unless given, z0 is zeros like x: give z0 in the shape of the state"
            )
        if not value.is_floating_point():
            raise TypeError(f"{owner}: {name} returned {value.dtype}; allowed: real floating point")

    def note_solution(self, found: Solution) -> None:
        """Keep how it went; warn or raise where it did not."""
        net = self.net
        net.info = EquilibriumInfo(found.residual, found.iterations, found.converged)
        if bool(found.converged.all()):
            return
        residual = found.residual.reshape(-1)
        worst, failed = int(residual.argmax()), int((~found.converged).sum())
        if not math.isfinite(float(residual[worst])):
            raise EquilibriumError(
                f"{net.owner}: f(z0, x) is not finite in {int(torch.isinf(residual).sum())} of {residual.numel()} "
                f"samples, the first of them {int(torch.isinf(residual).int().argmax())}; allowed: finite x, z0 and "
                "parameters, and a map that is finite there"
            )
        self._failed(
            f"{failed} of {residual.numel()} samples did not converge in max_iter={net.max_iter} steps of "
            f"solver={net.solver!r}: the smallest residual of sample {worst} is {float(residual[worst]):.2e}; allowed: "
            f"{self.tolerance():g}. Likely causes: f has no fixed point, or the iteration does not come to it (try "
            "another solver, or a map that contracts); max_iter or tol is too small. What is returned is the state of "
            "the smallest residual"
        )

    def note_multiplier(self, residual: float, allowed: float) -> None:
        """Keep how the gradient's equation went; warn or raise where it did not."""
        if self.net.info is not None:
            self.net.info.gradient_residual = residual
        if residual <= allowed:
            return
        self._failed(
            f"the linear equation of the gradient was not solved: relative residual {residual:.2e}; allowed: "
            f"{allowed:g}. I - df/dz is singular or nearly so at this state: no smooth gradient is there"
        )

    def _failed(self, what: str) -> None:
        message = f"{self.net.owner}: {what}"
        if self.net.on_failure == "raise":
            raise EquilibriumError(message)
        warnings.warn(message, EquilibriumWarning, stacklevel=2)


def checked_start(owner: str, z0: Any, like: Tensor | None, shape: Sequence[int], axes: int) -> Tensor:
    """What the iteration starts from: as given, its first axes as in `shape`, or zeros of it, of the input's dtype."""
    if z0 is None:
        if like is None:
            raise ValueError(f"{owner}: z0=None; allowed: a Tensor, as there is no input to take its shape from")
        if not like.is_floating_point():
            raise TypeError(f"{owner}: x has dtype {like.dtype}; allowed: real floating point, or a z0 that is")
        return like.new_zeros(tuple(shape))
    if not isinstance(z0, Tensor):
        raise TypeError(f"{owner}: z0 is of type {type(z0).__name__}; allowed: a Tensor")
    if not z0.is_floating_point():
        raise TypeError(f"{owner}: z0 has dtype {z0.dtype}; allowed: real floating point")
    if like is not None and tuple(z0.shape[:axes]) != tuple(shape[:axes]):
        more = "" if axes == len(shape) else " in front, as the input has"
        raise ValueError(f"{owner}: z0 has shape {tuple(z0.shape)}; allowed: {tuple(shape[:axes])}{more}")
    return z0


def checked_input(owner: str, name: str, value: Any, size: int | None) -> Tensor:
    """A tensor with a batch axis, of real numbers; with vectors of a size where one is given."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} is of type {type(value).__name__}; allowed: a Tensor")
    if not value.dim():
        raise ValueError(f"{owner}: {name} is a single number; allowed: axis 0 is the batch")
    if size is not None and value.shape[-1] != size:
        raise ValueError(f"{owner}: {name} has shape {tuple(value.shape)}; allowed: last axis of size {size}")
    return value


def _checked_tol(owner: str, tol: Any) -> float | None:
    if tol is None:
        return None
    if isinstance(tol, bool) or not isinstance(tol, float | int) or not 0 < tol < math.inf:
        raise ValueError(f"{owner}: tol={tol!r}; allowed: None, or a number above 0")
    return float(tol)


def _checked_count(owner: str, name: str, count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{owner}: {name}={count!r}; allowed: a whole number, 1 or more")
    return count


def checked_size(owner: str, name: str, size: Any) -> int:
    """How many components vectors have."""
    return _checked_count(owner, name, size)
