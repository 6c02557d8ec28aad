"""Source of emitted functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """Source of one emitted function: what a template lays out."""

    name: str
    parameters: str
    returns: str
    doc: str
    body: tuple[str, ...]


def tuple_display(items: Sequence[str]) -> str:
    """Source of a tuple."""
    return f"({', '.join(items)},)" if len(items) == 1 else f"({', '.join(items)})"
