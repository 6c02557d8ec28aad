"""Checks of an emitted loss and of its derived cotangent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from codegen.verification.gradient_checks import EXACT
from codegen.verification.measures import Measured, row, uniform, worst_difference
from codegen.verification.report import Row
from codegen.verification.step_setting import numeric
from derive.evaluator import evaluate, value_of
from derive.program import symbols_of
from derive.symbols import Quantity, Shape, by_name
from derive.systems import Loss

BATCH = (2, 3)
SIZE, OTHER_SIZE = 4, 3


def loss_rows(spec: str, loss: Loss, module: ModuleType, name: str = "") -> Iterator[Row]:
    """Value, cotangent, weights, and class indices where the loss takes them; `name` is that of one of several."""
    shown = f" [divergence={name!r}]" if name else ""
    chosen = {"divergence": name} if name else {}
    value, cotangent = partial(module.loss, **chosen), partial(module.loss_cotangent, **chosen)

    def checked(title: str, check: Callable[..., Measured]) -> Row:
        return row(spec, title + shown, EXACT, partial(check, loss, value, cotangent))

    yield checked("loss against the reference evaluator", _value)
    yield checked("loss_cotangent against autograd of loss", _cotangent)
    yield checked("weighed loss and its cotangent against sums over samples", _weighed)
    if loss.readout is not None:
        yield checked("loss with a read-out against the reference evaluator", _readout)
        yield checked("loss_cotangent with a read-out against autograd of loss", _readout_cotangent)
    if loss.classes:
        yield checked("loss of class indices against one-hot targets", _classes)


Function = Callable[..., Tensor]


def _value(loss: Loss, value: Function, cotangent: Function) -> Measured:
    """The sum over the batch, sample by sample."""
    output, target = _sample(loss)
    return worst_difference([value(output, target)], [_summed(loss, output, target)], ["loss"])


def _summed(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    program = loss.program()
    total = 0.0
    for o, y in zip(_samples(output, loss.output.shape), _samples(target, loss.target.shape), strict=True):
        known = evaluate(program, {loss.output: numeric(o), loss.target: numeric(y)})
        total += float(np.sum(known[program.outputs[0]]))
    return torch.tensor(total, dtype=torch.float64)


def _cotangent(loss: Loss, value: Function, cotangent: Function) -> Measured:
    output, target = _sample(loss)
    leaf = output.clone().requires_grad_()
    expected = torch.autograd.grad(value(leaf, target), leaf)
    return worst_difference([cotangent(output, target)], expected, ["cotangent"])


def _weighed(loss: Loss, value: Function, cotangent: Function) -> Measured:
    """A weight for each sample, with a zero among them."""
    output, target = _sample(loss)
    weights = torch.arange(torch.Size(BATCH).numel(), dtype=output.dtype).reshape(BATCH)
    samples = _samples(output, loss.output.shape), _samples(target, loss.target.shape)
    triples = list(zip(weights.flatten(), *samples, strict=True))
    expected = [sum((w * value(o, y) for w, o, y in triples), torch.zeros((), dtype=output.dtype))]
    expected.append(torch.stack([w * cotangent(o, y) for w, o, y in triples]).reshape(output.shape))
    found = [function(output, target, weights=weights) for function in (value, cotangent)]
    return worst_difference(found, expected, ["loss", "cotangent"])


def _readout(loss: Loss, value: Function, cotangent: Function) -> Measured:
    """The output is computed from the state by the evaluator, sample by sample."""
    assert loss.readout is not None
    state, values = _readout_sample(loss)
    _, target = _sample(loss)
    numbers = {q: numeric(tensor) for q, tensor in values.items()}
    outputs = [value_of(loss.readout, {**numbers, state[0]: numeric(x)}) for x in state[1].flatten(0, len(BATCH) - 1)]
    output = torch.from_numpy(np.stack(outputs)).reshape(target.shape)
    found = value(state[1], target, **{q.name: tensor for q, tensor in values.items()})
    return worst_difference([found], [_summed(loss, output, target)], ["loss"])


def _readout_cotangent(loss: Loss, value: Function, cotangent: Function) -> Measured:
    (_, x), values = _readout_sample(loss)
    _, target = _sample(loss)
    parameters = {q.name: tensor for q, tensor in values.items()}
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(value(leaf, target, **parameters), leaf)
    return worst_difference([cotangent(x, target, **parameters)], expected, ["cotangent"])


def _readout_sample(loss: Loss) -> tuple[tuple[Quantity, Tensor], dict[Quantity, Tensor]]:
    """The state that is read out, with a batch, and the parameters of the read-out."""
    assert loss.readout is not None
    generator = torch.Generator().manual_seed(37)
    quantities = by_name(symbols_of(loss.readout))
    (state,) = (q for q in quantities if q.role.batched)
    sizes = {str(size): SIZE for size in loss.output.shape}
    values = {
        q: uniform([*(BATCH if q is state else ()), *_sizes(q.shape, sizes, OTHER_SIZE)], -1.0, 1.0, generator)
        for q in quantities
    }
    return (state, values.pop(state)), values


def _classes(loss: Loss, value: Function, cotangent: Function) -> Measured:
    output, _ = _sample(loss)
    classes = torch.arange(torch.Size(BATCH).numel()).reshape(BATCH) % SIZE
    one_hot = torch.nn.functional.one_hot(classes, SIZE).to(output.dtype)
    found = [function(output, classes) for function in (value, cotangent)]
    expected = [function(output, one_hot) for function in (value, cotangent)]
    return worst_difference(found, expected, ["loss", "cotangent"])


def _sample(loss: Loss) -> tuple[Tensor, Tensor]:
    """Outputs of both signs and targets between 0 and 1."""
    generator = torch.Generator().manual_seed(31)
    output = uniform([*BATCH, *_sizes(loss.output.shape)], -2.0, 2.0, generator)
    return output, uniform([*BATCH, *_sizes(loss.target.shape)], 0.0, 1.0, generator)


def _sizes(shape: Shape, known: Mapping[str, int] | None = None, other: int = SIZE) -> list[int]:
    return [size if isinstance(size, int) else (known or {}).get(size, other) for size in shape]


def _samples(values: Tensor, shape: Shape) -> Tensor:
    return values.reshape(-1, *_sizes(shape))
