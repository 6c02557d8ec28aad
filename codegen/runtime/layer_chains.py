"""Blocks that are chains of torch's own layers: value and pullback without a graph, which costs as much as a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from codegen.runtime.fused_layers import linear_tanh

Kept = tuple[Tensor | None, Tensor | None]
"""Of a layer: the point of its linear map, and what the slope of its function is taken at."""

SLOPES: dict[type[nn.Module], tuple[bool, Callable[[Tensor, Tensor], Tensor]]] = {
    nn.Tanh: (True, torch.ops.aten.tanh_backward.default),
    nn.Sigmoid: (True, torch.ops.aten.sigmoid_backward.default),
    nn.ReLU: (True, lambda bar, value: torch.ops.aten.threshold_backward(bar, value, 0)),
    nn.SiLU: (False, torch.ops.aten.silu_backward.default),
}
"""Of elementwise layers: whether the pullback reads the value or the point, and pullback(bar, what it reads)."""


class ChainLayer(NamedTuple):
    """A linear layer (`slope` is None), a function (no parameters), or the one after the other.

    Parameters, weight first, stand with their places in all parameters.
    """

    run: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor] | None
    keeps_value: bool
    parameters: tuple[tuple[int, Tensor], ...]


class Linearized(Protocol):
    """A value with its pullback."""

    @property
    def value(self) -> Tensor:
        """What the call gave."""

    def pull_back(
        self, bar: Tensor, needed: Callable[[int], bool]
    ) -> tuple[tuple[Tensor | None, ...], list[tuple[int, Tensor | None]]]:
        """Cotangents of the points, and those of the parameters that are needed, with their places."""


class ChainCall(NamedTuple):
    """A call of a chain with what its pullback reads of each layer."""

    value: Tensor
    points: tuple[Any, ...]
    chain: tuple[ChainLayer, ...]
    kept: list[Kept]

    def pull_back(
        self, bar: Tensor, needed: Callable[[int], bool]
    ) -> tuple[tuple[Tensor | None, ...], list[tuple[int, Tensor | None]]]:
        """Cotangents of the points, and those of the parameters that are needed, with their places."""
        bar = bar.to(self.value.dtype)
        found: list[tuple[int, Tensor | None]] = []
        for layer, (point, at) in zip(reversed(self.chain), reversed(self.kept), strict=True):
            if layer.slope is not None:
                assert at is not None, "what the slope is taken at is kept"
                bar = layer.slope(bar, at)
            if point is None:
                continue
            rows = bar.reshape(-1, bar.shape[-1])
            (place, weight), *bias = layer.parameters
            if needed(place):
                found.append((place, rows.mT @ point.reshape(-1, point.shape[-1])))
            found += [(place, rows.sum(0)) for place, _ in bias if needed(place)]
            bar = bar @ weight
        times = [torch.zeros_like(time) if isinstance(time, Tensor) else None for time in self.points[:-1]]
        return (*times, bar), found


def hooks_everywhere() -> bool:
    """Whether hooks on all modules or on all saved tensors are to see what a call does."""
    return any((torch._C._autograd._top_saved_tensors_default_hooks(True), nn.modules.module._has_any_global_hook()))


def run_chain(chain: tuple[ChainLayer, ...], x: Tensor, kept: list[Kept] | None = None) -> Tensor:
    """The value; what the pullback reads goes into `kept`."""
    for layer in chain:
        value = layer.run(x)
        if kept is not None:
            at = None if layer.slope is None else value if layer.keeps_value else x
            kept.append((x if layer.parameters else None, at))
        x = value
    return x


def chain_of(module: nn.Module, places: Mapping[int, int]) -> tuple[ChainLayer, ...] | None:
    """The layers that a call of the module runs through; None where it is no plain chain or a hook may see the call.

    `places`: of every parameter by its id, the place in all parameters.
    """
    own = vars(module)
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    if hooked or "forward" in own or own.get("inplace"):
        return None
    kind = type(module)
    if kind in SLOPES:
        keeps_value, slope = SLOPES[kind]
        return (ChainLayer(module.forward, slope, keeps_value, ()),)
    if kind is nn.Linear:
        parameters = tuple((places[id(one)], one) for one in own["_parameters"].values() if one is not None)
        return (ChainLayer(module.forward, None, False, parameters),)
    if kind is not nn.Sequential:
        return None
    found: list[ChainLayer] = []
    for child in own["_modules"].values():
        layers = chain_of(child, places)
        if layers is None:
            return None
        found += layers
    return _with_tanh(found) or None


def _with_tanh(layers: list[ChainLayer]) -> tuple[ChainLayer, ...]:
    """The layers with every tanh behind a linear layer joined to it."""
    slope_of_tanh = SLOPES[nn.Tanh][1]
    found: list[ChainLayer] = []
    for layer in layers:
        if layer.slope is slope_of_tanh and found and found[-1].slope is None:
            weight, *bias = (one for _, one in found[-1].parameters)
            run = partial(linear_tanh, weight=weight, bias=bias[0] if bias else None)
            found[-1] = ChainLayer(run, slope_of_tanh, True, found[-1].parameters)
        else:
            found.append(layer)
    return tuple(found)
