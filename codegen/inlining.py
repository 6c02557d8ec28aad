"""Runtime support: ordinary Python sources of this package, copied into emitted files so that those stand alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PACKAGE = "codegen.runtime"


@dataclass(frozen=True)
class Support:
    """Runtime sources ready to be laid out.

    Attributes:
        imports: import statements of all of them, sorted, each once.
        source: their bodies in the order of dependence, without module docstrings and imports.
    """

    imports: tuple[str, ...]
    source: str


def support(entries: Iterable[str]) -> Support:
    """Sources of the given runtime modules and of those they import."""
    order: dict[str, None] = {}
    for entry in entries:
        _visit(entry, order)
    parts = [_read(name) for name in order]
    imports = sorted({statement for statements, _ in parts for statement in statements})
    return Support(tuple(imports), "\n\n\n".join(body for _, body in parts))


def _visit(name: str, order: dict[str, None]) -> None:
    if name in order:
        return
    for node in _head(name).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            _visit((node.module or "").removeprefix(f"{PACKAGE}."), order)
    order[name] = None


@cache
def _source(name: str) -> str:
    return files(PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")


@cache
def _head(name: str) -> ast.Module:
    """What stands before the first function or class: imports stand at the top, and parsing the rest takes long."""
    return ast.parse(re.split(r"^(?:@|def |class )", _source(name), maxsplit=1, flags=re.MULTILINE)[0])


def _read(name: str) -> tuple[list[str], str]:
    """Foreign imports and the rest of one runtime module, comments included."""
    text = _source(name)
    lines = text.splitlines()
    imports, last = [], 0
    for node in _head(name).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            break
        last = node.end_lineno or last
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            if module != "__future__" and not module.startswith(f"{PACKAGE}."):
                imports.append(ast.unparse(node))
    return imports, "\n".join(lines[last:]).strip("\n")
