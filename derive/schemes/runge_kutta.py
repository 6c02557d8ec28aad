"""Runge-Kutta schemes as Butcher tableaus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import S

from derive.schemes.arguments import check_counts, keep_rows, keep_tables
from derive.schemes.claims import tableau_claims
from derive.schemes.consistency import tableau_findings
from derive.schemes.findings import Finding, exact_sum, refuse


@dataclass(frozen=True)
class ButcherTableau:
    """A Runge-Kutta scheme: stages `X_i = x + h sum_j a_ij K_j`, `x_next = x + h sum_i b_i K_i`.

    Attributes:
        A, b, c: the tableau; entries are exact (rationals, algebraic numbers or symbols).
        b_error: weights of the embedded scheme, where there is one.
        dense: coefficients of the dense output, where there is one: `b_i(theta) = sum_j dense[i][j] theta^(j+1)`.
        dense_stages: rows of A of the stages that the dense output needs beyond those of the step: stage len(b) + i,
            an entry for every stage of both kinds. Its node is the sum of the row.
        order, embedded_order, dense_order: the orders it claims, where it claims them.
        digits: digits of published decimals; None for exact entries.
        title: its usual name.

    Raises:
        SpecError: an argument of another kind, sizes that do not fit, a row of A that does not sum to c, weights that
            do not sum to 1, or an order that is claimed and not reached.
    """

    A: Sequence[Sequence[Any]]
    b: Sequence[Any]
    c: Sequence[Any]
    b_error: Sequence[Any] | None = None
    dense: Sequence[Sequence[Any]] | None = None
    order: int | None = None
    embedded_order: int | None = None
    dense_order: int | None = None
    digits: int | None = None
    title: str = "Runge-Kutta"
    dense_stages: Sequence[Sequence[Any]] = ()

    def __post_init__(self) -> None:
        keep_tables(self, "A", "dense_stages")
        keep_rows(self, "b", "c")
        if self.b_error is not None:
            keep_rows(self, "b_error")
        if self.dense is not None:
            keep_tables(self, "dense")
        check_counts(self)
        refuse(self.title, self.findings())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the table: sizes, sums, claimed orders that it has not."""
        wrong = list(tableau_findings(self))
        yield from wrong
        if not wrong:
            yield from tableau_claims(self)

    @property
    def stages(self) -> int:
        """Number of evaluations of the field per step."""
        return len(self.b)

    @property
    def dense_tableau(self) -> ButcherTableau:
        """The same step and dense output with the stages of the output among those of the step, with weight 0."""
        if not self.dense_stages:
            return self
        extra = (S.Zero,) * len(self.dense_stages)
        return ButcherTableau(
            A=[*((*row, *extra) for row in self.A), *self.dense_stages],
            b=(*self.b, *extra),
            c=(*self.c, *(exact_sum(row) for row in self.dense_stages)),
            dense=self.dense,
            digits=self.digits,
            title=self.title,
        )

    @property
    def explicit(self) -> bool:
        """Whether every stage needs only earlier ones."""
        return all(self.A[i][j] == 0 for i in range(self.stages) for j in range(i, self.stages))
