"""Emitted files that lie on disk, compared with what is emitted now."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sympy

from codegen import emit
from derive.errors import DeriveError
from derive.systems import Spec

HEADER_LINES = 10
HEADER_OF_DIFF = 2  # lines that name the two texts


@dataclass(frozen=True)
class Comparison:
    """An emitted file beside the text that its spec gives now.

    Attributes:
        path: the file.
        command: what writes it anew.
        difference: unified diff from the file to the text; empty where they are the same bytes, or there is no file.
        note: what to know before reading the difference.
        missing: whether there is no file.
    """

    path: Path
    command: str
    difference: str = ""
    note: str = ""
    missing: bool = False

    @property
    def fresh(self) -> bool:
        """Whether the file is what would be emitted."""
        return not self.difference and not self.missing

    def report(self, whole: bool = False) -> str:
        """What to print: a line, below that of a stale file the note and, where all is wanted, the difference."""
        if self.fresh:
            return f"{self.path}: up to date"
        if self.missing:
            return f"{self.path}: missing; `{self.command}` writes it"
        lines = self.difference.splitlines()[HEADER_OF_DIFF:]
        old, new = (sum(line.startswith(sign) for line in lines) for sign in "-+")
        read = f"{self.path}: stale, -{old} +{new} lines; `{self.command}` writes it anew"
        shown = self.difference if whole or not lines else "--diff shows what differs"
        return "\n".join(part for part in (read, self.note, shown) if part)


def lying_in(folder: Path, loaded: Sequence[tuple[str, Spec]]) -> list[tuple[str, Spec]]:
    """Those of some specs that have a file in a folder.

    Raises:
        DeriveError: none has.
    """
    found = [(reference, spec) for reference, spec in loaded if (folder / f"{spec.id}.py").is_file()]
    if not found:
        raise DeriveError(
            f"{folder.absolute()} has no emitted file of the catalogue; allowed: a folder that has (-o FOLDER), or "
            "SPECs by name; `derive generate SPEC...` writes them"
        )
    return found


def compare(spec: Spec, directory: Path, arguments: str) -> Comparison:
    """Compare a spec's file in a folder with the text that is emitted now; nothing is written.

    Args:
        spec: what is emitted.
        directory: the folder.
        arguments: of the `derive generate` that writes the file.

    Raises:
        DeriveError: the file is there and cannot be read, or there is nothing that could be emitted.
    """
    path, command = directory / f"{spec.id}.py", f"derive generate {arguments}"
    try:
        old = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        emit(spec)  # refuses what has no text
        return Comparison(path, command, missing=True)
    except (OSError, UnicodeDecodeError) as error:
        raise DeriveError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    scheme = _other_scheme(old)
    if scheme == "FILE":
        note = "the file was emitted with a scheme of the user's own; it is compared with the spec's scheme"
        return Comparison(path, f"{command} --scheme FILE", _difference(path, old, emit(spec)), note)
    command += f" --scheme {scheme}" if scheme else ""
    return Comparison(path, command, _difference(path, old, emit(spec, scheme)), _version_note(old))


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
