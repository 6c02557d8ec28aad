"""What the loops of a cell read that is made of parameters: computed once per call, with its derived backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from codegen.runtime.derived_map import Gradients, MapRule, run_map
from codegen.runtime.precision import lowered
from codegen.runtime.recurrent import Recurrent
from codegen.runtime.recurrent_function import Cell, Values


@dataclass(frozen=True)
class Prelude:
    """What is computed before the loops of a layer and direction.

    forward(*constants, *read) -> (*computed, *what the backward reads besides)
    backward(*constants, needs, cotangents of the computed, *read, *all of forward) -> cotangents of what is read
    count: how many are computed.
    constants: names of numbers of the module.
    reads: places of what is read among the tensors that the cell names.
    operands: places of what the loops read among these tensors, followed by the computed ones.
    matrices: formulas of the matrices of linear systems.
    """

    forward: Callable[..., Values]
    backward: Callable[..., Gradients]
    count: int
    constants: tuple[str, ...]
    reads: tuple[int, ...]
    operands: tuple[int, ...]
    matrices: tuple[str, ...]

    def __call__(self, numbers: tuple[float, ...], derived: bool, held: Values) -> Values:
        """Operands of the loops from the tensors that a layer holds."""
        rule = MapRule(partial(self.forward, *numbers), self.count, partial(self.backward, *numbers))
        known = (*held, *run_map(rule, derived, *(held[place] for place in self.reads)))
        return tuple(known[place] for place in self.operands)


@dataclass(frozen=True, kw_only=True)
class PreludeCell(Cell):
    """A cell whose functions take operands that a prelude makes; `operands` names what it is made of."""

    prelude: Prelude

    @property
    def inputs(self) -> int:
        return 1 + self.starts + len(self.prelude.operands)


class RecurrentWithPrelude(Recurrent):
    """Layers and directions of cells with a prelude."""

    constants: ClassVar[tuple[str, ...]] = ()
    """Names of arguments that are numbers."""

    def _operands(self, cell: Cell, suffix: str, layer: int, dtype: torch.dtype | None) -> Values:
        if not isinstance(cell, PreludeCell):
            return super()._operands(cell, suffix, layer, dtype)
        held = self._held(cell.operands, suffix, self._shapes(layer), None)
        prelude = cell.prelude
        numbers = tuple(getattr(self, name) for name in prelude.constants)
        try:
            found = prelude(numbers, self.gradient == "derived", held)
        except torch.linalg.LinAlgError as error:
            given = "".join(f", {name}={number!r}" for name, number in zip(prelude.constants, numbers, strict=True))
            raise ValueError(
                f"{self.owner}: {' or '.join(prelude.matrices)} is singular in the layer of {suffix[1:]}{given}; "
                "allowed: parameters and numbers for which it has an inverse"
            ) from error
        return found if dtype is None else tuple(lowered(operand, dtype) for operand in found)

    def extra_repr(self) -> str:
        numbers = (f"{name}={getattr(self, name)!r}" for name in self.constants)
        return ", ".join([super().extra_repr(), *numbers])


def finite_number(name: str, value: float, positive: bool) -> float:
    """A number that a loop can be made with."""
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not real or (positive and value <= 0):
        raise ValueError(f"{name}={value!r}; allowed: a finite number{' above 0' if positive else ''}")
    return float(value)


def solution_of(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution of a linear system, in float32 or better."""
    exact = torch.promote_types(right.dtype, torch.float32)
    columns = right.to(exact) if right.dim() == 2 else right.to(exact).unsqueeze(-1)
    found = torch.linalg.solve(matrix.to(exact), columns).to(right.dtype)
    return found if right.dim() == 2 else found.squeeze(-1)


def inverse_of(matrix: Tensor) -> Tensor:
    """Inverse of a matrix, in float32 or better."""
    exact = torch.promote_types(matrix.dtype, torch.float32)
    return torch.linalg.inv(matrix.to(exact)).to(matrix.dtype)
