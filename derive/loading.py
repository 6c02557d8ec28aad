"""Specs and schemes by name or from a user's file: both get everything that a built-in one gets."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeVar, cast

from derive.catalog import ALIASES, CATALOG, REGISTER, Listing
from derive.errors import DeriveError, SpecError, UnknownNameError
from derive.integrator import integrator
from derive.schemes import MultistepFamily
from derive.schemes.every import ANY_SCHEME_KINDS, EVERY_SCHEME, EXAMPLE, AnyScheme
from derive.systems import Spec

Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue."""

    id: str
    class_name: str
    kind: str
    family: str
    title: str
    source: str


def catalog_entries() -> tuple[Entry, ...]:
    """All systems of the catalogue, in the register's order."""
    return tuple(_entry(listing) for listing in REGISTER)


def load(reference: str | os.PathLike[str]) -> Spec:
    """A spec by its catalogue id, or from a file: `path/to/spec.py`, or `path/to/spec.py:NAME` where it holds several.

    A scheme, by its id or from a file, is loaded as the integrator that it is.

    Raises:
        UnknownNameError: neither a system nor a scheme has that id.
        DeriveError: the file is missing, raises, or holds neither (or several, and none is named).
    """
    text = os.fspath(reference)
    text = ALIASES.get(text, text)
    if text in CATALOG:
        return _catalog_spec(text)
    if text in EVERY_SCHEME:
        return integrator(EVERY_SCHEME[text], text)
    if not names_a_file(text):
        raise _unknown_id(text)
    found = load_any(text)
    return found if isinstance(found, Spec) else integrator(found, f"{scheme_name(text)}_integrator")


def load_scheme(reference: str | os.PathLike[str]) -> str | AnyScheme | MultistepFamily:
    """A scheme by its id (returned as it is, once known to exist), or an object from a file, as `load`.

    An id may stand for a scheme of ordinary and for one of stochastic equations, as "heun": the system decides.

    Raises:
        UnknownNameError: no shipped scheme has that id.
        DeriveError: the file is missing, raises, or holds no scheme (or several, and none is named).
    """
    text = os.fspath(reference)
    if names_a_file(text):
        kinds: tuple[type[AnyScheme | MultistepFamily], ...] = (*ANY_SCHEME_KINDS, MultistepFamily)
        return _from_file(text, kinds, "scheme", EXAMPLE)
    if text not in EVERY_SCHEME:
        raise UnknownNameError("scheme", text, EVERY_SCHEME)
    return text


def load_any(reference: str | os.PathLike[str]) -> Spec | AnyScheme:
    """A scheme or a system by its id, or what a file holds: its spec, or else its scheme.

    Raises:
        UnknownNameError: neither a scheme nor a system has that id.
        DeriveError: the file is missing, raises, or holds neither (or several, and none is named).
    """
    text = os.fspath(reference)
    if names_a_file(text):
        location, name = _split(text)
        kinds: tuple[type[Spec | AnyScheme], ...] = (Spec, *ANY_SCHEME_KINDS)
        found = _objects(_run(Path(location)), kinds)
        specs: dict[str, Spec | AnyScheme] = {label: it for label, it in found.items() if isinstance(it, Spec)}
        return _chosen(text, found if name else specs or found, "spec or scheme", "SPEC = Spec(...) or SCHEME = ...")
    if text in EVERY_SCHEME:
        return EVERY_SCHEME[text]
    text = ALIASES.get(text, text)
    if text in CATALOG:
        return _catalog_spec(text)
    raise UnknownNameError("scheme or id", text, _every_id())


def scheme_name(reference: str) -> str:
    """What a scheme from a file is called: the name of the object where one is given, else of the file."""
    path, name = _split(reference)
    return name.lower() or Path(path).stem


def objects_in_file(reference: str, kinds: tuple[type[Wanted], ...]) -> dict[str, Wanted]:
    """Public objects of some kinds that a file defines at its top level, or the one that the reference names.

    Raises:
        UnknownNameError: the file defines no object of that name and those kinds.
        DeriveError: the file is missing or raises.
    """
    location, name = _split(reference)
    found = _objects(_run(Path(location)), kinds)
    if not name:
        return {label: value for label, value in found.items() if not label.startswith("_")}
    if name not in found:
        raise UnknownNameError(f"name in {location}", name, found)
    return {name: found[name]}


def names_a_file(reference: str) -> bool:
    """Whether a reference is a file, `path/to/spec.py[:NAME]`, and not an id."""
    path, _ = _split(reference)
    return path.endswith(".py") or os.sep in path or "/" in path


def check_target(reference: str, path: Path) -> None:
    """Refuse to emit a module over the very file that its spec stands in.

    Raises:
        DeriveError: they are the same file.
    """
    source, _ = _split(reference)
    if names_a_file(reference) and path.resolve() == Path(source).resolve():
        raise DeriveError(
            f"the emitted file would take the place of its own spec {path}: change the spec's id, "
            "or give another folder with -o"
        )


def _entry(listing: Listing) -> Entry:
    spec = _catalog_spec(listing.id)
    return Entry(spec.id, spec.class_name, listing.kind, listing.family, spec.title, spec.source)


def _catalog_spec(name: str) -> Spec:
    return cast(Spec, importlib.import_module(f"derive.catalog.{name}").SPEC)


def _unknown_id(name: str) -> DeriveError:
    if Path(f"{name}.py").is_file():
        return DeriveError(f"unknown id {name!r}; there is a file of that name: write {name}.py")
    longer = [known for known in _every_id() if name and known.startswith(name)]
    if longer:
        return DeriveError(f"unknown id {name!r}: did you mean {' or '.join(longer)}?")
    return UnknownNameError("id", name, _every_id())


def _every_id() -> list[str]:
    """Of systems, and of schemes that are no system."""
    return list(dict.fromkeys((*CATALOG, *EVERY_SCHEME)))


def _split(reference: str) -> tuple[str, str]:
    """Path and NAME of `path/to/spec.py:NAME`."""
    path, colon, name = reference.rpartition(":")
    return (path, name) if colon and path.endswith(".py") else (reference, "")


def _from_file(reference: str, kinds: tuple[type[Wanted], ...], kind: str, example: str) -> Wanted:
    location, _ = _split(reference)
    return _chosen(reference, _objects(_run(Path(location)), kinds), kind, example)


def _chosen(reference: str, found: dict[str, Wanted], kind: str, example: str) -> Wanted:
    """The object that a reference names, or the only one there is."""
    location, name = _split(reference)
    path = Path(location)
    if name:
        if name not in found:
            raise _no_such_name(path, kind, name, found)
        return found[name]
    public = {label: value for label, value in found.items() if not label.startswith("_")}
    distinct = {id(value): label for label, value in reversed(public.items())}
    if len(distinct) == 1:
        return next(iter(public.values()))
    if not distinct:
        raise DeriveError(f"{path} defines no {kind}; write {example} at its top level")
    labels = sorted(distinct.values())
    choice = f"name one, as in {path}:{labels[0]} (of {', '.join(labels)})"
    raise DeriveError(f"{path} defines {len(labels)} {kind}s: {choice}")


def _objects(module: ModuleType, kinds: tuple[type[Wanted], ...]) -> dict[str, Wanted]:
    return {label: value for label, value in vars(module).items() if isinstance(value, kinds)}


def _no_such_name(path: Path, kind: str, name: str, found: dict[str, Wanted]) -> DeriveError:
    if not found:
        return DeriveError(f"{path} defines no {kind}, so none is called {name!r}")
    return UnknownNameError(f"{kind} in {path}", name, found)


def _run(path: Path) -> ModuleType:
    """Execute a user's file as a module of a private name.

    Raises:
        DeriveError: it cannot be read, or raises; the message names the line of the file.
    """
    code = _compile(path)
    full = path.resolve()
    module = ModuleType(f"_derive_file_{hashlib.sha256(str(full).encode()).hexdigest()[:12]}")
    module.__file__ = str(full)
    sys.modules[module.__name__] = module
    try:
        with _importable(str(full.parent)), redirect_stdout(sys.stderr):  # what we print may be read by a program
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise _failed(path, error) from None
    return module


def _compile(path: Path) -> CodeType:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise DeriveError(f"{path} is a folder; give the file, as in {path / 'spec.py'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeriveError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return compile(text, str(path), "exec")
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise SpecError(f"{path}{line}: {error.msg}{_quoted(error.text or '')}") from None
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from None


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """A user's file may import its neighbours, as a script may."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _failed(path: Path, error: BaseException) -> SpecError:
    """What a user's file raised, at the line of that file where it did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line, text = (frames[-1].lineno, frames[-1].line or "") if frames else (None, "")
    where = f"{path}, line {line}" if line else str(path)
    if isinstance(error, SystemExit):
        what = "the file ends the program; a spec only defines names"
    elif isinstance(error, DeriveError):
        what = str(error)
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return SpecError(f"{where}: {what}{_quoted(text)}")


def _quoted(line: str) -> str:
    return f"\n    {line.strip()}" if line.strip() else ""


def _missing(path: Path) -> DeriveError:
    neighbours = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    close = get_close_matches(path.name, neighbours, n=2)
    hint = f"; did you mean {' or '.join(str(path.with_name(name)) for name in close)}?" if close else ""
    return DeriveError(f"there is no file {path}{hint or '; `derive new PATH` makes a spec to start from'}")
