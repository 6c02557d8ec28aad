r"""Measures of trained modules: gradients of the state at every step or layer, and state Jacobians along a sequence.

Everything goes through a module's own public interface: a recurrent layer is stepped through one input at a time, a
net of layers is watched while it runs. Emitted modules, `torch.nn.LSTM`, `GRU` and `RNN`, and `nn.Sequential` are
measured alike. Modules are neither changed nor moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from codegen.diagnostics_steps import SLOPELESS, States, Walk
from codegen.runtime.recurrent_names import plain_name

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GradientProfile:
    """Gradients of a loss over the steps of recurrent layers, or over the layers of a net.

    Attributes:
        names: of the rows: one for each state of each layer and direction ("c, layer 1, reverse"); "state" of a net.
        norms: (rows, states, B): length of the gradient in the state, for each sequence or sample alone. Of a recurrent
            layer state t is that after t steps in its own direction, 0 the one before the first, with all K values
            where so many are kept; the gradient is that in one state with the others of this step held: through what
            reads it later, and through the output if it is this state. (In an LSTM's c it is that after h is formed;
            `state_cotangents` of emitted modules is the total one, through h as well.) Of a net state k is what layer
            k reads, the last one its output; where the layers are not modules that are called, the net counts as one
            layer.
        neurons: name of each weight with two axes or more -> (rows,): length of the loss's gradient in the incoming
            weights of each neuron: of recurrent layers those in a row of a matrix, the last axis; of a net those in
            all axes but the first. A weight with a parametrization is what that makes of its parameters.
        loss: its value.
    """

    names: tuple[str, ...]
    norms: Tensor
    neurons: Mapping[str, Tensor]
    loss: Tensor


@dataclass(frozen=True)
class StateJacobians:
    """d(state after the step)/d(state before it) of one layer and direction along a batch of sequences.

    Attributes:
        name: "layer 0", "layer 0, reverse", ...
        jacobians: (T, B, S, S) in the direction's own order; S is the size of all its states together, with all values
            that are kept of states and inputs which are read several steps later.
    """

    name: str
    jacobians: Tensor = field(repr=False)

    @cached_property
    def spectral_radius(self) -> Tensor:
        """(T, B): largest modulus of an eigenvalue."""
        return torch.linalg.eigvals(self.jacobians).abs().amax(-1)

    @cached_property
    def singular_values(self) -> Tensor:
        """(T, B, S), descending."""
        return torch.linalg.svdvals(self.jacobians)

    def products(self, start: int = 0) -> Tensor:
        """(T - start, B, S, S): d(state after n + 1 further steps)/d(state after `start` steps), n = 0, 1, ..."""
        found = [self.jacobians[start]]
        for jacobian in self.jacobians[start + 1 :]:
            found.append(jacobian @ found[-1])
        return torch.stack(found)

    def memory_length(self, threshold: float = 0.01, start: int = 0) -> Tensor:
        """(B,): steps after `start` until the product of Jacobians is shorter (2-norm) than the threshold; else inf.

        Raises:
            ValueError: a threshold that is not positive, or a start that no step follows.
        """
        steps = len(self.jacobians)
        if not threshold > 0:
            raise ValueError(f"memory_length: threshold={threshold!r}; allowed: a number above 0")
        if not 0 <= start < steps:
            raise ValueError(f"memory_length: start={start!r}; allowed: 0 to {steps - 1}")
        short = torch.linalg.matrix_norm(self.products(start), 2) < threshold
        first = short.to(torch.int64).argmax(0) + 1.0
        return torch.where(short.any(0), first, torch.inf)


def gradient_profile(
    module: nn.Module,
    batch: Tensor,
    loss: Loss | None = None,
    state: Tensor | States | None = None,
    *,
    targets: Tensor | None = None,
) -> GradientProfile:
    """Length of the gradient of a loss in every state on its way, and in the weights of every neuron.

    Args:
        module: a recurrent module, a net of steps with blocks, an `nn.Sequential`, or any other net.
        batch: what the module reads, with a batch axis.
        loss: output -> scalar; where not given, the sum of the last step's output, or of all outputs of a net.
        state: of a recurrent module, as it takes it.
        targets: of a recurrent module, as it takes them; the state that one replaces is what the next step reads.

    Raises:
        TypeError: an input that is no tensor.
        ValueError: dropout is on, an input without a batch axis or without a step, the loss is no scalar or has no
            slope in any state, as that of cells with jumps, a weight that only a call of the module makes, or what the
            module itself refuses.
    """
    if is_recurrent(module):
        walk = Walk(module, batch, state, targets)
        with torch.enable_grad(), parametrize.cached():
            output, rows = walk.states_and_output()
            default = output[:, -1] if getattr(module, "batch_first", False) else output[-1]
            value = default.sum() if loss is None else loss(output)
            return _profile(module, value, rows)
    with torch.enable_grad(), parametrize.cached(), _watched(module) as seen:
        x = batch.detach().requires_grad_()
        output = module(x)
        value = output.sum() if loss is None else loss(output)
        return _profile(module, value, {"state": [*(seen or [x]), output]})


def state_jacobians(
    module: nn.Module, batch: Tensor, state: Tensor | States | None = None, *, targets: Tensor | None = None
) -> tuple[StateJacobians, ...]:
    """State Jacobians of every layer and direction of a recurrent module along a batch of sequences.

    Args:
        module: recurrent.
        batch: as the module reads it, with a batch axis.
        state: as the module takes it.
        targets: likewise; a state that they replace does not depend on the one before.

    Raises:
        TypeError: a module that is not recurrent, or another input.
        ValueError: as `gradient_profile` has it.
    """
    if not is_recurrent(module):
        raise TypeError(f"{type(module).__name__}: no recurrent module; allowed: one with steps over a sequence")
    walk = Walk(module, batch, state, targets)
    with torch.no_grad(), parametrize.cached():
        return tuple(StateJacobians(layer.name, layer.jacobians()) for layer in walk.layers())


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module has the interface of `torch.nn.LSTM`."""
    return all(hasattr(module, name) for name in ("input_size", "hidden_size", "num_layers", "bidirectional"))


def _profile(module: nn.Module, value: Tensor, rows: Mapping[str, list[Tensor]]) -> GradientProfile:
    if value.dim():
        raise ValueError(f"loss gives shape {tuple(value.shape)}; allowed: a scalar")
    states = [state for row in rows.values() for state in row]
    if not value.requires_grad:
        raise ValueError(f"{type(module).__name__}: {SLOPELESS}")
    weights = {name: weight for name, weight in _weights(module).items() if _is_weight(name, weight)}
    bars = torch.autograd.grad(value, [*states, *weights.values()], allow_unused=True, materialize_grads=True)
    lengths = [bar.flatten(1).norm(dim=1) for bar in bars[: len(states)]]
    shape = (len(rows), len(states) // len(rows), -1)
    inner = -1 if is_recurrent(module) else 1
    neurons = {n: _lengths(bar, inner) for n, bar in zip(weights, bars[len(states) :], strict=True)}
    return GradientProfile(tuple(rows), torch.stack(lengths).view(shape), neurons, value.detach())


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """The parameters, and in place of those below a parametrization what it makes of them."""
    found: dict[str, Tensor] = {n: p for n, p in module.named_parameters() if "parametrizations" not in n.split(".")}
    for place, one in module.named_modules():
        if parametrize.is_parametrized(one):
            found |= {f"{place}.{name}".lstrip("."): getattr(one, name) for name in cast(Any, one).parametrizations}
    return found


def _is_weight(name: str, parameter: Tensor) -> bool:
    learnt_start = name.startswith("initial_") and plain_name(name) == name  # it has no layer
    return parameter.dim() > 1 and parameter.requires_grad and not learnt_start


def _lengths(bar: Tensor, inner: int) -> Tensor:
    """(rows,): the length over the axes from `inner` on, all others laid out as rows."""
    rows = bar.flatten(inner)
    return rows.norm(dim=-1).flatten()


@contextmanager
def _watched(module: Any) -> Iterator[list[Tensor]]:
    """What each layer of a net reads, in the order in which the layers run, with a graph that leads to the output."""
    seen: list[Tensor] = []
    blocks = getattr(module, "step_blocks", None)
    layers = list(module) if isinstance(module, nn.Sequential) else list(blocks()) if blocks else []
    flat = [one for layer in layers for one in (layer if isinstance(layer, tuple) else (layer,))]

    def remember(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.append(next(a for a in arguments if isinstance(a, Tensor) and a.dim()))

    hooks = [layer.register_forward_pre_hook(remember) for layer in flat if isinstance(layer, nn.Module)]
    gradient = getattr(module, "gradient", None)
    try:
        if gradient is not None:
            module.gradient = "autograd"
        yield seen
    finally:
        if gradient is not None:
            module.gradient = gradient
        for hook in hooks:
            hook.remove()
