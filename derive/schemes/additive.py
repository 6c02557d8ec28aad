"""Additive and partitioned Runge-Kutta schemes: one tableau for each part of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from derive.errors import SpecError
from derive.schemes.runge_kutta import ButcherTableau


@dataclass(frozen=True)
class AdditiveTableau:
    r"""A Runge-Kutta scheme of $\dot x = \sum_p f_p(x)$ with a tableau for each part.

    Stages $X_i = x + h \sum_p \sum_j a^{[p]}_{ij} f_p(X_j)$, step $x + h \sum_p \sum_i b^{[p]}_i f_p(X_i)$. A
    partitioned scheme is the case in which part p drives the p-th unknown alone.

    Attributes:
        parts: one tableau for each part of the field, all of the same number of stages.
        order: the order it claims, where it claims one.
        digits: digits of published decimals; None for exact entries.
        title: its usual name.

    Raises:
        SpecError: fewer than two parts, or parts of different numbers of stages.
    """

    parts: Sequence[ButcherTableau]
    order: int | None = None
    digits: int | None = None
    title: str = "additive Runge-Kutta"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if len(self.parts) < 2:
            raise SpecError(f"{self.title}: {len(self.parts)} part(s); give two tableaus or more, one for each part")
        stages = [part.stages for part in self.parts]
        if len(set(stages)) > 1:
            raise SpecError(f"{self.title}: the parts have {stages} stages; all need the same number")

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self.parts[0].stages
