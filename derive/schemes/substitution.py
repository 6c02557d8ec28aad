"""Members of families of schemes: values in the place of symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sympy import Symbol

from derive.schemes.additive import AdditiveTableau
from derive.schemes.multistep import LinearMultistep
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.splitting import Splitting


def with_values(scheme: Any, values: Mapping[Symbol, Any]) -> Any:
    """A scheme of any kind with values for symbols; what it claims of itself is left out."""
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
