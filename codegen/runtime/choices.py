"""Arguments that choose one of a few words."""

from __future__ import annotations


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value`, if it is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r}; allowed: {', '.join(map(repr, allowed))}")
    return value
