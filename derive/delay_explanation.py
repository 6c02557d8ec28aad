"""The derivation of a delay equation: which sections it gets, in reading order."""

from __future__ import annotations

from derive.delay import DelayODE
from derive.delay_adjoint import write_continuous_adjoint
from derive.delay_implicit import write_resolvent
from derive.delay_limit import write_limit, write_perturbations
from derive.delay_sections import write_equation, write_method_of_steps, write_step
from derive.delay_steps import delay_step, steps_text
from derive.drafts import Draft, remember
from derive.lagrangian import StepNames, write_program
from derive.symbols import Quantity


def explain_delay(draft: Draft, system: DelayODE, names: StepNames) -> None:
    """The equation and its delays, the step with its adjoint, the continuous adjoint, and what small delays do."""
    author, program, made = draft.author, system.field_program(), delay_step(system)
    write_equation(author, system)
    write_program(author, program, names, "field")
    author.close("The delay equation", "The right-hand side as a program, and where its past values come from.")
    draft.results |= {line.target.name: line.value for line in program.assignments}
    write_method_of_steps(author, system, made)
    adjoint = write_step(author, system, made, names)
    remember(draft, made.step, adjoint, names.prefix)
    draft.results |= write_resolvent(author, system, made)
    draft.results |= write_continuous_adjoint(author, system)
    write_perturbations(author, system)
    draft.results |= write_limit(author, system)
    draft.facts |= {
        "scheme": made.title,
        "order": f"{made.order}, for delays of a whole number of steps that are held while h goes to 0",
        "delays": ", ".join(_shown(delay) for delay in system.delays),
        "inverse": "none: a step forgets the oldest past values",
    }


def _shown(delay: Quantity | int) -> str:
    return f"{delay.name} = {steps_text(delay)} h" if isinstance(delay, Quantity) else f"{delay} h"
