"""Spec -> derivation: which sections a system gets follows from what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Any

from derive.chains import Chain, input_of
from derive.control import OptimalControl
from derive.derivation import Derivation, Kind
from derive.discretization import discretize
from derive.drafts import Draft, remember, write_recurrence
from derive.flow import ContinuousFlow, Flow
from derive.lagrangian import StepNames, write_graph, write_loss
from derive.operators import show_shape
from derive.program import Program, name_functions
from derive.relations import write_relations
from derive.reverse_sweep import reverse_sweep
from derive.schemes import scheme_by_name
from derive.symbols import Quantity, by_name
from derive.systems import ODE, Option, Recurrence, Spec


def explain_system(spec: Spec) -> Derivation:
    """The derivation of a spec without claims and sections on its scheme: all that the emitted code refers to."""
    draft = Draft(spec)
    for option, system in spec.variants.items():
        _WRITERS[type(system)](draft, system, StepNames(str(option)))
    for title, recurrence in spec.beside.items():
        _sections("depth_explanation").write_depth(draft, recurrence, StepNames(title))
    for reading, recurrence in product(spec.readings, recurrences(spec).values()):
        draft.results |= _sections("readings").write_reading(draft.author, recurrence, reading)
    draft.results |= write_relations(draft.author, spec.relations)
    if spec.loss is not None:
        write_loss(draft.author, spec.loss)
    for formula, source in spec.statements:
        draft.author.relation("statement", Kind.STATEMENT, formula, reason="quoted", source=source)
    draft.author.close("Statements")
    return Derivation(
        spec.id,
        spec.title,
        spec.source,
        _symbol_table(spec),
        tuple(draft.author.sections),
        facts=draft.facts,
        results=draft.results,
        numbers=draft.author.numbers,
        contexts=draft.contexts,
    )


def _sections(name: str) -> ModuleType:
    """The file that writes the sections of a kind of system. Loaded on use: no run needs all."""
    return import_module(f"derive.{name}")


def recurrences(spec: Spec) -> Mapping[Option, Recurrence]:
    """Option -> one step of the spec's system, discretized where it is an ODE; nothing of what has no steps."""
    return {
        option: discretize(system, scheme_by_name(spec.scheme)) if isinstance(system, ODE) else system
        for option, system in spec.variants.items()
        if isinstance(system, ODE | Recurrence)
    }


def programs_of(system: Recurrence | Chain | Flow | ContinuousFlow | Program | OptimalControl) -> tuple[Program, ...]:
    """The programs of a system: a step, kinds of layers, a map and its inverse, a graph, a field with running cost."""
    if isinstance(system, Chain):
        return tuple(system.layers.values())
    if isinstance(system, OptimalControl):
        return (system.hamiltonian.field,)
    if isinstance(system, Flow):
        derived = _sections("flow_programs").flow_programs(system)
        return (derived.forward, *([derived.backward] if derived.backward else []))
    if isinstance(system, ContinuousFlow):
        return (system.field.field_program(),)
    return (system.step if isinstance(system, Recurrence) else system,)


def _explain_ode(draft: Draft, ode: ODE, names: StepNames) -> None:
    _sections("ode_explanation").explain_ode(draft, ode, names)


def _explain_recurrence(draft: Draft, recurrence: Recurrence, names: StepNames) -> None:
    adjoint = write_recurrence(draft, recurrence, names)
    draft.facts["state"] = ", ".join(q.name for q in recurrence.old)
    if recurrence.in_depth:
        _sections("depth_explanation").explain_depth(draft, recurrence, adjoint, names)
    if draft.spec.option:
        draft.facts[draft.spec.option] = ", ".join(map(str, draft.spec.variants))


def _explain_graph(draft: Draft, graph: Program, names: StepNames) -> None:
    program = name_functions(graph)
    adjoint = write_graph(draft.author, program, names)
    remember(draft, program, adjoint, names.prefix)


def _explain_chain(draft: Draft, chain: Chain, names: StepNames) -> None:
    """Every kind of layer with its adjoint, and what connects two layers."""
    option = names.prefix
    chosen = f", {draft.spec.option} = {option}" if option else ""
    for kind, layer in chain.layers.items():
        of_kind = StepNames(f"{option}.{kind}" if option else kind)
        adjoint = write_graph(draft.author, layer, of_kind, f"{kind} layer{chosen}")
        remember(draft, layer, adjoint, of_kind.prefix)
    if draft.spec.option:
        draft.facts[draft.spec.option] = ", ".join(map(str, draft.spec.variants))
    hidden = chain.hidden
    if hidden is None or "between_layers" in draft.author.numbers:
        return
    adjoint, into = reverse_sweep(hidden), input_of(hidden)
    seed, sent = adjoint.seeds[hidden.outputs[0]], adjoint.cotangents[into]
    draft.author.relation(
        "what a layer hears from the next one",
        Kind.DEFINITION,
        rf"{seed.latex} = \left. {sent.latex} \right|_{{\text{{next layer}}}}",
        text=f"{seed} = {sent} of the next layer",
        reason="the output of a layer is the input of the next; the last layer hears from the loss alone",
        name="between_layers",
    )
    draft.author.close("Between the layers")


def _explain_control(draft: Draft, control: OptimalControl, names: StepNames) -> None:
    found = _sections("control_explanation").write_control(draft.author, control, names)
    draft.results |= {names.joined(name): value for name, value in found.items()}


def _explain_flow(draft: Draft, flow: Flow, names: StepNames) -> None:
    _sections("flow_explanation").explain_flow(draft, flow, names)


def _explain_continuous(draft: Draft, flow: ContinuousFlow, names: StepNames) -> None:
    _sections("flow_explanation").explain_continuous(draft, flow, names)


def _symbol_table(spec: Spec) -> tuple[tuple[str, str, str, str, str], ...]:
    found: dict[str, Quantity] = {}
    for recurrence in recurrences(spec).values():
        for quantity in by_name({*recurrence.step.inputs, *recurrence.old, *recurrence.new, *recurrence.inputs}):
            found.setdefault(quantity.name, quantity)
    for graph in spec.variants.values():
        for program in programs_of(graph) if isinstance(graph, Program | Chain | Flow | ContinuousFlow) else ():
            for quantity in (*program.inputs, *program.outputs):
                found.setdefault(quantity.name, quantity)
        if isinstance(graph, OptimalControl):
            found |= {quantity.name: quantity for quantity in by_name(graph.quantities)}
    return tuple((q.latex, q.name, show_shape(q.shape), q.role.value, q.meaning) for _, q in sorted(found.items()))


_WRITERS: dict[type, Callable[[Draft, Any, StepNames], None]] = {
    ODE: _explain_ode,
    OptimalControl: _explain_control,
    Recurrence: _explain_recurrence,
    Chain: _explain_chain,
    Flow: _explain_flow,
    ContinuousFlow: _explain_continuous,
    Program: _explain_graph,
}
