"""What the tool says when it cannot go on: what was read, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any


class DeriveError(Exception):
    """Base of every error that is the input's and not the program's; the command line prints it and exits with 2."""


class SpecError(DeriveError):
    """A spec is inconsistent: undeclared symbols, shapes that do not fit, names that cannot become code."""


class UnsupportedError(DeriveError):
    """A well-formed request that the mechanism has no rule for."""


class UnknownNameError(DeriveError):
    """A name that is not in a table."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        names = sorted(set(allowed))
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"unknown {kind} {name!r}: {hint}")


def shown(value: object) -> str:
    """A wrong value with its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def natural(what: str, value: Any, least: int = 0) -> int:
    """A whole number that is large enough.

    Raises:
        SpecError: it is not; the message says what it is for.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise SpecError(f"{what} is {value!r}; give a whole number from {least} on")
    return number
