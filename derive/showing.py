"""The whole derivation of a system, of a scheme alone, or of whatever a reference names."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from derive.adaptive import Adaptive
from derive.analysis import Analysis
from derive.catalog import CATALOG
from derive.claims import verdicts
from derive.derivation import Derivation
from derive.errors import UnknownNameError
from derive.explanation import explain_system
from derive.jacobian_sections import with_state_jacobians
from derive.loading import load, load_any, names_a_file, scheme_name
from derive.numbering import Author
from derive.scheme_report.explanation import explain_scheme, write_scheme
from derive.scheme_report.stochastic import explain_stochastic
from derive.schemes import Scheme, scheme_by_name
from derive.schemes.every import EVERY_SCHEME, AnyScheme
from derive.schemes.stochastic import StochasticRungeKutta
from derive.systems import ODE, Spec


def explain(source: Spec | AnyScheme) -> Derivation:
    """Derive everything the tool knows to derive about a spec and its scheme, or about a scheme alone."""
    if not isinstance(source, Spec):
        return explain_alone(source, "scheme")
    found = with_state_jacobians(source, explain_system(source))
    found = replace(found, claims=verdicts(source, found))
    scheme = _scheme_of(source)
    if scheme is None:
        return found
    author = Author(list(found.sections), numbers=dict(found.numbers))
    write_scheme(author, Analysis(scheme), root_condition=False)
    return replace(found, sections=tuple(author.sections), numbers=author.numbers)


def explain_alone(scheme: AnyScheme, name: str) -> Derivation:
    """The derivation of a scheme by its table alone."""
    if isinstance(scheme, StochasticRungeKutta):
        return explain_stochastic(scheme, name)
    return explain_scheme(scheme, name)


def _scheme_of(spec: Spec) -> Scheme | None:
    """The scheme that makes the steps of a spec, where its weights are known."""
    if isinstance(spec.system, Adaptive):
        return spec.system.pair.given
    scheme = scheme_by_name(spec.scheme) if isinstance(spec.system, ODE) else None
    return scheme if isinstance(scheme, Scheme) else None


def explained(reference: str) -> Derivation:
    """The derivation of a system by its id, of a scheme that is no system by its id, or of what a file holds.

    Raises:
        UnknownNameError: neither a system nor a scheme has that id.
        DeriveError: the file is missing, raises, or holds neither (or several, and none is named).
    """
    if names_a_file(reference):
        found = load_any(reference)
        return explain(found) if isinstance(found, Spec) else explain_alone(found, scheme_name(reference))
    if reference in CATALOG or (reference not in EVERY_SCHEME and not get_close_matches(reference, EVERY_SCHEME)):
        return explain(load(reference))
    if reference not in EVERY_SCHEME:
        raise UnknownNameError("id", reference, [*CATALOG, *EVERY_SCHEME])
    return explain_alone(EVERY_SCHEME[reference], reference)
