"""A chain of layers: each maps vectors to vectors, with sizes and parameters of its own and a derived backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codegen.runtime.choices import one_of
from codegen.runtime.derived_map import Gradients, MapRule, Needs, run_map
from codegen.runtime.precision import lowered


class LayerRule(NamedTuple):
    """A layer as functions.

    parameters: name and shape of each, where "in" and "out" stand for the sizes of input and output.
    zeros: names of the parameters that start at zero; the others are uniform in +-1/sqrt(in), as torch.nn.Linear's.
    forward: (x, parameters) -> (output, further values that the backward reads).
    returned: how many tensors that are.
    backward: (needs, cotangent of the output, x, parameters, all that `forward` returned) -> cotangents of x and the
        parameters; None where the slope of the layer is zero almost everywhere: its output has no gradient.
    """

    parameters: tuple[tuple[str, tuple[str | int, ...]], ...]
    zeros: tuple[str, ...]
    forward: Callable[..., tuple[Tensor, ...]]
    returned: int
    backward: Callable[..., Gradients] | None


def run_layers(rules: Sequence[LayerRule], *values: Tensor) -> tuple[Tensor, ...]:
    """The plain form: x and the parameters of all layers -> what all layers return, the last one first."""
    x, rest = values[0], values[1:]
    found: tuple[Tensor, ...] = ()
    for rule in rules:
        count = len(rule.parameters)
        returned = rule.forward(x, *rest[:count])
        rest, x = rest[count:], returned[0]
        found = (*returned, *found)
    return found


def layers_backward(rules: Sequence[LayerRule], needs: Needs, bars: tuple[Tensor], *tensors: Tensor) -> Gradients:
    """The derived sweep: cotangents of x and all parameters from that of the output, the last layer first."""
    place = 1 + sum(len(rule.parameters) for rule in rules)
    values, found = tensors[:place], tensors[place:]
    gradients: list[Tensor | None] = [None] * place
    sent: Tensor | None = bars[0]
    for n in reversed(range(len(rules))):
        rule, end = rules[n], place
        place -= len(rule.parameters)
        if sent is None or rule.backward is None:
            break
        returned, found = found[: rule.returned], found[rule.returned :]
        x = found[0] if n else values[0]
        asked = (any(needs[:place]), *needs[place:end])
        sent, *gradients[place:end] = rule.backward(asked, sent, x, *values[place:end], *returned)
    else:
        gradients[0] = sent
    return tuple(gradients)


class LayerNet(nn.Module):
    """Layers one after the other, the last one by a rule of its own.

    With `hidden`, the parameters of layer k are those of `layers[k]`; a single layer holds its own.
    """

    def __init__(
        self,
        hidden: LayerRule | None,
        last: LayerRule,
        sizes: Sequence[int],
        *,
        gradient: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.owner = type(self).__name__
        self.sizes = checked_sizes(self.owner, sizes)
        self.gradient = one_of(f"{self.owner}: gradient", gradient, ("derived", "autograd"))
        self.rules = (last,) if hidden is None else (*[hidden] * (len(self.sizes) - 2), last)
        self.layers = None if hidden is None else nn.ModuleList(nn.Module() for _ in self.rules)
        for rule, holder, size_in, size_out in zip(
            self.rules, self.holders(), self.sizes[:-1], self.sizes[1:], strict=True
        ):
            ends = {"in": size_in, "out": size_out}
            for name, shape in rule.parameters:
                axes = [ends[size] if isinstance(size, str) else size for size in shape]
                values = torch.empty(axes, device=device, dtype=dtype)
                holder.register_parameter(name, nn.Parameter(values))
        self.reset_parameters()

    def holders(self) -> list[nn.Module]:
        """The module that holds the parameters of each layer."""
        return [self] if self.layers is None else list(self.layers)

    def reset_parameters(self) -> None:
        """Draw all parameters afresh, as torch.nn.Linear does."""
        for rule, holder, size_in in zip(self.rules, self.holders(), self.sizes[:-1], strict=True):
            bound = size_in**-0.5
            for name, _ in rule.parameters:
                parameter = holder.get_parameter(name)
                if name in rule.zeros:
                    nn.init.zeros_(parameter)
                else:
                    nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., sizes[0]) -> the output of the last layer, (..., sizes[-1])."""
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.owner}: x is of type {type(x).__name__}; allowed: a Tensor")
        if not x.dim() or x.shape[-1] != self.sizes[0]:
            read = f"x has shape {tuple(x.shape)}"
            raise ValueError(f"{self.owner}: {read}; allowed: last axis of size {self.sizes[0]}")
        held = zip(self.rules, self.holders(), strict=True)
        named = [(name, getattr(holder, name)) for rule, holder in held for name, _ in rule.parameters]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            with torch.autocast(device, enabled=False):
                return self._run(lowered(x, dtype), [lowered(value, dtype) for _, value in named])
        for name, value in named:
            if value.dtype != x.dtype:
                raise TypeError(
                    f"{self.owner}: x has dtype {x.dtype}, and {name} has {value.dtype}; allowed: the same dtype"
                )
        return self._run(x, [value for _, value in named])

    def _run(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """What comes before the last layer without a slope hears of no gradient and is run in the plain form."""
        flat = [n for n, rule in enumerate(self.rules, 1) if rule.backward is None]
        plain = self.gradient == "autograd" or torch.compiler.is_compiling()
        cut = len(self.rules) if plain else max(flat, default=0)
        before, after = self.rules[:cut], self.rules[cut:]
        count = sum(len(rule.parameters) for rule in before)
        if before:
            x = run_layers(before, x, *parameters[:count])[0]
        if after:
            rule = MapRule(partial(run_layers, after), 1, partial(layers_backward, after))
            (x,) = run_map(rule, True, x, *parameters[count:])
        return x

    def extra_repr(self) -> str:
        shown = ", ".join(map(str, self.sizes)) if self.layers is None else str(list(self.sizes))
        return shown + ("" if self.gradient == "derived" else f", gradient={self.gradient!r}")


def checked_sizes(owner: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the vectors before, between and after the layers."""
    allowed = "two or more whole numbers, 1 or more: features in, of every hidden layer, and out"
    if not isinstance(sizes, list | tuple):
        raise TypeError(f"{owner}: sizes={sizes!r}; allowed: {allowed}")
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int) or size < 1]
    if wrong or len(sizes) < 2:
        raise ValueError(f"{owner}: sizes={list(sizes)!r}; allowed: {allowed}")
    return tuple(sizes)
