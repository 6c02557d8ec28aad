"""The derivation of an equilibrium model: the equation, its gradients of both orders, and what solves it."""

from __future__ import annotations

from dataclasses import replace

from derive.drafts import Draft
from derive.fixed_point import FixedPoint
from derive.fixed_point_sections import implicit_adjoint, write_equation, write_gradient, write_map, write_second_order
from derive.fixed_point_solvers import write_existence, write_solvers, write_truncation
from derive.lagrangian import StepNames, merged
from derive.program import Program

GRADIENT = "of the solution itself, by one linear equation with the transposed Jacobian"


def explain_fixed_point(draft: Draft, fixed: FixedPoint, names: StepNames) -> None:
    """The map, the residual, the implicit gradient, the second order, when there is a solution, and the iterations."""
    author = draft.author
    write_map(author, fixed, names)
    found = {
        **write_equation(author, fixed, names),
        **write_gradient(author, fixed, names),
        **write_second_order(author, fixed, names),
        **write_existence(author, fixed, names),
        **write_solvers(author, fixed, names),
        **write_truncation(author, fixed, names),
    }
    lines = implicit_adjoint(fixed).program.assignments
    found |= {line.target.name: line.value for line in lines}
    draft.contexts[names.prefix] = at_any_state(fixed)
    draft.results |= {names.joined(name): value for name, value in found.items()}
    draft.facts |= {"state": fixed.state.name, "gradient": GRADIENT, "solvers": "broyden, anderson, picard"}


def at_any_state(fixed: FixedPoint) -> Program:
    """The map and all cotangents, given a state and a multiplier that need not solve their equations."""
    adjoint = implicit_adjoint(fixed)
    multiplier = adjoint.cotangents[fixed.state]
    lines = [replace(line, solve=None) for line in adjoint.program.assignments if line.target != multiplier]
    return merged(fixed.map, lines)
