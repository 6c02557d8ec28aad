"""Text of the module of a system that is a loop over steps."""

from __future__ import annotations

from codegen.render import render
from codegen.steps.facts import Facts
from codegen.steps.module import write_module
from codegen.views import common_view
from derive.derivation import Derivation
from derive.discretization import IMPLICIT, implicit_family
from derive.explanation import recurrences
from derive.recurrence import Recurrence
from derive.reverse_sweep import reverse_sweep
from derive.schemes import MultistepFamily, scheme_by_name
from derive.systems import ODE, Spec
from derive.time_dependence import OF_TIME, reads_beginnings_only, stage_values, step_of_time

IMPORTS = (
    "import cmath",
    "import math",
    "import warnings",
    "from collections.abc import Callable, Iterable, Sequence",
    "from functools import partial",
)


def step_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of an ODE under its scheme, or of a recurrence over layers."""
    found = recurrences(spec)
    variants = {option: _facts(spec, step, derivation, str(option)) for option, step in found.items()}
    module = write_module(variants)
    programs = []
    others = [one.of_time.recurrence for one in variants.values() if one.of_time]
    for recurrence in (*found.values(), *others):
        programs += [recurrence.step, reverse_sweep(recurrence.step).program, *recurrence.starts.values()]
    view = {
        "functions": module.functions,
        "rules": module.rules,
        "methods": module.methods,
        "class_doc": module.class_doc,
        "base": module.base,
    }
    notes = next(iter(variants.values())).notes
    common = common_view(spec, derivation, programs, command, module.support, IMPORTS, notes)
    return render("step_module.py.jinja", {**view, **common})


def _facts(spec: Spec, recurrence: Recurrence, derivation: Derivation, option: str) -> Facts:
    """The facts of a variant; of a family of schemes with those of the implicit form of its step."""
    if not isinstance(spec.system, ODE):
        return Facts(spec, None, recurrence, derivation, option)
    scheme, ahead = scheme_by_name(spec.scheme), None
    if isinstance(scheme, MultistepFamily):
        ahead = Facts(spec, scheme, implicit_family(spec.system, scheme), derivation, IMPLICIT)
    driven = step_of_time(spec.system, scheme, spec.may_vary)
    if driven is None:
        return Facts(spec, scheme, recurrence, derivation, option, ahead)
    own = None if reads_beginnings_only(driven) else Facts(spec, None, driven, derivation, OF_TIME)
    return Facts(spec, scheme, recurrence, derivation, option, ahead, own, stage_values(driven))
