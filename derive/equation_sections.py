"""Sections on an implicit step: its equations, Newton's matrix, the linear equations of the adjoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import mpmath
from sympy import Add, Expr

from derive.checks import IdentityCheck
from derive.derivation import Kind
from derive.equations import Block, Equations, equations_of, systems
from derive.evaluator import evaluate
from derive.latex import latex, plain
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.phase_space import sequence
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint
from derive.sampling import Sampler
from derive.symbols import Quantity

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
            text=f"R_{unknown.name} = {unknown} - ({plain(right)}) = 0",
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
            text=f"(M w)_{unknown.name} = {plain(product)}",
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
            text=f"{plain(product)} = {plain(given)}",
            reason="stationarity in the unknowns: the implicit-function rule, solved once for each step, not unrolled",
            name=f"adjoint_equation.{multiplier.name}",
            check=IdentityCheck(given, product, whole.inputs, whole.networks(), whole),
        )
