"""What the rules of an implicit step are called with: fields that solve equations, plain or in the derived sweeps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from codegen.runtime.blocks import Evaluated, Evaluation, Networks, StepTape, networks_of
from codegen.runtime.linear_systems import (
    ROUNDINGS,
    Linear,
    Packing,
    Parts,
    asked,
    coupled_axes,
    dense_solve,
    gmres,
    matrix_of,
)
from codegen.runtime.newton import Equations, Solver, multipliers, newton

CORRECTIONS = 3  # of the plain form; each adds an order of derivatives that are exact
KINDS = ("newton", "krylov")


class Implicit:
    """Makes the fields that implicit steps are called with.

    A field with dropout or buffers is one function within a step: all its evaluations, those of Newton's iterations and
    of the adjoint too, find the random state and the buffers that the first evaluation of the step finds, which alone
    changes them: one mask, and one update of running statistics, for each step.

    Args:
        kind: "newton" solves with dense matrices, from the derived pullback of the equations; "krylov" without any.
        tol: largest |g(z) - z| / (1 + |z|) of a sample, in the maximum norm; not less than 8 eps of the dtype. A
            sample whose Newton step is below 8 eps is solved as well as its dtype allows and counts as converged.
        max_iter: Newton iterations for one system of equations.
    """

    def __init__(self, owner: str, kind: str, tol: float, max_iter: int) -> None:
        if kind not in KINDS:
            raise ValueError(f"{owner}: solver={kind!r}; allowed: {', '.join(map(repr, KINDS))}")
        if isinstance(tol, bool) or not isinstance(tol, float | int) or not tol > 0:
            raise ValueError(f"{owner}: tol={tol!r}; allowed: a number above 0")
        if isinstance(max_iter, bool) or not isinstance(max_iter, int) or max_iter < 1:
            raise ValueError(f"{owner}: max_iter={max_iter!r}; allowed: a whole number, 1 or more")
        self.owner = owner
        self.solver = Solver(kind, float(tol), max_iter)

    def at(self, step: int) -> str:
        """For messages."""
        return f"{self.owner}: step {step}"

    def plain(self, field: Networks, step: int, changing: bool = False) -> PlainField:
        """For the plain form; `changing`: whether the first call of a step may change the field's buffers."""
        return PlainField(field, self.solver, self.at(step), changing)

    def forward(
        self, field: Networks, evaluation: Evaluation, step: int, tape: StepTape | None, hidden: bool
    ) -> ForwardField:
        """For the derived forward sweep; solutions go on the tape where there is one."""
        return ForwardField(field, evaluation, self.solver, self.at(step), (step, tape, hidden))

    def undone(self, field: Networks, calls: StepTape) -> UndoneField:
        """For the inverse of a step, whose result says what the step has solved for."""
        return UndoneField(field, calls)

    def accuracy(self, rounding: float) -> float:
        """Largest relative error of a step: what is left of its equations, in a dtype of this rounding."""
        return max(self.solver.tol, ROUNDINGS * rounding)

    def reverse(self, calls: StepTape, evaluation: Evaluation, pull_back: Callable[..., Any]) -> ReverseField:
        """For the derived reverse sweep; `evaluation` calls the blocks as they were called forward."""
        return ReverseField(calls, evaluation, pull_back, self.solver, self.at(calls.step))


class Fields:
    """The networks of a step: a single one is called as it is, several are unpacked like a tuple."""

    def __init__(self, networks: Sequence[Callable[..., Any]]) -> None:
        self.networks = networks

    def __call__(self, *points: Any, call: int | None = None) -> Any:
        """The single network; `call`: which of its calls in the step this is."""
        return self.networks[0](*points) if call is None else self.networks[0](*points, call=call)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self.networks)


def each_of(fields: Fields | Networks) -> Sequence[Callable[..., Any]]:
    """One network after the other, however they are given."""
    return fields.networks if isinstance(fields, Fields) else networks_of(fields)


class PlainField(Fields):
    """A field in plain code: a solution is found without a graph, then corrected by steps that autograd follows.

    z <- z + (I - G)^-1 (g(z) - z) with the matrix held constant leaves the solution where it is, and every such step
    makes one more order of its derivatives exact. So the plain form has three exact derivatives, in any transform.
    The inverse is dense for solver="newton", and under vmap for either; nothing is corrected where nothing is
    differentiated.
    """

    def __init__(self, field: Networks, solver: Solver, where: str, changing: bool = False) -> None:
        super().__init__([partial(self._value, network) for network in networks_of(field)])
        self.field = field
        self.solver = solver
        self.where = where
        self.changing = changing

    def _value(self, network: Callable[..., Tensor], *points: Any, call: int | None = None) -> Tensor:
        self.changing = False
        return network(*points, call=call)

    def solved(self, unknowns: Parts) -> None:
        """What an inverse knows; nothing is solved with it here."""

    def solve(self, equations: Equations, guess: Parts, axes: int = 1) -> Parts:
        """The solution of z = g(z), differentiable in all that the equations read."""
        with torch.no_grad():
            linearize = _Functional(self.field)
            start = tuple(part.detach() for part in guess)
            if self.changing:  # buffers cannot be changed inside a transform
                equations(_values_only(self), start)
            found = newton(equations, linearize, start, axes, self.solver, self.where)
        found = tuple(part.detach() for part in found)
        if not self._differentiates(equations, found):
            return found
        with torch.no_grad():
            pull_back = equations(linearize, found)[1]
            wider = coupled_axes(pull_back, found, axes)
            packing = Packing(found, wider)
            z = packing.join(found)
            solver = self.solver if wider == axes else self.solver.of_coupled(packing.size)
            constant = _constant_inverse(packing.of_vectors(pull_back), z, solver)
        for _order in range(CORRECTIONS):
            values, _pull_back = equations(_values_only(self.field), packing.split(z))
            z = z + constant(packing.join(values) - z)
        return packing.split(z)

    def _differentiates(self, equations: Equations, found: Parts) -> bool:
        """Whether any derivative is asked for; under vmap that cannot be seen, and the answer is yes."""
        values = equations(_values_only(self.field), found)[0]
        moved = any(one.requires_grad or forward_ad.unpack_dual(one).tangent is not None for one in values)
        return moved or asked(values[0]).batched


def _constant_inverse(pull: Callable[[Tensor], Tensor], z: Tensor, solver: Solver) -> Callable[[Tensor], Tensor]:
    """(I - G)^-1 as a linear map that autograd differentiates."""
    if solver.kind == "newton" or asked(z).batched:
        return partial(dense_solve, matrix_of(pull, z).detach())
    return partial(_ConstantInverse.apply, pull, _Functional.transposed(pull, z), solver.tol)


class _ConstantInverse(torch.autograd.Function):
    """v -> (I - G)^-1 v by GMRES; its transpose by GMRES as well."""

    @staticmethod
    def forward(pull: Any, push: Any, tol: float, right: Tensor) -> Tensor:
        """Solve."""
        tight = max(8 * torch.finfo(right.dtype).eps, min(tol, 1e-10))
        return gmres(lambda v: v - push(v), right, tight)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing but the map itself is needed."""
        ctx.pull, ctx.push, ctx.tol, _ = inputs

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[None, None, None, Tensor]:
        """Solve with the transpose."""
        return None, None, None, _ConstantInverse.apply(ctx.push, ctx.pull, ctx.tol, bar)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], pull: Any, push: Any, tol: float, right: Tensor
    ) -> tuple[Tensor, int]:
        """One after the other; what is batched here is what the map is applied to."""
        rows = right.movedim(in_dims[3], 0).unbind(0)
        return torch.stack([_ConstantInverse.apply(pull, push, tol, row) for row in rows]), 0

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """It is linear."""
        found: Tensor = _ConstantInverse.apply(ctx.pull, ctx.push, ctx.tol, tangents[3])
        return found


def _values_only(fields: Fields | Networks) -> Fields:
    return Fields([partial(_value_alone, network) for network in each_of(fields)])


def _value_alone(network: Callable[..., Tensor], *points: Any) -> tuple[Tensor, None]:
    return network(*points), None


class _Functional(Fields):
    """Linearizes a field by torch.func, inside any transform."""

    def __init__(self, field: Networks) -> None:
        super().__init__([partial(self._linearized, network) for network in networks_of(field)])

    @staticmethod
    def _linearized(network: Callable[..., Tensor], *points: Any) -> tuple[Tensor, FunctionalPullback]:
        """Value and pullback."""
        value, pull = torch.func.vjp(lambda x: network(*points[:-1], x), points[-1])[:2]
        return value, FunctionalPullback(pull, value.dim())

    @staticmethod
    def transposed(pull: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
        """The transpose of a linear map."""
        push = torch.func.vjp(pull, torch.zeros_like(like))[1]
        return lambda v: push(v)[0]


class FunctionalPullback:
    """The pullback of a field in its state."""

    def __init__(self, pull: Callable[[Tensor], tuple[Tensor]], axes: int) -> None:
        self.pull = pull
        self.axes = axes

    def state(self, bar: Tensor) -> Tensor:
        """J^T bar; for every row of a further leading axis."""
        if bar.dim() > self.axes:
            return torch.stack([self.pull(row)[0] for row in bar.unbind(0)])
        return self.pull(bar)[0]


class ForwardField(Fields):
    """A field inside the derived forward sweep."""

    def __init__(
        self,
        field: Networks,
        evaluation: Evaluation,
        solver: Solver,
        where: str,
        place: tuple[int, StepTape | None, bool],
    ) -> None:
        super().__init__(networks_of(field))
        self.evaluation = evaluation
        self.solver = solver
        self.where = where
        self.step, self.tape, self.hidden = place

    def solve(self, equations: Equations, guess: Parts, axes: int = 1) -> Parts:
        """The solution of z = g(z), remembered for the reverse sweep."""
        linearize = _Graphs(self.evaluation, self.step, self.networks if self.hidden else None)
        found = newton(equations, linearize, guess, axes, self.solver, self.where)
        if self.tape is not None:
            self.tape.solutions.append(found)
        return found


class UndoneField(Fields):
    """A field inside the inverse of a step: what the step solved for is kept for its adjoint."""

    def __init__(self, field: Networks, calls: StepTape) -> None:
        super().__init__(networks_of(field))
        self.calls = calls

    def solved(self, unknowns: Parts) -> None:
        """The solution of the next system of the step."""
        self.calls.solutions.append(unknowns)


class ReverseField(Fields):
    """Linearizes a field inside the derived reverse sweep, and solves for unknowns and for multipliers."""

    def __init__(
        self, calls: StepTape, evaluation: Evaluation, pull_back: Callable[..., Any], solver: Solver, where: str
    ) -> None:
        super().__init__([partial(self._linearized, network) for network in range(len(calls.read))])
        self.calls = calls
        self.evaluation = evaluation
        self.pull_back = pull_back
        self.solver = solver
        self.where = where

    def _linearized(self, network: int, *points: Any) -> tuple[Tensor, GraphPullback]:
        """Value and pullback of a network."""
        call = (self.calls.step, network, self.calls.read[network])
        if call not in self.calls.calls:  # the forward sweep had no use for this value
            self.calls.calls[call] = self.evaluation.with_graph(call, points)
        evaluated = self.calls.next(network, points)
        assert isinstance(evaluated, Evaluated), "equations read graphs several times, so that no block is a chain"
        return evaluated.value.detach(), GraphPullback(evaluated, partial(self.pull_back, evaluated))

    def solve(self, equations: Equations, guess: Parts, axes: int = 1) -> Parts:
        """The solution that the forward sweep found, or found again."""
        if self.calls.solutions:
            return self.calls.solutions.pop(0)
        linearize = _Graphs(self.evaluation, self.calls.step, None)
        return newton(equations, linearize, guess, axes, self.solver, self.where)

    def multipliers(self, affine: Linear, like: Parts, axes: int = 1) -> Parts:
        """The solution of mu = G^T mu + c."""
        return multipliers(affine, like, axes, self.solver, self.where)


class _Graphs(Fields):
    """Linearizes a field by a graph of its own, for one Newton iteration after the other."""

    def __init__(self, evaluation: Evaluation, step: int, checks: Sequence[Callable[..., Tensor]] | None) -> None:
        super().__init__([partial(self._linearized, network) for network in range(evaluation.blocks.width(step))])
        self.evaluation = evaluation
        self.step = step
        self.checks = checks

    def _linearized(self, network: int, *points: Any) -> tuple[Tensor, GraphPullback]:
        """Value and pullback."""
        if self.checks is not None:
            self.checks[network](*points)
        evaluated = self.evaluation.with_graph((self.step, network, -1), points)
        return evaluated.value.detach(), GraphPullback(evaluated, None)

    @staticmethod
    def transposed(pull: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
        """The transpose of a linear map."""
        with torch.enable_grad():
            point = torch.zeros_like(like).requires_grad_()
            image = pull(point)
        if not image.requires_grad:
            return torch.zeros_like
        return lambda v: torch.autograd.grad(image, point, v, retain_graph=True, materialize_grads=True)[0]


class GraphPullback:
    """The pullback of a field: of its state as often as wanted, then once of everything."""

    def __init__(self, evaluated: Evaluated, whole: Callable[[Tensor], tuple[Any, ...]] | None) -> None:
        self.evaluated = evaluated
        self.whole = whole

    def __call__(self, bar: Tensor) -> tuple[Any, ...]:
        """Cotangents of all arguments; those of the parameters are added up where they belong."""
        assert self.whole is not None
        return self.whole(bar)

    def state(self, bar: Tensor) -> Tensor:
        """J^T bar; for every row of a further leading axis."""
        value, points = self.evaluated.value, self.evaluated.points
        if not value.requires_grad:
            return torch.zeros_like(bar)
        bar = bar.to(value.dtype)
        if bar.dim() == value.dim():
            return _pulled(value, points[-1], bar, create_graph=bar.requires_grad)
        return _pulled_rows(value, points[-1], bar.expand(-1, *value.shape))


def _pulled(value: Tensor, point: Tensor, bar: Tensor, **options: bool) -> Tensor:
    return torch.autograd.grad(value, point, bar, retain_graph=True, materialize_grads=True, **options)[0]


def _pulled_rows(value: Tensor, point: Tensor, rows: Tensor) -> Tensor:
    """All rows in one vectorized pass where torch can, else one after the other."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that torch vectorizes slowly
            return _pulled(value, point, rows, is_grads_batched=True)
    except RuntimeError:
        return torch.stack([_pulled(value, point, row) for row in rows.unbind(0)])
