"""Emitted text as a module, as a user would import it."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from derive.errors import DeriveError

_count = itertools.count()


def load_text(text: str) -> ModuleType:
    """Import a text from a temporary file, under a name that nothing else has.

    Raises:
        DeriveError: it cannot be imported.
    """
    name = f"_emitted_{next(_count)}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise DeriveError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise DeriveError(f"the emitted module cannot be imported: {type(error).__name__}: {error}") from error
        finally:
            del sys.modules[name]
    return module


@contextmanager
def importable(module: ModuleType) -> Iterator[None]:
    """Meanwhile what was loaded from a text can be found by its name, as pickle and the compiler do."""
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]
