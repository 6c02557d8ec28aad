"""What a property is tested on: one module under one choice of its options and one memory mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from codegen.verification.case import Case, Found, Outputs
from codegen.verification.gradient_checks import EXACT, tolerance_of
from codegen.verification.measures import Gradients, worst_difference

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Subject:
    """A module to be tested.

    Attributes:
        reference: where its spec is found: an id, or a file.
        text: the emitted file.
        loaded: the same, imported.
        place: which of the usual cases (of the small ones, where `small`) it is.
        case: that case.
        memory: one of its memory modes.
        small: whether the case has one sample and few numbers.
    """

    reference: str
    text: str
    loaded: ModuleType
    place: int
    case: Case
    memory: str
    small: bool = False

    @property
    def rounds(self) -> bool:
        """Whether its states are rounded."""
        return self.memory == "exact"

    @property
    def tolerance(self) -> float:
        """Of results that are the same but for rounding."""
        return tolerance_of(self.memory)

    @property
    def label(self) -> str:
        """The choice, as a user writes it."""
        memory = [f"memory={self.memory!r}"] if len(self.case.memory) > 1 else []
        return ", ".join([*([self.case.label] if self.case.label else []), *memory])

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Inputs of the case."""
        return self.case.inputs

    @property
    def axes(self) -> tuple[int | None, ...]:
        """The first batch axis of each input."""
        return tuple(self.case.axes.get(name, 0) for name in self.inputs)

    @property
    def batch(self) -> int:
        """Samples along the first batch axis."""
        sizes = [x.shape[axis] for x, axis in zip(self.inputs.values(), self.axes, strict=True) if axis is not None]
        return sizes[0] if sizes else 0

    def build(self, gradient: str = "derived") -> nn.Module:
        """The module in float64, the same at every call; calling it gives all its outputs."""
        return Outputs(self.case.build({}, self.memory, gradient), self.case.call)


def smooth(outputs: Sequence[Tensor]) -> Tensor:
    """A nonlinear functional that is a sum over all numbers, so also over samples."""
    return torch.stack([torch.sin(1.7 * output + 0.3).sum() for output in outputs]).sum()


def leaves_of(inputs: Sequence[Tensor]) -> Tensors:
    """Copies of the inputs that ask for their gradients."""
    return tuple(x.detach().clone().requires_grad_() for x in inputs)


def run(module: nn.Module, inputs: Mapping[str, Tensor]) -> Found:
    """Outputs and the gradients of the functional in all inputs and parameters that ask for one."""
    outputs: Tensors = module(*inputs.values())
    named = {**inputs, **dict(module.named_parameters())}
    wanted = {name: value for name, value in named.items() if value.requires_grad}
    found = gradients_in(outputs, list(wanted.values()))
    return Found(tuple(output.detach() for output in outputs), tuple(wanted), found)


def gradients_in(outputs: Tensors, leaves: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of the functional of outputs in leaves; none at all where no output has one."""
    if not any(output.requires_grad for output in outputs):
        return (None,) * len(leaves)
    return torch.autograd.grad(smooth(outputs), leaves, allow_unused=True)


def run_on(module: nn.Module, inputs: Mapping[str, Tensor]) -> Found:
    """The same with copies of the inputs, each of which asks for its gradient."""
    return run(module, dict(zip(inputs, leaves_of(list(inputs.values())), strict=True)))


def function_of(subject: Subject, gradient: str = "derived") -> tuple[Callable[..., Tensors], Tensors, Tensors]:
    """The module as a function of inputs and parameters; values of both."""
    module = subject.build(gradient)
    names = [name for name, _ in module.named_parameters()]
    count = len(subject.inputs)

    def function(*tensors: Tensor) -> Tensors:
        parameters = dict(zip(names, tensors[count:], strict=True))
        outputs: Tensors = torch.func.functional_call(module, parameters, tensors[:count])
        return outputs

    inputs = tuple(x.clone() for x in subject.inputs.values())
    return function, inputs, tuple(value.detach().clone() for value in module.parameters())


def differing(found: Gradients, expected: Gradients, tolerance: float = EXACT, what: str = "tensor") -> str | None:
    """What differs by more than the tolerance, if anything does; only the size of an error is told."""
    names = [f"{what} {place}" for place in range(len(expected))]
    if not names or not (worst := worst_difference(found, expected, names)).value > tolerance:
        return None
    if worst.shown:
        return worst.detail
    return f"{worst.detail.partition(',')[0].removeprefix('largest at ')} is off by {size_of(worst.value)}"


def size_of(error: float) -> str:
    """Its power of ten, which is the same on every machine."""
    if not math.isfinite(error):
        return "more than anything"
    return f"up to 1e{math.ceil(math.log10(error)):+03d}" if error else "nothing"


def differing_run(found: Found, expected: Found, tolerance: float = EXACT) -> str | None:
    """The same for outputs and gradients."""
    outputs = differing(found.outputs, expected.outputs, tolerance, "output")
    return outputs or differing(found.gradients, expected.gradients, tolerance, "gradient")
