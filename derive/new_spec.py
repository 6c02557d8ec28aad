"""A spec to start from: the file beside this one, under the name that is asked for."""

from __future__ import annotations

from pathlib import Path

from derive.errors import DeriveError
from derive.files import write_whole
from derive.symbols import RESERVED_FILES, check_name

TEMPLATE = Path(__file__).parent / "spec_template.py"
TEMPLATE_ID, TEMPLATE_CLASS = "my_system", "MySystem"


def write_new_spec(path: Path) -> Path:
    """Write a commented spec whose id and class are named after the file.

    Raises:
        DeriveError: the file exists already, its name cannot become the id of a spec, or its folder is missing.
    """
    if path.suffix != ".py":
        raise DeriveError(f"{path} is no name of a Python file: write `derive new {_proposal(path)}`")
    if path.exists():
        raise DeriveError(f"{path} exists already and is left as it is; give another name, or delete it first")
    check_name(path.stem, RESERVED_FILES)
    names = {
        TEMPLATE.name: path.name,
        TEMPLATE_ID: f"{path.stem}_module",
        TEMPLATE_CLASS: _class_name(path.stem),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for old, new in names.items():
        text = text.replace(old, new)
    return write_whole(path, text)


def _proposal(path: Path) -> Path:
    """The Python file that was probably meant; in a folder one of the template's name."""
    return path / f"{TEMPLATE_ID}.py" if path.is_dir() or not path.name.strip(".") else path.with_suffix(".py")


def _class_name(stem: str) -> str:
    """`damped_pendulum` -> `DampedPendulum`."""
    return "".join(part[:1].upper() + part[1:] for part in stem.split("_"))
