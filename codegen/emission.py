"""Spec -> text of the emitted module, and its way to disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codegen.header import Header, header, literal
from codegen.inlining import support
from codegen.loss import loss_functions
from codegen.render import render
from codegen.step_module import SUPPORT, StepModuleWriter
from derive.derivation import Derivation
from derive.explanation import explain, recurrences
from derive.files import write_whole
from derive.program import Program
from derive.reverse_sweep import reverse_sweep
from derive.schemes import Scheme, scheme_by_name
from derive.systems import ODE, Spec, with_scheme

COMMON_IMPORTS = (
    "from typing import Any",
    "import torch",
    "from torch import Tensor, nn",
)
STEP_IMPORTS = ("import cmath", "import math", "from collections.abc import Callable, Iterable, Sequence")


def emit(spec: Spec, scheme: Scheme | str | None = None) -> str:
    """Text of the module of a spec; another scheme may be put in the place of its own.

    Raises:
        DeriveError: something in the spec has no form in torch.
    """
    command = "derive generate " + spec.id
    if scheme is not None:
        spec = with_scheme(spec, scheme)
        command += f" --scheme {scheme}" if isinstance(scheme, str) else " --scheme FILE"
    derivation = explain(spec)
    if isinstance(spec.system, ODE):
        return _step_text(spec, derivation, command)
    from codegen.recurrent_module import recurrent_text

    return recurrent_text(spec, derivation, command)


def generate(spec: Spec, directory: Path, scheme: Scheme | str | None = None) -> list[Path]:
    """Write `<id>.py` into a folder; a file that is there is replaced in one move or not at all.

    Raises:
        DeriveError: the text cannot be made, or the folder cannot be written.
    """
    return [write_whole(Path(directory) / f"{spec.id}.py", emit(spec, scheme))]


def _step_text(spec: Spec, derivation: Derivation, command: str) -> str:
    scheme = scheme_by_name(spec.scheme)
    recurrence = recurrences(spec)[""]
    module = StepModuleWriter(spec, scheme, recurrence, derivation).write()
    programs = [recurrence.step, reverse_sweep(recurrence.step).program, *recurrence.starts.values()]
    view = {
        "functions": module.functions,
        "rules": module.rules,
        "methods": module.methods,
        "class_doc": module.class_doc,
    }
    return render(
        "step_module.py.jinja", {**view, **common_view(spec, derivation, programs, command, SUPPORT, STEP_IMPORTS)}
    )


def common_view(
    spec: Spec,
    derivation: Derivation,
    programs: Sequence[Program],
    command: str,
    entries: Sequence[str],
    imports: Sequence[str],
) -> dict[str, Any]:
    """What every template prints: header, identity, imports, support and loss."""
    runtime = support(entries)
    head: Header = header(spec, derivation, programs, command)
    return {
        "header": head,
        "identity": {"id": repr(spec.id), "title": repr(spec.title), "source": repr(spec.source)},
        "facts": [(repr(name), repr(value)) for name, value in head.facts.items()],
        "equations": [(repr(number), literal(latex)) for number, latex in head.equations],
        "imports": sorted({*COMMON_IMPORTS, *imports, *runtime.imports}),
        "support": runtime.source,
        "class_name": spec.class_name,
        "loss_functions": loss_functions(spec.loss, derivation),
    }
