"""Chains of layers: feed-forward nets whose layers have sizes and parameters of their own."""

from __future__ import annotations

from dataclasses import dataclass

from derive.errors import SpecError
from derive.operators import show_shape
from derive.program import Program, name_functions
from derive.symbols import Quantity, Role
from derive.system import System


@dataclass(frozen=True)
class Chain(System):
    """Layers one after the other; a layer is a program from one vector to another.

    Attributes:
        last: the last layer: one input with batch axes, parameters, one output.
        hidden: every layer before it, each with parameters and sizes of its own; None for a single layer.

    Raises:
        SpecError: a layer that has not one vector going in and one coming out, or reads anything but parameters.
    """

    has_values = True
    last: Program
    hidden: Program | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "last", _layer(self.last, "last"))
        if self.hidden is not None:
            object.__setattr__(self, "hidden", _layer(self.hidden, "hidden"))

    @property
    def layers(self) -> dict[str, Program]:
        """Name of the kind of layer -> its program."""
        return {"last": self.last} if self.hidden is None else {"hidden": self.hidden, "last": self.last}

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "chain_explanation", "explain_chain"

    @property
    def programs(self) -> tuple[Program, ...]:
        """Of each kind of layer."""
        return tuple(self.layers.values())

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the layers read."""
        return {quantity for layer in self.layers.values() for quantity in layer.inputs}


def input_of(layer: Program) -> Quantity:
    """The vector that goes into a layer."""
    return next(quantity for quantity in layer.inputs if quantity.role.batched)


def parameters_of(layer: Program) -> tuple[Quantity, ...]:
    """What is learned of a layer, by name."""
    return tuple(quantity for quantity in layer.inputs if not quantity.role.batched)


def _layer(program: Program, kind: str) -> Program:
    """The layer with its functions named, once it is known to be one."""
    vectors = [quantity for quantity in program.inputs if quantity.role.batched]
    others = [q.name for q in program.inputs if not q.role.batched and q.role is not Role.PARAMETER]
    if others:
        raise SpecError(f"the {kind} layer reads {', '.join(others)}; a layer reads one vector and parameters")
    for place, found in (("in", vectors), ("out", program.outputs)):
        if len(found) != 1 or len(found[0].shape) != 1:
            shown = ", ".join(f"{q.name} {show_shape(q.shape)}" for q in found) or "nothing"
            raise SpecError(f"the {kind} layer has {shown} going {place}; one vector is needed")
    return name_functions(program)
