"""Which scheme a spec is solved with, and another one in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from derive.adaptive import Adaptive
from derive.delay import DelayODE
from derive.errors import SpecError
from derive.explanation import recurrences
from derive.flow import ContinuousFlow
from derive.readings import scheme_read
from derive.schemes import SCHEME_KINDS, scheme_by_name, single_scheme
from derive.schemes.every import EVERY_SCHEME, AnyScheme
from derive.schemes.stochastic import PREFIX, STOCHASTIC_SCHEMES, StochasticRungeKutta, stochastic_scheme
from derive.schemes.substitution import names_of
from derive.sde import SDE
from derive.systems import ODE, Spec


def scheme_of(spec: Spec) -> AnyScheme | None:
    """The scheme of an ODE or SDE, or what the first of the spec's readings makes of its step; None without either.

    Raises:
        UnsupportedError: a family of schemes, whose weights are arguments of the emitted module.
    """
    system = next(iter(spec.variants.values()), None)
    if isinstance(system, SDE):
        return stochastic_scheme(system.scheme)
    if isinstance(system, ODE):
        return single_scheme(spec.scheme)
    if isinstance(system, Adaptive | ContinuousFlow):
        return single_scheme(system.scheme)
    if spec.readings:
        return scheme_read(next(iter(recurrences(spec).values())), spec.readings[0])
    return None


def with_scheme(spec: Spec, scheme: Any) -> Spec:
    """The spec with another scheme, in its title too; what decks say of the old one does not apply to it.

    Args:
        spec: of ODEs or SDEs.
        scheme: id of a scheme, or the scheme itself, of the kind that the equations are.

    Raises:
        UnknownNameError: no scheme has that id.
        SpecError: a scheme of the other kind, a spec of another system, or one that gives defaults to symbols of its
            scheme that the other has not.
    """
    systems = spec.variants
    if systems and all(isinstance(one, SDE) for one in systems.values()):
        return _with_stochastic(spec, scheme)
    if not isinstance(spec.system, ODE | Adaptive | ContinuousFlow | DelayODE):
        raise SpecError(f"{spec.id}: solved by no scheme; that of an ODE or of an SDE is exchanged")
    given = EVERY_SCHEME.get(scheme) if isinstance(scheme, str) else scheme
    if isinstance(given, StochasticRungeKutta):
        raise SpecError(
            f"{spec.id}: an ODE, and {given.title} is a scheme for stochastic equations; allowed: a scheme of another "
            "kind (`derive list --schemes`)"
        )
    if not isinstance(spec.system, ODE):
        return replace(spec, system=replace(spec.system, scheme=scheme), claims=())
    old, new = scheme_by_name(spec.scheme), scheme_by_name(scheme)
    own = ", ".join(sorted(spec.defaults.keys() & names_of(old) - names_of(new)))
    if own:
        raise SpecError(
            f"{spec.id}: {own} belongs to its scheme {old.title}, which the spec is about; {new.title} has no {own}: "
            "give that scheme to a spec whose own has no parameters, or write one (`derive new`)"
        )
    return replace(spec, scheme=scheme, claims=(), title=spec.title.replace(old.title, new.title))


def _with_stochastic(spec: Spec, scheme: Any) -> Spec:
    """Every equation with another table."""
    known = isinstance(scheme, str) and scheme.removeprefix(PREFIX) in STOCHASTIC_SCHEMES
    other = EVERY_SCHEME.get(scheme) if isinstance(scheme, str) else scheme
    if not known and isinstance(other, SCHEME_KINDS):
        raise SpecError(
            f"{spec.id}: a stochastic equation, and {other.title} is a scheme for ODEs; allowed: "
            f"{', '.join(STOCHASTIC_SCHEMES)}, or a StochasticRungeKutta from a file"
        )
    new = stochastic_scheme(scheme)
    systems = {option: replace(one, scheme=scheme) for option, one in spec.variants.items() if isinstance(one, SDE)}
    title = spec.title
    for one in spec.variants.values():
        title = title.replace(stochastic_scheme(one.scheme).title, new.title) if isinstance(one, SDE) else title
    return replace(spec, system=systems if spec.option else systems[""], claims=(), title=title)
