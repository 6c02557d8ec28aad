"""The linter for ids and files: every scheme that a reference stands for, with its findings."""

from __future__ import annotations

import os
from dataclasses import dataclass

from derive.errors import DeriveError
from derive.loading import load_any, names_a_file, objects_in_file
from derive.schemes import SCHEME_KINDS, Scheme, single_scheme
from derive.schemes.findings import Finding, Kind, unrefused
from derive.schemes.lint import lint
from derive.systems import ODE, Spec


@dataclass(frozen=True)
class Linted:
    """A scheme and what was found in it.

    Attributes:
        label: the reference that stands for it alone.
        scheme: the scheme, built even where it has errors.
        findings: what was found, errors first.
    """

    label: str
    scheme: Scheme
    findings: tuple[Finding, ...]

    @property
    def faulty(self) -> bool:
        """Whether there is an error among the findings."""
        return any(finding.kind is Kind.ERROR for finding in self.findings)


def lint_reference(reference: str | os.PathLike[str]) -> tuple[Linted, ...]:
    """All schemes of a shipped scheme's id, of a spec's id, or of a file (`path/to/file.py`, `path/to/file.py:NAME`).

    Of a spec, the scheme that discretizes it. A file's schemes are linted though they would be refused when made.

    Raises:
        UnknownNameError: neither a scheme nor a spec has that id.
        DeriveError: the file is missing, raises, or holds neither a scheme nor a spec with one.
    """
    text = os.fspath(reference)
    with unrefused():
        found = _schemes(text)
        return tuple(Linted(label, scheme, lint(scheme)) for label, scheme in found.items())


def _schemes(text: str) -> dict[str, Scheme]:
    if not names_a_file(text):
        found = load_any(text)
        return {text: _scheme_of(text, found) if isinstance(found, Spec) else found}
    kinds: tuple[type[Scheme | Spec], ...] = (*SCHEME_KINDS, Spec)
    objects = objects_in_file(text, kinds)
    schemes = {
        label: single_scheme(value.scheme) if isinstance(value, Spec) else value
        for label, value in objects.items()
        if not isinstance(value, Spec) or isinstance(value.system, ODE)
    }
    distinct = {id(scheme): label for label, scheme in reversed(schemes.items())}
    if not distinct:
        raise DeriveError(
            f"{text} defines no scheme; write SCHEME = ButcherTableau(A=..., b=..., c=...) at its top level"
        )
    return {label: scheme for label, scheme in schemes.items() if distinct[id(scheme)] == label}


def _scheme_of(reference: str, spec: Spec) -> Scheme:
    if not isinstance(spec.system, ODE):
        raise DeriveError(f"{reference} is no ODE: it has no scheme to lint")
    return single_scheme(spec.scheme)
