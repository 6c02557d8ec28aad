"""Spec -> derivation: which sections a system gets follows from what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import TypeVar

from derive.derivation import Derivation, Kind
from derive.discretization import discretize, implicit_family
from derive.drafts import Draft, remember
from derive.lagrangian import StepNames, write_graph, write_loss
from derive.operators import show_shape
from derive.program import Program, name_functions
from derive.recurrence import Recurrence
from derive.relations import write_relations
from derive.schemes import MultistepFamily, scheme_by_name
from derive.symbols import Quantity, by_name
from derive.system import System
from derive.systems import ODE, Option, Spec

T = TypeVar("T")


def explain_system(spec: Spec) -> Derivation:
    """The derivation of a spec without claims and sections on its scheme: all that the emitted code refers to."""
    draft, alike = Draft(spec), spec.twins
    for option, system in spec.variants.items():
        twins = [str(name) for name, first in alike.items() if first == option and name != option]
        if alike[option] == option:
            _explain(draft, system, StepNames(str(option)))
        if twins:
            _call_alike(draft, str(option), twins)
    for name in spec.option_names:
        draft.facts[name] = ", ".join(dict.fromkeys(str(spec.chosen(variant)[name]) for variant in spec.variants))
    for title, recurrence in spec.beside.items():
        _sections("depth_explanation").write_depth(draft, recurrence, StepNames(title))
    for reading, recurrence in product(spec.readings, recurrences(spec).values()):
        draft.results |= _sections("readings").write_reading(draft.author, recurrence, reading)
    if spec.values:
        _sections("value_sections").write_values(draft.author, spec.values)
    draft.results |= write_relations(draft.author, spec.relations)
    for name, loss in spec.losses.items():
        write_loss(draft.author, loss, name)
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


def _call_alike(draft: Draft, option: str, twins: Sequence[str]) -> None:
    """Let variants that are the same system as another one find all that is known of it."""
    draft.facts[f"like {option}"] = ", ".join(twins)
    for twin in twins:
        draft.contexts |= {twin: draft.contexts[option]} if option in draft.contexts else {}
        for table in (draft.author.numbers, draft.results):
            _copy_names(table, f"{option}.", f"{twin}.")


def _copy_names(table: dict[str, T], before: str, after: str) -> None:
    table |= {after + name.removeprefix(before): value for name, value in table.items() if name.startswith(before)}


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


def _implicit_forms(spec: Spec) -> list[Recurrence]:
    """The implicit form of the step of a family of schemes."""
    systems, family = spec.variants.values(), spec.scheme
    return [implicit_family(s, family) for s in systems if isinstance(s, ODE) and isinstance(family, MultistepFamily)]


def programs_of(system: System | Program) -> tuple[Program, ...]:
    """The programs of a system, or of a graph the one that it is."""
    return (system,) if isinstance(system, Program) else system.programs


def _explain(draft: Draft, system: System | Program, names: StepNames) -> None:
    if isinstance(system, Program):
        _explain_graph(draft, system, names)
        return
    file, function = system.explained_by
    getattr(_sections(file), function)(draft, system, names)


def _explain_graph(draft: Draft, graph: Program, names: StepNames) -> None:
    program = name_functions(graph)
    adjoint = write_graph(draft.author, program, names)
    remember(draft, program, adjoint, names.prefix)


def _symbol_table(spec: Spec) -> tuple[tuple[str, str, str, str, str], ...]:
    found: dict[str, Quantity] = {}
    for recurrence in (*recurrences(spec).values(), *_implicit_forms(spec)):
        for quantity in by_name({*recurrence.step.inputs, *recurrence.old, *recurrence.new, *recurrence.inputs}):
            found.setdefault(quantity.name, quantity)
    for system in spec.variants.values():
        listed = (*system.inputs, *system.outputs) if isinstance(system, Program) else system.listed
        for quantity in listed:
            found.setdefault(quantity.name, quantity)
    return tuple((q.latex, q.name, show_shape(q.shape), q.role.value, q.meaning) for _, q in sorted(found.items()))
