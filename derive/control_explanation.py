"""All sections on an optimal-control problem."""

from __future__ import annotations

from derive.control import OptimalControl
from derive.control_checks import runs_of
from derive.control_gradients import write_gradients
from derive.control_invariants import write_invariants_of_flow
from derive.control_optimum import write_optimum
from derive.control_riccati import write_riccati
from derive.control_second_order import write_second_order
from derive.control_sections import Results, write_adjoint_equations, write_lagrangian_form, write_problem
from derive.drafts import Draft
from derive.lagrangian import StepNames


def explain_control(draft: Draft, control: OptimalControl, names: StepNames) -> None:
    """The problem, its Lagrangian, the adjoint equation, all gradients, what is kept, and the second order."""
    author, runs = draft.author, runs_of(control)
    write_problem(author, control, names)
    found: Results = {
        **write_lagrangian_form(author, control, names),
        **write_adjoint_equations(author, control, names),
        **write_gradients(author, control, names, runs),
        **write_invariants_of_flow(author, control, names, runs),
        **write_optimum(author, control, names, runs),
        **write_riccati(author, control, names),
        **write_second_order(author, control, names),
    }
    draft.results |= {names.joined(name): value for name, value in found.items()}
