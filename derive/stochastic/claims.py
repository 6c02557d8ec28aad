"""Whether a table has the strong and weak orders that it claims, and what it reaches beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from derive.schemes.findings import Finding, Kind, error, unrefused
from derive.schemes.stochastic import CALCULI, STRUCTURES, StochasticRungeKutta
from derive.stochastic.orders import LARGEST_STRONG, LARGEST_WEAK, StochasticOrders, stochastic_orders

LARGEST = {"strong": LARGEST_STRONG, "weak": LARGEST_WEAK}


def unreached(scheme: StochasticRungeKutta) -> Iterator[Finding]:
    """One error for each claim that the orders of the table do not bear out, with the condition that fails."""
    orders = stochastic_orders(scheme)
    for kind, largest in LARGEST.items():
        reached, why = _found(orders, kind)
        for structure, claimed in getattr(scheme, f"{kind}_order"):
            claim = f"claims {kind} order {claimed} for {structure} noise"
            if claimed <= reached[structure]:
                continue
            if structure not in why:
                text = f"{claim}; {kind} orders are derived up to {largest}: claim at most that"
                yield error(f"{kind}_order", claimed, largest, text)
                continue
            text = f"{claim}; {why[structure]}: it has {kind} order {reached[structure]}"
            text += _meant(scheme, kind) if reached[structure] == 0 else ""
            yield error(f"{kind}_order", claimed, reached[structure], text)


def beyond(scheme: StochasticRungeKutta) -> Iterator[Finding]:
    """What is reached and not claimed; a table that does not converge at all."""
    orders = stochastic_orders(scheme)
    for kind in LARGEST:
        reached, why = _found(orders, kind)
        claims = dict(getattr(scheme, f"{kind}_order"))
        lost = [name for name in STRUCTURES if reached[name] == 0]
        if lost:
            text = f"{kind} order 0 for {', '.join(lost)} noise: it does not converge; {why[lost[0]]}"
            yield Finding(Kind.WARNING, f"{kind}_order", "0", "more than 0", text + _meant(scheme, kind))
        more: dict[tuple[Fraction, str], list[str]] = {}
        for name in STRUCTURES:
            claimed = claims_for(claims, name)
            if reached[name] > (claimed or 0):
                more.setdefault((reached[name], "none" if claimed is None else str(claimed)), []).append(name)
        for (value, claim), names in more.items():
            text = f"has {kind} order {value} for {', '.join(names)} noise, claims {claim}"
            yield Finding(Kind.INFO, f"{kind}_order", claim, str(value), text)


def claims_for(claims: dict[str, Any], structure: str) -> Any:
    """The largest order that is claimed of a structure or of one that it is a case of; None where none is."""
    wider = {structure, "general"} if structure == "general" else {structure, "commutative", "general"}
    return max((claims[name] for name in STRUCTURES if name in wider and name in claims), default=None)


def _meant(scheme: StochasticRungeKutta, kind: str) -> str:
    """That the table is one for the other calculus, where it converges there."""
    other = next(calculus for calculus in CALCULI if calculus != scheme.calculus)
    with unrefused():
        reached, _ = _found(stochastic_orders(replace(scheme, calculus=other)), kind)
    least = min(reached.values())
    return f"; with calculus={other!r} it has {kind} order {least} for all noise" if least > 0 else ""


def _found(orders: StochasticOrders, kind: str) -> tuple[dict[str, Fraction], dict[str, Any]]:
    return getattr(orders, kind), getattr(orders, f"{kind}_obstructions")
