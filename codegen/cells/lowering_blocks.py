"""Rows of one size: what one stacked buffer of an emitted cell holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cells.plan_operands import multiple, rows_slice


@dataclass(frozen=True)
class Block:
    """Rows of one size: what one stacked buffer holds.

    Attributes:
        rows: their places among all rows, neighbours.
        size: text of the size of one row.
        suffix: of the names of the buffer and its views.
    """

    rows: tuple[int, ...]
    size: str
    suffix: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.rows)

    @property
    def width(self) -> str:
        """Text of the size of all together."""
        return multiple(self.count, self.size)

    def whole(self, rows: Sequence[int]) -> bool:
        """Whether these are all rows."""
        return len(rows) == self.count

    def columns(self, rows: Sequence[int]) -> str:
        """Text that cuts the columns of neighbouring rows out of the last axis, behind a `:, `."""
        start = self.place(rows[0])
        return rows_slice(start, start + len(rows), self.count, self.size).strip("[]")

    def place(self, row: int) -> int:
        """Place of a row in the buffer."""
        return row - self.rows[0]

    def chosen(self, rows: Sequence[int]) -> str:
        """Text that cuts neighbouring rows out of the axis of rows."""
        start = self.place(rows[0])
        return f"{start}:{start + len(rows)}"
