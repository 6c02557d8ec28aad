"""A derived recurrence as one differentiable operation: its two sweeps, and every transform around them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.forward_mode import pushforward
from codegen.runtime.matrix_products import sum_of_products
from codegen.runtime.precision import without_autocast

BLOCK_ELEMENTS = 1 << 18
"""Elements of the stacked gates in one block of steps of the adjoint sweep: about what a processor's cache keeps."""

BLOCK_STEPS = 8
"""Least number of steps in a block: with fewer, the products over all steps of a block become inefficient."""

LEAST_STEPS = 10
"""Least number of steps in a block that is run again: with fewer, what is done once per block takes their time."""


Values = tuple[Tensor, ...]

Reach = tuple[int | str, ...]
"""Numbers of steps, or names of arguments of the constructor that hold one or several of them."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of parameters, by name."""

Sums = tuple[Tensor | None, ...]
"""Gradients to be written, None for those not needed."""


class Below(tuple[str, ...]):
    """Names of parameters that lie one below the other in one tensor."""

    __slots__ = ()


@dataclass(frozen=True)
class Cell:
    """The derived functions of one recurrent cell over one layer and direction; T steps, B sequences, time first.

    A state is given as its initial value (B, H); a path is its value after each step, (T, B, H). Of a state that is
    read several steps later K values are given, (B, K, H), newest first; so are inputs before the first step, behind
    the states, where they are read, and their path is x.

    plain(x, *states, *operands) -> (output, *final states)
        straight-line code for autograd, x is (T, B, I).
    forward(x, *states, *operands) -> (*paths, *activations)
        the same in place, with what the adjoint sweep needs besides the paths; activations have time first.
    recompute(x, before, paths, operands) -> activations
        the activations of all steps at once from the paths; `before` are the paths one step earlier, or, where K
        values are kept, (K + T, B, H): these, oldest first, and the path.
    backward(x, before, paths, operands, activations, workspace, bars, sums) -> cotangents of the initial states
        the adjoint sweep from `bars`, the cotangents of the output (T, B, H) and of the final states (B, H).
        `workspace` (T, B, rows of the stack) may be overwritten. `sums` are the gradients of x and the operands, None
        where not needed: that of x is written, the others are added to.
    totals(x, before, paths, operands, activations, workspace, bars) -> (*totals, *cotangents of the initial states)
        the same sweep without gradients, which keeps the cotangent of every state after each step, (T, B, H).

    The output of the cell is the path of one of its states, whose place is `output`, or its only path. The first
    operand stacks the rows of the gates. `operands` names the parameters whose sum each operand is, or which lie one
    `Below` the other in it. `reach` has for each state, and `input_reach` for the input, how many steps later it is
    read where that is more than once: numbers, or names of arguments that hold them. `unread` has the places of states
    that no step reads: what these start from has no gradient.
    """

    states: tuple[str, ...]
    operands: tuple[tuple[str, ...], ...]
    plain: Callable[..., Values]
    forward: Callable[..., Values]
    recompute: Callable[..., Values]
    backward: Callable[..., Values]
    totals: Callable[..., Values]
    reach: tuple[Reach, ...] = ()
    input_reach: Reach = ()
    output: int = 0
    unread: tuple[int, ...] = ()

    @property
    def starts(self) -> int:
        """Number of tensors with what comes before the first step: the states, and the inputs if they are kept."""
        return len(self.states) + bool(self.input_reach)

    @property
    def paths(self) -> int:
        """Number of paths; a cell without states has that of its output."""
        return max(len(self.states), 1)

    @property
    def inputs(self) -> int:
        """Number of tensors that `plain` takes: x, the states and the operands."""
        return 1 + self.starts + len(self.operands)

    def told(self, lags: Mapping[str, Any]) -> Cell:
        """The cell with numbers for the lags that its functions are told."""
        plain = partial(self.plain, **lags)
        if self.backward is without_slope:
            return replace(self, plain=plain)
        forward = partial(self.forward, **lags)
        recompute, backward = partial(self.recompute, **lags), partial(self.backward, **lags)
        totals = partial(self.totals, **lags)
        return replace(self, plain=plain, forward=forward, recompute=recompute, backward=backward, totals=totals)


def without_slope(*_: Any) -> Values:
    """In the place of the sweeps of a cell whose slope is zero almost everywhere: it is run in the plain form.

    The output of such a cell has no gradient, as what torch's comparisons give.
    """
    raise NotImplementedError("a cell without a slope has no sweeps")


def without_states(*_: Any, **__: Any) -> Values:
    """In the place of the totals of a cell that has no state."""
    raise TypeError("a cell without a state has no total derivatives in states")


@dataclass(frozen=True)
class Readout:
    """What is made of the output of the last layer: function(output (..., features), *parameters) -> (..., size)."""

    function: Callable[..., Tensor]
    parameters: tuple[str, ...]


def blocks(steps: int, elements_per_step: int, store: bool) -> list[slice]:
    """Cut the steps into blocks of equal length, the last one perhaps shorter.

    Unless all is stored there are about eight, of a short sequence four.
    """
    length = max(BLOCK_STEPS, BLOCK_ELEMENTS // max(elements_per_step, 1))
    if not store:
        length = min(length, max(-(-steps // 8), min(-(-steps // 4), LEAST_STEPS)))
    return [slice(start, min(start + length, steps)) for start in range(0, steps, length)]


def forward_sweep(cell: Cell, store: bool, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Run the cell over all steps: output, final states (B, H), paths but the first, activations if stored."""
    count = cell.starts
    states, operands = tensors[:count], tensors[count:]
    if store:
        paths = cell.forward(x, *states, *operands)
        return (paths[cell.output], *finals(cell, paths, x, states), *without(paths, cell.output))
    paths = ()
    for block in blocks(x.shape[0], x.shape[1] * operands[0].shape[-2], store):
        parts = cell.forward(x[block], *states, *operands)[: cell.paths]
        paths = paths or tuple(part.new_empty((x.shape[0], *part.shape[1:])) for part in parts)
        for path, part in zip(paths, parts, strict=True):
            path[block] = part
        states = finals(cell, parts, x[block], states)
    return (paths[cell.output], *states, *without(paths, cell.output))


def without(values: Values, place: int) -> Values:
    """The values but one."""
    return (*values[:place], *values[place + 1 :])


def finals(cell: Cell, paths: Values, x: Tensor, states: Values) -> Values:
    """The states after the last step: the end of each path, with K values where so many are kept."""
    sources = (*paths[: len(cell.states)], x)
    return tuple(latest(path, state) for path, state in zip(sources, states, strict=False))


def latest(path: Tensor, state: Tensor) -> Tensor:
    """The last value of a path (B, H), or the last K, newest first, as `state` has them: some may be from there."""
    if state.dim() == 2:
        return path[-1].clone()
    newest = path[max(len(path) - state.shape[1], 0) :].flip(0).transpose(0, 1)
    return torch.cat((newest, state[:, : state.shape[1] - newest.shape[1]]), 1)


def adjoint_sweep(
    cell: Cell,
    store: bool,
    *,
    needs: tuple[bool, ...],
    inputs: tuple[Tensor, ...],
    bars: tuple[Tensor, ...],
    saved: tuple[Tensor, ...],
) -> list[Tensor | None]:
    """Gradients of x, the states and the operands, block of steps by block of steps from the last to the first.

    `bars` are the cotangents of the output and the final states; `saved` are the paths and the activations, if stored.
    """
    count = cell.starts
    x, states, operands = inputs[0], inputs[1 : 1 + count], inputs[1 + count :]
    paths, kept = saved[: cell.paths], saved[cell.paths :]
    sources = (*paths[: len(cell.states)], x)
    bar_output, bar_states = bars[0], bars[1:]
    sent = needs[0] or (count > len(cell.states) and needs[count])
    bar_x = x.new_empty(x.shape) if sent else None
    sums = tuple(
        sum_of_products(operand, x.shape[0] * x.shape[1]) if need else None
        for operand, need in zip(operands, needs[1 + count :], strict=True)
    )
    cuts = blocks(x.shape[0], x.shape[1] * operands[0].shape[-2], store)
    with torch.inference_mode():  # views of what is made in it take less time
        workspace = x.new_empty(cuts[0].stop, x.shape[1], operands[0].shape[-2])
        for block in reversed(cuts):
            before = tuple(earlier(path, state, block) for path, state in zip(sources, states, strict=False))
            here = tuple(path[block] for path in paths)
            values = tuple(v[block] for v in kept) if store else cell.recompute(x[block], before, here, operands)
            room = workspace[: block.stop - block.start]
            given = (bar_output[block], *bar_states)
            asked = (None if bar_x is None else bar_x[block], *sums)
            bar_states = cell.backward(x[block], before, here, operands, values, room, given, asked)
    return [bar_x, *(bar.clone() for bar in bar_states), *(None if v is None else v.contiguous() for v in sums)]


def total_sweep(cell: Cell, inputs: Values, bars: Values) -> Values:
    """The cotangents of each state after every step, (T, B, H), given those of the output and the final states."""
    count = cell.starts
    x, states, operands = inputs[0], inputs[1 : 1 + count], inputs[1 + count :]
    saved = cell.forward(x, *states, *operands)
    paths, kept, running, found = saved[: cell.paths], saved[cell.paths :], bars[1:], []
    sources = (*paths[: len(cell.states)], x)
    cuts = blocks(x.shape[0], x.shape[1] * operands[0].shape[-2], store=True)
    workspace = x.new_empty(cuts[0].stop, x.shape[1], operands[0].shape[-2])
    for block in reversed(cuts):
        before = tuple(earlier(path, state, block) for path, state in zip(sources, states, strict=False))
        values, room = tuple(v[block] for v in kept), workspace[: block.stop - block.start]
        here = tuple(path[block] for path in paths)
        swept = cell.totals(x[block], before, here, operands, values, room, (bars[0][block], *running))
        found.append(swept[: len(cell.states)])
        running = swept[len(cell.states) :]
    return tuple(torch.cat(parts) for parts in zip(*reversed(found), strict=True))


def earlier(path: Tensor, state: Tensor, block: slice) -> Tensor:
    """The path in this block of steps, one step earlier: the initial state comes before the first step.

    Where K values are kept, these and the path in the block, (K + T, B, H).
    """
    if state.dim() > 2:
        start = block.start - state.shape[1]
        kept = state.flip(1).transpose(0, 1)[block.start :]
        return path[start : block.stop] if start >= 0 else torch.cat((kept, path[: block.stop]))
    if block.start:
        return path[block.start - 1 : block.stop - 1]
    return torch.cat((state.unsqueeze(0), path[: block.stop - 1]))


POSITIONAL = inspect.Signature([inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)])


def positional(function: Any) -> Any:
    """The function, for which torch need not look for defaults at every call: that takes as long as ten operations."""
    function.__signature__ = POSITIONAL
    return function


class Recurrence(torch.autograd.Function):
    """The recurrence; its backward is `RecurrenceAdjoint`, its transforms go through the plain form of the cell."""

    @staticmethod
    @positional
    def forward(cell: Cell, store: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        return forward_sweep(cell, store, *inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.cell, ctx.store = inputs[:2]
        saved = output[1 + ctx.cell.starts :]  # none of a run in the plain form
        ctx.kept = len(saved)
        ctx.mark_non_differentiable(*saved)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[2:], output[0], *saved)
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        cell: Cell = ctx.cell
        unread = [1 + place for place in cell.unread]  # no gradient at all, as in plain autograd
        needs = tuple(need and place not in unread for place, need in enumerate(ctx.needs_input_grad[2:]))
        held = ctx.saved_tensors  # asked for once: hooks of checkpointing and offloading unpack at every call
        inputs, output, others = held[: cell.inputs], held[cell.inputs], held[cell.inputs + 1 :]
        values = (output, *inputs[1 : 1 + cell.starts])
        saved = (*others[: cell.output], output, *others[cell.output :])
        given = (torch.zeros_like(v) if bar is None else bar for v, bar in zip(values, bars, strict=False))
        found = iter(RecurrenceAdjoint.apply(cell, ctx.store, needs, *inputs, *given, *saved))
        return (None, None, *(next(found) if need else None for need in needs))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], cell: Cell, store: bool, *inputs: Tensor) -> tuple[Any, Any]:
        outputs = torch.vmap(cell.plain, in_dims[2:], randomness=info.randomness)(*inputs)
        return outputs, tuple(0 for _ in outputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        moves = tuple(torch.zeros_like(v) if d is None else d for v, d in zip(inputs, tangents[2:], strict=True))
        return (*pushforward(ctx.cell.plain, inputs, moves), *(None for _ in range(ctx.kept)))


class RecurrenceAdjoint(torch.autograd.Function):
    """The adjoint sweep; returns the needed gradients in order. Itself differentiated through the plain form."""

    @staticmethod
    @positional
    def forward(cell: Cell, store: bool, needs: tuple[bool, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        end = cell.inputs + 1 + cell.starts
        inputs, bars, saved = tensors[: cell.inputs], tensors[cell.inputs : end], tensors[end:]
        with without_autocast(inputs[0].device.type):
            gradients = adjoint_sweep(cell, store, needs=needs, inputs=inputs, bars=bars, saved=saved)
        return tuple(gradient for gradient, need in zip(gradients, needs, strict=True) if need and gradient is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.cell, ctx.needs, ctx.count = inputs[0], inputs[2], len(inputs)
        tensors = inputs[3 : 4 + ctx.cell.inputs + ctx.cell.starts]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        gradients = torch.func.vjp(plain_adjoint(ctx.cell, ctx.needs), *tensors)[1](bars)
        return (None, None, None, *gradients, *(None for _ in range(ctx.count - 3 - len(tensors))))

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], cell: Cell, store: bool, needs: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Any, Any]:
        count = cell.inputs + 1 + cell.starts
        batched = torch.vmap(plain_adjoint(cell, needs), in_dims[3 : 3 + count], randomness=info.randomness)
        gradients = batched(*tensors[:count])
        return gradients, tuple(0 for _ in gradients)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        primals = ctx.saved_tensors
        moves = (torch.zeros_like(v) if d is None else d for v, d in zip(primals, tangents[3:], strict=False))
        return pushforward(plain_adjoint(ctx.cell, ctx.needs), primals, tuple(moves))


def plain_adjoint(cell: Cell, needs: tuple[bool, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """The function of inputs and cotangents that `RecurrenceAdjoint` computes, as the pullback of the plain form."""

    def adjoint(*tensors: Tensor) -> tuple[Tensor, ...]:
        pullback = torch.func.vjp(cell.plain, *tensors[: cell.inputs])[1]
        gradients = pullback(tensors[cell.inputs :])
        return tuple(gradient for gradient, need in zip(gradients, needs, strict=True) if need)

    return adjoint


def recurrence(cell: Cell, derived: bool, store: bool, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Output (T, B, H) and final states (B, H) of the cell for x (T, B, I), initial states and operands."""
    if derived and cell.backward is not without_slope and not torch.compiler.is_compiling():
        outputs: tuple[Tensor, ...] = Recurrence.apply(cell, store, x, *tensors)
        return outputs[: 1 + cell.starts]
    return cell.plain(x, *tensors)
