"""A derivation being written, and the sections that every step has."""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr

from derive.lagrangian import StepNames, merged, write_adjoint, write_program, write_step
from derive.numbering import Author
from derive.program import Program
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.systems import Spec


@dataclass
class Draft:
    """A derivation being written.

    Attributes:
        spec: what it is of.
        author: numbers its relations.
        results: derived expressions by name.
        facts: short facts, name -> text.
        contexts: option -> the step and its adjoint as one program.
    """

    spec: Spec
    author: Author = field(default_factory=Author)
    results: dict[str, Expr] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Program] = field(default_factory=dict)


def explain_cell(draft: Draft, cell: Recurrence, names: StepNames) -> Adjoint:
    """Sections on a step that reads inputs, or the first ones of any step; its adjoint."""
    adjoint = write_recurrence(draft, cell, names)
    draft.facts["state"] = ", ".join(q.name for q in cell.old)
    return adjoint


def write_recurrence(draft: Draft, recurrence: Recurrence, names: StepNames) -> Adjoint:
    """Sections on a step, its starts and their adjoints; the adjoint of the step."""
    adjoint = write_step(draft.author, recurrence, names, names.prefix)
    remember(draft, recurrence.step, adjoint, names.prefix)
    for name, start in recurrence.starts.items():
        start_names = StepNames(".".join(part for part in (names.prefix, "start", name) if part))
        start_adjoint = reverse_sweep(start)
        write_program(draft.author, start, start_names, "step")
        write_adjoint(draft.author, start, start_adjoint, start_names, "adjoint")
        one = recurrence.lags == 2
        made = "x_1 from x_0" if one else "Each value from the one before it"
        draft.author.close(f"The first step{'' if one else 's'}, start {name!r}", f"{made}, and its adjoint.")
    return adjoint


def remember(draft: Draft, program: Program, adjoint: Adjoint, option: str) -> None:
    """Keep every derived line as a result that claims can speak of; later options do not replace earlier ones."""
    lines = (*program.assignments, *adjoint.program.assignments)
    prefix = f"{option}." if option else ""
    draft.results |= {f"{prefix}{line.target.name}": line.value for line in lines}
    draft.contexts[option] = merged(program, adjoint.program.assignments)
