"""What every kind of system has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from derive.symbols import Quantity


class System(ABC):
    """What a spec is of: an ODE, a recurrence, a chain of layers, ... A new kind is a subclass.

    What is derived of it, how it is emitted and how it is verified stand in a table each: `derive.explanation`,
    `codegen.emission` and `codegen.verification.verifier`.
    """

    has_module: ClassVar[bool] = True  # whether code is emitted of it; where not, its specs are statements

    @property
    @abstractmethod
    def quantities(self) -> set[Quantity]:
        """Everything the system reads."""
