"""How the first steps of a multistep scheme are made: its own starts, or the smallest shipped one-step scheme."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from derive.errors import SpecError
from derive.schemes import SCHEMES, ButcherTableau, LinearMultistep, Start
from derive.series.rk import order

AUTO = "auto"


def starts_of(scheme: LinearMultistep) -> Mapping[str, Start]:
    """The named starts of a multistep scheme; `auto` alone where it has none of its own.

    A start of order q keeps the order q + 1 of what follows, so a scheme of order p needs q >= p - 1.

    Raises:
        SpecError: a start of too low an order, or no shipped scheme of the order needed.
    """
    if scheme.lags == 1:
        return {}
    needed = scheme.derived_order - 1
    if not scheme.start:
        return {AUTO: Start(smallest_start(needed))}
    for name, start in scheme.start.items():
        found = order(start.scheme)
        if found < needed:
            raise SpecError(
                f"{scheme.title} has order {needed + 1}; its start {name!r}, {start.scheme.title}, has order {found}: "
                f"order {needed} is needed, or no start at all, which takes {smallest_start(needed).title}"
            )
    return scheme.start


@cache
def smallest_start(needed: int) -> ButcherTableau:
    """The shipped explicit Runge-Kutta scheme of the fewest stages that has an order, the first of several.

    Raises:
        SpecError: none has it.
    """
    tableaus = [scheme for scheme in SCHEMES.values() if isinstance(scheme, ButcherTableau) and scheme.explicit]
    exact = [t for t in tableaus if t.digits is None and not any(weight.free_symbols for weight in t.b)]
    for tableau in sorted((t for t in exact if t.stages >= needed), key=lambda t: t.stages):
        if order(tableau) >= needed:
            return tableau
    raise SpecError(f"no shipped explicit one-step scheme has order {needed}: give LinearMultistep(..., start=...)")
