"""The derivation of a stochastic differential equation: its sections, and what claims can speak of."""

from __future__ import annotations

from derive.drafts import Draft, remember
from derive.lagrangian import GRADIENTS, OTHERS, StepNames, write_adjoint, write_program
from derive.reverse_sweep import reverse_sweep
from derive.sde import SDE
from derive.sde_schemes import SchemeStep, by_graphs, scheme_steps, schemes_of
from derive.sde_sections import (
    write_conversion,
    write_density,
    write_equation,
    write_moments,
    write_orders,
    write_orders_here,
    write_reverse,
    write_sensitivity,
)


def explain_sde(draft: Draft, sde: SDE, names: StepNames) -> None:
    """The equation and what follows from it, then the steps of the schemes and their adjoints."""
    author, program = draft.author, sde.field_program()
    write_equation(author, sde, names)
    write_program(author, program, names, "field")
    author.close(f"The equation{names.title}", "Drift and diffusion; every quantity is named once.")
    found = write_conversion(author, sde, names)
    found |= write_density(author, sde, names)
    found |= write_moments(author, sde, names)
    found |= write_sensitivity(author, sde, names)
    found |= {line.target.name: line.value for line in program.assignments}
    draft.results |= {names.joined(name): value for name, value in found.items()}
    if "orders.euler_maruyama.additive" not in author.numbers:
        for name, scheme in schemes_of(sde).items():
            draft.facts |= write_orders(author, name, scheme)
        author.close("Orders of the schemes", "By the structure of the noise; what stands in the way of more is named.")
    draft.facts[f"structure of the noise{names.title}"] = write_orders_here(author, sde, names, schemes_of(sde))
    for one in scheme_steps(sde):
        _write_step(draft, one, names)


def _write_step(draft: Draft, one: SchemeStep, names: StepNames) -> None:
    """A step and its adjoint; lines that another step has stand there."""
    author, step = draft.author, one.recurrence.step
    own = StepNames(names.joined(one.label))
    title = f"{one.scheme}, {one.calculus} calculus" + (f", {names.prefix}" if names.prefix else "")
    write_program(author, step, own, "step")
    author.close(f"The step, {title}", "One step as a program; the increments are given.")
    if by_graphs(step):
        return
    adjoint = reverse_sweep(step)
    remember(draft, step, adjoint, own.prefix)
    draft.contexts.setdefault(names.prefix, draft.contexts.pop(own.prefix))
    write_adjoint(author, step, adjoint, own, "adjoint", OTHERS)
    author.close(f"The discrete adjoint, {title}", "Its reverse sweep at the same increments, last line first.")
    write_adjoint(author, step, adjoint, own, "adjoint", GRADIENTS)
    write_reverse(author, step, adjoint, own, title)
    author.close(f"Gradients, {title}", "What one step contributes; a shared quantity sums over steps and samples.")
