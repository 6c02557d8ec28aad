"""An opaque map inside one equation: whenever it is called it finds the random state and the buffers of the first call.

The first call alone changes them: one mask of dropout, and one update of running statistics, for each equilibrium.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.random_states import random_state, random_state_of
from codegen.runtime.train_modes import modes_as_called
from codegen.runtime.untouched import call_untouched

CALL_FAILURES = (RuntimeError, ValueError, TypeError, IndexError)
"""What torch raises where a map does not fit its input."""


class Cell:
    """A module or function of (z, x) with the parameters that it is called with, for one equation.

    Attributes:
        names, parameters: of the module, each once; none for a plain function.
    """

    def __init__(self, owner: str, name: str, cell: Callable[..., Tensor]) -> None:
        self.owner, self.name, self.cell = owner, name, cell
        module = cell if isinstance(cell, nn.Module) else None
        held = dict(module.named_parameters()) if module else {}
        self.names, self.parameters = tuple(held), tuple(held.values())
        self.slots = [_slot(module, name) for name in self.names] if module else []
        self.buffers = dict(module.named_buffers()) if module else {}
        self.modes = [(part, part.training) for part in module.modules()] if module else []
        self.before: dict[str, Tensor] = {}
        self.random: tuple[Tensor, ...] | None = None

    def first(self, parameters: Sequence[Tensor], *given: Tensor, closed: bool) -> Tensor:
        """The call that draws numbers and changes buffers; `closed`: refuse tensors that it reads behind our back.

        Raises:
            ValueError: the value needs gradients although nothing that is known of does, or the call fails.
        """
        device = given[0].device
        self.before = {name: buffer.clone() for name, buffer in self.buffers.items()}
        random = random_state(device)
        held = [p.detach() for p in parameters] if closed else list(parameters)
        seen = [value.detach() if closed else value for value in given]
        try:
            with torch.enable_grad() if closed else contextlib.nullcontext():
                value = self._called(held, {}, seen)
        except CALL_FAILURES as error:
            shapes = ", ".join(str(tuple(g.shape)) for g in given)
            raise ValueError(f"{self.owner}: {self.name} was called with {shapes}: {error}") from error
        if closed and isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(
                f"{self.owner}: {self.name} uses tensors needing gradients that are not its parameters; allowed: an "
                "nn.Module with these tensors as its parameters, or gradient='autograd'"
            )
        drew = not all(map(torch.equal, random, random_state(device)))
        self.random = random if drew else None
        return value

    def again(self, parameters: Sequence[Tensor], *given: Tensor) -> Tensor:
        """The same call once more, as it was."""
        with random_state_of(self.random, given[0].device), modes_as_called(self.modes):
            return self._called(parameters, {name: buffer.clone() for name, buffer in self.before.items()}, given)

    def _called(self, parameters: Sequence[Tensor], buffers: dict[str, Tensor], given: Sequence[Tensor]) -> Tensor:
        # Parameters may have been exchanged for the first call only, by functional_call around the net.
        own = all(holder[key] is p for (holder, key), p in zip(self.slots, parameters, strict=True))
        cell = self.cell
        if not isinstance(cell, nn.Module) or (own and not buffers):
            return call_untouched(cell, given)
        tensors = dict(zip(self.names, parameters, strict=True)) | buffers
        return call_untouched(lambda *points: torch.func.functional_call(cell, tensors, points), given)


def _slot(module: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """Where a parameter lives."""
    path, _, key = name.rpartition(".")
    return vars(module.get_submodule(path))["_parameters"], key


def checked_cell(owner: str, name: str, cell: Any) -> Any:
    """A function of vectors, usually a module."""
    if not callable(cell):
        raise TypeError(f"{owner}: {name} is {cell!r}; allowed: an nn.Module or a function")
    return cell
