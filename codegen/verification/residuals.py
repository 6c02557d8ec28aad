"""Residual of the equations that an implicit module solves: first of all its checks, since all others rest on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from codegen.verification.case import Case
from codegen.verification.measures import Measured, row
from codegen.verification.report import Row

SOLVED = 1e-13


def residual_row(spec: str, case: Case) -> Row:
    """Largest |g(z) - z| / (1 + |z|) over all equations of all steps and samples."""
    return row(spec, case.titled("residual of the implicit equations"), SOLVED, partial(_residual, case))


def _residual(case: Case) -> Measured:
    module: Any = case.build(case.constructor, "recompute", "derived")
    found: list[float] = []
    forward = module.implicit.forward
    module.implicit.forward = lambda *given: _measured(forward(*given), found)
    case.call(module, [value.clone().requires_grad_() for value in case.inputs.values()])
    return Measured(max(found), f"largest of {len(found)} systems of equations")


def _measured(field: Any, found: list[float]) -> Any:
    """The field, with the residual of every solution it finds written down."""
    solve = field.solve

    def solve_and_measure(equations: Callable[..., Any], guess: tuple[Tensor, ...], **axes: int) -> tuple[Tensor, ...]:
        z: tuple[Tensor, ...] = solve(equations, guess, **axes)
        values = tuple(partial(_value_alone, network) for network in field.networks)
        right, _ = equations(values[0] if len(values) == 1 else values, z)
        for one, other in zip(right, z, strict=True):
            found.append(float(((one - other).abs() / (1 + other.abs())).amax()))
        return z

    field.solve = solve_and_measure
    return field


def _value_alone(network: Callable[..., Tensor], *points: Any) -> tuple[Tensor, None]:
    return network(*points), None
