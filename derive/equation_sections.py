"""Sections on an implicit step: its equations, Newton's matrix, the linear equations of the adjoint, the inverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import mpmath
from sympy import Add, Expr, Integer, Matrix

from derive.checks import IdentityCheck, ResidualCheck, relative_difference
from derive.derivation import Kind
from derive.discretization import STEP_SIZE, discretize, time_at_step
from derive.equations import Block, Equations, equations_of, systems
from derive.evaluator import evaluate
from derive.geometry.symmetry import adjoint_method
from derive.latex import latex
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.phase_space import sequence
from derive.reverse_sweep import Adjoint
from derive.sampling import Sampler
from derive.schemes import ButcherTableau
from derive.symbols import Quantity
from derive.systems import ODE, Recurrence

NUDGE = "1e-20"


def write_equations(author: Author, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """Section on the equations of an implicit step; none for an explicit one."""
    for block in systems(recurrence.step):
        _write_residual(author, block)
        _write_newton_matrix(author, block)
    for block in systems(adjoint.program):
        _write_adjoint_equations(author, block, recurrence, adjoint)
    author.close(
        "The implicit equation",
        "The step is the solution of an equation, found by Newton's method. Its derivative is that of the solution: "
        "one linear system with the transposed matrix, and nothing of the iterations.",
    )


def _write_residual(author: Author, block: Block) -> None:
    for unknown, right in _inlined(block).items():
        author.relation(
            f"residual of {unknown.name}",
            Kind.DEFINITION,
            rf"R_{{{unknown.latex}}} = {unknown.latex} - \left({latex(right)}\right) = 0",
            text=f"R_{unknown.name} = {unknown} - ({right}) = 0",
            reason="the lines of the step that hold together, as one equation in the unknowns",
            name=f"residual.{unknown.name}",
        )


def _inlined(block: Block) -> dict[Quantity, Expr]:
    """Right-hand side of each unknown, in unknowns and what the block is given."""
    solve = block[0].solve
    assert solve is not None
    table: dict[Expr, Expr] = {}
    found = {}
    for line in block:
        value = line.value.xreplace(table)
        if line.target in solve.unknowns:
            found[line.target] = value
        else:
            table[line.target] = value
    return {q: found[q] for q in solve.unknowns}


def _write_newton_matrix(author: Author, block: Block) -> None:
    right = _inlined(block)
    directions = {q: q.renamed(f"w_{q.name}", rf"w_{{{q.latex}}}") for q in right}
    equations = equations_of(block)
    quantities = (*equations.program.inputs, *directions.values())
    for unknown, value in right.items():
        product = directions[unknown] - pushforward(value, directions)
        author.relation(
            f"Newton's matrix I - dg/dz, the row of {unknown.name} times w",
            Kind.IDENTITY,
            rf"\left(M w\right)_{{{unknown.latex}}} = {latex(product)}",
            text=f"(M w)_{unknown.name} = {product}",
            reason="linearization of the residual; each iteration solves M w = -R and adds w",
            name=f"newton.{unknown.name}",
            check=IdentityCheck(
                partial(_residual_slope, equations, unknown, directions),
                product,
                quantities,
                equations.program.networks(),
            ),
        )


def _residual_slope(
    equations: Equations,
    unknown: Quantity,
    directions: Mapping[Quantity, Quantity],
    values: dict[Quantity, Numeric],
    sampler: Sampler,
) -> Numeric:
    """Difference quotient of the residual of one unknown along all directions."""
    step = mpmath.mpf(NUDGE)
    fresh = equations.program.outputs[equations.unknowns.index(unknown)]
    residuals = []
    for sign in (1, -1):
        moved = {**values, **{q: values[q] + sign * step * values[w] for q, w in directions.items()}}
        residuals.append(moved[unknown] - evaluate(equations.program, moved, sampler.networks)[fresh])
    return (residuals[0] - residuals[1]) / (2 * step)


def _write_adjoint_equations(author: Author, block: Block, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """M^T mu = what comes from later lines, where mu is the total cotangent of the unknowns."""
    right = _inlined(block)
    whole = sequence(recurrence.step, adjoint.program)
    for multiplier, value in right.items():
        own = [term for term in Add.make_args(value) if term.atoms(Quantity) & set(right)]
        given = value - Add(*own)
        product = multiplier - Add(*own)
        author.relation(
            f"adjoint equation of {multiplier.name}: transposed Newton matrix",
            Kind.IDENTITY,
            f"{latex(product)} = {latex(given)}",
            text=f"{product} = {given}",
            reason="stationarity in the unknowns: the implicit-function rule, solved once for each step, not unrolled",
            name=f"adjoint_equation.{multiplier.name}",
            check=IdentityCheck(given, product, whole.inputs, whole.networks(), whole),
        )


def write_adjoint_scheme(author: Author, ode: ODE, scheme: ButcherTableau) -> bool:
    """The inverse of a step as a step of size -h of another scheme; whether that is the scheme itself."""
    backwards = adjoint_method(scheme)
    assert isinstance(backwards, ButcherTableau)
    symmetric = (backwards.A, backwards.b) == (scheme.A, scheme.b)
    weights = tuple(entry for row in backwards.A for entry in row)
    same = "the same scheme" if symmetric else "its adjoint scheme"
    author.relation(
        f"inverse: {same} with -h",
        Kind.IDENTITY,
        r"\Phi_h^{-1} = \Phi^*_{-h}, \qquad a^*_{ij} = b_{s+1-j} - a_{s+1-i,s+1-j}"
        rf", \qquad A^* = {latex(Matrix(backwards.A))}",
        text=f"x = step of size -h from x_next with A* = {[list(row) for row in backwards.A]}: {same}",
        reason="the step solved for x: x = x_next - h sum b_j f_j, put into the stages and counted from the last",
        name="adjoint_scheme",
        check=ResidualCheck(partial(_round_trip, ode, scheme), weights, "step, then step back, 60 digits"),
    )
    author.close("Inverse")
    return symmetric


def _tableau(A: list[list[Expr]], b: Sequence[Expr], title: str) -> ButcherTableau:
    return ButcherTableau(A=A, b=b, c=[sum(row, Integer(0)) for row in A], title=title)


def _round_trip(ode: ODE, scheme: ButcherTableau, weights: tuple[Expr, ...]) -> float:
    """Relative difference of the state and what a step forward and a step of the shown weights back make of it."""
    stages = scheme.stages
    rows = [list(weights[n * stages : (n + 1) * stages]) for n in range(stages)]
    there = discretize(ode, scheme)
    back = discretize(ode, _tableau(rows, scheme.b[::-1], scheme.title))
    sampler = Sampler({*there.step.inputs, *back.step.inputs}, there.step.networks())
    values = sampler.values()
    after = evaluate(there.step, values, sampler.networks)
    turned = {**values, STEP_SIZE: -values[STEP_SIZE]}
    turned |= {x: after[new] for x, new in zip(there.old, there.new, strict=True)}
    now = time_at_step(ode)
    if now is not None:
        turned[now] = values[now] + values[STEP_SIZE]
    found = evaluate(back.step, turned, sampler.networks)
    return max(relative_difference(values[x], found[new]) for x, new in zip(back.old, back.new, strict=True))
