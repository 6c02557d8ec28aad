"""The whole solution as one node of the graph: derived backward on the accepted steps, or the continuous adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from codegen.runtime.adaptive_reverse import replayed
from codegen.runtime.adaptive_steps import Options, Solution, SolveStats

Wanted = Sequence[bool]
Bars = tuple[Tensor | None, ...]


class FieldForm(Protocol):
    """A field in the forms that a solution needs; `parameters` are tensors in its own order."""

    def solve(self, call: SolveCall, x: Tensor, parameters: Sequence[Tensor]) -> Solution:
        """The accepted steps from x."""

    def reverse(
        self,
        call: SolveCall,
        x: Tensor,
        parameters: Sequence[Tensor],
        wanted: Wanted,
        bar: Tensor,
        inside: Tensor | None,
    ) -> Bars:
        """Cotangents of (x, t0, t1, times, *parameters) from those of the last state and of the outputs; flat."""

    def value(self, call: SolveCall, place: tuple[int, int], t: Any, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The field by plain operations, as it was called at (step, stage)."""


class SolveCall:
    """One call of a module apart from its tensors; `solution` is found by the first forward pass, and stays.

    `keep`: whether there may be a backward pass; `timed`: whether gradients of times may be asked for.
    """

    def __init__(
        self, form: FieldForm, options: Options, ends: tuple[float, float], times: Sequence[float] | None,
        keep: bool, timed: bool, stats: SolveStats,
    ) -> None:  # fmt: skip
        self.form, self.options, self.ends, self.times = form, options, ends, times
        self.keep, self.timed, self.stats = keep, timed, stats
        self.solution: Solution | None = None

    def find(self, x: Tensor, parameters: Sequence[Tensor]) -> Solution:
        """The accepted steps, found once."""
        if self.solution is None:
            self.solution = self.form.solve(self, x, parameters)
        return self.solution

    def solved(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The last state, or the outputs with their leading axis."""
        found = self.find(x, parameters)
        value = found.last if self.times is None else found.outputs
        assert value is not None
        shape = x.shape if self.times is None else (len(self.times), *x.shape)
        return value.reshape(shape).clone() if value is found.last else value.view(shape)

    def plain(self, x: Tensor, t0: Any, t1: Any, times: Any, parameters: Sequence[Tensor]) -> Tensor:
        """The same by plain operations on the accepted steps."""
        assert self.solution is not None
        given = (times if times is not None else self.times) or () if not isinstance(times, Tensor) else times.unbind(0)

        def field(step: int, stage: int, t: Any, point: Tensor) -> Tensor:
            return self.form.value(self, (step, stage), t, point, parameters)

        begin, end = (own if one is None else one for own, one in zip(self.ends, (t0, t1), strict=True))
        last, outputs = replayed(self.options.pair, self.solution, given, field, x, begin, end)
        return last if self.times is None else torch.stack(outputs)


class AdaptiveSolve(torch.autograd.Function):
    """(x, t0, t1, times, *parameters) -> last state or outputs; a time that needs no gradient is None."""

    @staticmethod
    def forward(call: SolveCall, x: Tensor, t0: Any, t1: Any, times: Any, *parameters: Tensor) -> Tensor:
        """Find the steps."""
        return call.solved(x, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs; states are kept by the solution."""
        ctx.call, *given = inputs
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, bar: Tensor | None) -> Bars:
        """The derived sweep; where its own derivative may be asked for, the pullback of the plain form."""
        call, given, wanted = ctx.call, ctx.saved_tensors, ctx.needs_input_grad[1:]
        if bar is None:
            return (None,) * (1 + len(given))
        if torch.is_grad_enabled():
            return (None, *replayed_pull_back(call, given, wanted, bar))
        x, _, _, _, *parameters = given
        rows = bar.reshape(len(bar), -1) if call.times is not None else None
        last = bar.reshape(-1) if rows is None else x.new_zeros(x.numel())
        return (None, *call.form.reverse(call, x, parameters, wanted, last, rows))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: SolveCall, x: Tensor, *others: Any) -> tuple[Tensor, int]:
        """The mapped axis becomes a leading batch axis: all samples take the same steps."""
        if any(dim is not None for dim in in_dims[2:]):
            raise NotImplementedError(
                f"{call.options.owner}: vmap over times or parameters; allowed: vmap over x0, whose samples share steps"
            )
        moved = x.movedim(in_dims[1], 0)
        return AdaptiveSolve.apply(call, moved, *others), 0 if call.times is None else 1


def replayed_pull_back(call: SolveCall, given: Sequence[Any], wanted: Wanted, bar: Tensor) -> list[Tensor | None]:
    """Cotangents by autograd through the accepted steps, which can be differentiated again."""
    places = [place for place, one in enumerate(wanted) if one]

    def run(*chosen: Tensor) -> Tensor:
        full = list(given)
        for place, tensor in zip(places, chosen, strict=True):
            full[place] = tensor
        x, t0, t1, times, *parameters = full
        return call.plain(x, t0, t1, times, parameters)

    pull_back: Any = torch.func.vjp(run, *(given[place] for place in places))[1]
    pulled = iter(pull_back(bar))
    return [next(pulled) if one else None for one in wanted]
