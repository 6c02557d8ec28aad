"""One plot of one subject, computed, drawn and written."""

from __future__ import annotations

from pathlib import Path

from derive.errors import DeriveError
from derive.files import check_place
from plots import style
from plots.register import KINDS, Kind, kinds_of
from plots.subject import Subject, subject_of


def plot(reference: str, kind: str | None = None, output: Path | None = None) -> Path:
    """Write a plot of a scheme or a system.

    Args:
        reference: id of a scheme or a system, or a file that holds either.
        kind: one of `kinds_of(subject_of(reference))`; the first of them unless given.
        output: the file, .png or .svg; `<id>-<kind>.png` in the current folder unless given.

    Returns:
        The file that was written.

    Raises:
        DeriveError: an unknown reference, a kind that it does not have, another suffix, or a file that cannot be
            written.
    """
    subject = subject_of(reference)
    chosen = _chosen(reference, subject, kind)
    path = output or Path(f"{subject.label}-{chosen.name}.png")
    style.format_of(path)
    check_place(path)
    module = chosen.module
    found = module.data(subject)
    with style.styled():
        return style.save(module.draw(subject, found), path)


def _chosen(reference: str, subject: Subject, name: str | None) -> Kind:
    available = kinds_of(subject)
    if name in available:
        return available[name]
    asked = next((kind for kind in KINDS if kind.name == name), None)
    instead = asked.instead(subject) if asked else ""
    if instead:
        raise DeriveError(f"{reference} has no plot of kind {name!r}: {instead}")
    if not available:
        raise DeriveError(
            f"{reference} has no plots: they are of schemes, of systems that move in steps, of problems of optimal "
            "control, flows, fixed points and stochastic equations; `derive show` has its derivation"
        )
    if name is None:
        return next(iter(available.values()))
    needs = f" (it needs {asked.needs})" if asked else ""
    raise DeriveError(f"{reference} has no plot of kind {name!r}{needs}; it has: {', '.join(available)}")
