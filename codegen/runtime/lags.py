"""Numbers of steps that a constructor is told: how far back a module reads."""

from __future__ import annotations

from collections.abc import Iterable


def checked_lag(owner: str, name: str, value: int, least: int) -> int:
    """A whole number of steps, or a ValueError that names what is allowed."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{owner}: {name}={value!r}; allowed: a whole number of steps, {least} or more")
    return value


def checked_lags(owner: str, name: str, values: Iterable[int], least: int) -> tuple[int, ...]:
    """Several of them, all different."""
    if not isinstance(values, Iterable):
        raise ValueError(f"{owner}: {name}={values!r}; allowed: a tuple of numbers of steps, {least} or more")
    found = tuple(checked_lag(owner, name, value, least) for value in values)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{owner}: {name}={found!r}; allowed: one or more numbers of steps, all different")
    return found
