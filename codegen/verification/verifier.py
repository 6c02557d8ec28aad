"""`verify`: which checks a spec gets follows from what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import torch
from sympy import Abs, sign
from torch import nn

from codegen.emission import emit
from codegen.verification.adaptive_cases import adaptive_cases
from codegen.verification.adaptive_rows import adaptive_rows
from codegen.verification.case import Case
from codegen.verification.continuous_cases import continuous_cases, continuous_rows
from codegen.verification.convergence import order_rows
from codegen.verification.delay_cases import delay_cases, delay_rows
from codegen.verification.fixed_point_cases import fixed_point_cases, fixed_point_rows
from codegen.verification.flow_cases import flow_cases
from codegen.verification.flow_rows import flow_rows
from codegen.verification.gradient_checks import (
    device_rows,
    exact_row,
    gradient_rows,
    inversion_row,
    kink_row,
    second_order_row,
)
from codegen.verification.layer_cases import layer_cases
from codegen.verification.loaded import load_text
from codegen.verification.loss_checks import loss_rows
from codegen.verification.random_rows import random_rows
from codegen.verification.recurrent_cases import recurrent_cases, stacked_cases
from codegen.verification.relations import claim_rows, relation_rows
from codegen.verification.report import Row
from codegen.verification.residuals import residual_row
from codegen.verification.samples import Sampled, sampled
from codegen.verification.sde_cases import sde_cases, sde_rows
from codegen.verification.step_cases import long_cases, small_cases, step_cases
from codegen.verification.value_rows import value_rows
from derive import functions
from derive.adaptive import Adaptive
from derive.chains import Chain
from derive.delay import DelayODE
from derive.errors import DeriveError
from derive.explanation import recurrences
from derive.fixed_point import FixedPoint
from derive.flow import ContinuousFlow, Flow
from derive.random_recurrence import RandomRecurrence
from derive.sde import SDE
from derive.showing import explain
from derive.system import System
from derive.systems import ODE, Spec

DEVICES = ("cpu", "cuda")
DEVICE_TOLERANCE = 1e-10
REBUILT = 1e-5  # ten times the error that rebuilt states may have in float64
KINKED = (functions.relu, functions.step, functions.elu, Abs, sign)


def verify(spec: Spec, device: str = "cpu") -> list[Row]:
    """All checks of a spec: its relations, what the decks claim, and the module that is emitted for it, if any.

    Raises:
        DeriveError: an unknown device, or one that is not there; or something in the spec has no form in torch.
    """
    _check_device(device)
    module = None if spec.no_module else load_text(emit(spec))
    derivation = explain(spec)
    rows = [*relation_rows(derivation), *claim_rows(derivation)]
    return rows if module is None else [*rows, *module_rows(spec, module, device)]


def module_rows(spec: Spec, module: ModuleType, device: str = "cpu") -> Iterator[Row]:
    """The checks of a module that was emitted for a spec."""
    kind = module.Module
    usual, small = cases_of(spec, kind)
    for case in usual:
        if case.solves:
            yield residual_row(spec.id, case)
        yield from gradient_rows(spec.id, case, device)
        if case.kinks:
            yield kink_row(spec.id, case)
        if device != "cpu":
            yield from device_rows(spec.id, case, device, DEVICE_TOLERANCE)
    for case in small:
        if case.differentiable:
            yield second_order_row(spec.id, case)
    for case in long_cases_of(spec, kind):
        if "invert" in case.memory:
            yield inversion_row(spec.id, case, REBUILT)
        if "exact" in case.memory:
            yield exact_row(spec.id, case)
    if isinstance(spec.system, ODE) and not any(case.kinks for case in usual):  # orders are those of smooth fields
        for sample in sampled(spec, kind):
            yield from order_rows(spec.id, sample, spec.system)
    yield from _OWN_ROWS.get(type(next(iter(spec.variants.values()))), _no_rows)(spec, kind)
    yield from value_rows(spec, kind)
    for name, loss in spec.losses.items():
        yield from loss_rows(spec.id, loss, module, name)


def cases_of(spec: Spec, kind: Callable[..., nn.Module]) -> tuple[list[Case], list[Case]]:
    """The usual cases of a module, and the same with little data."""
    steps = recurrences(spec)
    whole = [s for s in spec.variants.values() if isinstance(s, System) and type(s) in _WITHOUT_STEPS]
    if whole:
        make = _WITHOUT_STEPS[type(whole[0])]
        usual, small = make(kind, spec), make(kind, spec, small=True)
    elif spec.in_steps:
        samples = sampled(spec, kind)
        usual, small = (
            [_renamed(c, s) for s in samples for c in of(s.kind, s.spec)] for of in (step_cases, small_cases)
        )
    else:
        cells = {str(option): recurrence for option, recurrence in steps.items()}
        usual, small = recurrent_cases(kind, spec, cells), recurrent_cases(kind, spec, cells, 2, 1)
    systems: list[System] = [*steps.values(), *whole]
    programs = [program for system in systems for program in system.programs]
    kinks = any(line.value.has(*KINKED) for program in programs for line in program.assignments)
    return [replace(case, kinks=kinks) for case in usual], small


def long_cases_of(spec: Spec, kind: Callable[..., nn.Module]) -> list[Case]:
    """Cases over many steps, of the modules that have a memory mode whose errors add up."""
    if not spec.in_steps:
        return []
    return [
        _renamed(case, sample)
        for sample in sampled(spec, kind)
        for case in long_cases(sample.kind, sample.spec, {"exact", *["invert"] * sample.inverted})
    ]


def stacked_cases_of(spec: Spec, kind: Callable[..., nn.Module]) -> tuple[list[Case], list[Case]]:
    """Of recurrent modules cases with two layers in both directions, usual and small ones; none of others."""
    if spec.in_steps or any(type(system) in _WITHOUT_STEPS for system in spec.variants.values()):
        return [], []
    cells = {str(option): recurrence for option, recurrence in recurrences(spec).items()}
    return stacked_cases(kind, spec, cells), stacked_cases(kind, spec, cells, 2, 1)


def _no_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """Most kinds of systems promise nothing beyond their gradients."""
    yield from ()


_OWN_ROWS: dict[type, Callable[[Spec, Callable[..., nn.Module]], Iterator[Row]]] = {
    Flow: flow_rows,
    ContinuousFlow: continuous_rows,
    Adaptive: adaptive_rows,
    RandomRecurrence: random_rows,
    FixedPoint: fixed_point_rows,
    SDE: sde_rows,
    DelayODE: delay_rows,
}
_WITHOUT_STEPS: dict[type, Callable[..., list[Case]]] = {
    Chain: layer_cases,
    Flow: flow_cases,
    ContinuousFlow: continuous_cases,
    Adaptive: adaptive_cases,
    SDE: sde_cases,
    DelayODE: delay_cases,
    FixedPoint: fixed_point_cases,
}


def _renamed(case: Case, sample: Sampled) -> Case:
    memory = tuple(mode for mode in case.memory if sample.inverted or mode != "invert")
    return replace(case, label=sample.titled(case.label), memory=memory)


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise DeriveError(f"unknown device {device!r}; allowed: {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeriveError("device 'cuda' is asked for, but torch finds no CUDA device here; use device 'cpu'")
