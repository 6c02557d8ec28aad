"""The transforms of torch.func, torch's older ones, and the compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from codegen.verification.measures import uniform
from codegen.verification.properties.subject import (
    Subject,
    Tensors,
    differing,
    differing_run,
    function_of,
    leaves_of,
    run_on,
    smooth,
)

COMPILED = 1e-10  # compiled code adds up in another order


def over_samples(subject: Subject) -> str | None:
    """vmap over the batch, against a loop."""
    function, inputs, parameters = function_of(subject)
    return _mapped(subject, function, (*inputs, *parameters), (*subject.axes, *(None for _ in parameters)))


def over_parameters(subject: Subject) -> str | None:
    """vmap over stacked parameters, an ensemble of modules, against a loop."""
    function, inputs, parameters = function_of(subject)
    many = tuple(torch.stack((value, 0.7 * value)) for value in parameters)
    return _mapped(subject, function, (*inputs, *many), (*(None for _ in inputs), *(0 for _ in parameters)))


def per_sample_gradients(subject: Subject) -> str | None:
    """vmap of grad in the parameters, and in the inputs, against a loop over samples."""
    function, inputs, parameters = function_of(subject)
    wanted = tuple(range(len(inputs) + len(parameters)))
    gradients = torch.func.grad(lambda *tensors: smooth(function(*tensors)), wanted)
    tensors = (*inputs, *parameters)
    axes = (*subject.axes, *(None for _ in parameters))
    found = torch.vmap(gradients, axes)(*tensors)
    rows = []
    for place in range(subject.batch):
        leaves = leaves_of(_one(tensors, axes, place))
        rows.append(torch.autograd.grad(smooth(function(*leaves)), leaves, materialize_grads=True))
    return differing(found, [torch.stack(row) for row in zip(*rows, strict=True)], subject.tolerance, "gradient")


def _mapped(
    subject: Subject, function: Callable[..., Tensors], tensors: Tensors, axes: tuple[int | None, ...]
) -> str | None:
    size = next(value.shape[axis] for value, axis in zip(tensors, axes, strict=True) if axis is not None)
    with torch.no_grad():
        found = torch.vmap(function, axes)(*tensors)
        rows = [function(*_one(tensors, axes, place)) for place in range(size)]
    return differing(found, [torch.stack(row) for row in zip(*rows, strict=True)], subject.tolerance, "output")


def _one(tensors: Tensors, axes: tuple[int | None, ...], place: int) -> list[Tensor]:
    pairs = zip(tensors, axes, strict=True)
    return [value if axis is None else value.select(axis, place) for value, axis in pairs]


def jacrev(subject: Subject) -> str | None:
    """Against rows by autograd through the same steps."""
    return _jacobian(subject, torch.func.jacrev)


def jacfwd(subject: Subject) -> str | None:
    """The same by columns."""
    return _jacobian(subject, torch.func.jacfwd)


def jvp(subject: Subject) -> str | None:
    """Forward mode along a random direction against that Jacobian."""
    function, inputs, parameters = function_of(subject)
    tensors = (*inputs, *parameters)
    generator = torch.Generator().manual_seed(41)
    along = tuple(uniform(value.shape, -1.0, 1.0, generator) for value in tensors)
    with _quiet():
        _, found = torch.func.jvp(function, tensors, along)[:2]
    expected = [
        torch.stack([torch.tensordot(block, v, v.dim()) for block, v in zip(row, along, strict=True)]).sum(0)
        for row in _rows(subject)
    ]
    return differing(found, expected, subject.tolerance, "output")


def _jacobian(subject: Subject, transform: Callable[..., Callable[..., object]]) -> str | None:
    function, inputs, parameters = function_of(subject)
    tensors = (*inputs, *parameters)
    with _quiet():
        found: Any = transform(function, tuple(range(len(tensors))))(*tensors)
    blocks = [block for row in found for block in row]
    return differing(blocks, [block for row in _rows(subject) for block in row], subject.tolerance, "block")


def _rows(subject: Subject) -> list[list[Tensor]]:
    """The Jacobian by one pass of autograd for every number of the output."""
    function, inputs, parameters = function_of(subject, "autograd")
    leaves = leaves_of((*inputs, *parameters))
    found = []
    for output in function(*leaves):
        rows = [_gradients(number, leaves) for number in output.flatten()]
        blocks = [torch.stack(block) for block in zip(*rows, strict=True)]
        found.append([b.reshape(*output.shape, *leaf.shape) for b, leaf in zip(blocks, leaves, strict=True)])
    return found


def _gradients(number: Tensor, leaves: Tensors) -> Sequence[Tensor]:
    """Zero where a number depends on nothing."""
    if not number.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(number, leaves, retain_graph=True, materialize_grads=True)


def legacy_batched(subject: Subject) -> str | None:
    """`is_grads_batched=True` and `torch.autograd.functional.jacobian(vectorize=True)`."""
    function, inputs, parameters = function_of(subject)
    leaves = leaves_of((*inputs, *parameters))
    with _quiet():
        found = torch.autograd.functional.jacobian(function, leaves, vectorize=True)
    expected = [block for row in _rows(subject) for block in row]
    return differing([block for row in found for block in row], expected, subject.tolerance, "block")


def compiled(subject: Subject) -> str | None:
    """Outputs and gradients of `torch.compile(fullgraph=True)` against the module itself."""
    torch.compiler.reset()
    module = subject.build()
    expected = run_on(module, subject.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        fast: Any = torch.compile(module, fullgraph=True)
        found = run_on(fast, subject.inputs)
    return differing_run(found, expected, COMPILED)


def _quiet() -> warnings.catch_warnings:
    """Without what torch says of its own forward mode and of its older transforms."""
    return warnings.catch_warnings(action="ignore")
