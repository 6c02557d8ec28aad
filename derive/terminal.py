"""Text in columns and lines as wide as the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator


def as_columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows of cells as lines, every column as wide as its widest cell."""
    lines = list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield from fitted("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def terminal_width() -> int:
    """Letters on a line of the terminal; 0 where there is none: what goes into a file or a pipe keeps its lines."""
    return shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0


def fitted(line: str) -> list[str]:
    """A line broken between words where the terminal is narrower."""
    width = terminal_width()
    if not width or len(line) <= width:
        return [line]
    if not line.strip("-"):
        return [line[:width]]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
