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
from derive.lagrangian import StepNames
from derive.numbering import Author


def write_control(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """The problem, its Lagrangian, the adjoint equation, all gradients, what is kept, and the second order."""
    runs = runs_of(control)
    write_problem(author, control, names)
    return {
        **write_lagrangian_form(author, control, names),
        **write_adjoint_equations(author, control, names),
        **write_gradients(author, control, names, runs),
        **write_invariants_of_flow(author, control, names, runs),
        **write_optimum(author, control, names, runs),
        **write_riccati(author, control, names),
        **write_second_order(author, control, names),
    }
