"""Batches of one sample, of none, samples without a batch; sequences step by step; memory that is not contiguous."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from codegen.verification.properties.subject import (
    Subject,
    Tensors,
    differing,
    differing_run,
    gradients_in,
    leaves_of,
    run,
    run_on,
)

Piece = tuple[int, ...]
Cut = Callable[[Tensor, int, Piece], Tensor]


def batch_of_one(subject: Subject) -> str | None:
    """Every sample by itself, its batch axis kept."""
    return _sample_by_sample(subject, 1, lambda x, axis, piece: x.narrow(axis, piece[0], 1))


def unbatched(subject: Subject) -> str | None:
    """Every sample by itself, without batch axes."""

    def cut(x: Tensor, axis: int, piece: Piece) -> Tensor:
        for place in piece:
            x = x.select(axis, place)
        return x

    return _sample_by_sample(subject, subject.case.rank, cut)


def _sample_by_sample(subject: Subject, rank: int, cut: Cut) -> str | None:
    """Outputs and gradients of inputs against those of the whole batch, and the sum of those of parameters."""
    module = subject.build()
    whole, axes = run_on(module, subject.inputs), subject.axes
    count, places = len(subject.inputs), output_axes(subject)
    sums: list[Tensor | None] = [None] * (len(whole.gradients) - count)
    for piece in _pieces(subject, rank):
        found = run_on(module, _cut(subject.inputs, axes, piece, cut))
        pairs = zip(whole.outputs, places, strict=True)
        wanted = [x if axis is None else cut(x, axis, piece) for x, axis in pairs]
        of_inputs = list(zip(found.gradients, whole.gradients, axes, strict=False))[:count]
        expected = [None if g is None or axis is None else cut(g, axis, piece) for _, g, axis in of_inputs]
        own = [None if axis is None else g for g, _, axis in of_inputs]
        reason = differing(found.outputs, wanted, what="output") or differing(own, expected, what="gradient of input")
        if reason is not None:
            return reason
        sums = [_plus(total, value) for total, value in zip(sums, found.gradients[count:], strict=True)]
    return differing(sums, whole.gradients[count:], what="gradient of parameter")


def _plus(total: Tensor | None, value: Tensor | None) -> Tensor | None:
    return value if total is None else total if value is None else total + value


def _pieces(subject: Subject, rank: int) -> Iterator[Piece]:
    batched = [(x, axis) for x, axis in zip(subject.inputs.values(), subject.axes, strict=True) if axis is not None]
    x, axis = batched[0]
    return itertools.product(*(range(size) for size in x.shape[axis : axis + rank]))


def _cut(inputs: Mapping[str, Tensor], axes: Sequence[int | None], piece: Piece, cut: Cut) -> dict[str, Tensor]:
    pairs = zip(inputs.items(), axes, strict=True)
    return {name: x if axis is None else cut(x, axis, piece) for (name, x), axis in pairs}


def output_axes(subject: Subject) -> list[int | None]:
    """The batch axis of each output: where it grows with the batch."""
    module = subject.build()
    twice = [
        x if axis is None else torch.cat((x, x), axis)
        for x, axis in zip(subject.inputs.values(), subject.axes, strict=True)
    ]
    with torch.no_grad():
        pairs = list(zip(module(*subject.inputs.values()), module(*twice), strict=True))
    return [next((n for n in range(x.dim()) if x.shape[n] != y.shape[n]), None) for x, y in pairs]


def empty_batch(subject: Subject) -> str | None:
    """A batch of none: outputs without numbers, gradients of parameters that are zero."""
    module = subject.build()
    whole, places = run_on(module, subject.inputs), output_axes(subject)
    found = run_on(module, _cut(subject.inputs, subject.axes, (), lambda x, axis, _: x.narrow(axis, 0, 0)))
    for place, (output, full, axis) in enumerate(zip(found.outputs, whole.outputs, places, strict=True)):
        shape = list(full.shape)
        if axis is not None:
            shape[axis] = 0
        if list(output.shape) != shape:
            return f"output {place} has shape {tuple(output.shape)}"
    count = len(subject.inputs)
    zero = [None if g is None else torch.zeros_like(g) for g in whole.gradients[count:]]
    return differing(found.gradients[count:], zero, what="gradient of parameter")


def one_step(subject: Subject) -> str | None:
    """A sequence of one step; and a whole one by calls with one step each, that pass the state on."""
    module = subject.build()
    x, *state = leaves_of(list(subject.inputs.values()))
    whole: Tensors = module(x, *state)
    output, carried = [], tuple(state)
    for step in x.split(1):
        first, *after = module(step, *carried)
        output.append(first)
        carried = tuple(after)
    stepped = (torch.cat(output), *carried)
    leaves = [x, *state, *module.parameters()]
    gradients = [gradients_in(each, leaves) for each in (stepped, whole)]
    return differing(stepped, whole, what="output") or differing(gradients[0], gradients[1], what="gradient")


def not_contiguous(subject: Subject) -> str | None:
    """Inputs with gaps, inputs that are one sample many times, and cotangents that are one number many times."""
    module = subject.build()
    gaps = {name: torch.stack((x, x + 1), -1)[..., 0].requires_grad_() for name, x in subject.inputs.items()}
    reason = differing_run(run(module, gaps), run_on(module, subject.inputs))
    if reason is not None:
        return reason
    first = _cut(subject.inputs, subject.axes, (), lambda x, axis, _: x.narrow(axis, 0, 1).expand_as(x))
    expanded = {name: x.detach().requires_grad_() for name, x in first.items()}
    reason = differing_run(run(module, expanded), run_on(module, first))
    if reason is not None:
        return reason
    leaves = [*leaves_of(list(subject.inputs.values())), *module.parameters()]
    outputs: Tensors = module(*leaves[: len(subject.inputs)])
    cotangents = [[x.new_ones(()).expand(x.shape) for x in outputs], [torch.ones_like(x) for x in outputs]]
    found = [torch.autograd.grad(outputs, leaves, each, allow_unused=True, retain_graph=True) for each in cotangents]
    return differing(found[0], found[1], what="gradient")
