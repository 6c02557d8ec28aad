"""A chain of layers: each maps vectors to vectors, with sizes and parameters of its own and a derived backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from codegen.runtime.choices import one_of
from codegen.runtime.forward_mode import pushforward
from codegen.runtime.precision import lowered

Needs = tuple[bool, ...]
Gradients = tuple[Tensor | None, ...]


class LayerRule(NamedTuple):
    """A layer as functions.

    parameters: name and shape of each, where "in" and "out" stand for the sizes of input and output.
    zeros: names of the parameters that start at zero; the others are uniform in +-1/sqrt(in), as torch.nn.Linear's.
    forward: (x, parameters) -> (output, further values that the backward reads).
    backward: (needs, cotangent of the output, x, parameters, all that `forward` returned) -> cotangents of x and the
        parameters; None where the slope of the layer is zero almost everywhere: its output has no gradient.
    """

    parameters: tuple[tuple[str, tuple[str | int, ...]], ...]
    zeros: tuple[str, ...]
    forward: Callable[..., tuple[Tensor, ...]]
    backward: Callable[..., Gradients] | None


class DerivedLayer(torch.autograd.Function):
    """One layer with the derived backward.

    Second derivatives differentiate that backward; transforms go through the plain form.
    """

    @staticmethod
    def forward(rule: LayerRule, *values: Tensor) -> tuple[Tensor, ...]:
        return rule.forward(*values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.rule, *values = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*values, *output)
        ctx.save_for_forward(*values)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> Gradients:
        """The derived sweep; second derivatives send cotangents to what it read as well."""
        rule: LayerRule = ctx.rule
        count = 1 + len(rule.parameters)
        tensors = ctx.saved_tensors
        values, found = tensors[:count], tensors[count:]
        if all(bar is None for bar in bars):
            return (None,) * (1 + count)
        if any(bar is not None for bar in bars[1:]):
            full = tuple(torch.zeros_like(v) if bar is None else bar for v, bar in zip(found, bars, strict=True))
            return (None, *torch.func.vjp(rule.forward, *values)[1](full))
        assert rule.backward is not None
        return (None, *rule.backward(ctx.needs_input_grad[1:], bars[0], *values, *found))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], rule: LayerRule, *values: Tensor) -> tuple[Any, Any]:
        outputs = torch.vmap(rule.forward, in_dims[1:], randomness=info.randomness)(*values)
        return outputs, tuple(0 for _ in outputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        values = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(values, tangents[1:], strict=True))
        pushed: tuple[Tensor, ...] = pushforward(ctx.rule.forward, values, moves)
        return pushed


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
            raise TypeError(f"{self.owner}: x is a {type(x).__name__}; allowed: a Tensor")
        if not x.dim() or x.shape[-1] != self.sizes[0]:
            read = f"x has shape {tuple(x.shape)}"
            raise ValueError(f"{self.owner}: {read}; allowed: last axis of size {self.sizes[0]}")
        for rule, holder in zip(self.rules, self.holders(), strict=True):
            x = self._layer(rule, x, [getattr(holder, name) for name, _ in rule.parameters])
        return x

    def _layer(self, rule: LayerRule, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """One layer, in the precision of autocast where that is on."""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            with torch.autocast(device, enabled=False):
                return self._run(rule, lowered(x, dtype), *(lowered(value, dtype) for value in parameters))
        for (name, _), value in zip(rule.parameters, parameters, strict=True):
            if value.dtype != x.dtype:
                raise TypeError(
                    f"{self.owner}: x has dtype {x.dtype}, and {name} has {value.dtype}; allowed: the same dtype"
                )
        return self._run(rule, x, *parameters)

    def _run(self, rule: LayerRule, *values: Tensor) -> Tensor:
        if rule.backward is None or self.gradient == "autograd" or torch.compiler.is_compiling():
            return rule.forward(*values)[0]
        outputs: tuple[Tensor, ...] = DerivedLayer.apply(rule, *values)
        return outputs[0]

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
