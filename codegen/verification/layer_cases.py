"""Cases of chains of layers: one for each option of the spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.measures import uniform
from codegen.verification.step_setting import numeric
from derive.chains import Chain, input_of, parameters_of
from derive.evaluator import evaluate
from derive.program import Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity
from derive.systems import Spec

SIZES = (3, 4, 5, 2)
SMALL_SIZES = (2, 3, 2)
BATCH, SMALL_BATCH = (2, 8), (2,)


def layer_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """One case for each option, the first being the default."""
    sizes, batch = (SMALL_SIZES, SMALL_BATCH) if small else (SIZES, BATCH)
    chains = {str(name): system for name, system in spec.variants.items() if isinstance(system, Chain)}
    return [_case(kind, _Net(spec, option, chain, sizes), batch) for option, chain in chains.items()]


def starting_layers(kind: Callable[..., nn.Module], spec: Spec, given: Mapping[str, Any]) -> dict[Quantity, Tensor]:
    """The parameters of the first and the last layer of a fresh module of the default variant."""
    option, chain = next((str(name), one) for name, one in spec.variants.items() if isinstance(one, Chain))
    net = _Net(spec, option, chain, SIZES)
    return net.starting(kind(*net.arguments, **given).double())


def _case(kind: Callable[..., nn.Module], net: _Net, batch: Sequence[int]) -> Case:
    x = uniform((*batch, net.sizes[0]), -1.0, 1.0, torch.Generator().manual_seed(23))

    def build(_: Mapping[str, Tensor], memory: str, gradient: str) -> nn.Module:
        return net.build(kind, gradient)

    return Case(
        label=f"{net.spec.option}={net.option!r}" if net.option else "",
        build=build,
        constructor={},
        inputs={"x": x},
        call=lambda module, inputs: (module(*inputs),),
        reference=lambda: [net.reference(net.build(kind, "autograd"), x)],
        memory=("store",),
        rank=len(batch),
        differentiable=bool(reverse_sweep(net.chain.last).program.assignments),
    )


class _Net:
    """One variant of a chain with sizes: those given, or the first two where there is one layer."""

    def __init__(self, spec: Spec, option: str, chain: Chain, sizes: Sequence[int]) -> None:
        self.spec, self.option, self.chain = spec, option, chain
        ends = (input_of(chain.last).shape[0], chain.last.outputs[0].shape[0])
        single = [end if isinstance(end, int) else size for end, size in zip(ends, sizes, strict=False)]
        self.sizes = tuple(single if chain.hidden is None else sizes)
        named = [size for end, size in zip(ends, single, strict=True) if isinstance(end, str)]
        self.arguments = named if chain.hidden is None else [self.sizes]

    def build(self, kind: Callable[..., nn.Module], gradient: str) -> nn.Module:
        """The module in float64 with seeded random parameters."""
        option = {self.spec.option: self.option} if self.option else {}
        module = kind(*self.arguments, gradient=gradient, **option).double()
        generator = torch.Generator().manual_seed(29)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(uniform(parameter.shape, -1.2, 1.2, generator))
        return module

    def starting(self, module: nn.Module) -> dict[Quantity, Tensor]:
        """Parameters of the first layer of each kind."""
        first = {"last": "" if self.chain.hidden is None else f"layers.{len(self.sizes) - 2}.", "hidden": "layers.0."}
        found: dict[Quantity, Tensor] = {}
        for name, layer in self.chain.layers.items():
            found |= self._parameters(module, layer, first[name])
        return found

    def reference(self, module: nn.Module, x: Tensor) -> Tensor:
        """The output, sample by sample through the evaluator."""
        samples = [self._run(module, sample) for sample in x.reshape(-1, x.shape[-1])]
        return torch.from_numpy(np.stack(samples)).reshape(*x.shape[:-1], self.sizes[-1])

    def _run(self, module: nn.Module, sample: Tensor) -> np.ndarray:
        count = len(self.sizes) - 1
        value = sample.numpy()
        for place in range(count):
            hidden = self.chain.hidden is not None and place < count - 1
            layer = self.chain.layers["hidden" if hidden else "last"]
            prefix = "" if self.chain.hidden is None else f"layers.{place}."
            given = {q: numeric(p) for q, p in self._parameters(module, layer, prefix).items()}
            value = evaluate(layer, {**given, input_of(layer): value})[layer.outputs[0]]
        return value

    def _parameters(self, module: nn.Module, layer: Program, prefix: str) -> dict[Quantity, Tensor]:
        names: dict[Quantity, str] = {row: stack.name for stack in self.spec.stacks for row in stack.rows}
        return {q: module.get_parameter(f"{prefix}{names.get(q, q.name)}").detach() for q in parameters_of(layer)}
