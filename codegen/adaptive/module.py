"""The module class of an ODE with adaptive steps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from codegen.adaptive.field import FieldClass
from codegen.adaptive.pairs import pairs_view
from codegen.render import render
from codegen.steps.source import Function, tuple_display
from codegen.views import common_view
from derive.adaptive import Adaptive
from derive.derivation import Derivation
from derive.embedded import EmbeddedPair, embedded_pair, embedded_pairs
from derive.networks import Call
from derive.reverse_sweep import reverse_sweep
from derive.systems import Spec

SUPPORT = ("adaptive_net", "arguments", "construction")
IMPORTS = ("import math", "from collections.abc import Callable, Mapping, Sequence")
WIDTH = 112
OWN = "own"  # the name of a table that is shipped under none
NOTES = {
    "One step of the pair": "the lines of `PairStages` and `Reverse`, which read the weights of any table of `_PAIRS`.",
    "The discrete adjoint": "the lines of `Reverse`.",
    "Dense output": "`PairStages.inside` and `DenseBars`.",
    "Choice of the steps": "`Control.factor` and `adaptive_steps`.",
    "The accepted grid": "`Reverse`, which adds up over the steps.",
    "The adjoint equation": 'with adjoint="continuous": `BackwardStages`.',
    "Gradients": 'with adjoint="continuous": `Backsolve`.',
}
"""Where in the file the equations of a section are."""


def adaptive_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of an ODE with adaptive steps.

    Raises:
        UnsupportedError: a field that the emitted class cannot hold.
    """
    (system,) = (system for system in spec.variants.values() if isinstance(system, Adaptive))
    written = None if _is_one_network(system) else FieldClass(spec, system, derivation)
    in_place = None if written is None else written.in_place
    program = system.step.program.needed_for((*system.step.new, *system.step.inside))
    methods = _methods(system)
    view = {
        **pairs_view(methods, derivation),
        "pairs_note": f"  # the step {_range(derivation, 'step.')}, its adjoint {_range(derivation, 'adjoint.')}",
        "class_doc": _class_doc(spec, written, methods),
        "methods": (_constructor(spec, written, _default(system)), *([] if written is None else [_forward(written)])),
        "field": written,
        "reached": () if written is None else written.names,
        "functions": () if in_place is None else in_place.functions,
        "table": "" if in_place is None else in_place.table,
        "read": "" if in_place is None else tuple_display([repr(name) for name in in_place.names]),
        "varying": tuple_display([repr(q.name) for q in spec.may_vary]) if spec.may_vary else "",
        "base": "AdaptiveNet" if in_place is None else "WrittenAdaptiveNet",
    }
    programs = [program, reverse_sweep(program, system.step.old).program]
    entries = [*SUPPORT, *(("adaptive_written_net", "slopes", "affine", "cotangents") if in_place else ())]
    entries += ["time_functions"] if spec.may_vary else []
    common = common_view(spec, derivation, programs, command, entries, IMPORTS, NOTES)
    return render("adaptive_module.py.jinja", {**view, **common})


def _is_one_network(system: Adaptive) -> bool:
    """Whether the field is the value of one network at the state."""
    value = system.ode.velocity[0]
    return len(system.ode.state) == 1 and isinstance(value, Call) and value.point[-2] == system.ode.state[0]


def _default(system: Adaptive) -> str:
    return system.scheme if isinstance(system.scheme, str) else OWN


def _methods(system: Adaptive) -> Mapping[str, EmbeddedPair]:
    """The pairs that the file carries, the spec's own first."""
    names = [_default(system), *(name for name in embedded_pairs() if name != system.scheme)]
    return {name: system.pair if name == OWN else embedded_pair(name) for name in names}


def _range(derivation: Derivation, kind: str) -> str:
    """First and last equation of a kind."""
    numbers = [int(number) for name, number in derivation.numbers.items() if name.startswith(kind)]
    return f"({min(numbers)}) to ({max(numbers)})"


def _constructor(spec: Spec, written: FieldClass | None, method: str) -> Function:
    given = [] if written is None else written.arguments
    options = [
        "t0: float | Tensor = 0.0",
        "t1: float | Tensor = 1.0",
        f"method: Any = {method!r}",
        "rtol: float = 1e-6",
        "atol: float = 1e-8",
        'adjoint: str = "discrete"',
        'memory: str = "recompute"',
        "first_step: float | None = None",
        "max_steps: int = 10000",
        'gradient: str = "derived"',
    ]
    passed = ", ".join(f"{name}={name}" for name in (option.split(":")[0] for option in options))
    first = ["self", "field: Callable[..., Tensor]", "*"] if written is None else ["self", "*"]
    field = "field" if written is None else f"{written.name}({', '.join(f'{n}={n}' for n in written.names)})"
    body = (f"super().__init__({field}, {passed})",)
    return Function("__init__", ", ".join([*first, *given, *options]), "None", "See the class.", body)


def _forward(written: FieldClass) -> Function:
    doc = f"State at t1 of the state x0 at t0; both are {written.layout}."
    return Function("forward", "self, x0: Any", "Any", doc, ("return super().forward(x0)",))


def wrapped(line: str) -> str:
    """A line of a docstring in lines that fit."""
    indent = len(line) - len(line.lstrip())
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * (indent + 4 * (indent > 4)))


def _class_doc(spec: Spec, written: FieldClass | None, methods: Mapping[str, EmbeddedPair]) -> str:
    field = "x' = field(t, x)" if written is None else written.equation
    layout = "" if written is None else f"    States are {written.layout}. What is held is that of `field`.\n\n"
    own = """        field: the field, called field(t, x), or field(x) where it takes one argument; x is a tensor of any
            shape, or a tuple of tensors where x0 is one, and the value is of the same kind.
"""
    names = ", ".join(map(repr, methods))
    shipped = wrapped(
        f"        method: {names}, or an object with nested floats A, b, c, b_error (dense, if it has one)."
    )
    how = "with steps of the size that an embedded pair's error estimate allows"
    shape = "" if written is None else f" States have shape {written.shape}."
    first = wrapped(f"    {field} from t0 to t1, {how}.{shape}")
    crude = ", ".join(name for name, pair in methods.items() if pair.is_crude)
    learned = "the parameters of the field" if written is None else "the parameters"
    return f"""{spec.title}, with adaptive steps.

{first}

{layout}    `forward(x0)`: state at t0 -> state at t1. `trajectory(x0, times)` -> (len(times), ...), from the dense
    output.
    Steps of pairs that have no dense output of their own end at the times: {crude}.
    `until(x0, event)` -> (time, state) where event(t, x) passes through zero. `stats` counts evaluations and steps
    of the last solution. t1 may be before t0.

    Gradients flow to x0, {learned}, t0, t1 and the times, where these are tensors. They are
    those of the steps that were accepted, whose shares of the interval count as constants.

    Args:
{own if written is None else written.argument_docs}        t0: initial time.
        t1: final time.
{shipped}
        rtol: the error of a step may be atol + rtol |x| in the mean square over all elements, batch included; at
            least 4 eps of the dtype of the state.
        atol: see rtol.
        adjoint: "discrete", the exact gradient of the accepted steps; or "continuous", the adjoint equation solved
            backwards with steps of its own, which keeps no states and is off by the error of both solutions.
        memory: "recompute" keeps the states and runs one step at a time again; "store" keeps the graphs of all stages.
        first_step: size of the first step; None to choose it.
        max_steps: accepted and rejected steps, of which more are an error.
        gradient: "derived", or "autograd" through the plain form of the accepted steps."""
