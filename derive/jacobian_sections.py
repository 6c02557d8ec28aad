"""Sections on the Jacobian of a cell's step in its state: what gradients through time are multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import mpmath
import numpy as np

from derive.checks import NUDGE, IdentityCheck
from derive.derivation import Derivation, Kind
from derive.errors import UnsupportedError
from derive.evaluator import evaluate
from derive.explanation import recurrences
from derive.lagrangian import StepNames, merged
from derive.latex import aligned
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.state_jacobian import Blocks, state_jacobian
from derive.symbols import Quantity
from derive.systems import Spec

CAROUSEL = "a carousel: no matrix on this way from step to step, and over the steps diagonals multiply"


def with_state_jacobians(spec: Spec, derivation: Derivation) -> Derivation:
    """A derivation with a section on the state Jacobian of each cell whose linearization is read as matrices."""
    author = Author(list(derivation.sections), numbers=dict(derivation.numbers))
    results, contexts = dict(derivation.results), dict(derivation.contexts)
    for option, cell in recurrences(spec).items():
        if cell.in_depth:
            continue
        try:
            blocks = state_jacobian(cell)
        except UnsupportedError:
            continue
        names = StepNames(str(option))
        _write(author, cell, blocks, names)
        results |= {names.joined(line.target.name): line.value for line in blocks.lines}
        contexts[str(option)] = merged(contexts[str(option)], blocks.lines)
    sections = tuple(author.sections)
    return replace(derivation, sections=sections, numbers=author.numbers, results=results, contexts=contexts)


def _write(author: Author, cell: Recurrence, blocks: Blocks, names: StepNames) -> None:
    known = merged(cell.step, blocks.lines)
    about = {name: pair for pair, name in blocks.names.items()}
    for line in blocks.lines:
        check = quotient_check(cell.step, about[line.target], line, known)
        carried = line.target in blocks.diagonal and cell.new.index(about[line.target][0]) == cell.old.index(
            about[line.target][1]
        )
        shown = replace(line, reason=f"{line.reason}; {CAROUSEL}") if carried else line
        author.assignment(shown, names("jacobian", line.target), check)
    if "jacobian.product" not in author.numbers:
        _write_product(author, cell, blocks)
    lead = "A small change of the state before a step, carried to the state after it, in diagonal matrices and weights."
    author.close(f"The Jacobian of the step in its state{names.title}", lead)


def _write_product(author: Author, cell: Recurrence, blocks: Blocks) -> None:
    rows = [[blocks.names.get((new, old)) for old in cell.old] for new in cell.new]
    body = r" \\ ".join(" & ".join(name.latex if name else "0" for name in row) for row in rows)
    matrix = rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"
    plain = "; ".join(", ".join(name.name if name else "0" for name in row) for row in rows)
    author.relation(
        "Jacobian over several steps",
        Kind.DEFINITION,
        aligned([rf"J_t &= {matrix}", r"\frac{\partial z_T}{\partial z_k} &= J_T\, J_{T-1} \cdots J_{k+1}"]),
        text=f"J_t = [{plain}];  d state_T / d state_k = J_T J_(T-1) ... J_(k+1)",
        reason="chain rule over the steps; gradients of the state are multiplied by the transposed product",
        name="jacobian.product",
    )


def quotient_check(step: Program, about: tuple[Quantity, Quantity], line: Assignment, known: Program) -> IdentityCheck:
    """A block against central differences of the step, one column for each component of the old state."""
    new, old = about

    def columns(values: Mapping[Quantity, Numeric], _: Sampler) -> Numeric:
        nudge = mpmath.mpf(NUDGE)
        found = []
        for unit in np.eye(len(values[old]), dtype=int):
            ahead, behind = (_value(step, {**values, old: values[old] + sign * nudge * unit}, new) for sign in (1, -1))
            found.append((ahead - behind) / (2 * nudge))
        return np.stack(found, axis=1)

    return IdentityCheck(columns, line.value, step.inputs, given=known)


def _value(step: Program, values: Mapping[Quantity, Numeric], new: Quantity) -> Numeric:
    return values[new] if new in step.inputs else evaluate(step, {q: values[q] for q in step.inputs}, None)[new]
