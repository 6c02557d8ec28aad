"""A map as one node of the graph, with its derived backward; second derivatives and transforms by the plain form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.forward_mode import pushforward

Needs = tuple[bool, ...]
Gradients = tuple[Tensor | None, ...]


class MapRule(NamedTuple):
    """A map as functions.

    forward: (values) -> (outputs, further values that the backward reads).
    outputs: how many of them are outputs.
    backward: (needs, cotangents of the outputs, values, all that `forward` returned) -> cotangents of the values; None
        where nothing has one.
    """

    forward: Callable[..., tuple[Tensor, ...]]
    outputs: int
    backward: Callable[..., Gradients] | None


class DerivedMap(torch.autograd.Function):
    """The outputs of a rule with the derived backward, which is differentiated for second derivatives."""

    @staticmethod
    def forward(rule: MapRule, *values: Tensor) -> tuple[Tensor, ...]:
        """All that the rule returns: what its backward reads has gradients, too."""
        return rule.forward(*values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep values and outputs."""
        ctx.rule, *values = inputs
        ctx.count = len(values)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*values, *output)
        ctx.save_for_forward(*values)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> Gradients:
        """The derived sweep; second derivatives send cotangents to what it read as well."""
        tensors, rule = ctx.saved_tensors, ctx.rule
        values, found = tensors[: ctx.count], tensors[ctx.count :]
        if all(bar is None for bar in bars) or rule.backward is None:
            return (None,) * (1 + ctx.count)
        others = any(bar is not None for bar in bars[rule.outputs :])
        asked = len(bars) if others else rule.outputs
        full = tuple(
            torch.zeros_like(v) if bar is None else bar for v, bar in zip(found[:asked], bars[:asked], strict=True)
        )
        if others:
            return (None, *torch.func.vjp(rule.forward, *values)[1](full))
        return (None, *rule.backward(ctx.needs_input_grad[1:], full, *values, *found))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], rule: MapRule, *values: Tensor) -> tuple[Any, Any]:
        """The plain form."""
        outputs = torch.vmap(rule.forward, in_dims[1:], randomness=info.randomness)(*values)
        return outputs, tuple(0 for _ in outputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        """From pullbacks of the plain form."""
        values = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(values, tangents[1:], strict=True))
        pushed: tuple[Tensor, ...] = pushforward(ctx.rule.forward, values, moves)
        return pushed


def run_map(rule: MapRule, derived: bool, *values: Tensor) -> tuple[Tensor, ...]:
    """The outputs of a rule; with the derived backward unless torch compiles, which takes the plain form."""
    plain = not derived or torch.compiler.is_compiling()
    found: tuple[Tensor, ...] = rule.forward(*values) if plain else DerivedMap.apply(rule, *values)
    return found[: rule.outputs]
