"""What the templates of all emitted files have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codegen.header import Header, header, literal
from codegen.inlining import support
from codegen.loss import loss_functions
from derive.derivation import Derivation
from derive.program import Program
from derive.systems import Spec

COMMON_IMPORTS = (
    "from typing import Any",
    "import torch",
    "from torch import Tensor, nn",
)


def common_view(
    spec: Spec,
    derivation: Derivation,
    programs: Sequence[Program],
    command: str,
    entries: Sequence[str],
    imports: Sequence[str],
    notes: Mapping[str, str] = {},
) -> dict[str, Any]:
    """What every template prints: header, identity, imports, support and loss.

    Args:
        spec: what is emitted.
        derivation: its equations.
        programs: what is counted and hashed.
        command: that makes the file anew.
        entries: runtime sources that it needs.
        imports: of the file itself.
        notes: what the docstring says of sections of equations, by the beginning of their titles.
    """
    of_losses = ("targets", "choices") if len(spec.losses) > 1 else ("targets",) if spec.losses else ()
    runtime = support([*entries, *of_losses])
    head: Header = header(spec, derivation, programs, command, notes)
    return {
        "header": head,
        "identity": {"id": repr(spec.id), "title": repr(spec.title), "source": repr(spec.source)},
        "facts": [(repr(name), repr(value)) for name, value in head.facts.items()],
        "equations": [(repr(number), literal(latex)) for number, latex in head.equations],
        "imports": sorted({*COMMON_IMPORTS, *imports, *runtime.imports}),
        "support": runtime.source,
        "class_name": spec.class_name,
        "loss_functions": loss_functions(spec, derivation),
    }
