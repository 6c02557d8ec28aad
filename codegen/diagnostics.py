r"""Measures of trained modules: gradients of the state at every step or layer, and state Jacobians along a sequence.

Everything goes through a module's own public interface: a recurrent layer is stepped through one input at a time, a
net of layers is watched while it runs. Emitted modules, `torch.nn.LSTM`, `GRU` and `RNN`, and `nn.Sequential` are
measured alike. Modules are neither changed nor moved.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Loss = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]
SLOPELESS = "nothing has a slope in a state; allowed: cells without jumps, and a loss of what they give out"
TORCHS = ("input_size", "hidden_size", "bias")  # arguments of torch's own recurrent layers that matter to one layer
ALONE: Mapping[str, Any] = {
    "num_layers": 1,
    "bidirectional": False,
    "batch_first": False,
    "dropout": 0.0,
    "learn_initial": False,
    "output": None,
    "memory": "store",
    "gradient": "autograd",
}


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
            all axes but the first.
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
    module: nn.Module, batch: Tensor, loss: Loss | None = None, state: Tensor | States | None = None
) -> GradientProfile:
    """Length of the gradient of a loss in every state on its way, and in the weights of every neuron.

    Args:
        module: a recurrent module, a net of steps with blocks, an `nn.Sequential`, or any other net.
        batch: what the module reads, with a batch axis.
        loss: output -> scalar; where not given, the sum of the last step's output, or of all outputs of a net.
        state: of a recurrent module, as it takes it.

    Raises:
        TypeError: an input that is no tensor.
        ValueError: dropout is on, an input without a batch axis or without a step, or the loss is no scalar or has no
            slope in any state, as that of cells with jumps.
    """
    if is_recurrent(module):
        walk = _Walk(module, batch, state)
        with torch.enable_grad():
            output, rows = walk.states_and_output()
            default = output[:, -1] if getattr(module, "batch_first", False) else output[-1]
            value = default.sum() if loss is None else loss(output)
        return _profile(module, value, rows)
    with torch.enable_grad(), _watched(module) as seen:
        x = batch.detach().requires_grad_()
        output = module(x)
        value = output.sum() if loss is None else loss(output)
    return _profile(module, value, {"state": [*(seen or [x]), output]})


def state_jacobians(
    module: nn.Module, batch: Tensor, state: Tensor | States | None = None
) -> tuple[StateJacobians, ...]:
    """State Jacobians of every layer and direction of a recurrent module along a batch of sequences.

    Args:
        module: recurrent.
        batch: as the module reads it, with a batch axis.
        state: as the module takes it.

    Raises:
        TypeError: a module that is not recurrent, or another input.
        ValueError: dropout is on, an input without a batch axis or without a step, or the step has no slope.
    """
    if not is_recurrent(module):
        raise TypeError(f"{type(module).__name__}: no recurrent module; allowed: one with steps over a sequence")
    walk = _Walk(module, batch, state)
    with torch.no_grad():
        return tuple(StateJacobians(layer.name, layer.jacobians()) for layer in walk.layers())


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module has the interface of `torch.nn.LSTM`."""
    return all(hasattr(module, name) for name in ("input_size", "hidden_size", "num_layers", "bidirectional"))


def _profile(module: nn.Module, value: Tensor, rows: Mapping[str, list[Tensor]]) -> GradientProfile:
    if value.dim():
        raise ValueError(f"loss gives shape {tuple(value.shape)}; allowed: a scalar")
    states = [state for row in rows.values() for state in row]
    if not all(one.requires_grad for one in (value, *states)):
        raise ValueError(f"{type(module).__name__}: {SLOPELESS}")
    weights = {name: p for name, p in module.named_parameters() if _is_weight(name, p)}
    bars = torch.autograd.grad(value, [*states, *weights.values()], allow_unused=True, materialize_grads=True)
    lengths = [bar.flatten(1).norm(dim=1) for bar in bars[: len(states)]]
    shape = (len(rows), len(states) // len(rows), -1)
    inner = -1 if is_recurrent(module) else 1
    neurons = {n: _lengths(bar, inner) for n, bar in zip(weights, bars[len(states) :], strict=True)}
    return GradientProfile(tuple(rows), torch.stack(lengths).view(shape), neurons, value.detach())


def _is_weight(name: str, parameter: Tensor) -> bool:
    return parameter.dim() > 1 and parameter.requires_grad and not name.startswith("initial_")


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


class _Layer:
    """One layer in one direction of a recurrent module, stepped through by one-layer calls of the same class."""

    def __init__(self, module: Any, name: str, suffix: str, x: Tensor, start: States | None) -> None:
        self.owner, self.name, self.x = type(module).__name__, name, x
        self.cell = _alone(module, x.shape[-1])
        held = dict(module.named_parameters())
        self.parameters = {name: held[name.removesuffix("_l0") + suffix] for name, _ in self.cell.named_parameters()}
        self.start = start
        cell = module.cell() if hasattr(module, "cell") else None
        self.place = 0 if cell is None else cell.output if cell.states else None

    def call(self, x: Tensor, state: States | None) -> tuple[Tensor, States]:
        """One step (B, I) from states (B, H): the output (B, features), and the states after it."""
        given = None
        if state is not None:
            rows = tuple(value.unsqueeze(0) for value in state)
            given = rows if len(rows) > 1 else rows[0]
        output, after = torch.func.functional_call(self.cell, self.parameters, (x.unsqueeze(0), given))
        states = tuple(v.squeeze(0) for v in ((after,) if isinstance(after, Tensor) else after))
        if self.place is None:
            return output[0], states
        shown = states[self.place]  # the output is this state, the newest value where several are kept
        return (shown if shown.dim() == 2 else shown[:, 0]), states

    def first(self) -> States:
        """The states before the first step, as leaves of a graph."""
        if self.start is None:
            with torch.no_grad():
                _, shaped = self.call(self.x[0], None)
            return tuple(torch.zeros_like(value).requires_grad_() for value in shaped)
        return tuple(v if v.requires_grad else v.detach().requires_grad_() for v in self.start)

    def run(self) -> tuple[Tensor, list[States]]:
        """Outputs (T, B, features) and the states before and after every step, all on one graph."""
        states, outputs = [self.first()], []
        for x in self.x.unbind(0):
            output, after = self.call(x, states[-1])
            outputs.append(output)
            states.append(after)
        return torch.stack(outputs), states

    def jacobians(self) -> Tensor:
        """(T, B, S, S) of all steps."""
        found, state = [], self.first()
        for x in self.x.unbind(0):
            found.append(self._jacobian(x, state))
            _, state = self.call(x, state)
        return torch.stack(found)

    def _jacobian(self, x: Tensor, before: States) -> Tensor:
        """(B, S, S) of one step: all rows by one reverse sweep over S copies of the batch."""
        count = sum(value.flatten(1).shape[1] for value in before)
        copies = [value.detach().repeat_interleave(count, 0).requires_grad_() for value in before]
        with torch.enable_grad():
            _, after = self.call(x.detach().repeat_interleave(count, 0), tuple(copies))
            flat = torch.cat([value.flatten(1) for value in after], 1).view(-1, count, count)
            chosen = flat.diagonal(dim1=1, dim2=2).sum()
        if not chosen.requires_grad:
            raise ValueError(f"{self.owner}: {SLOPELESS}")
        rows = torch.autograd.grad(chosen, copies, allow_unused=True, materialize_grads=True)
        return torch.cat([row.flatten(1) for row in rows], 1).view(-1, count, count)


class _Walk:
    """A recurrent module over a batch, layer by layer and direction by direction."""

    def __init__(self, module: Any, batch: Tensor, state: Tensor | States | None) -> None:
        owner = type(module).__name__
        if isinstance(batch, PackedSequence) or not isinstance(batch, Tensor):
            raise TypeError(f"{owner}: batch is of type {type(batch).__name__}; allowed: a Tensor with 3 axes")
        if batch.dim() != 3:
            raise ValueError(f"{owner}: batch has shape {tuple(batch.shape)}; allowed: 3 axes, read {batch.dim()}")
        if 0 in batch.shape[:2]:
            allowed = "one step or more of one sequence or more"
            raise ValueError(f"{owner}: batch has shape {tuple(batch.shape)}; allowed: {allowed}")
        if module.training and module.dropout and module.num_layers > 1:
            raise ValueError(f"{owner}: dropout={module.dropout} is on; allowed: a module in evaluation, module.eval()")
        self.module = module
        self.x = batch.transpose(0, 1) if module.batch_first else batch
        if state is None and getattr(module, "learn_initial", False):
            learnt = [p for name, p in module.named_parameters() if name.startswith("initial_")]
            state = tuple(p.unsqueeze(1).expand(-1, self.x.shape[1], *p.shape[1:]) for p in learnt)
        self.state: States | None = (state,) if isinstance(state, Tensor) else state
        letters = module.cell().states if hasattr(module, "cell") else ("h", "c")[: 1 + isinstance(module, nn.LSTM)]
        self.letters: tuple[str, ...] = letters
        self.rows: dict[str, list[Tensor]] = {}
        self.output: Tensor | None = None

    def layers(self) -> Iterator[_Layer]:
        """Every layer and direction; the outputs of a layer are what the next one reads."""
        directions, x = 2 if self.module.bidirectional else 1, self.x
        for number in range(int(self.module.num_layers)):
            ways = []
            for way, ending in enumerate(("", "_reverse")[:directions]):
                start = None if self.state is None else self._start(self.state, number, way, directions)
                name = f"layer {number}" + (", reverse" if way else "")
                layer = _Layer(self.module, name, f"_l{number}{ending}", x.flip(0) if way else x, start)
                yield layer
                output, states = layer.run()
                ways.append(output.flip(0) if way else output)
                self._keep(name, states)
            x = torch.cat(ways, -1)
        self.output = self._read_out(x)

    def _start(self, state: States, layer: int, way: int, directions: int) -> States:
        """What a layer and direction starts from: of kept inputs the module has one tensor for each layer."""
        count = len(self.letters)
        own = tuple(value[layer * directions + way] for value in state[:count])
        return (*own, *(value[way] for value in state[count + layer : count + layer + 1]))

    def _keep(self, name: str, states: list[States]) -> None:
        letters = (*self.letters, "x_past")[: len(states[0])]
        for letter, path in zip(letters, zip(*states, strict=True), strict=True):
            self.rows[f"{letter}, {name}"] = list(path)

    def _read_out(self, x: Tensor) -> Tensor:
        readout = getattr(self.module, "readout", None)
        if readout is None or self.module.output is None:
            return x
        shown: Tensor = readout.function(x, *(getattr(self.module, name) for name in readout.parameters))
        return shown

    def states_and_output(self) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """The output as the module shapes it, and the states of every layer and direction, on one graph."""
        for _ in self.layers():
            pass
        assert self.output is not None
        return (self.output.transpose(0, 1) if self.module.batch_first else self.output), self.rows


def _alone(module: Any, features: int) -> nn.Module:
    """One layer of the same class in one direction, without memory for its parameters: they are given at each call."""
    kind = type(module)
    names = TORCHS if isinstance(module, nn.RNNBase) else inspect.signature(kind).parameters
    arguments = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if isinstance(module, nn.RNN):
        arguments["nonlinearity"] = module.nonlinearity
    if getattr(module, "proj_size", 0):
        arguments["proj_size"] = module.proj_size
    if not isinstance(module, nn.RNNBase):
        arguments |= {name: value for name, value in ALONE.items() if name in names}
    parameter = next(module.parameters())
    alone: nn.Module = kind(**{**arguments, "input_size": features}, device="meta", dtype=parameter.dtype)
    return alone
