"""Text of the module of a system that is a loop over steps."""

from __future__ import annotations

from codegen.render import render
from codegen.steps.facts import Facts
from codegen.steps.module import write_module
from codegen.views import common_view
from derive.derivation import Derivation
from derive.explanation import recurrences
from derive.reverse_sweep import reverse_sweep
from derive.schemes import scheme_by_name
from derive.systems import ODE, Spec

IMPORTS = (
    "import cmath",
    "import math",
    "import warnings",
    "from collections.abc import Callable, Iterable, Sequence",
    "from functools import partial",
)


def step_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of an ODE under its scheme, or of a recurrence over layers."""
    scheme = scheme_by_name(spec.scheme) if isinstance(spec.system, ODE) else None
    found = recurrences(spec)
    variants = {option: Facts(spec, scheme, step, derivation, str(option)) for option, step in found.items()}
    module = write_module(variants)
    programs = []
    for recurrence in found.values():
        programs += [recurrence.step, reverse_sweep(recurrence.step).program, *recurrence.starts.values()]
    view = {
        "functions": module.functions,
        "rules": module.rules,
        "methods": module.methods,
        "class_doc": module.class_doc,
        "base": module.base,
    }
    common = common_view(spec, derivation, programs, command, module.support, IMPORTS)
    return render("step_module.py.jinja", {**view, **common})
