"""Rows of the verification table, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("check", "expected", "measured", "tolerance", "verdict")


@dataclass(frozen=True)
class Row:
    """One check of one emitted module.

    Attributes:
        spec: id of the spec.
        check: what is tested; carries the equation number where the check belongs to a relation.
        expected, measured, tolerance: as they are shown.
        passed: the verdict.
        detail: how it was measured.
    """

    spec: str
    check: str
    expected: str
    measured: str
    tolerance: str
    passed: bool
    detail: str = ""

    @property
    def verdict(self) -> str:
        """`passed` or `FAILED`."""
        return "passed" if self.passed else "FAILED"


def table(rows: Sequence[Row]) -> str:
    """Rows in columns, one block per spec; a failed check shows its detail beneath."""
    cells = [COLUMNS, *((row.check, row.expected, row.measured, row.tolerance, row.verdict) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    head, *body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    lines: list[str] = []
    for index, (row, line) in enumerate(zip(rows, body, strict=True)):
        if index == 0 or rows[index - 1].spec != row.spec:
            lines += [*([""] if lines else []), row.spec, f"  {head.rstrip()}", f"  {'-' * len(head.rstrip())}"]
        lines.append(f"  {line.rstrip()}")
        if not row.passed and row.detail:
            lines.append(f"      {row.detail}")
    return "\n".join([*lines, "", summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """`23 checks, all passed`, or how many did not."""
    failed = sum(not row.passed for row in rows)
    return f"{len(rows)} checks, {f'{failed} FAILED' if failed else 'all passed'}"
