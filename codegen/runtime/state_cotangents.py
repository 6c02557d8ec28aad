"""Total derivatives of a loss in the states of a recurrent module at every step, from the derived adjoint sweep."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy as shallow_copy
from typing import Any

import torch
from torch import Tensor

from codegen.runtime.precision import without_autocast
from codegen.runtime.recurrent_function import Cell, recurrence, total_sweep
from codegen.runtime.sequences import checked_lengths, padded

Calls = list[tuple[Cell, tuple[Tensor, ...], tuple[Tensor, ...]]]
"""Runs of a recurrence: cell, inputs, outputs."""


def cotangents_of_states(
    module: Any,
    x: Tensor,
    bar_output: Tensor,
    state: Any,
    bar_state: Any,
    lengths: Tensor | Sequence[int] | None,
) -> tuple[Tensor, ...]:
    """See `Recurrent.state_cotangents`: one tensor (layers * directions, T, B, H), or as x is laid out, per state."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{module.owner}: x is of type {type(x).__name__}; allowed: a Tensor, padded, with lengths")
    if module.training and module.dropout and module.num_layers > 1:
        raise ValueError(f"{module.owner}: dropout is on, and would be drawn anew; call eval() before")
    calls: Calls = []
    output, finals = _watched_run(module, calls, x, state, lengths)
    bars = [_checked(module.owner, "bar_output", bar_output, output)]
    if bar_state is None:
        bars += [torch.zeros_like(final) for final in finals]
    else:
        given = (bar_state,) if isinstance(bar_state, Tensor) else tuple(bar_state)
        if len(given) != len(finals):
            raise ValueError(f"{module.owner}: bar_state has {len(given)} tensors; allowed: {len(finals)}")
        bars += [_checked(module.owner, "bar_state", bar, final) for bar, final in zip(given, finals, strict=True)]
    if not module.cell().states:
        raise TypeError(f"{module.owner}: a cell without a state; allowed: cells with states")
    about = [value for _, _, outputs in calls for value in outputs]
    if not all(value.requires_grad for value in about):
        raise TypeError(f"{module.owner}: a cell with jumps, whose states have no slope; allowed: cells with slopes")
    found = torch.autograd.grad([output, *finals], about, bars, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        swept = [_swept(call, found, place * len(call[2])) for place, call in enumerate(calls)]
    return _laid_out(module, x, lengths, swept)


def _watched_run(
    module: Any, calls: Calls, x: Tensor, state: Any, lengths: Tensor | Sequence[int] | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A run of the module that notes every recurrence."""

    def noted(cell: Cell, _: bool, store: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = recurrence(cell, True, store, *inputs)
        calls.append((cell, inputs, outputs))
        return outputs

    watched = shallow_copy(module)
    watched.recurrence = noted
    with torch.enable_grad():
        output, final = watched(x.detach().requires_grad_(), state, lengths=lengths)
    return output, (final,) if isinstance(final, Tensor) else tuple(final)


def _swept(
    call: tuple[Cell, tuple[Tensor, ...], tuple[Tensor, ...]], found: Sequence[Tensor], first: int
) -> tuple[Tensor, ...]:
    cell, inputs, outputs = call
    with without_autocast(inputs[0].device.type):
        return total_sweep(cell, tuple(v.detach() for v in inputs), tuple(found[first : first + len(outputs)]))


def _checked(owner: str, name: str, bar: Any, like: Tensor) -> Tensor:
    """A cotangent of the shape of what it belongs to."""
    if not isinstance(bar, Tensor):
        raise TypeError(f"{owner}: {name} is of type {type(bar).__name__}; allowed: a Tensor")
    if bar.shape != like.shape:
        raise ValueError(f"{owner}: {name} has shape {tuple(bar.shape)}; allowed: shape {tuple(like.shape)}")
    return bar.to(like.dtype)


def _laid_out(
    module: Any, x: Tensor, lengths: Tensor | Sequence[int] | None, swept: list[tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """The totals of every run as (layers * directions, T, B, H) per state, zero where a sequence has ended."""
    time = 1 if x.dim() == 3 and module.batch_first else 0
    steps, sequences = x.shape[time], x.shape[1 - time] if x.dim() == 3 else 1
    rows = module.num_layers * (2 if module.bidirectional else 1)
    pieces = len(swept) // rows
    back = torch.arange(sequences, device=x.device)
    if lengths is not None:
        sizes = checked_lengths(module.owner, lengths, steps, sequences)
        back = sizes.sort(descending=True, stable=True).indices.to(x.device).argsort()
    found = []
    for state in range(len(module.cell().states)):
        paths = []
        for row in range(rows):
            parts = [totals[state] for totals in swept[row * pieces : (row + 1) * pieces]]
            if module.bidirectional and row % 2:
                parts = [part.flip(0) for part in reversed(parts)]
            paths.append(padded(parts, steps, back, parts[0].new_empty(0, sequences, parts[0].shape[-1])))
        whole = torch.stack(paths)
        found.append(whole.squeeze(2) if x.dim() == 2 else whole.transpose(1, 2) if time else whole)
    return tuple(found)
