"""An opaque field under adaptive steps: its calls, remembered by step and stage, and its slopes on flat states."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.adaptive_pairs import Pair
from codegen.runtime.adaptive_steps import PairStages
from codegen.runtime.block_errors import CALL_FAILURES, PASSED_ON, StepError
from codegen.runtime.blocks import Block, Blocks, Call, Evaluated, Evaluation, Snapshot
from codegen.runtime.layer_chains import ChainCall, Kept, Linearized, run_chain

KEPT_STEPS = 2  # how many are the newest: their stages take about as much memory as odeint_adjoint needs


class OneField(Blocks):
    """One field for however many steps there will be."""

    def __init__(self, function: Callable[..., Tensor], owner: str, chains: bool) -> None:
        super().__init__([function], owner, chains=chains)

    @property
    def field(self) -> Block:
        """The field."""
        return self.distinct[0]


class FieldCalls(Evaluation):
    """Calls of the field by (step, 0, stage); the last slope of a step is called as the first one of the next.

    `times_wanted`: whether cotangents of times are asked for. `casting`: the autocast that the field is called under.
    """

    casting: Callable[[], contextlib.AbstractContextManager[Any]] = staticmethod(contextlib.nullcontext)

    def __init__(
        self, blocks: OneField, parameters: Sequence[Tensor], snapshots: dict[Call, Snapshot], device: torch.device,
        live: bool, times_wanted: bool = False, closed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(blocks, parameters, snapshots, device, live, closed)
        self.one, self.times_wanted = blocks, times_wanted
        self.unseen = {id(blocks.field)} if closed and blocks.field.chain is None else set()  # functions as well

    @property
    def quick(self) -> bool:
        """Whether what the pullback of a call reads is there after the call anyway."""
        return self.one.field.chain is not None

    def call(
        self,
        call: Call,
        points: tuple[Any, ...],
        parameters: Sequence[Tensor] | dict[int, Tensor],
        kept: list[Kept] | None = None,
    ) -> Tensor:
        """Value of the field at (t, x)."""
        with self.casting():
            return self._called(call, points, parameters, kept)

    def _called(
        self,
        call: Call,
        points: tuple[Any, ...],
        parameters: Sequence[Tensor] | dict[int, Tensor],
        kept: list[Kept] | None,
    ) -> Tensor:
        block, owner, x = self.one.field, self.one.owner, points[-1]
        try:
            if block.chain and self.layer_by_layer and self.calls_directly(block):
                value = run_chain(block.chain, x, kept)
            else:
                value = (self._first if self.live else self._again)(block, call, points, parameters)
        except PASSED_ON:
            raise
        except CALL_FAILURES as error:
            given = f"{'x' if block.arity == 1 else '(t, x), x'} of shape {tuple(x.shape)} and dtype {x.dtype}"
            raise StepError(f"{owner}: the field was called with {given}: {error}") from error
        if not isinstance(value, Tensor):
            raise TypeError(f"{owner}: field returned a {type(value).__name__}; allowed: a Tensor of the shape of x")
        if value.shape != x.shape:
            read = f"field was given x of shape {tuple(x.shape)} and returned {tuple(value.shape)}"
            raise ValueError(f"{owner}: {read}; allowed: the same shape")
        if value.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            read = f"field was given x of dtype {x.dtype} and returned {value.dtype}"
            raise TypeError(f"{owner}: {read}; allowed: the same dtype, or autocast")
        return value

    def linearized(self, call: Call, points: tuple[Any, ...]) -> Linearized:
        """Value of the field with its pullback."""
        block = self.one.field
        if block.chain is None or not self.calls_directly(block):
            return self.with_graph(call, points)
        kept: list[Kept] = []
        return ChainCall(self.call(call, points, self.parameters, kept), points, block.chain, kept)

    def with_graph(self, call: Call, points: tuple[Any, ...]) -> Evaluated:
        """Value of the field with its graph kept, as a function of x, of t where asked, and of the parameters."""
        with torch.enable_grad():
            t, x = (point.detach() if isinstance(point, Tensor) else point for point in points)
            timed = self.times_wanted and isinstance(t, Tensor)
            leaves = (t.requires_grad_() if timed else t, x.requires_grad_())
            parameters = {slot.place: self._leaf(slot) for slot in self.one.field.parameters}
            value = self.call(call, leaves, self.leaves)
        known = [pair for pair in parameters.items() if pair[1].requires_grad]
        return Evaluated(value, (leaves[0] if timed else None, leaves[1]), known)

    def point(self, t: float, flat: Tensor, shape: Sequence[int]) -> tuple[Any, Tensor]:
        """(t, x) as the field takes them."""
        x = flat.view(shape)
        return (x.new_tensor(t) if self.one.field.arity == 2 else None), x


class OpaqueStages(PairStages):
    """Slopes of an opaque field; `tape` keeps the graphs of all stages where there is one.

    `newest_only`: of the newest steps alone, with which the backward pass begins.
    """

    def __init__(self, pair: Pair, like: Tensor, shape: Sequence[int], calls: FieldCalls) -> None:
        super().__init__(pair, like)
        self.shape, self.calls = shape, calls
        self.tape: dict[tuple[int, int], Linearized] | None = None
        self.newest_only = False

    def slope(self, step: int, stage: int, t: float, point: Tensor, row: int) -> None:
        """One call of the field."""
        self.evaluations += 1
        out = self.rows_of_slopes[row]
        points = self.calls.point(t, point, self.shape)
        if self.tape is not None and not (self.ending and stage == 0):
            if self.newest_only and stage == 1:
                for place in [place for place in self.tape if place[0] <= step - KEPT_STEPS or place > (step, 0)]:
                    del self.tape[place]
            self.tape[step, stage] = self.calls.linearized((step, 0, stage), points)
            out.copy_(self.tape[step, stage].value.detach().reshape(-1))
            return
        out.copy_(self.calls.call((step, 0, stage), points, self.calls.parameters).reshape(-1))
