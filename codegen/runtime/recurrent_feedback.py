"""Recurrent modules whose states are not what their cell's functions carry: outputs and targets that are fed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from codegen.runtime.recurrent import Recurrent, State
from codegen.runtime.recurrent_checks import check_tensor
from codegen.runtime.state_cotangents import cotangents_of_states


@dataclass(frozen=True)
class Interface:
    """What the caller sees of a cell.

    Attributes:
        states: names of the states.
        sizes: names of the module's arguments that are their sizes.
        width: name of the argument that is the size of the output.
        taught: name of the state that the target of the step before replaces; empty where there is none.
        carried: whether the output is none of the states; the cell's functions carry it before them.
    """

    states: tuple[str, ...]
    sizes: tuple[str, ...]
    width: str
    taught: str = ""
    carried: bool = False


class FeedbackRecurrent(Recurrent):
    """A recurrent module with states of several sizes, an output that is no state, or states given by targets."""

    interfaces: ClassVar[Mapping[tuple[str, ...], Interface]] = {}
    """Values of the options -> the interface of the cell."""

    @property
    def interface(self) -> Interface:
        """What the caller sees of the cell under the options of this module."""
        return self.interfaces[self.chosen]

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """Names and sizes of the states."""
        pairs = zip(self.interface.states, self.interface.sizes, strict=True)
        return {name: getattr(self, size) for name, size in pairs}

    @property
    def output_features(self) -> int:
        """Size of the output of one layer and direction."""
        return int(getattr(self, self.interface.width))

    def state_cotangents(
        self,
        x: Tensor,
        bar_output: Tensor,
        state: State | None = None,
        *,
        bar_state: State | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> State:
        """See `Recurrent.state_cotangents`; refused where targets replace a state, which nothing is made of then."""
        face = self.interface
        if face.taught:
            raise ValueError(
                f"{self.owner}: the state {face.taught} is the target of the step before, and no loss has a derivative "
                f"in it through later steps; allowed: {self._shown(self.chosen)} without targets, or the gradient in "
                "the targets"
            )
        found = cotangents_of_states(self, x, bar_output, state, bar_state, lengths)
        return self._as_state(found[face.carried :])

    def _with_targets(self, x: Any, targets: Any) -> Any:
        """The input and, behind its features, the targets of a cell that reads them."""
        if not self.interface.taught:
            return super()._with_targets(x, targets)
        if type(targets) is not type(x):
            given = "None" if targets is None else f"of type {type(targets).__name__}"
            raise TypeError(
                f"{self.owner}: targets is {given}; this cell reads the target of the step before, so allowed: "
                f"a {type(x).__name__} as x is, with {self.state_sizes[self.interface.taught]} features"
            )
        if not isinstance(x, PackedSequence):
            self._check_targets(x, targets)
            return torch.cat((x, targets), -1)
        self._check_targets(x.data, targets.data)
        orders = zip((x.sorted_indices, x.batch_sizes), (targets.sorted_indices, targets.batch_sizes), strict=True)
        if any((a is None) != (b is None) or (a is not None and not torch.equal(a, b)) for a, b in orders):
            raise ValueError(f"{self.owner}: targets is packed with other lengths than x; allowed: the same lengths")
        data = torch.cat((x.data, targets.data), -1)
        return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices)

    def _check_targets(self, x: Tensor, targets: Tensor) -> None:
        """Refuse targets whose axes or dtype do not fit."""
        wanted = (*x.shape[:-1], self.state_sizes[self.interface.taught])
        place = f"{self.owner}: targets has shape {tuple(targets.shape)}; allowed: shape {wanted}"
        if targets.dim() != len(wanted):
            raise ValueError(f"{place}, {len(wanted)} axes, read {targets.dim()}")
        for axis, (size, right) in enumerate(zip(targets.shape, wanted, strict=True)):
            if size != right:
                raise ValueError(f"{place}, axis {axis} of size {right}, read size {size}")
        check_tensor(self.owner, "targets", targets, x, "x")

    def _beside(self, pieces: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        """What a further layer reads: the output of the one below and, where the cell reads them, the targets."""
        if not self.interface.taught:
            return pieces
        pairs = zip(pieces, given, strict=True)
        return [torch.cat((piece, first[..., self.input_size :]), -1) for piece, first in pairs]

    def _advance(self, x: Tensor, states: tuple[Tensor, ...], operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Output of every step of one layer and direction, and its final states."""
        face = self.interface
        count = len(face.states)
        held, after, inputs = dict(zip(face.states, states, strict=False)), {}, states[count:]
        if face.taught:
            first = held.pop(face.taught)
            x, targets = x.split((x.shape[-1] - first.shape[-1], first.shape[-1]), -1)
            x = torch.cat((x, torch.cat((first.unsqueeze(0), targets[:-1]))), -1)
            after[face.taught] = targets[-1]
        steps, alone = x.shape[:2], bool(face.taught) and not held
        if alone:  # no step waits for another: all are one
            x = x.flatten(0, 1).unsqueeze(0)
        carried = (x.new_zeros(x.shape[1], self.output_features),) * face.carried
        output, *moved = super()._advance(x, (*carried, *held.values(), *inputs), operands)
        moved = moved[len(carried) :]
        after |= zip(held, moved, strict=False)
        if alone:
            output = output.squeeze(0).unflatten(0, steps)
        return (output, *(after[name] for name in face.states), *moved[len(held) :])
