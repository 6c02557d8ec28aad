"""Checks of an emitted loss and of its derived cotangent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from codegen.verification.gradient_checks import EXACT
from codegen.verification.measures import Measured, row, uniform, worst_difference
from codegen.verification.report import Row
from codegen.verification.step_setting import numeric
from derive.evaluator import evaluate
from derive.symbols import Shape
from derive.systems import Loss

BATCH = (2, 3)
SIZE = 4


def loss_rows(spec: str, loss: Loss, module: ModuleType) -> Iterator[Row]:
    """Value, cotangent, and class indices where the loss takes them."""
    yield row(spec, "loss against the reference evaluator", EXACT, partial(_value, loss, module))
    yield row(spec, "loss_cotangent against autograd of loss", EXACT, partial(_cotangent, loss, module))
    if loss.classes:
        yield row(spec, "loss of class indices against one-hot targets", EXACT, partial(_classes, loss, module))


def _value(loss: Loss, module: ModuleType) -> Measured:
    """The sum over the batch, sample by sample."""
    output, target = _sample(loss)
    program = loss.program()
    total = 0.0
    for o, y in zip(_samples(output, loss.output.shape), _samples(target, loss.target.shape), strict=True):
        known = evaluate(program, {loss.output: numeric(o), loss.target: numeric(y)})
        total += float(known[program.outputs[0]])
    expected = torch.tensor(total, dtype=torch.float64)
    return worst_difference([module.loss(output, target)], [expected], ["loss"])


def _cotangent(loss: Loss, module: ModuleType) -> Measured:
    output, target = _sample(loss)
    leaf = output.clone().requires_grad_()
    expected = torch.autograd.grad(module.loss(leaf, target), leaf)
    return worst_difference([module.loss_cotangent(output, target)], expected, ["cotangent"])


def _classes(loss: Loss, module: ModuleType) -> Measured:
    output, _ = _sample(loss)
    classes = torch.arange(torch.Size(BATCH).numel()).reshape(BATCH) % SIZE
    one_hot = torch.nn.functional.one_hot(classes, SIZE).to(output.dtype)
    found = [function(output, classes) for function in (module.loss, module.loss_cotangent)]
    expected = [function(output, one_hot) for function in (module.loss, module.loss_cotangent)]
    return worst_difference(found, expected, ["loss", "cotangent"])


def _sample(loss: Loss) -> tuple[Tensor, Tensor]:
    """Outputs of both signs and targets between 0 and 1."""
    generator = torch.Generator().manual_seed(31)
    output = uniform([*BATCH, *_sizes(loss.output.shape)], -2.0, 2.0, generator)
    return output, uniform([*BATCH, *_sizes(loss.target.shape)], 0.0, 1.0, generator)


def _sizes(shape: Shape) -> list[int]:
    return [size if isinstance(size, int) else SIZE for size in shape]


def _samples(values: Tensor, shape: Shape) -> Tensor:
    return values.reshape(-1, *_sizes(shape))
