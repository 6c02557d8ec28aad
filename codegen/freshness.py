"""Emitted files that lie on disk, compared with what is emitted now."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import sympy

from codegen import emit
from derive.errors import DeriveError
from derive.systems import Spec

HEADER_LINES = 10


@dataclass(frozen=True)
class Comparison:
    """An emitted file beside the text that its spec gives now.

    Attributes:
        path: the file.
        difference: unified diff from the file to the text; empty where they are the same bytes.
        note: what to know before reading the difference.
    """

    path: Path
    difference: str
    note: str = ""

    @property
    def fresh(self) -> bool:
        """Whether the file is what would be emitted."""
        return not self.difference

    def report(self) -> str:
        """What to print: one line for a fresh file, else the note and the difference."""
        if self.fresh:
            return f"{self.path}: up to date"
        return "\n".join(part for part in (f"{self.path}: stale", self.note, self.difference) if part)


def compare(spec: Spec, directory: Path) -> Comparison:
    """Compare a spec's file in a folder with the text that is emitted now; nothing is written.

    Raises:
        DeriveError: the file is there and cannot be read.
    """
    path = directory / f"{spec.id}.py"
    try:
        old = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Comparison(path, _difference(path, "", emit(spec)), "there is no such file; `derive generate` writes it")
    except (OSError, UnicodeDecodeError) as error:
        raise DeriveError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    scheme = _other_scheme(old)
    if scheme == "FILE":
        note = "the file was emitted with a scheme of the user's own; it is compared with the spec's scheme"
        return Comparison(path, _difference(path, old, emit(spec)), note)
    return Comparison(path, _difference(path, old, emit(spec, scheme)), _version_note(old))


def _difference(path: Path, old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{path} (on disk)", f"{path} (emitted now)", lineterm=""
    )
    return "\n".join(lines) or ("" if old == new else "the ends of the lines differ")


def _other_scheme(text: str) -> str | None:
    """The scheme in the regenerate command of a file's header, where it is not the spec's own."""
    found = re.search(r"^# regenerate: .* --scheme (\S+)$", _head(text), re.MULTILINE)
    return found[1] if found else None


def _head(text: str) -> str:
    return "\n".join(text.splitlines()[:HEADER_LINES])


def _version_note(text: str) -> str:
    """A word on sympy's version where the file's is another: other versions may order terms otherwise."""
    found = re.search(r"\bsympy (\d+(?:\.\w+)+)", _head(text), re.IGNORECASE)
    if found is None or found[1] == sympy.__version__:
        return ""
    here = sympy.__version__
    return f"the file was emitted with sympy {found[1]}, this is sympy {here}: that may be the whole difference"
