"""Splitting schemes: compositions of the flows of the parts of a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr, cancel, expand, sympify

from derive.errors import SpecError
from derive.schemes.runge_kutta import ButcherTableau


@dataclass(frozen=True)
class Splitting:
    r"""A composition of flows of the parts of $\dot x = \sum_p f_p(x)$.

    Attributes:
        stages: pairs (part, fraction): the flow of part 0, 1, ... over fraction * h; the first is applied first.
        substep: the scheme that stands for each flow; None where the flows are exact.
        order: the order it claims, where it claims one.
        title: its usual name.

    Raises:
        SpecError: no stages, parts not numbered 0, 1, ..., or fractions of a part that do not sum to 1.
    """

    stages: Sequence[tuple[int, Any]]
    substep: ButcherTableau | None = None
    order: int | None = None
    title: str = "splitting"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple((part, sympify(fraction)) for part, fraction in self.stages))
        used = sorted({part for part, _ in self.stages})
        if len(used) < 2 or used != list(range(len(used))):
            raise SpecError(f"{self.title}: stages of the parts {used}; number two parts or more 0, 1, ...")
        for part in used:
            total: Expr = sum((fraction for owner, fraction in self.stages if owner == part), sympify(0))
            if cancel(expand(total - 1)) != 0:
                raise SpecError(f"{self.title}: the fractions of part {part} sum to {total}, not 1")

    @property
    def parts(self) -> int:
        """Number of parts of the field."""
        return 1 + max(part for part, _ in self.stages)
