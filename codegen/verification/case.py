"""One emitted module under one choice of its options, with everything the checks need to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Build = Callable[[Mapping[str, Tensor], str, str], nn.Module]
Call = Callable[[nn.Module, Sequence[Tensor]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """A module under one choice of options.

    Attributes:
        label: the choice, as in `start='plain'`; empty where there is none.
        build: (tensors given to the constructor, memory, gradient) -> module in float64 with its fixed parameters.
        constructor: tensors given to the constructor that have gradients, by name.
        inputs: tensors given to the call, by name.
        call: (module, inputs) -> all its outputs.
        reference: computes the same outputs without the module.
        memory: memory modes it has, the default first.
        kinks: whether a function of it has one.
        differentiable: whether it has a gradient, and what is called its gradient is one.
        solves: whether its steps are equations.
        rank: number of batch axes.
        axes: input -> the first of its batch axes, where that is not 0; None where it has none.
        sequence: whether the first input is a sequence, its time before its batch, and the others are its state.
    """

    label: str
    build: Build
    constructor: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    call: Call
    reference: Callable[[], list[Tensor]]
    memory: tuple[str, ...]
    kinks: bool = False
    differentiable: bool = True
    solves: bool = False
    rank: int = 1
    axes: Mapping[str, int | None] = field(default_factory=dict)
    sequence: bool = False

    def titled(self, check: str) -> str:
        """Name of a check of this case."""
        return f"{check} [{self.label}]" if self.label else check


@dataclass(frozen=True)
class Found:
    """Outputs of a module and the gradients of the functional of them, by name of the tensor."""

    outputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    gradients: tuple[Tensor | None, ...]


class Outputs(nn.Module):
    """All outputs of a module as one call, so that its parameters can be replaced around it."""

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Call it."""
        return self.call(self.module, inputs)


def pure(case: Case, memory: str, gradient: str) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """The module as a function of all its tensors, and their values: constructor's, inputs, parameters."""
    sample = Outputs(case.build(case.constructor, memory, gradient), case.call)
    names = [name for name, _ in sample.named_parameters()]
    first, second = len(case.constructor), len(case.constructor) + len(case.inputs)

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(case.constructor, tensors[:first], strict=True))
        module = Outputs(case.build(given, memory, gradient), case.call) if given else sample
        parameters = dict(zip(names, tensors[second:], strict=True))
        outputs: tuple[Tensor, ...] = torch.func.functional_call(module, parameters, tensors[first:second])
        return outputs

    values = [*case.constructor.values(), *case.inputs.values(), *sample.parameters()]
    return function, tuple(value.detach().clone() for value in values)
