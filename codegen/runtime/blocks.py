"""Opaque blocks: call them once for real, call them again exactly as they were, and linearize them.

A block is any `nn.Module` (or plain function) known only by its value and its pullback. What makes a second call equal
to the first is remembered here: the random state where the block drew numbers, its buffers as they were before the
call, and its train/eval mode.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from codegen.runtime.arities import field_arity
from codegen.runtime.block_errors import CALL_FAILURES, PASSED_ON, Where, check_shape, failed_call, note_where
from codegen.runtime.closed_calls import refuse_others
from codegen.runtime.layer_chains import ChainCall, ChainLayer, Kept, Linearized, chain_of, hooks_everywhere, run_chain
from codegen.runtime.random_states import random_state, random_state_of
from codegen.runtime.train_modes import modes_as_called
from codegen.runtime.untouched import call_untouched

Call = tuple[int, int, int]  # (step, which of its networks, which of that network's calls)


Networks = Callable[..., Tensor] | tuple[Callable[..., Tensor], ...]


def networks_of(given: Networks) -> tuple[Callable[..., Tensor], ...]:
    """The networks of one step: a single one is given as it is."""
    return given if isinstance(given, tuple) else (given,)


def as_given(found: Sequence[Callable[..., Any]]) -> Any:
    """What the rules of a step take for its networks: a function, or a tuple of them where there are several."""
    return found[0] if len(found) == 1 else tuple(found)


class ParameterSlot(NamedTuple):
    """Where one parameter of a block lives, and its place in the flat tuple of all parameters."""

    holder: dict[str, Any]
    key: str
    name: str
    place: int


class Block:
    """One distinct block with its parameters and buffers as they are when the net is called."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.arity = field_arity(function)
        self.parameters: list[ParameterSlot] = []
        self.buffers: list[tuple[str, dict[str, Any], str]] = []
        self.modes: list[tuple[nn.Module, bool]] = []
        self.chain: tuple[ChainLayer, ...] | None = None
        self.title = ""


class Blocks:
    """All blocks of one call: `of_step[n]` are the networks of step n (a block may serve several steps).

    They are given as one function for each step, or a tuple of them where a step has several networks.

    `parameters` holds every distinct parameter once, in the order in which the blocks are met. `owner` is the name of
    the net, for messages; `chains`: whether blocks that are chains of torch's layers may be called layer by layer;
    `frozen`: whether all calls of one step find the random state and the buffers that the first of them finds, as the
    calls of an implicit step do. The first call updates them, once for the step. `titles`: what functions are called in
    messages, by their ids.
    """

    def __init__(
        self, functions: Sequence[Networks], owner: str = "net", chains: bool = False, frozen: bool = False,
        titles: Mapping[int, str] = {},
    ) -> None:  # fmt: skip
        self.owner = owner
        self.chains = chains and not hooks_everywhere()
        self.frozen = frozen
        self.parameters: list[Tensor] = []
        self.distinct: list[Block] = []
        self.of_step: list[tuple[Block, ...]] = []
        known: dict[int, Block] = {}
        places: dict[int, int] = {}
        for row in map(networks_of, functions):
            for function in row:
                if id(function) not in known:
                    known[id(function)] = self._read(function, places)
                    known[id(function)].title = titles.get(id(function), "")
                    self.distinct.append(known[id(function)])
            self.of_step.append(tuple(known[id(function)] for function in row))

    def width(self, step: int) -> int:
        """How many networks a step has."""
        return len(self.of_step[step]) if self.of_step else 0

    def _read(self, function: Callable[..., Tensor], places: dict[int, int]) -> Block:
        block = Block(function)
        if not isinstance(function, nn.Module):
            return block
        self._read_module(function, "", block, places, set())
        if self.chains:
            block.chain = chain_of(function, places)
        return block

    def _read_module(
        self, module: nn.Module, prefix: str, block: Block, places: dict[int, int], seen: set[int]
    ) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        block.modes.append((module, module.training))
        own = vars(module)
        for key, parameter in own["_parameters"].items():
            if parameter is not None:
                if id(parameter) not in places:
                    places[id(parameter)] = len(self.parameters)
                    self.parameters.append(parameter)
                slot = ParameterSlot(own["_parameters"], key, prefix + key, places[id(parameter)])
                block.parameters.append(slot)
        for key, buffer in own["_buffers"].items():
            if buffer is not None:
                block.buffers.append((prefix + key, own["_buffers"], key))
        for key, child in own["_modules"].items():
            if child is not None:
                self._read_module(child, f"{prefix}{key}.", block, places, seen)

    @property
    def has_buffers(self) -> bool:
        """Whether a call may change a block."""
        return any(block.buffers for block in self.distinct)

    def modes_as_called(self) -> contextlib.AbstractContextManager[None]:
        """Train/eval modes of every module as they were in the first call."""
        return modes_as_called(pair for block in self.distinct for pair in block.modes)


Through = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


class Snapshot(NamedTuple):
    """What a second call of a block needs to be equal to the first."""

    random: tuple[Tensor, ...] | None
    buffers: dict[str, Tensor]


class Evaluated(NamedTuple):
    """A block value with the graph behind it: `points` are the leaves it was evaluated at."""

    value: Tensor
    points: tuple[Any, ...]
    parameters: list[tuple[int, Tensor]]

    def pull_back(
        self, bar: Tensor, needed: Callable[[int], bool]
    ) -> tuple[tuple[Tensor | None, ...], list[tuple[int, Tensor | None]]]:
        """Cotangents of the points, and those of the parameters that are needed, with their places."""
        wanted = [pair for pair in self.parameters if needed(pair[0])] if self.value.requires_grad else []
        leaves = [point for point in self.points if isinstance(point, Tensor)]
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if self.value.requires_grad:
            targets = leaves + [parameter for _, parameter in wanted]
            found = torch.autograd.grad(self.value, targets, bar.to(self.value.dtype), allow_unused=True)
        places = [place for place, _ in wanted]
        at_points = (torch.zeros_like(p) if one is None else one for p, one in zip(leaves, found, strict=False))
        whole = tuple(next(at_points) if isinstance(point, Tensor) else None for point in self.points)
        return whole, list(zip(places, found[len(leaves) :], strict=True))


class Evaluation:
    """Calls blocks with given parameter tensors: `live` for the first time, else as the snapshots remember it.

    A replay may not touch the modules' own buffers or the random state of the program around it. With `closed` the
    first call of each module shows whether it uses tensors whose gradients would be lost.
    """

    def __init__(
        self,
        blocks: Blocks,
        parameters: Sequence[Tensor],
        snapshots: dict[Call, Snapshot],
        device: torch.device,
        live: bool,
        closed: bool = False,
    ) -> None:
        self.blocks = blocks
        self.unseen = {id(b) for b in blocks.distinct if closed and not b.chain and isinstance(b.function, nn.Module)}
        self.parameters = parameters
        self.snapshots = snapshots
        self.device = device
        self.live = live
        self.random = random_state(device) if live else ()
        self.last: dict[int, tuple[Call, tuple[Any, ...]]] = {}  # of every network of a step
        self.leaves: dict[int, Tensor] = {}
        self.own: dict[int, bool] = {}
        self.layer_by_layer = True  # call chains so, which transforms of torch cannot follow
        self.watched: list[Where] | None = None  # places of values that are not finite, where they are looked for

    def for_replay(self) -> Evaluation:
        """The same blocks and parameters, called again as remembered so far."""
        return Evaluation(self.blocks, self.parameters, self.snapshots, self.device, live=False)

    def calls_directly(self, block: Block) -> bool:
        """Whether the tensors given for this block are its own, so that it is called as it is.

        A call through functional_call costs as much as a small block.
        """
        if id(block) not in self.own:
            self.own[id(block)] = all(slot.holder[slot.key] is self.parameters[slot.place] for slot in block.parameters)
        return self.own[id(block)]

    def field(self, step: int, through: Through | None = None) -> Any:
        """The networks of one step as functions that count their calls; `through` wraps each."""
        found = [self._counted(step, network, self.parameters) for network in range(self.blocks.width(step))]
        return as_given([through(one) for one in found] if through else found)

    def _counted(self, step: int, network: int, parameters: Any) -> Callable[..., Tensor]:
        calls = itertools.count()

        def field(*points: Any, call: int | None = None) -> Tensor:
            return self.call((step, network, next(calls) if call is None else call), points, parameters)

        return field

    def call(
        self,
        call: Call,
        points: tuple[Any, ...],
        parameters: Sequence[Tensor] | dict[int, Tensor],
        kept: list[Kept] | None = None,
    ) -> Tensor:
        """Value of the block at `points`, with `parameters[index]` for its parameters; `kept`: see `run_chain`."""
        step, network, _ = call
        row = self.blocks.of_step[step]
        block = row[network]
        self.last[network], where = (call, points), Where(step, network, len(row), block.title)
        try:
            if block.chain and self.layer_by_layer and self.calls_directly(block):  # no numbers drawn, no buffers
                value = run_chain(block.chain, points[-1], kept)
            else:
                known = (step, network, 0) if self.blocks.frozen else call
                first = self.live and not (self.blocks.frozen and known in self.snapshots)
                value = (self._first if first else self._again)(block, known, points, parameters)
        except PASSED_ON:
            raise
        except CALL_FAILURES as error:
            given = points[-block.arity :]
            raise failed_call(self.blocks.owner, where, given, error) from error
        check_shape(self.blocks.owner, value, points[-1], where, block.function)
        note_where(self.watched, where, value)
        return value

    def linearized(self, call: Call, points: tuple[Any, ...]) -> Linearized:
        """Value of the block with its pullback."""
        block = self.blocks.of_step[call[0]][call[1]]
        if block.chain is None or not self.calls_directly(block):
            return self.with_graph(call, points)
        kept: list[Kept] = []
        return ChainCall(self.call(call, points, self.parameters, kept), points, block.chain, kept)

    def with_graph(self, call: Call, points: tuple[Any, ...]) -> Evaluated:
        """Value of the block with its graph kept, as a function of fresh leaves and of its parameters."""
        block = self.blocks.of_step[call[0]][call[1]]
        with torch.enable_grad():
            leaves = tuple(point.detach().requires_grad_() if isinstance(point, Tensor) else point for point in points)
            parameters = {slot.place: self._leaf(slot) for slot in block.parameters}
            value = self.call(call, leaves, self.leaves)
        return Evaluated(value, leaves, [pair for pair in parameters.items() if pair[1].requires_grad])

    def leaves_of(self, step: int) -> list[tuple[int, Tensor]]:
        """Place and leaf of the parameters of a step's blocks that need gradients."""
        leaves = {slot.place: self._leaf(slot) for block in self.blocks.of_step[step] for slot in block.parameters}
        return [pair for pair in leaves.items() if pair[1].requires_grad]

    def field_of_leaves(self, step: int) -> Any:
        """The networks of one step as functions of their leaves, for a graph of the whole step."""
        return as_given([self._counted(step, network, self.leaves) for network in range(self.blocks.width(step))])

    def _leaf(self, slot: ParameterSlot) -> Tensor:
        leaf = self.leaves.get(slot.place)
        if leaf is None:
            given = self.parameters[slot.place]
            keep = slot.holder[slot.key] is given or (given.is_leaf and given.requires_grad)
            leaf = given if keep or not given.is_floating_point() else given.detach().requires_grad_()
            self.leaves[slot.place] = leaf
        return leaf

    def _first(self, block: Block, call: Call, points: tuple[Any, ...], parameters: Any) -> Tensor:
        buffers = {name: holder[key].clone() for name, holder, key in block.buffers} if block.buffers else {}
        value = (self._closed if id(block) in self.unseen else self._apply)(block, points, parameters, {})
        random = random_state(self.device)
        drew = not all(map(torch.equal, random, self.random))
        if drew or buffers:
            self.snapshots[call] = Snapshot(self.random if drew else None, buffers)
        self.random = random
        return value

    def _closed(self, block: Block, points: tuple[Any, ...], parameters: Any, buffers: dict[str, Tensor]) -> Tensor:
        self.unseen.discard(id(block))
        keeps = torch.is_grad_enabled()
        seen = points if keeps else tuple(p.detach() if isinstance(p, Tensor) else p for p in points)
        with torch.enable_grad():
            value = self._apply(block, seen, parameters, buffers)
        own = (tensor for slot in block.parameters for tensor in (parameters[slot.place], slot.holder[slot.key]))
        refuse_others(value, (*seen, *own))
        return value if keeps or not isinstance(value, Tensor) else value.detach()

    def _again(self, block: Block, call: Call, points: tuple[Any, ...], parameters: Any) -> Tensor:
        snapshot = self.snapshots.get(call)
        if snapshot is None:
            return self._apply(block, points, parameters, {})
        with random_state_of(snapshot.random, self.device):
            # The call may update its buffers in place, so that it gets copies of the remembered ones.
            return self._apply(block, points, parameters, {name: b.clone() for name, b in snapshot.buffers.items()})

    def _apply(self, block: Block, points: tuple[Any, ...], parameters: Any, buffers: dict[str, Tensor]) -> Tensor:
        arguments = points[-block.arity :]
        function = block.function
        if not isinstance(function, nn.Module) or (not buffers and self.calls_directly(block)):
            return call_untouched(function, arguments)
        tensors = {slot.name: parameters[slot.place] for slot in block.parameters} | buffers
        return call_untouched(lambda *given: torch.func.functional_call(function, tensors, given), arguments)


class StepTape:
    """The block calls of one step, each with its graph, for the adjoint of that step."""

    def __init__(self, evaluation: Evaluation, step: int) -> None:
        self.evaluation = evaluation
        self.step = step
        self.calls: dict[Call, Linearized] = {}
        self.read = [0] * evaluation.blocks.width(step)
        self.solutions: list[tuple[Tensor, ...]] = []  # of an implicit step's equations, in order

    def field(self) -> Any:
        """The networks of the step as functions that keep the graphs of their calls."""
        return as_given([self._keeping(network) for network in range(len(self.read))])

    def _keeping(self, network: int) -> Callable[..., Tensor]:
        calls = itertools.count()

        def field(*points: Any, call: int | None = None) -> Tensor:
            key = (self.step, network, next(calls) if call is None else call)
            self.calls[key] = self.evaluation.linearized(key, points)
            return self.calls[key].value.detach()

        return field

    def next(self, network: int, points: tuple[Any, ...]) -> Linearized:
        """The next call of a network in the order of the step; evaluated now unless it was kept."""
        key = (self.step, network, self.read[network])
        self.read[network] += 1
        if key not in self.calls:
            self.calls[key] = self.evaluation.linearized(key, points)
        return self.calls[key]
