"""The module class of a delay equation."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.render import render
from codegen.steps.arguments import arguments
from codegen.steps.constructor import constructor
from codegen.steps.facts import DelayArgument, Facts
from codegen.steps.module import SUPPORT, accuracy, step_blocks, step_count, step_parameters, wrapped
from codegen.steps.rules import RuleWriter
from codegen.steps.source import Function, tuple_display
from codegen.steps.streams import stream_names
from codegen.steps.text import IMPORTS
from codegen.views import common_view
from derive.delay import Delay, DelayODE
from derive.delay_steps import delay_step
from derive.derivation import Derivation
from derive.errors import SpecError, UnsupportedError
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity
from derive.systems import Spec


def delay_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a delay equation.

    Raises:
        UnsupportedError: variants, or parameters or networks of each layer: its steps divide a time interval; or given
            functions of time in the right-hand side.
        SpecError: a default of a delay that is no whole number of steps.
    """
    (system, *others) = spec.variants.values()
    if others or not isinstance(system, DelayODE):
        raise UnsupportedError(f"{spec.id}: one delay equation makes a module; give each variant a spec of its own")
    if system.inputs:
        raise UnsupportedError(
            f"{spec.id}: the right-hand side reads {system.inputs[0].name}, which is given at every step; make a cell "
            "that reads a sequence: system=delay_cell(equation)"
        )
    facts = DelayFacts(spec, system, derivation)
    view = {
        "functions": _rule_functions(facts),
        "rules": _rules(facts),
        "methods": _methods(facts),
        "class_doc": _class_doc(facts),
        "base": "DelayNet",
    }
    programs = [facts.made.step, reverse_sweep(facts.made.step).program]
    common = common_view(spec, derivation, programs, command, [*SUPPORT, "delays"], IMPORTS)
    return render("step_module.py.jinja", {**view, **common})


class DelayFacts(Facts):
    """What the emitted loop over the steps of a delay equation is made of."""

    def __init__(self, spec: Spec, system: DelayODE, derivation: Derivation) -> None:
        self.system, self.made = system, delay_step(system)
        super().__init__(spec, None, Recurrence(self.made.step, self.made.old, self.made.new), derivation)
        if self.layered:
            raise UnsupportedError(f"{spec.id}: something has a value for each layer; steps in time share everything")
        self.inverse, self.exact = None, None  # a step forgets the oldest past
        self.delays = tuple(_argument(spec, delay) for delay in system.delays)


def _argument(spec: Spec, delay: Delay) -> DelayArgument:
    """A delay with a name of its own is told in steps; one that is a number is fixed."""
    if not isinstance(delay, Quantity):
        return DelayArgument(f"lag{delay}", str(delay), "", "")
    name = f"{delay.name}_steps"
    default = spec.defaults.get(delay.name)
    if default is not None and (default != int(default) or default < 1):
        raise SpecError(
            f"{spec.id}: the default of the delay {delay.name} is {default}; "
            "allowed: a whole number of steps, 1 or more"
        )
    meaning = f"{delay.meaning or 'delay'} in steps: {delay.name} = {name} * (t1 - t0) / steps"
    return DelayArgument(name, name, "" if default is None else str(int(default)), meaning)


def _flat(groups: Sequence[Sequence[Quantity]]) -> list[Quantity]:
    return [q for group in groups for q in group]


class DelayWriter(RuleWriter):
    """Writes steps that read past values."""

    def _packed_group(self, adjoint: Adjoint, group: Sequence[Quantity]) -> str:
        """Of scalars that share a tensor some may not be read: their cotangents are zero."""
        known = [adjoint.cotangents[q].name for q in group if q in adjoint.cotangents]
        if not known or len(known) == len(group):
            return super()._packed_group(adjoint, group)
        names = [
            adjoint.cotangents[q].name if q in adjoint.cotangents else f"torch.zeros_like({known[0]})" for q in group
        ]
        return self._packed_tensors(names)[0]


def _rule_functions(facts: DelayFacts) -> tuple[Function, ...]:
    made = facts.made

    def number(kind: str, quantity: Quantity) -> str:
        return facts.derivation.number_of(f"{kind}.{quantity.name}")

    writer = DelayWriter(facts.layout, number)
    old, outputs = [*made.old, *_flat([read.values for read in made.reads])], _flat(made.outputs)
    return (
        writer.step("_step", made.step, old, outputs, "One step: the new values, then what later steps read."),
        writer.adjoint("_step_adjoint", made.step, old, outputs),
    )


def _rules(facts: DelayFacts) -> str:
    """Source of the table of rules."""
    made, delays = facts.made, facts.system.delays
    streams = facts.layout.streams
    reads = [f"({delays.index(read.delay)}, {read.record})" for read in made.reads]
    nodes = [repr(float(node)) for node in made.nodes]
    rows = {
        "step": "_step",
        "adjoint": "_step_adjoint",
        "streams": str(streams),
        "reads": tuple_display(reads),
        "records": tuple_display([str(record) for record in made.records]),
        "nodes": tuple_display(nodes),
        "local": str(len(facts.layout.local)),
    }
    return f"_RULES = DelayRules({', '.join(f'{name}={value}' for name, value in rows.items())})"


def _methods(facts: DelayFacts) -> tuple[Function, ...]:
    names = tuple(stream_names(facts))
    several = [
        Function("stream_names", "self", "tuple[str, ...]", "Names of the unknowns.", (f"return {names!r}",))
    ] * (len(names) > 1)
    return (
        constructor(facts),
        *several,
        *step_blocks(facts),
        step_parameters(facts),
        *step_count(facts),
    )


def _class_doc(facts: DelayFacts) -> str:
    system, made = facts.system, facts.made
    equations = "; ".join(f"d{x}/dt = {v}" for x, v in zip(system.state, system.velocity, strict=True))
    past = ", ".join(f"{q} = {x}(t - {_shown(delay)})" for q, (x, delay) in system.delayed.items())
    names = ", ".join(stream_names(facts))
    shape = "(..., d)" if facts.layout.components == 1 else f"(..., {facts.layout.components})"
    unknowns = ", ".join(q.name for q in made.old)
    inside = f" = ({unknowns})" if facts.layout.components > 1 else ""
    positional, keywords = arguments(facts)
    parts = [
        f"{facts.spec.title}: {equations}, {past}, by {made.title}.",
        "",
        f"    `forward({names})`: the value at t0, {shape}{inside} -> that at t1; `trajectory({names})` ->",
        "    (steps + 1, ...). Before t0 the state had its initial value; `history=` gives other values, those at",
        "    `history_times()`, (times, ...).",
        *accuracy(facts),
        "",
        "    Args:",
    ]
    return "\n".join([*parts, *(wrapped(f"{a.name}: {a.doc}.") for a in (*positional, *keywords))])


def _shown(delay: Delay) -> str:
    return delay.name if isinstance(delay, Quantity) else f"{delay} h"
