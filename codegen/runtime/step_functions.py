"""The autograd Functions of a loop over steps: the derived sweeps as nodes of the graph, with all their transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.finite_states import all_finite
from codegen.runtime.steps import Plan, Recording, State, run_replay, state_bank
from codegen.runtime.sweep import ReverseSweep, forward_sweep


class DerivedSteps(torch.autograd.Function):
    """All steps as one node of the graph; its backward is a Function of its own, so that it has derivatives too.

    (plan, recording, x…, per-step parameters…, shared tensors…, block parameters…) -> (outputs…, stored tensors…)
    """

    @staticmethod
    def forward(plan: Plan, recording: Recording, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the steps and return the tensors to be saved as outputs, which autograd frees when it may."""
        sweep = forward_sweep if plan.sweeps is None else plan.sweeps.forward
        outputs, saved = sweep(plan, recording, inputs)
        # Where no step changes a state, the output is an input; autograd wants a view of it.
        fresh = (one.view_as(one) if any(one is given for given in inputs) else one for one in outputs)
        return (*fresh, *saved)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save inputs and stored states; the outputs only where stored states are made of them."""
        ctx.plan, ctx.recording, *tensors = inputs
        results, stored = output[: ctx.plan.streams], output[ctx.plan.streams :]
        ctx.mark_non_differentiable(*stored)
        ctx.set_materialize_grads(False)
        ctx.count = len(tensors)
        ctx.shapes = [result.shape for result in results]
        ctx.save_for_backward(*tensors, *(results if ctx.plan.keeps_output else ()), *stored)

    @staticmethod
    def backward(ctx: Any, *bars_of_all: Tensor | None) -> tuple[Tensor | None, ...]:
        """The derived reverse sweep, whatever transform asks for it."""
        given = bars_of_all[: ctx.plan.streams]
        known = next((bar for bar in given if bar is not None), None)
        if known is None:
            return (None,) * (2 + ctx.count)
        pairs = zip(given, ctx.shapes, strict=True)
        bars = [known.new_zeros(shape) if bar is None else bar for bar, shape in pairs]
        needs = tuple(ctx.needs_input_grad[2:])
        found = DerivedReverse.apply(ctx.plan, ctx.recording, needs, ctx.count, *bars, *ctx.saved_tensors)
        return (None, None, *found)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: Plan, recording: Recording, *inputs: Tensor) -> Any:
        """The plain form under vmap; blocks are called for the first time here, so that it is recorded."""

        def run(*tensors: Tensor) -> State:
            return run_replay(plan, recording, tensors, live=True)

        outputs = torch.vmap(run, in_dims=in_dims[2:], randomness=info.randomness)(*inputs)
        return outputs, (0,) * plan.streams


class DerivedReverse(torch.autograd.Function):
    """The reverse sweep as a function of the cotangents and all inputs; its derivatives are those of the plain form."""

    @staticmethod
    def forward(
        plan: Plan, recording: Recording, needs: tuple[bool, ...], count: int, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Cotangents of the inputs, of which there are `count` after those of the outputs; then the stored tensors."""
        width = plan.streams
        bars, inputs, stored = tensors[:width], tensors[width : width + count], tensors[width + count :]
        if plan.sweeps is not None:
            return plan.sweeps.reverse(plan, recording, needs, inputs, stored, bars)
        if plan.keeps_output:
            bank = state_bank(plan.trajectory, inputs[:width], stored[:width], stored[width:])
        else:
            bank = state_bank(False, inputs[:width], bars, stored)  # the last states are not asked for
        return ReverseSweep(plan, recording, needs, inputs, bank).run(bars)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        """Save the cotangents and the inputs."""
        ctx.plan, ctx.recording, ctx.needs, ctx.count, *tensors = inputs
        ctx.primals = ctx.plan.streams + ctx.count
        ctx.extra = len(tensors) - ctx.primals
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[: ctx.primals])
        ctx.save_for_forward(*tensors[: ctx.primals])

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        """Second derivatives: the pullback of the plain form's pullback."""
        primals, width = ctx.saved_tensors, ctx.plan.streams
        present = [n for n, bar in enumerate(bars) if bar is not None]
        wanted = [n for n, needed in enumerate((*(True,) * width, *ctx.needs)) if needed]

        def some(*chosen: Tensor) -> tuple[Tensor, ...]:
            full = list(primals)
            for n, tensor in zip(wanted, chosen, strict=True):
                full[n] = tensor
            pulled = plain_pull_back(ctx.plan, ctx.recording, ctx.needs, full)
            return tuple(bar for n in present if (bar := pulled[n]) is not None)

        result: list[Tensor | None] = [None] * len(primals)
        if present:
            pull_back = torch.func.vjp(some, *(primals[n] for n in wanted))[1]
            for n, bar in zip(wanted, pull_back(tuple(bars[n] for n in present)), strict=True):
                result[n] = bar
        return (None, None, None, None, *result, *(None,) * ctx.extra)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], plan: Plan, recording: Recording, needs: tuple[bool, ...], count: int,
        *tensors: Tensor,
    ) -> Any:  # fmt: skip
        """The plain form's pullback under vmap."""

        def pull(*primals: Tensor) -> tuple[Tensor, ...]:
            pulled = plain_pull_back(plan, recording, needs, primals)
            return tuple(one for one in pulled if one is not None)

        # A replay draws what was drawn before: for every sample the same unless the first call was under vmap as well.
        randomness = "same" if info.randomness == "error" else info.randomness
        primals = plan.streams + count
        dims = in_dims[4 : 4 + primals]
        given = iter(torch.vmap(pull, in_dims=dims, randomness=randomness)(*tensors[:primals]))
        return tuple(next(given) if needed else None for needed in needs), tuple(
            0 if needed else None for needed in needs
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, ...]:
        """Forward over reverse, as the pullback of the pullback of the plain form's pullback."""

        def pull(*primals: Tensor) -> tuple[Tensor, ...]:
            pulled = plain_pull_back(ctx.plan, ctx.recording, ctx.needs, primals)
            return tuple(one for one in pulled if one is not None)

        given = iter(push_forward(pull, ctx.saved_tensors, tangents[4 : 4 + ctx.primals]))
        return tuple(next(given) if needed else None for needed in ctx.needs)


def plain_pull_back(
    plan: Plan, recording: Recording, needs: Sequence[bool], primals: Sequence[Tensor]
) -> list[Tensor | None]:
    """Pullback of the plain form: cotangents of the inputs that need one, None for the others.

    `primals` are the cotangents of the outputs, then the inputs.
    """
    bars, inputs = tuple(primals[: plan.streams]), primals[plan.streams :]
    wanted = [n for n, needed in enumerate(needs) if needed]

    def run(*chosen: Tensor) -> State:
        full = list(inputs)
        for n, tensor in zip(wanted, chosen, strict=True):
            full[n] = tensor
        return run_replay(plan, recording, full)

    pull_back = torch.func.vjp(run, *(inputs[n] for n in wanted))[1]
    pulled = iter(pull_back(bars))
    return [next(pulled) if needed else None for needed in needs]


def push_forward(
    function: Callable[..., tuple[Tensor, ...]], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Derivative of `function` along `tangents` (None: zero), from two pullbacks: J t = d/du <u, J t>.

    torch.func.jvp cannot be used: it refuses to run inside a jvp rule.
    """
    moving = [n for n, tangent in enumerate(tangents) if tangent is not None]

    def some(*chosen: Tensor) -> tuple[Tensor, ...]:
        full = list(primals)
        for n, tensor in zip(moving, chosen, strict=True):
            full[n] = tensor
        return function(*full)

    outputs, pull_back = torch.func.vjp(some, *(primals[n] for n in moving))[:2]
    push = torch.func.vjp(pull_back, tuple(torch.zeros_like(output) for output in outputs))[1]
    (pushed,) = push(tuple(tangents[n] for n in moving))
    return tuple(pushed)


class FiniteTest(torch.autograd.Function):
    """Whether all tensors are finite, appended to `answers`; under vmap nothing is asked."""

    @staticmethod
    def forward(answers: list[bool], *values: Tensor) -> Tensor:
        """One host read."""
        answers.append(bool(all_finite(values)))
        return values[0].new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], answers: list[bool], *values: Tensor) -> tuple[Tensor, None]:
        """A batched tensor cannot be read on the host."""
        return values[0].new_empty(0), None
