"""Kinds of numbers and places where they live."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from codegen.verification.case import Found
from codegen.verification.gradient_checks import gradients
from codegen.verification.properties.subject import Subject, differing, differing_run, run_on

ROUNDINGS = 32  # which a result may be off by: each of its sums and products is rounded
ON_DEVICE = 1e-10


def float64(subject: Subject) -> str | None:
    """Outputs and gradients are float64 and the outputs those of the reference evaluator."""
    found = run_on(subject.build(), subject.inputs)
    return _other_dtype(found, torch.float64) or differing(found.outputs, subject.case.reference(), what="output")


def float32(subject: Subject) -> str | None:
    """The same in single precision."""
    return _against_float64(subject, torch.float32)


def bfloat16(subject: Subject) -> str | None:
    """The same in half precision."""
    return _against_float64(subject, torch.bfloat16)


def _against_float64(subject: Subject, dtype: torch.dtype) -> str | None:
    """Outputs and gradients in a dtype, against float64 from the same rounded numbers."""
    module = subject.build().to(dtype)
    rounded = {name: x.to(dtype) for name, x in subject.inputs.items()}
    found = run_on(module, rounded)
    expected = run_on(_with_values(subject, module), {name: x.double() for name, x in rounded.items()})
    return _other_dtype(found, dtype) or _beyond_rounding(found, expected, dtype)


def _with_values(subject: Subject, module: nn.Module) -> nn.Module:
    """The module in float64 with the numbers of another one."""
    wide = subject.build()
    wide.load_state_dict({name: value.double() for name, value in module.state_dict().items()})
    return wide


def _beyond_rounding(found: Found, expected: Found, dtype: torch.dtype) -> str | None:
    """What is off by more than the precision of a dtype; gradients as one vector: small ones are sums that cancel."""
    tolerance = ROUNDINGS * torch.finfo(dtype).eps
    reason = differing([output.double() for output in found.outputs], expected.outputs, tolerance, "output")
    if [g is None for g in found.gradients] != [g is None for g in expected.gradients]:
        return "a gradient is missing"
    whole = [torch.cat([g.double().flatten() for g in each.gradients if g is not None]) for each in (found, expected)]
    return reason or differing(whole[:1], whole[1:], tolerance, "gradient")


def _other_dtype(found: Found, dtype: torch.dtype) -> str | None:
    """What has another dtype."""
    outputs = {f"output {place}": value for place, value in enumerate(found.outputs)}
    named = {f"the gradient of {name}": g for name, g in zip(found.names, found.gradients, strict=True)}
    every: Mapping[str, Tensor | None] = {**outputs, **named}
    wrong = {name: value.dtype for name, value in every.items() if value is not None and value.dtype != dtype}
    return next((f"{name} is {str(found).removeprefix('torch.')}" for name, found in wrong.items()), None)


def autocast(subject: Subject) -> str | None:
    """Under bfloat16 autocast: gradients of the parameters' dtype, and all within bfloat16's precision."""
    module = subject.build().to(torch.float32)
    inputs = {name: x.float() for name, x in subject.inputs.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = run_on(module, inputs)
    expected = run_on(_with_values(subject, module), {name: x.double() for name, x in inputs.items()})
    gradients = Found((), found.names, found.gradients)
    return _other_dtype(gradients, torch.float32) or _beyond_rounding(found, expected, torch.bfloat16)


def cuda(subject: Subject) -> str | None:
    """Outputs and gradients on the GPU against those on the CPU."""
    found, expected = (gradients(subject.case, subject.memory, "derived", device) for device in ("cuda", "cpu"))
    return differing_run(found, expected, ON_DEVICE)
