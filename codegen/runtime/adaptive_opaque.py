"""An opaque field as the form that adaptive solutions call: forward steps, discrete adjoint, plain replay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.adaptive_backsolve import Backsolve
from codegen.runtime.adaptive_events import EventSearch, place_event
from codegen.runtime.adaptive_field import FieldCalls, OneField, OpaqueStages
from codegen.runtime.adaptive_function import Bars, SolveCall, Wanted
from codegen.runtime.adaptive_reverse import Gathered, LinearizeStage, Pulled, Reverse
from codegen.runtime.adaptive_steps import Solution, SolveStats, adaptive_steps, moving_forward
from codegen.runtime.blocks import Call, Snapshot
from codegen.runtime.layer_chains import Linearized

TIMES = 4  # places of x, t0, t1 and times before the parameters


class OpaqueForm:
    """One call's view of a field that is a module or a function.

    Args:
        function: the field.
        owner: for messages.
        x: what it is called with: its device and autocast count.
        adjoint: "discrete" or "continuous".
        memory: "recompute" or "store".
        event: what ends the solution, if anything.
        hides: whether the field may use tensors that need gradients and are not its parameters.
    """

    def __init__(
        self, function: Callable[..., Tensor], owner: str, x: Tensor, adjoint: str, memory: str, event: Any = None,
        hides: bool = False,
    ) -> None:  # fmt: skip
        device = x.device
        self.autocast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        self.blocks = OneField(function, owner, chains=not (self.autocast[0] or moving_forward()))
        self.device, self.adjoint, self.memory, self.event, self.hides = device, adjoint, memory, event, hides
        self.snapshots: dict[Call, Snapshot] = {}
        self.tape: dict[tuple[int, int], Linearized] = {}

    @property
    def parameters(self) -> list[Tensor]:
        """Everything the field learns."""
        return self.blocks.parameters

    def casting(self, enabled: bool) -> contextlib.AbstractContextManager[Any]:
        """Autocast as in the first call, or none."""
        return torch.autocast(self.device.type, dtype=self.autocast[1], enabled=enabled, cache_enabled=False)

    @contextlib.contextmanager
    def as_called(self) -> Iterator[None]:
        """Autocast and modes of modules as in the first call."""
        with self.casting(self.autocast[0]), self.blocks.modes_as_called():
            yield

    @contextlib.contextmanager
    def sweep_as_called(self) -> Iterator[None]:
        """Modes as in the first call; its autocast is for the field alone, sums of slopes are not rounded to it."""
        with self.casting(False), self.blocks.modes_as_called():
            yield

    def calls(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor], live: bool) -> FieldCalls:
        """The calls of a sweep."""
        found = FieldCalls(self.blocks, parameters, self.snapshots, self.device, live, call.timed, live and self.hides)
        if self.autocast[0]:
            found.casting = partial(self.casting, True)
        return found

    def solve(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor]) -> Solution:
        """See `FieldForm`."""
        calls = self.calls(call, x, parameters, live=True)
        keeping = call.keep and self.adjoint == "discrete"
        stages = OpaqueStages(call.options.pair, x.reshape(-1), x.shape, calls)
        if keeping and (calls.quick or self.memory == "store"):
            stages.tape, stages.newest_only = self.tape, self.memory == "recompute"
        with torch.no_grad(), self.sweep_as_called():
            search = None if self.event is None else EventSearch(self.blocks.owner, self.event)
            found = adaptive_steps(stages, call.options, x.reshape(-1), *call.ends, call.times, keeping, search)
            if search is not None:
                place_event(found, stages)
        self.count(call, found)
        return found

    @staticmethod
    def count(call: SolveCall, found: Solution) -> None:
        """Fill in the statistics."""
        stats = call.stats
        stats.evaluations, stats.accepted, stats.rejected = found.evaluations, len(found.starts), found.rejected

    def reverse(
        self,
        call: SolveCall,
        x: Tensor,
        parameters: Sequence[Tensor],
        wanted: Wanted,
        bar: Tensor,
        inside: Tensor | None,
    ) -> Bars:
        """See `FieldForm`."""
        calls = self.calls(call, x, parameters, live=False)
        gathered = Gathered()
        needed = tuple(wanted[TIMES:])
        assert call.solution is not None
        stats = call.stats
        stats.backward_evaluations = stats.backward_accepted = stats.backward_rejected = 0
        with self.sweep_as_called():
            linearize = self._linearize(calls, x.shape, gathered, needed, stats)
            if self.adjoint == "continuous":
                back = Backsolve(call, linearize, gathered, parameters, needed)
                ends = back.run(bar, inside)
            else:
                sweep = Reverse(call.options.pair, call.solution, call.times or (), linearize, call.timed)
                first = sweep.run(bar, inside)
                self.tape.clear()
                ends = (first, sweep.bar_t0, sweep.bar_t1, sweep.bar_times)
        first, *times = ends
        known = [gathered.bars.get(place) for place in range(len(parameters))]
        full = (first.view(x.shape), *times, *known)
        return tuple(one if want else None for one, want in zip(full, wanted, strict=True))

    def _linearize(
        self, calls: FieldCalls, shape: Sequence[int], gathered: Gathered, needed: tuple[bool, ...], stats: SolveStats
    ) -> LinearizeStage:
        def linearize(step: int, stage: int, t: float, point: Tensor) -> Pulled:
            found = self.tape.pop((step, stage), None)
            if found is None:
                stats.backward_evaluations += 1
                found = calls.linearized((step, 0, stage), calls.point(t, point, shape))

            def pull_back(bar: Tensor) -> tuple[Tensor, Tensor | None]:
                (at_t, at_x), terms = found.pull_back(bar.view(shape), needed.__getitem__)
                gathered.add(terms)
                assert at_x is not None
                return at_x.reshape(-1), at_t

            return Pulled(found.value.detach().reshape(-1), pull_back)

        return linearize

    def value(self, call: SolveCall, place: tuple[int, int], t: Any, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """See `FieldForm`."""
        calls = FieldCalls(self.blocks, parameters, self.snapshots, self.device, live=False)
        calls.layer_by_layer = False
        moment = None
        if self.blocks.field.arity == 2:
            moment = t.to(x.dtype) if isinstance(t, Tensor) else x.new_tensor(t)
        with self.as_called():
            return calls.call((place[0], 0, place[1]), (moment, x), parameters)
