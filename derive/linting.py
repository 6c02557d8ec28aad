"""The linter for ids and files: every scheme that a reference stands for, with its findings."""

from __future__ import annotations

import os
from dataclasses import dataclass

from derive.errors import DeriveError
from derive.loading import load_any, names_a_file, objects_in_file
from derive.schemes.every import ANY_SCHEME_KINDS, EXAMPLE, AnyScheme
from derive.schemes.findings import Finding, Kind, unrefused
from derive.schemes.lint import lint
from derive.spec_schemes import scheme_of
from derive.systems import Spec


@dataclass(frozen=True)
class Linted:
    """A scheme and what was found in it, or that a spec has none.

    Attributes:
        label: the reference that stands for it alone.
        scheme: the scheme, built even where it has errors; None of a spec that is not discretized.
        findings: what was found, errors first.
    """

    label: str
    scheme: AnyScheme | None
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """What stands above the findings."""
        if self.scheme is None:
            return f"{self.label}: loads; it has no scheme to lint"
        return f"{self.label} ({self.scheme.title}):{'' if self.findings else ' nothing found'}"

    @property
    def faulty(self) -> bool:
        """Whether there is an error among the findings."""
        return any(finding.kind is Kind.ERROR for finding in self.findings)


def lint_reference(reference: str | os.PathLike[str]) -> tuple[Linted, ...]:
    """All schemes of a shipped scheme's id, of a spec's id, or of a file (`path/to/file.py`, `path/to/file.py:NAME`).

    Of a spec, the scheme that discretizes it, if any. Schemes of a file are linted though they would be refused
    when made.

    Raises:
        UnknownNameError: neither a scheme nor a spec has that id.
        DeriveError: the file is missing, raises, or holds neither a scheme nor a spec.
    """
    text = os.fspath(reference)
    with unrefused():
        found = _schemes(text)
        return tuple(Linted(label, scheme, () if scheme is None else lint(scheme)) for label, scheme in found.items())


def _schemes(text: str) -> dict[str, AnyScheme | None]:
    if not names_a_file(text):
        return {text: _scheme(load_any(text))}
    kinds: tuple[type[AnyScheme | Spec], ...] = (*ANY_SCHEME_KINDS, Spec)
    schemes = {label: _scheme(value) for label, value in objects_in_file(text, kinds).items()}
    if not schemes:
        raise DeriveError(f"{text} defines no scheme; write {EXAMPLE} at its top level")
    distinct = {id(scheme): label for label, scheme in reversed(schemes.items())}
    return {label: scheme for label, scheme in schemes.items() if scheme is None or distinct[id(scheme)] == label}


def _scheme(value: AnyScheme | Spec) -> AnyScheme | None:
    return scheme_of(value) if isinstance(value, Spec) else value
