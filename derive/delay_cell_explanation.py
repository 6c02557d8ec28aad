"""The derivation of a cell that is a step of a delay equation: the equation, its scheme, the sections of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sympy import Expr

from derive.checks import IdentityCheck
from derive.delay import DelayODE
from derive.delay_cells import DelayCell
from derive.delay_implicit import write_decay
from derive.delay_sections import write_equation, write_method_of_steps
from derive.delay_steps import DelayStep, delay_step
from derive.derivation import Kind
from derive.drafts import Draft, explain_cell
from derive.evaluator import evaluate
from derive.lagrangian import StepNames, write_program
from derive.latex import latex, plain
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program, symbols_of
from derive.reverse_sweep import Adjoint
from derive.sampling import Sampler
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, by_name, velocity_of


def explain_delay_cell(draft: Draft, cell: DelayCell, names: StepNames) -> Adjoint:
    """The delay equation, the order of its scheme, the cell, and why it is the step of that scheme."""
    equation, author = cell.equation, draft.author
    assert equation is not None, "made by delay_cell"
    program = equation.field_program()
    write_equation(author, equation)
    write_program(author, program, names, "field")
    author.close("The delay equation", "The right-hand side as a program, and where its past values come from.")
    draft.results |= {velocity_of(s).name: v for s, v in zip(equation.state, equation.velocity, strict=True)}
    write_method_of_steps(author, equation, delay_step(equation))
    adjoint = explain_cell(draft, cell, names)
    draft.results |= _write_scheme(author, cell, equation)
    write_decay(author)
    author.close("The linearly implicit scheme", "What is linear in the unknown is taken at the end of the step.")
    draft.facts |= {
        "scheme": f"{delay_step(equation).title} of a delay equation",
        "order": "1, for delays of a whole number of steps that are held while h goes to 0",
    }
    return adjoint


def _write_scheme(author: Author, cell: DelayCell, equation: DelayODE) -> dict[str, Expr]:
    """The implicit equation that a step solves, and the scheme's own step; the increment is a result."""
    old, new, step = cell.old[0], cell.new[0], cell.step
    increment = STEP_SIZE * cell.rate
    author.relation(
        "the equation that a step solves",
        Kind.IDENTITY,
        f"{new.latex} - {old.latex} = {latex(increment)}",
        text=f"{new} - {old} = {plain(increment)}",
        reason="the right-hand side at the end of the step, and what it reads a delay before that",
        name="increment",
        check=IdentityCheck(new - old, increment, step.inputs, given=step),
    )
    value = step.value(new)
    made = delay_step(equation)
    given_names = {q: q.renamed(f"{q.name}_given") for q in made.step.inputs if q.role.batched}
    earlier = tuple(Assignment(q, source.xreplace(given_names)) for q, source in cell.sources.items())
    known = {line.target for line in (*earlier, *step.assignments)}
    read = {q for line in (*earlier, *step.assignments) for q in symbols_of(line.value)} - known
    given = Program(tuple(by_name(read)), (*earlier, *step.assignments), (new,))
    author.relation(
        "the same step as the scheme makes it",
        Kind.IDENTITY,
        rf"{latex(_solved(made))} = {latex(value)}",
        text=f"{plain(_solved(made))} = {plain(value)}",
        reason=f"{made.title} of the delay equation, with one linear system for the whole step",
        name="gathered",
        check=IdentityCheck(partial(_by_scheme, made, given_names), value, given.inputs, given=given),
    )
    return {"increment": increment}


def _solved(made: DelayStep) -> Expr:
    """The new value as the scheme's step writes it."""
    return made.step.value(made.new[0])


def _by_scheme(
    made: DelayStep, names: Mapping[Quantity, Quantity], values: Mapping[Quantity, Numeric], sampler: Sampler
) -> Numeric:
    """The new value by the lines of the scheme's own step."""
    return evaluate(made.step, {q: values[names.get(q, q)] for q in made.step.inputs}, sampler.networks)[made.new[0]]
