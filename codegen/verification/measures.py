"""Norm-relative differences, the functional that gradients are taken of, and rows made from measurements."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codegen.verification.report import Row

TINY = 1e-30
REASON = 300  # characters of an error that are shown: messages of torch say only in later lines what is wrong
LEAST_SHOWN = 0.01  # smaller numbers are written with an exponent
Gradients = Sequence[Tensor | None]


@dataclass(frozen=True)
class Measured:
    """What one check found.

    Attributes:
        value: the number that is compared.
        detail: how it was found.
        shown: how it is shown, where that is not the number.
    """

    value: float
    detail: str = ""
    shown: str = ""


def difference(found: Tensor | None, expected: Tensor | None) -> float:
    """Norm of the difference over the norm of what is expected; a missing tensor equals only a missing one."""
    if found is None or expected is None:
        return 0.0 if found is expected else math.inf
    if found.shape != expected.shape:
        return math.inf
    if not found.numel():
        return 0.0
    found, expected = found.detach().cpu(), expected.detach().cpu()
    error = float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected).clamp_min(TINY))
    return error if math.isfinite(error) else math.inf


def worst_difference(found: Gradients, expected: Gradients, names: Sequence[str]) -> Measured:
    """The largest norm-relative difference over several tensors, and which one it is."""
    errors = [difference(a, b) for a, b in zip(found, expected, strict=True)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    shapes = [_shape(side[worst]) for side in (found, expected)]
    if shapes[0] != shapes[1]:
        return Measured(math.inf, f"{names[worst]}: {shapes[0]} found, {shapes[1]} expected", "shapes differ")
    return Measured(errors[worst], f"largest at {names[worst]}, of {len(errors)} tensors")


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"shape {tuple(tensor.shape)}"


def functional(outputs: Sequence[Tensor]) -> Tensor:
    """A random nonlinear functional of all outputs: sum of sin(w y + phase) with fixed random w and phase."""
    generator = torch.Generator().manual_seed(7)
    total = outputs[0].new_zeros(())
    for output in outputs:
        weight = uniform(output.shape, 0.5, 1.5, generator).to(output.device)
        phase = uniform(output.shape, 0.0, 6.0, generator).to(output.device)
        total = total + torch.sin(weight * output + phase).sum()
    return total


def uniform(shape: Sequence[int], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Seeded uniform numbers in float64, on the CPU."""
    return low + (high - low) * torch.rand(tuple(shape), generator=generator, dtype=torch.float64)


def row(spec: str, check: str, tolerance: float, measure: Callable[[], Measured]) -> Row:
    """A row that passes where the measured number is within the tolerance; a check that cannot run has failed."""
    return judged(spec, check, "0", f"{tolerance:g}", measure, lambda value: value <= tolerance)


def judged(
    spec: str,
    check: str,
    expected: str,
    tolerance: str,
    measure: Callable[[], Measured],
    holds: Callable[[float], bool],
) -> Row:
    """A row from a measurement and a verdict on the number it gives."""
    try:
        found = measure()
    except Exception as error:
        reason = textwrap.shorten(str(error), REASON, placeholder=" ...")
        return Row(spec, check, expected, "could not run", tolerance, False, f"{type(error).__name__}: {reason}")
    shown = found.shown or _number(found.value)
    return Row(spec, check, expected, shown, tolerance, holds(found.value), found.detail)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.3f}" if abs(value) >= LEAST_SHOWN else f"{value:.2e}"
