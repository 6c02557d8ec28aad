"""Symbols of schemes: values in their place, or parameters of the emitted module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sympy import Expr, Symbol

from derive.schemes.additive import AdditiveTableau
from derive.schemes.family import MultistepFamily
from derive.schemes.multistep import LinearMultistep
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.splitting import Splitting
from derive.symbols import Quantity, parameter


def with_values(scheme: Any, values: Mapping[Symbol, Any]) -> Any:
    """A scheme of any kind with values for symbols; what it claims of itself is left out."""
    if not values:
        return scheme
    if isinstance(scheme, AdditiveTableau):
        parts = tuple(with_values(part, values) for part in scheme.parts)
        return AdditiveTableau(parts, digits=scheme.digits, title=scheme.title)
    if isinstance(scheme, Splitting):
        stages = tuple((part, fraction.subs(values)) for part, fraction in scheme.stages)
        substep = None if scheme.substep is None else with_values(scheme.substep, values)
        return replace(scheme, stages=stages, substep=substep, order=None)
    if isinstance(scheme, LinearMultistep):
        alpha, beta = (tuple(weight.subs(values) for weight in side) for side in (scheme.alpha, scheme.beta))
        return replace(scheme, alpha=alpha, beta=beta, order=None)
    A = [[entry.subs(values) for entry in row] for row in scheme.A]
    b, c = ([entry.subs(values) for entry in row] for row in (scheme.b, scheme.c))
    return ButcherTableau(A=A, b=b, c=c, digits=scheme.digits, title=scheme.title)


def entries(scheme: Any) -> list[Expr]:
    """All coefficients of a scheme; none of a family, whose weights are arguments."""
    if isinstance(scheme, MultistepFamily):
        return []
    if isinstance(scheme, AdditiveTableau):
        return [entry for part in scheme.parts for entry in entries(part)]
    if isinstance(scheme, LinearMultistep):
        return [*scheme.alpha, *scheme.beta]
    if isinstance(scheme, Splitting):
        return [fraction for _, fraction in scheme.stages] + (entries(scheme.substep) if scheme.substep else [])
    return [entry for row in (*scheme.A, scheme.b) for entry in row]


def plain_symbols(scheme: Any) -> list[Symbol]:
    """Symbols of a scheme that nobody declared, by name."""
    free = {symbol for entry in entries(scheme) for symbol in entry.free_symbols}
    return sorted((symbol for symbol in free if not isinstance(symbol, Quantity)), key=str)


def names_of(scheme: Any) -> set[str]:
    """Names of the symbols of a scheme."""
    return {symbol.name for entry in entries(scheme) for symbol in entry.free_symbols}


def declared(scheme: Any) -> Any:
    """A scheme whose own symbols are parameters: trainable numbers that the emitted module is given."""
    return with_values(scheme, {symbol: parameter(symbol.name) for symbol in plain_symbols(scheme)})
