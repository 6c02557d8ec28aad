"""A recurrent module stepped through, one input at a time, by one-layer calls of its own class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence

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


class Layer:
    """One layer in one direction of a recurrent module, stepped through by one-layer calls of the same class."""

    def __init__(
        self, module: Any, name: str, suffix: str, x: Tensor, targets: Tensor | None, start: States | None
    ) -> None:
        self.owner, self.name, self.x, self.targets = original_class(module).__name__, name, x, targets
        self.cell = _alone(module, x.shape[-1])
        names = [name for name, _ in self.cell.named_parameters()]
        self.parameters = {name: weight_of(module, name.removesuffix("_l0") + suffix) for name in names}
        self.start = start
        self.letters, shown = _states(module), _shown(module)
        self.place = self.letters.index(shown) if shown in self.letters else None

    def call(self, x: Tensor, state: States | None, target: Tensor | None) -> tuple[Tensor, States]:
        """One step (B, I) from states (B, H): the output (B, features), and the states after it."""
        given = None
        if state is not None:
            rows = tuple(value.unsqueeze(0) for value in state)
            given = rows if len(rows) > 1 else rows[0]
        more = {} if target is None else {"targets": target.unsqueeze(0)}
        output, after = torch.func.functional_call(self.cell, self.parameters, (x.unsqueeze(0), given), more)
        return output[0], tuple(v.squeeze(0) for v in ((after,) if isinstance(after, Tensor) else after))

    def first(self) -> States:
        """The states before the first step, as leaves of a graph."""
        if self.start is None:
            with torch.no_grad():
                _, shaped = self.call(self.x[0], None, self._target(0))
            return tuple(torch.zeros_like(value).requires_grad_() for value in shaped)
        return tuple(v if v.requires_grad else v.detach().requires_grad_() for v in self.start)

    def run(self) -> tuple[Tensor, list[States]]:
        """Outputs (T, B, features) and the states before and after every step, all on one graph."""
        states, outputs = [self.first()], []
        for t, x in enumerate(self.x.unbind(0)):
            output, after = self.call(x, states[-1], self._target(t))
            states.append(self._on_graph(after) if torch.is_grad_enabled() else after)
            outputs.append(output if self.place is None else self._newest(states[-1][self.place]))
        return torch.stack(outputs), states

    def _on_graph(self, after: States) -> States:
        """States after a step, those without a slope as leaves: what comes later has one in them."""
        if self.letters and not any(value.requires_grad for value in after):
            raise ValueError(f"{self.owner}: {SLOPELESS}")
        return tuple(value if value.requires_grad else value.detach().requires_grad_() for value in after)

    @staticmethod
    def _newest(state: Tensor) -> Tensor:
        """The last value (B, H) of a state, of which several may be kept."""
        return state if state.dim() == 2 else state[:, 0]

    def jacobians(self) -> Tensor:
        """(T, B, S, S) of all steps."""
        found, state = [], self.first()
        for t, x in enumerate(self.x.unbind(0)):
            found.append(self._jacobian(x, state, self._target(t)))
            _, state = self.call(x, state, self._target(t))
        return torch.stack(found)

    def _target(self, step: int) -> Tensor | None:
        """The target of a step as a leaf of a graph: it is the state after the step."""
        return None if self.targets is None else self.targets[step].detach().clone().requires_grad_()

    def _jacobian(self, x: Tensor, before: States, target: Tensor | None) -> Tensor:
        """(B, S, S) of one step: all rows by one reverse sweep over S copies of the batch."""
        count = sum(value.flatten(1).shape[1] for value in before)
        copies = [value.detach().repeat_interleave(count, 0).requires_grad_() for value in before]
        with torch.enable_grad():
            aim = None if target is None else target.repeat_interleave(count, 0)
            _, after = self.call(x.detach().repeat_interleave(count, 0), tuple(copies), aim)
            flat = torch.cat([value.flatten(1) for value in after], 1).view(-1, count, count)
            chosen = flat.diagonal(dim1=1, dim2=2).sum()
        if not chosen.requires_grad and self.letters:
            raise ValueError(f"{self.owner}: {SLOPELESS}")
        if not chosen.requires_grad:  # the input alone is kept, and of it the last value
            return flat.new_zeros(flat.shape)
        rows = torch.autograd.grad(chosen, copies, allow_unused=True, materialize_grads=True)
        return torch.cat([row.flatten(1) for row in rows], 1).view(-1, count, count)


class Walk:
    """A recurrent module over a batch, layer by layer and direction by direction."""

    def __init__(
        self, module: Any, batch: Tensor, state: Tensor | States | None, targets: Tensor | None = None
    ) -> None:
        owner = original_class(module).__name__
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
        with torch.no_grad():
            module(batch, state, **({} if targets is None else {"targets": targets}))  # refuses what does not fit
        self.targets = targets if targets is None or not module.batch_first else targets.transpose(0, 1)
        if state is None and getattr(module, "learn_initial", False):
            names = (*_states(module), *(f"x_past_l{layer}" for layer in range(module.num_layers)))
            learnt = [getattr(module, f"initial_{n}") for n in names if hasattr(module, f"initial_{n}")]
            state = tuple(p.unsqueeze(1).expand(-1, self.x.shape[1], *p.shape[1:]) for p in learnt)
        self.state: States | None = (state,) if isinstance(state, Tensor) else state
        self.letters = _states(module)
        self.rows: dict[str, list[Tensor]] = {}
        self.output: Tensor | None = None

    def layers(self) -> Iterator[Layer]:
        """Every layer and direction; the outputs of a layer are what the next one reads."""
        directions, x = 2 if self.module.bidirectional else 1, self.x
        for number in range(int(self.module.num_layers)):
            ways = []
            for way, ending in enumerate(("", "_reverse")[:directions]):
                start = None if self.state is None else self._start(self.state, number, way, directions)
                name = f"layer {number}" + (", reverse" if way else "")
                targets = self.targets if self.targets is None or not way else self.targets.flip(0)
                layer = Layer(self.module, name, f"_l{number}{ending}", x.flip(0) if way else x, targets, start)
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


def original_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module as it was constructed."""
    kind: type[nn.Module] = parametrize.type_before_parametrizations(module)
    return kind


def weight_of(module: nn.Module, name: str) -> Tensor:
    """A weight as a call of the module reads it."""
    if name not in dict(module.named_parameters(recurse=False)) and not parametrize.is_parametrized(module, name):
        raise ValueError(
            f"{original_class(module).__name__}: {name} is no parameter of the module; allowed: parameters, with "
            "torch.nn.utils.parametrizations or without"
        )
    return cast(Tensor, getattr(module, name))


def _states(module: Any) -> tuple[str, ...]:
    """Names of the states that a caller sees."""
    return tuple(module.state_sizes) if hasattr(module, "cell") else ("h", "c")[: 1 + isinstance(module, nn.LSTM)]


def _shown(module: Any) -> str:
    """Name of what the functions of the cell carry and give out: of a state, or of an output that is none."""
    if not hasattr(module, "cell"):
        return "h"
    cell = module.cell()
    return cell.states[cell.output] if cell.states else ""


def _alone(module: Any, features: int) -> nn.Module:
    """One layer of the same class in one direction, without memory for its parameters: they are given at each call."""
    kind = original_class(module)
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
