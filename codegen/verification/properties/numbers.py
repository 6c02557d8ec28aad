"""Kinds of numbers and places where they live."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from codegen.verification.case import Found
from codegen.verification.gradient_checks import gradients
from codegen.verification.measures import Gradients, difference
from codegen.verification.properties.subject import Subject, differing, differing_run, run_on, size_of

FORMS = ("derived", "autograd")
TIMES_AUTOGRAD = 3  # which the error of a rounded result may be: the derived form adds up in another order
ROUNDINGS = 4  # which a result may be off by even where autograd happens to be exact, and where solvers stop
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
    rounded = {name: x.to(dtype) for name, x in subject.inputs.items()}
    found, plain = (run_on(subject.build(form).to(dtype), rounded) for form in FORMS)
    return _other_dtype(found, dtype) or _beyond_rounding(found, plain, _exact(subject, dtype, rounded), dtype)


def _exact(subject: Subject, dtype: torch.dtype, rounded: Mapping[str, Tensor]) -> Found:
    """The same numbers in float64."""
    return run_on(subject.build().to(dtype).double(), {name: x.double() for name, x in rounded.items()})


def _beyond_rounding(found: Found, plain: Found, exact: Found, dtype: torch.dtype) -> str | None:
    """What is off by more than autograd through the same steps is, or a few roundings where that happens to be less.

    Gradients count as one vector: small ones are sums that cancel.
    """
    if [g is None for g in found.gradients] != [g is None for g in exact.gradients]:
        return "a gradient is missing"
    sides = [(*(x.double() for x in each.outputs), _as_one(each.gradients)) for each in (found, plain, exact)]
    names = [*(f"output {place}" for place in range(len(found.outputs))), "the gradient"]
    for name, one, other, true in zip(names, *sides, strict=True):
        error, usual = difference(one, true), difference(other, true)
        if not error <= max(TIMES_AUTOGRAD * usual, ROUNDINGS * torch.finfo(dtype).eps):
            return f"{name} is off by {size_of(error)}, that of autograd by {size_of(usual)}"
    return None


def _as_one(gradients: Gradients) -> Tensor:
    return torch.cat([g.double().flatten() for g in gradients if g is not None])


def _other_dtype(found: Found, dtype: torch.dtype) -> str | None:
    """What has another dtype."""
    outputs = {f"output {place}": value for place, value in enumerate(found.outputs)}
    named = {f"the gradient of {name}": g for name, g in zip(found.names, found.gradients, strict=True)}
    every: Mapping[str, Tensor | None] = {**outputs, **named}
    wrong = {name: value.dtype for name, value in every.items() if value is not None and value.dtype != dtype}
    return next((f"{name} is {_name(dtype)}" for name, dtype in wrong.items()), None)


def autocast(subject: Subject) -> str | None:
    """Under bfloat16 autocast: dtypes of outputs as torch's, gradients of the parameters', all within its precision."""
    inputs = {name: x.float() for name, x in subject.inputs.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = (run_on(subject.build(form).float(), inputs) for form in FORMS)
        usual = [_of_torch() if subject.case.sequence else output.dtype for output in plain.outputs]
    for place, (output, dtype) in enumerate(zip(found.outputs, usual, strict=True)):
        if output.dtype != dtype:
            return f"output {place} is {_name(output.dtype)}, that of torch {_name(dtype)}"
    reason = _other_dtype(Found((), found.names, found.gradients), torch.float32)
    return reason or _beyond_rounding(found, plain, _exact(subject, torch.float32, inputs), torch.bfloat16)


def _of_torch() -> torch.dtype:
    """What torch's recurrent modules give out here."""
    output, _ = nn.RNN(1, 1)(torch.zeros(1, 1, 1))
    return output.dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cuda(subject: Subject) -> str | None:
    """Outputs and gradients on the GPU against those on the CPU."""
    found, expected = (gradients(subject.case, subject.memory, "derived", device) for device in ("cuda", "cpu"))
    return differing_run(found, expected, ON_DEVICE)
