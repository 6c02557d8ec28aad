"""The variants of a recurrent class: their plans, and what the constructor is told about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen.cells.biases import biases_of
from codegen.cells.interface import Interface
from codegen.cells.plan import CellPlan, plan
from codegen.cells.plan_operands import Operand
from codegen.cells.prelude import Prelude, held_operands, split_prelude
from codegen.cells.readout import Readout, split_readout
from codegen.exact_values import ExactValues
from derive.derivation import Derivation
from derive.errors import DeriveError, UnsupportedError
from derive.linearization import is_affine
from derive.past_values import Lag, Lags
from derive.recurrence import Recurrence
from derive.symbols import Dimension, Quantity
from derive.systems import Spec

SIZES = ("input_size", "hidden_size", "output_size")


class CellParts:
    """Everything of an emitted recurrent module that depends on the spec, before it is text.

    Args:
        spec: what is emitted; its system is a recurrence, or one for each option.
        derivation: for the equation numbers.
    """

    def __init__(self, spec: Spec, derivation: Derivation) -> None:
        self.spec, self.derivation = spec, derivation
        found = {
            str(name): split_readout(system, spec.stacks_of(name))
            for name, system in spec.variants.items()
            if isinstance(system, Recurrence)
        }
        self.recurrences = {name: cell for name, (cell, _) in found.items()}
        self.readout = self._only([readout for _, readout in found.values()])
        self.preludes: dict[str, Prelude | None] = {}
        self.twins = {str(name): str(first) for name, first in spec.twins.items()}
        distinct = dict.fromkeys(self.twins.values())
        self.plans = {name: self._plan(name, self.recurrences[name]) for name in distinct}
        self.default = next(iter(self.plans))
        self.sizes = SIZES[: 1 + len(self._dimensions())]
        self.exact = ExactValues(spec, derivation.numbers)

    def _only(self, readouts: Sequence[Readout | None]) -> Readout | None:
        if any(readout != readouts[0] for readout in readouts):
            raise UnsupportedError(f"{self.spec.id}: the variants differ in their read-out; one class has one, or none")
        return readouts[0]

    def _dimensions(self) -> tuple[Dimension, ...]:
        found = dict.fromkeys(cell.program.dimensions for cell in self.plans.values())
        if len(found) > 1:
            shown = "; ".join(", ".join(map(str, sizes)) for sizes in found)
            raise UnsupportedError(f"{self.spec.id}: the variants have vectors of different sizes: {shown}")
        return next(iter(found))

    @property
    def size_names(self) -> dict[Dimension, str]:
        """Named dimension of states and lines -> the constructor's argument that gives it."""
        return dict(zip(self._dimensions(), self.sizes[1:], strict=True))

    @property
    def interfaces(self) -> list[Interface]:
        """The interface of each cell; empty where all have states of one size and one of them as their output."""
        faces = [self.plans[first].program.interface for first in self.twins.values()]
        return [] if all(face.plain for face in faces) and not self.sizes[2:] else faces

    def _plan(self, option: str, recurrence: Recurrence) -> CellPlan:
        if option and not f"_{option}".isidentifier():
            raise UnsupportedError(
                f"{self.spec.id}: the option {option!r} becomes part of a name; use letters, digits, _"
            )
        try:
            core, prelude = split_prelude(recurrence, self.spec.stacks_of(option))
            self.preludes[option] = prelude
            apart = {*prelude.parameters, *prelude.program.outputs} if prelude else ()
            return plan(core, self.spec.stacks_of(option), apart)
        except DeriveError as error:
            chosen = [f"{name} = {value!r}" for name, value in self.spec.chosen(option).items()]
            about = ", ".join([self.spec.id, *chosen])
            raise type(error)(f"{about}: {error}") from None

    @property
    def linear(self) -> bool:
        """Whether every cell is linear in states of one size and input, but for a constant, and reads nothing older."""
        cells = [self.recurrences[name] for name in self.plans]
        return not self.interfaces and all(
            not one.past and is_affine(one.step, (*one.old, *one.inputs)) for one in cells
        )

    def held(self, name: str) -> list[Operand]:
        """Tensors that a layer holds."""
        first = self.twins[name]
        return held_operands(self.plans[first].program.layout, self.preludes[first])

    @property
    def has_prelude(self) -> bool:
        """Whether any of the cells has one."""
        return any(prelude is not None for prelude in self.preludes.values())

    @property
    def constants(self) -> tuple[Quantity, ...]:
        """Numbers that the constructor takes."""
        return tuple(dict.fromkeys(q for prelude in self.preludes.values() if prelude for q in prelude.constants))

    @property
    def told_lags(self) -> Mapping[str, Lag | Lags]:
        """Lags that the constructor is told, by name."""
        return {lag.name: lag for cell in self.plans.values() for lag in cell.program.told_lags}

    @property
    def operands(self) -> list[Operand]:
        """Tensors that the layers of all variants hold."""
        return [operand for name in self.plans for operand in self.held(name)]

    @property
    def biases(self) -> tuple[str, ...]:
        """Names of the tensors that are only added, in every variant that has them."""
        found: dict[str, bool] = {}
        for name, one in self.plans.items():
            prelude = self.preludes[name]
            only_added = biases_of(one.program.step) - {*(prelude.parameters if prelude else ())}
            for operand in self.held(name):
                rows = [(q,) for q in operand.rows] if operand.below else [operand.rows] * len(operand.parts)
                for part, held in zip(operand.parts, rows, strict=True):
                    found[part] = found.get(part, True) and only_added.issuperset(held)
        if self.readout is not None:
            only_added = biases_of(self.readout.program)
            found |= {name: q in only_added for q, name in self.readout.names.items()}
        return tuple(name for name, holds in found.items() if holds)

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """Name of each argument that chooses a cell -> its values, the default first."""
        chosen = [self.spec.chosen(name) for name in self.twins]
        return {name: tuple(dict.fromkeys(str(each[name]) for each in chosen)) for name in self.spec.option_names}
