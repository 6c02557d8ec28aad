"""Additive and partitioned Runge-Kutta schemes: one tableau for each part of the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from derive.schemes.arguments import check_counts
from derive.schemes.claims import additive_claims
from derive.schemes.consistency import additive_findings
from derive.schemes.findings import Finding, refuse
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
        SpecError: fewer than two parts, parts of different numbers of stages, or a claimed order that is not reached.
    """

    parts: Sequence[ButcherTableau]
    order: int | None = None
    digits: int | None = None
    title: str = "additive Runge-Kutta"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        check_counts(self)
        refuse(self.title, self.findings())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the tables: number of parts and stages, a claimed order that they have not."""
        wrong = [*additive_findings(self), *(finding for part in self.parts for finding in part.findings())]
        yield from wrong
        if not wrong:
            yield from additive_claims(self)

    @property
    def dense_tableau(self) -> AdditiveTableau:
        """The same step and dense output with the stages of the output among those of the step."""
        if not any(part.dense_stages for part in self.parts):
            return self
        return AdditiveTableau([part.dense_tableau for part in self.parts], digits=self.digits, title=self.title)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self.parts[0].stages
