"""The linter of schemes: what is wrong with a table, what is doubtful, and which shipped scheme it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sympy import Expr, Float, Integer, S, cancel

from derive.scheme_sections import interval_text, stable_interval
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.schemes.every import EVERY_SCHEME, AnyScheme
from derive.schemes.findings import Finding, Kind, unrefused, vanishes
from derive.schemes.stochastic import StochasticRungeKutta
from derive.series.domains import exact
from derive.series.multistep import MultistepVerdicts
from derive.series.rk import order
from derive.stochastic.claims import beyond

__all__ = ["Finding", "Kind", "lint", "unrefused"]

VISIBLY = 1e-9
SHORT = 10**7
"""The largest denominator of a short decimal."""
MEANT = 10**4
"""The largest denominator of a fraction that a long one may stand for."""


def lint(scheme: AnyScheme) -> tuple[Finding, ...]:
    """All findings: errors first, then warnings, then what is only worth knowing.

    Errors are refused where a scheme is made, so that only schemes made under `unrefused` have any.
    """
    found = list(scheme.findings())
    if not any(finding.kind is Kind.ERROR for finding in found):
        if isinstance(scheme, LinearMultistep):
            found += [*_consistency(scheme), *_zero_stability(scheme)]
        found += [*_decimals(scheme), *_estimate(scheme)]
        found += beyond(scheme) if isinstance(scheme, StochasticRungeKutta) else _order(scheme)
        found += _namesakes(scheme)
    return tuple(sorted(found, key=lambda finding: list(Kind).index(finding.kind)))


def _decimals(scheme: AnyScheme) -> Iterator[Finding]:
    """Decimals of many places that nobody declared as published: they are taken as the fractions they write."""
    if isinstance(scheme, AdditiveTableau):
        for part in scheme.parts:
            yield from _decimals(part)
        return
    rows: dict[str, Sequence[Expr]] = {}
    if isinstance(scheme, ButcherTableau) and scheme.digits is None:
        rows = {f"row {i + 1} of A": row for i, row in enumerate(scheme.A)} | {"b": scheme.b, "c": scheme.c}
    elif isinstance(scheme, LinearMultistep):
        rows = {"alpha": scheme.alpha, "beta": scheme.beta}
    elif isinstance(scheme, StochasticRungeKutta):
        tables = {"A": scheme.A, "B": scheme.B}
        rows = {f"row {i} of {name}": row for name, table in tables.items() for i, row in enumerate(table, 1)}
        rows |= {"alpha": scheme.alpha, "beta": scheme.beta, "gamma": (scheme.gamma,)}
    for row, entries in rows.items():
        long = [number for entry in entries for number in sorted(entry.atoms(Float)) if exact(number).q > SHORT]
        if not long:
            continue
        read = exact(long[0])
        near = read.limit_denominator(MEANT)
        written = str(near.p) if near.q == 1 else f"Rational({near.p}, {near.q})"
        meant = written if abs(near - read) < VISIBLY else "an exact entry"
        published = "" if not hasattr(scheme, "digits") else ", or say digits=n where decimals were published"
        text = f"{row} holds {long[0]}, taken as exactly {read}: give {meant}{published}"
        yield Finding(Kind.WARNING, row, str(long[0]), meant, text)


def _estimate(scheme: AnyScheme) -> Iterator[Finding]:
    """An embedded scheme that is the scheme itself estimates no error."""
    if isinstance(scheme, ButcherTableau) and scheme.b_error is not None and all(map(_equal, scheme.b, scheme.b_error)):
        text = "b_error is b: the estimate of the error is always 0; it holds the weights of the embedded scheme"
        yield Finding(Kind.WARNING, "b_error", "b", "other weights", text)


def _order(scheme: Scheme) -> Iterator[Finding]:
    """An order above the one claimed, or one that is not claimed; of a splitting with substeps, one not reached."""
    if isinstance(scheme, LinearMultistep):
        if scheme.slope == 0 or sum(scheme.beta) == 0:
            return
        reached = MultistepVerdicts(scheme).order
    else:
        reached = order(scheme)
    if scheme.order == reached:
        return
    claimed = "none" if scheme.order is None else str(scheme.order)
    kind = Kind.ERROR if scheme.order is not None and scheme.order > reached else Kind.INFO
    yield Finding(kind, "order", claimed, str(reached), f"has order {reached}, claims {claimed}")


def _consistency(scheme: LinearMultistep) -> Iterator[Finding]:
    """sigma(1) = rho'(1), without which the scheme follows another equation than x' = f: meant so in LM-ResNet."""
    if scheme.slope == 0:
        yield Finding(Kind.WARNING, "alpha", "rho'(1) = 0", "rho'(1) != 0", "rho has a double root at 1")
        return
    if cancel(scheme.speed - 1) == 0:
        return
    total = cancel(sum(scheme.beta))
    text = f"sigma(1) is {total}, rho'(1) is {scheme.slope}: consistent with u' = ({scheme.speed}) f, not with u' = f"
    yield Finding(Kind.WARNING, "beta", f"sigma(1) = {total}", f"rho'(1) = {scheme.slope}", text)


def _zero_stability(scheme: LinearMultistep) -> Iterator[Finding]:
    symbols = sorted({symbol for weight in scheme.alpha for symbol in weight.free_symbols}, key=str)
    if len(symbols) > 1:
        return
    region = stable_interval(scheme)
    expected = "all roots of rho within the unit circle, simple on it"
    if region is S.EmptySet:
        text = "not zero-stable: rho has a root outside the unit circle, or a double one on it; it does not converge"
        yield Finding(Kind.WARNING, "alpha", "root condition violated", expected, text)
    elif symbols and region != S.Reals:
        condition = interval_text(region, symbols[0])
        yield Finding(Kind.INFO, "alpha", condition, expected, f"zero-stable for {condition} only")


def _namesakes(scheme: AnyScheme) -> Iterator[Finding]:
    """Shipped schemes with the same entries."""
    for name, shipped in EVERY_SCHEME.items():
        if shipped is not scheme and type(shipped) is type(scheme) and _same(shipped, scheme):
            text = f"this is {shipped.title}, shipped as {name!r}"
            yield Finding(Kind.INFO, "title", scheme.title, shipped.title, text)


def _same(one: AnyScheme, other: AnyScheme) -> bool:
    """Whether two schemes of a kind make the same steps, stage by stage."""
    rows, others = _rows(one), _rows(other)
    return [len(row) for row in rows] == [len(row) for row in others] and all(
        _equal(a, b)
        for row, counterpart in zip(rows, others, strict=True)
        for a, b in zip(row, counterpart, strict=True)
    )


def _rows(scheme: AnyScheme) -> list[tuple[Any, ...]]:
    if isinstance(scheme, StochasticRungeKutta):
        calculus = (Integer(scheme.calculus == "ito"),)
        return [*map(tuple, (scheme.alpha, scheme.beta, *scheme.A, *scheme.B)), (scheme.gamma,), calculus]
    if isinstance(scheme, ButcherTableau):
        return [tuple(scheme.b), *map(tuple, scheme.A)]
    if isinstance(scheme, AdditiveTableau):
        return [row for part in scheme.parts for row in _rows(part)]
    if isinstance(scheme, Splitting):
        inner = [] if scheme.substep is None else _rows(scheme.substep)
        return [tuple(Integer(part) for part, _ in scheme.stages), tuple(share for _, share in scheme.stages), *inner]
    return [_trimmed(scheme.alpha), _trimmed(scheme.beta)]


def _trimmed(weights: Sequence[Any]) -> tuple[Any, ...]:
    """Without the zeros at the end, which only pad."""
    used = [place for place, weight in enumerate(weights) if weight != 0]
    return tuple(weights[: used[-1] + 1]) if used else ()


def _equal(one: Expr, other: Expr) -> bool:
    gap = one - other
    if not gap.free_symbols and abs(gap.evalf(15)) > VISIBLY:
        return False  # most pairs: no need to be exact
    return vanishes(gap)
