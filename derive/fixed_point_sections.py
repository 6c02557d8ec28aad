"""Sections on an equilibrium: the map, the residual, the gradient of the solution, and its second order."""

from __future__ import annotations

from sympy import Add, Expr

from derive.checks import IdentityCheck
from derive.derivation import Kind
from derive.fixed_point import FixedPoint
from derive.fixed_point_checks import TangentCheck
from derive.lagrangian import StepNames, forward_and_reverse, write_adjoint, write_lagrangian, write_program
from derive.latex import latex, plain
from derive.linearization import Linearization, forward_sweep
from derive.networks import Call
from derive.numbering import Author
from derive.program import Assignment, Program, symbols_of
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role

Results = dict[str, Expr]


def implicit_adjoint(fixed: FixedPoint) -> Adjoint:
    """The adjoint of the equilibrium in all that the map reads beside the state; it is linear in the multiplier."""
    return reverse_sweep(fixed.equilibrium, read_by(fixed))


def read_by(fixed: FixedPoint) -> tuple[Quantity, ...]:
    """What the solution depends on: the guess it was found from is not among it."""
    return tuple(q for q in fixed.equilibrium.inputs if q != fixed.guess and q.role is not Role.CONSTANT)


def residual_line(fixed: FixedPoint) -> Assignment:
    """g = f(z) - z."""
    residual = fixed.state.renamed("residual", "g", Role.INTERMEDIATE, "residual")
    return Assignment(residual, fixed.image - fixed.state, "it vanishes at the equilibrium and nowhere else")


def is_one_call(fixed: FixedPoint) -> bool:
    """Whether the map is an opaque network and nothing else."""
    return len(fixed.map.assignments) == 1 and isinstance(fixed.map.assignments[0].value, Call)


def write_map(author: Author, fixed: FixedPoint, names: StepNames) -> None:
    """The map; and, where it is written out, the products with its Jacobian that all that follows is computed from."""
    write_program(author, fixed.map, names, "map")
    author.close(f"The map{names.title}", "One application; every quantity is named once.")
    if is_one_call(fixed):
        return
    adjoint = reverse_sweep(fixed.map, tuple(q for q in fixed.map.inputs if q.role is not Role.CONSTANT))
    write_lagrangian(author, fixed.map, adjoint, "Lagrangian of the map")
    write_adjoint(author, fixed.map, adjoint, names, "map_adjoint")
    author.close(
        f"Adjoint of the map{names.title}",
        "Products with its transposed Jacobian: all that is needed to differentiate the equilibrium.",
    )


def write_equation(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """The residual and its Jacobian."""
    line = residual_line(fixed)
    author.assignment(line, names("map", line.target))
    whole = Program(fixed.map.inputs, (*fixed.map.assignments, line), (line.target,))
    tangent = forward_sweep(whole, (fixed.state,))
    name = names.joined("residual_tangent")
    last = tangent.program.assignments[-1]
    author.equation(
        last.target,
        last.value,
        "Jacobian of the residual, J - I",
        Kind.IDENTITY,
        f"J = the linearization of the map in {fixed.state.name} alone",
        name,
        TangentCheck(whole, tangent, last, line.target),
    )
    z = fixed.state.latex
    author.relation(
        "the equilibrium depends smoothly on what the map reads",
        Kind.STATEMENT,
        rf"g({z}) = 0, \quad \det(I - J) \ne 0 \;\Rightarrow\; {z} \text{{ is a smooth function of all that }} f "
        r"\text{ reads, near this solution}",
        text=f"where g({fixed.state}) = 0 and I - J is not singular, {fixed.state} is locally a smooth function of all "
        "that f reads",
        reason="for maps that are continuously differentiable; no contraction is needed for it, nor for the gradient",
        source="the implicit-function theorem",
        name=names.joined("implicit_function"),
    )
    author.close(
        f"The equation{names.title}",
        "What is computed is a root of the residual. No limit of an iteration is meant: whether one converges is "
        "another question.",
    )
    return {"residual": line.value}


def write_gradient(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """The equation of the tangent, and the gradient from the Lagrangian."""
    program = fixed.equilibrium
    tangent = forward_sweep(program, read_by(fixed))
    _write_tangents(author, program, tangent, names.joined("tangent"))
    author.close(
        f"The tangent of the equilibrium{names.title}",
        "The equation, linearized: (I - J) times the tangent is the derivative of f with the state held fixed.",
    )
    adjoint = implicit_adjoint(fixed)
    write_lagrangian(author, program, adjoint, "Lagrangian of the equilibrium")
    write_adjoint(author, program, adjoint, names, "adjoint")
    seed, bar = adjoint.seeds[fixed.state].latex, adjoint.cotangents[fixed.state]
    author.relation(
        "the same without the names of the lines",
        Kind.DEFINITION,
        rf"\left(I - J^{{\top}}\right) {bar.latex} = {seed}, \qquad \nabla_\theta L = \left(\partial_\theta "
        rf"f\right)^{{\top}} {bar.latex}",
        text=f"(I - J^T) {bar} = {adjoint.seeds[fixed.state]}, and the gradient in theta is (df/dtheta)^T {bar}",
        reason="the multiplier is the total cotangent of the state; what the iteration did on its way is not in it",
        name=names.joined("multiplier"),
    )
    author.close(
        f"The gradient{names.title}",
        "Stationarity of the Lagrangian, in which the equation is the constraint: one linear equation, whatever solved "
        "the nonlinear one.",
    )
    return {"partial": _direct(tangent, fixed), "tangent": tangent.program.assignments[-1].value}


def _direct(tangent: Linearization, fixed: FixedPoint) -> Expr:
    """What moves the image directly: the terms of its tangent without that of the state, where that is one line."""
    value = tangent.program.assignments[-1].value
    moving = tangent.tangents[fixed.state]
    return Add(*(term for term in Add.make_args(value) if moving not in symbols_of(term)))


def write_second_order(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """The tangent of the gradient: a Hessian times a direction by one more equation with each of the two matrices."""
    whole = forward_and_reverse(fixed.equilibrium.needed_for((fixed.state,)))
    moving = [q for q in whole.inputs if q != fixed.guess and q.role is not Role.CONSTANT]
    tangent = forward_sweep(whole, moving)
    first = {line.target for line in forward_sweep(fixed.equilibrium, read_by(fixed)).program.assignments}
    lines = [line for line in tangent.program.assignments if line.target not in first]
    _write_tangents(author, whole, tangent, names.joined("second"), lines)
    author.close(
        f"Second order{names.title}",
        "The forward sweep over the gradient: the multiplier has a tangent, which solves an equation with the same "
        "transposed matrix; so the backward pass can be differentiated as often as f can.",
    )
    about = {way: q for q, way in tangent.tangents.items()}
    return {f"second_{about[line.target]}": line.value for line in lines}


def _write_tangents(
    author: Author, program: Program, tangent: Linearization, name: str, lines: list[Assignment] | None = None
) -> None:
    about = {way: q for q, way in tangent.tangents.items()}
    for line in tangent.program.assignments if lines is None else lines:
        primal = about[line.target]
        check = TangentCheck(program, tangent, line, primal)
        author.assignment(line, f"{name}.{line.target.name}", check)


def identity_line(
    author: Author, title: str, left: Expr, right: Expr, reason: str, name: str, check: IdentityCheck
) -> None:
    """A relation between two expressions."""
    author.relation(
        title,
        Kind.IDENTITY,
        f"{latex(left)} = {latex(right)}",
        text=f"{left} = {plain(right)}",
        reason=reason,
        name=name,
        check=check,
    )
