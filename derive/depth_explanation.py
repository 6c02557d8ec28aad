"""Sections on a step as one layer of many: expansion, linear stability and inverse."""

from __future__ import annotations

from derive.drafts import Draft, explain_cell
from derive.exact_reversal import write_exact_reversal
from derive.expansion_sections import write_expansion
from derive.lagrangian import StepNames
from derive.linear_test import write_linear_test
from derive.phase_space import write_phase_map
from derive.recurrence import Recurrence
from derive.reversibility import write_inverse as write_inverse_of_step
from derive.schemes import Scheme


def explain_layer(draft: Draft, recurrence: Recurrence, names: StepNames) -> None:
    """All sections on a layer; of a spec with options those on flow and inverse belong to none of them."""
    adjoint = explain_cell(draft, recurrence, names)
    if not names.prefix:
        write_phase_map(draft.author, recurrence, adjoint)
    write_depth(draft, recurrence, names)
    if not names.prefix:
        write_inverse(draft, recurrence, None, names)


def write_depth(draft: Draft, recurrence: Recurrence, names: StepNames) -> None:
    """Sections of a step that is not made from an ODE: its expansion and its linear stability."""
    results = write_expansion(draft.author, recurrence, names)
    results |= write_linear_test(draft.author, recurrence, names)
    draft.results |= {names.joined(name): value for name, value in results.items()}


def write_inverse(draft: Draft, recurrence: Recurrence, scheme: Scheme | None, names: StepNames) -> None:
    """Sections on the inverse of a step, in real numbers and bit for bit, and the facts of them."""
    inverse = write_inverse_of_step(draft.author, recurrence, scheme, names)
    draft.facts["inverse"] = "explicit" if inverse is not None else "the solution of an equation"
    exact = write_exact_reversal(draft.author, recurrence, names)
    if exact is not None:
        draft.facts["exact reversal"] = f"log2(q/|p|) bits per component and step at the weight {exact.weight} = p/q"
