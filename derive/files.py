"""Writing files whole, what stood there stays until the new text is complete; and where a checkout begins."""

from __future__ import annotations

import os
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path

from derive.errors import DeriveError

PERMISSIONS = 0o644


def check_place(path: Path) -> None:
    """Refuse, before any work is done for it, a file that could not be written.

    Raises:
        DeriveError: its folder is missing or no folder, or a folder has its name.
    """
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DeriveError(f"cannot write {path}: the folder {folder} {what}; create it, or give another place")
    if path.is_dir():
        raise DeriveError(f"cannot write {path}: it is a folder; give the name of a file")


def check_folder(folder: Path) -> None:
    """Refuse a folder that neither is there nor can be made.

    Raises:
        DeriveError: what stands there, or above, is a file.
    """
    nearest = next((one for one in (folder, *folder.absolute().parents) if one.exists()), folder)
    if not nearest.is_dir():
        raise DeriveError(f"cannot write into {folder}: {nearest} is not a folder; give another place")


def make_folder(folder: Path) -> None:
    """A folder with all that are above it, where they are not there.

    Raises:
        DeriveError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeriveError(f"cannot make the folder {folder}: {error.strerror or error}; give another place") from None


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file in one stroke: a temporary neighbour takes its place only when it is complete.

    Raises:
        DeriveError: the folder is missing, or nothing can be written there; an old file stays as it was.
    """
    check_place(path)
    try:
        _replace(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        place = f"make {path.parent} writable, or give another place"
        raise DeriveError(f"cannot write {path}: {error.strerror or error}; {place}") from None
    return path


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(path.stat().st_mode & 0o777 if path.exists() else PERMISSIONS)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def checkout(folder: Path) -> Path | None:
    """The root of this project at or above a folder; None where it is not inside of one."""
    for root in (folder, *folder.parents):
        try:
            project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        except (OSError, ValueError):
            continue
        if project.get("name") == "derive" and (root / "derive" / "catalog").is_dir():
            return root
    return None
