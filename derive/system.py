"""What every kind of system has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from derive.program import Program
from derive.symbols import Quantity


class System(ABC):
    """What a spec is of: an ODE, a recurrence, a chain of layers, ... A new kind is a subclass.

    How it is emitted and how it is verified stand in a table each: `codegen.emission` and
    `codegen.verification.verifier`.
    """

    has_module: ClassVar[bool] = True
    """Whether code is emitted of it; where not, its specs are statements."""

    varies: ClassVar[bool] = False
    """Whether parameters of it may be functions of time."""

    has_values: ClassVar[bool] = False
    """Whether parameters of it may start with exact values of the spec."""

    @property
    @abstractmethod
    def quantities(self) -> set[Quantity]:
        """Everything the system reads."""

    @property
    @abstractmethod
    def explained_by(self) -> tuple[str, str]:
        """File of this package and function that writes its sections, (draft, system, names); loaded on use."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """Of a step, of each kind of layer, of a map and its inverse; none of what is discretized first."""
        return ()

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What the table of symbols lists, beside what a step has."""
        return tuple(q for program in self.programs for q in (*program.inputs, *program.outputs))
