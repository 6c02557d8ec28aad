"""Checks of values and derivatives of one case."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from codegen.verification.case import Case, Found, pure
from codegen.verification.measures import Measured, difference, functional, judged, row, uniform, worst_difference
from codegen.verification.report import Row

EXACT = 1e-12
FIXED_POINT = 1e-7  # states with 40 bits behind the point, of which a product with p/q rounds log2|p| away
SLOPE = 1.9
HALVINGS = 4
DIRECTIONS = 3
FIRST_NUDGE = 2e-3
SMALL_NUDGE = FIRST_NUDGE / 32
NUDGE, RELATIVE, ABSOLUTE = 1e-6, 1e-6, 1e-8  # of gradcheck; its defaults let a coefficient be wrong by 1e-3


def gradient_rows(spec: str, case: Case, device: str) -> Iterator[Row]:
    """Value, derived against autograd, Taylor remainder, differences and the dot test."""
    yield row(spec, case.titled("value against the reference evaluator"), EXACT, partial(_value, case, device))
    for memory in case.memory:
        check = case.titled(f"derived gradient against autograd, memory={memory!r}")
        yield row(spec, check, tolerance_of(memory), partial(derived_against_autograd, case, memory, device))
    if not case.differentiable:
        return
    yield judged(spec, case.titled("Taylor remainder, rate"), "2", f">= {SLOPE}", partial(_taylor, case), _is_steep)
    yield _differences_row(spec, case.titled("gradcheck, first derivatives"), partial(_gradcheck, case))
    yield row(spec, case.titled("dot test <Jv, w> = <v, J^T w>"), EXACT, partial(_dot_test, case))


def tolerance_of(memory: str) -> float:
    """Of the difference of derived gradients and those of autograd, in float64."""
    return FIXED_POINT if memory == "exact" else EXACT


def _is_steep(rate: float) -> bool:
    return rate >= SLOPE


def second_order_row(spec: str, case: Case) -> Row:
    """Second derivatives by differences of first ones."""
    return _differences_row(
        spec, case.titled("gradgradcheck along random directions, second derivatives"), partial(_gradgradcheck, case)
    )


def _differences_row(spec: str, check: str, measure: Callable[[], Measured]) -> Row:
    """torch's own comparison with central differences: it raises where one entry differs."""
    tolerance = f"rtol {RELATIVE:g}, atol {ABSOLUTE:g}"
    return judged(spec, check, "agrees", tolerance, measure, lambda _: True)


def device_rows(spec: str, case: Case, device: str, tolerance: float) -> Iterator[Row]:
    """Outputs and derived gradients on a device against those on the CPU."""
    for memory in case.memory:
        check = case.titled(f"{device} against cpu, memory={memory!r}")
        yield row(spec, check, max(tolerance, tolerance_of(memory)), partial(_against_cpu, case, memory, device))


def inversion_row(spec: str, case: Case, tolerance: float) -> Row:
    """Gradients over many steps with states rebuilt by the inverse against those with states run again."""

    def measure() -> Measured:
        found, expected = (gradients(case, mode, "derived") for mode in ("invert", "recompute"))
        return worst_difference(found.gradients, expected.gradients, found.names)

    return row(spec, case.titled("inverse round trip: gradients, invert against recompute"), tolerance, measure)


def exact_row(spec: str, case: Case) -> Row:
    """Gradients over many steps with states rebuilt in fixed point, which raises unless every bit comes back."""
    check = case.titled("exact reversal: every state bit for bit, gradients against autograd")
    return row(spec, check, FIXED_POINT, partial(derived_against_autograd, case, "exact", "cpu"))


def kink_row(spec: str, case: Case) -> Row:
    """Derived against autograd exactly at kinks, where both must follow one convention."""

    def measure() -> Measured:
        return derived_against_autograd(case, case.memory[0], "cpu", at_zero=True)

    return row(spec, case.titled("at kinks: derived gradient against autograd"), EXACT, measure)


def gradients(case: Case, memory: str, gradient: str, device: str = "cpu", at_zero: bool = False) -> Found:
    """Outputs and gradients of the functional by the module's own parameters, the usual way it is called."""

    def leaf(value: Tensor) -> Tensor:
        return value.to(device, copy=True).requires_grad_()

    constructor = {name: leaf(value) for name, value in case.constructor.items()}
    inputs = {name: leaf(0 * value if at_zero else value) for name, value in case.inputs.items()}
    module = case.build(constructor, memory, gradient).to(device)
    if at_zero:
        _flatten(module)
    outputs = case.call(module, list(inputs.values()))
    leaves = [*constructor.values(), *inputs.values(), *module.parameters()]
    names = (*constructor, *inputs, *(name for name, _ in module.named_parameters()))
    return Found(tuple(output.detach() for output in outputs), names, _gradients_of(outputs, leaves))


def _gradients_of(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of the functional; none at all where no output has one."""
    if not any(output.requires_grad for output in outputs):
        return (None,) * len(leaves)
    return torch.autograd.grad(functional(outputs), leaves, allow_unused=True)


def _flatten(module: torch.nn.Module) -> None:
    """Vectors of parameters to zero: arguments of elementwise functions then lie at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.zero_()


def derived_against_autograd(case: Case, memory: str, device: str, at_zero: bool = False) -> Measured:
    """Outputs and gradients of the derived form against those of autograd through the same steps."""
    derived, plain = (gradients(case, memory, kind, device, at_zero) for kind in ("derived", "autograd"))
    return _compare(derived, plain)


def _against_cpu(case: Case, memory: str, device: str) -> Measured:
    return _compare(gradients(case, memory, "derived", device), gradients(case, memory, "derived"))


def _compare(found: Found, expected: Found) -> Measured:
    names = (*(f"output {place}" for place in range(len(found.outputs))), *found.names)
    return worst_difference((*found.outputs, *found.gradients), (*expected.outputs, *expected.gradients), names)


def _value(case: Case, device: str) -> Measured:
    """Outputs of both forms: the derived one may have a forward sweep of its own."""
    forms = ("derived", "autograd")
    found = [gradients(case, case.memory[0], form, device).outputs for form in forms]
    names = [
        f"output {place}, {form}" for form, outputs in zip(forms, found, strict=True) for place in range(len(outputs))
    ]
    return worst_difference([*found[0], *found[1]], [*case.reference()] * 2, names)


def _directions(tensors: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(uniform(tensor.shape, -1.0, 1.0, generator) for tensor in tensors)


def _scalar(function: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Tensor]:
    return lambda *tensors: functional(function(*tensors))


def _taylor(case: Case) -> Measured:
    """The rate of the remainder; where a kink lies within the first nudge, that of one that it does not reach."""
    found = _rate_of_remainder(case, FIRST_NUDGE)
    return found if _is_steep(found.value) or not case.kinks else _rate_of_remainder(case, SMALL_NUDGE)


def _rate_of_remainder(case: Case, first: float) -> Measured:
    """Smallest rate at which J(m + eps v) - J(m) - eps <grad J, v> falls when eps is halved.

    Its size is summed over several directions: along a single one the second derivative may happen to vanish.
    """
    function, tensors = pure(case, case.memory[0], "derived")
    scalar, choices = _scalar(function), [_directions(tensors, 11 + place) for place in range(DIRECTIONS)]
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    at_point = scalar(*leaves)
    slopes = torch.autograd.grad(at_point, leaves, materialize_grads=True)
    value = float(at_point.detach())
    remainders = [0.0] * (HALVINGS + 1)
    for directions in choices:
        slope = sum(float((g * v).sum()) for g, v in zip(slopes, directions, strict=True))
        for halving in range(HALVINGS + 1):
            eps = first / 2**halving
            moved = float(scalar(*(t + eps * v for t, v in zip(tensors, directions, strict=True))))
            remainders[halving] += abs(moved - value - eps * slope)
    rates = [math.log2(big / small) for big, small in pairwise(remainders)]
    return Measured(min(rates), f"{HALVINGS} halvings from {first:g}, summed over {DIRECTIONS} random directions")


def _gradcheck(case: Case) -> Measured:
    function, tensors = pure(case, case.memory[0], "derived")
    leaves = tuple(tensor.requires_grad_() for tensor in tensors)
    scalar = _scalar(function)
    torch.autograd.gradcheck(scalar, leaves, eps=NUDGE, rtol=RELATIVE, atol=ABSOLUTE, check_undefined_grad=False)
    return Measured(0.0, _counted(leaves), "agrees")


def _gradgradcheck(case: Case) -> Measured:
    """Second derivatives along random directions: every entry counts, and no table of all of them is made."""
    function, tensors = pure(case, case.memory[0], "derived")
    leaves = tuple(tensor.requires_grad_() for tensor in tensors)
    scalar = _scalar(function)
    torch.autograd.gradgradcheck(
        scalar, leaves, eps=NUDGE, rtol=RELATIVE, atol=ABSOLUTE, check_undefined_grad=False, fast_mode=True
    )
    return Measured(0.0, f"{_counted(leaves)}, along random directions", "agrees")


def _counted(leaves: Sequence[Tensor]) -> str:
    numbers = sum(leaf.numel() for leaf in leaves)
    return f"{numbers} numbers in {len(leaves)} tensors, central differences with eps={NUDGE:g}"


def _dot_test(case: Case) -> Measured:
    """Forward mode against the derived reverse sweep, on all outputs."""
    function, tensors = pure(case, case.memory[0], "derived")
    directions = _directions(tensors, 13)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own forward mode loads what torch deprecates
        along: tuple[Any, ...] = torch.func.jvp(function, tensors, directions)
    outputs, pushed = along
    covectors = _directions(outputs, 17)
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    pulled = torch.autograd.grad(function(*leaves), leaves, covectors, materialize_grads=True)
    left = sum((a * b).sum() for a, b in zip(pushed, covectors, strict=True))
    right = sum((a * b).sum() for a, b in zip(directions, pulled, strict=True))
    return Measured(difference(torch.as_tensor(left), torch.as_tensor(right)), "forward mode against the derived sweep")
