"""Templates and formatting. Templates hold layout; everything they print was decided before."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
import jinja2.meta
from ruff import find_ruff_bin

from derive.errors import DeriveError

LINE_LENGTH = 120


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("codegen", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: str, view: Mapping[str, Any]) -> str:
    """Fill a template with a view and format the result.

    Raises:
        DeriveError: view and template do not name the same things, or the result is not Python.
    """
    environment = _environment()
    wanted = _undeclared(template)
    if wanted != set(view):
        raise DeriveError(f"{template} wants {sorted(wanted - set(view))}, does not use {sorted(set(view) - wanted)}")
    return formatted(environment.get_template(template).render(**view))


def _undeclared(template: str) -> set[str]:
    """Names that a template and those it includes expect."""
    environment = _environment()
    loader = environment.loader
    assert loader is not None
    tree = environment.parse(loader.get_source(environment, template)[0])
    names = jinja2.meta.find_undeclared_variables(tree)
    for included in jinja2.meta.find_referenced_templates(tree):
        names |= _undeclared(included or "")
    return names


def formatted(text: str) -> str:
    """Python text with sorted, used imports, in the format of the pinned ruff.

    Raises:
        DeriveError: ruff refuses it.
    """
    for arguments in (["check", "--fix", "--quiet", "--select", "F401,F821,I"], ["format", "--quiet"]):
        command = [find_ruff_bin(), *arguments, "--isolated", "--no-cache", f"--line-length={LINE_LENGTH}"]
        done = subprocess.run(
            [*command, "--target-version", "py311", "-"], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DeriveError(
                f"the emitted text is not valid Python; this is a defect of the tool: {done.stderr.strip()}"
            )
        text = done.stdout
    return text
