"""What a scheme is made of: rows of entries, and whole numbers for what it claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from sympy import Expr, SympifyError, sympify

from derive.errors import SpecError

COUNTS = ("order", "embedded_order", "dense_order", "digits")


def check_counts(scheme: Any) -> None:
    """Orders that are claimed and the number of published digits, where the scheme has them.

    Raises:
        SpecError: one is neither None nor a positive whole number.
    """
    for name in COUNTS:
        value = getattr(scheme, name, None)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise _refused(scheme, name, value, "a positive whole number, or None")


def keep_rows(scheme: Any, *names: str) -> None:
    """Replace attributes that are given as sequences of entries by tuples of SymPy expressions.

    Raises:
        SpecError: one is no sequence, or holds what is neither a number nor an expression.
    """
    for name in names:
        object.__setattr__(scheme, name, _row(scheme, name, getattr(scheme, name)))


def keep_tables(scheme: Any, *names: str) -> None:
    """The same for attributes that are sequences of rows.

    Raises:
        SpecError: one is no sequence of such rows.
    """
    for name in names:
        rows = _entries(scheme, name, getattr(scheme, name), "a sequence of rows, as in [[0, 0], [1, 0]]")
        table = tuple(_row(scheme, f"row {place} of {name}", row) for place, row in enumerate(rows, 1))
        object.__setattr__(scheme, name, table)


def _row(scheme: Any, name: str, row: Any) -> tuple[Expr, ...]:
    return tuple(_entry(scheme, name, entry) for entry in _entries(scheme, name, row, "a sequence, as in [0, 1]"))


def _entries(scheme: Any, name: str, value: Any, allowed: str) -> Iterable[Any]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | Set):
        raise _refused(scheme, name, value, allowed)
    return value


def _entry(scheme: Any, name: str, entry: Any) -> Expr:
    try:
        found = sympify(entry)
    except SympifyError:
        found = None
    if not isinstance(found, Expr):
        raise SpecError(
            f"{scheme.title}: {name} holds {entry!r} ({type(entry).__name__}); entries are numbers or expressions"
        )
    return found


def _refused(scheme: Any, name: str, value: object, allowed: str) -> SpecError:
    return SpecError(f"{scheme.title}: {name} is {value!r} ({type(value).__name__}); give {allowed}")
