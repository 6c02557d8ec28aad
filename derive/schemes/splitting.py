"""Splitting schemes: compositions of the flows of the parts of a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import sympify

from derive.schemes.arguments import check_counts
from derive.schemes.claims import splitting_claims
from derive.schemes.consistency import splitting_findings
from derive.schemes.findings import Finding, refuse
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
        SpecError: no stages, parts not numbered 0, 1, ..., fractions of a part that do not sum to 1, or a claimed
            order that is not reached.
    """

    stages: Sequence[tuple[int, Any]]
    substep: ButcherTableau | None = None
    order: int | None = None
    title: str = "splitting"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple((part, sympify(fraction)) for part, fraction in self.stages))
        check_counts(self)
        refuse(self.title, self.findings())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the composition: parts, fractions, a claimed order that exact flows do not give."""
        wrong = list(splitting_findings(self))
        yield from wrong
        if not wrong:
            yield from splitting_claims(self)

    @property
    def parts(self) -> int:
        """Number of parts of the field."""
        return 1 + max(part for part, _ in self.stages)
