"""Sections on systems linear in scalar unknowns: the step as a matrix, its eigenvalues, what it does to energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import mpmath
import sympy
from sympy import Expr, Matrix, Pow

from derive.checks import IdentityCheck, ResidualCheck, relative_difference
from derive.derivation import Kind
from derive.equations import systems
from derive.evaluator import evaluate, value_of
from derive.latex import latex
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, blocks, unknowns_of
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.symbols import Quantity, by_name
from derive.systems import ODE

Route = Callable[[dict[Quantity, Numeric], Sampler], Numeric]


def step_matrix(ode: ODE, recurrence: Recurrence) -> Matrix | None:
    """d new / d old where the state is made of scalars and the field is affine in them; None elsewhere."""
    if any(q.shape for q in recurrence.old) or recurrence.step.networks() or not _has_closed_form(recurrence):
        return None
    slopes = {symbol for v in ode.velocity for x in ode.state for symbol in sympy.diff(v, x).free_symbols}
    if slopes & set(ode.state):
        return None
    flat = [_inlined(recurrence, q) for q in recurrence.new]
    tidy = _tidy(recurrence)
    return Matrix([[tidy(sympy.diff(value, q)) for q in recurrence.old] for value in flat])


def _inlined(recurrence: Recurrence, quantity: Quantity) -> Expr:
    """The step's value of a new state as one expression in the old one (of scalar systems: these are small)."""
    table: dict[Expr, Expr] = {}
    for block in blocks(recurrence.step.assignments):
        table |= _solution(block, table)
        for line in block:
            table.setdefault(line.target, line.value.xreplace(table))
    return table.get(quantity, quantity)


def _solution(block: tuple[Assignment, ...], table: Mapping[Expr, Expr]) -> dict[Expr, Expr]:
    """The unknowns of linear equations; nothing for an ordinary line."""
    unknowns = unknowns_of(block)
    if not unknowns:
        return {}
    inner = dict(table)
    for line in block:
        inner[line.target] = line.value.xreplace({q: v for q, v in inner.items() if q not in unknowns})
    (found,) = sympy.linsolve([inner[q] - q for q in unknowns], *unknowns)
    return dict(zip(unknowns, found, strict=True))


def _has_closed_form(recurrence: Recurrence) -> bool:
    """Whether what the step solves is linear and rational: radicals among symbols take minutes to eliminate."""
    lines = [line for block in systems(recurrence.step) for line in block]
    targets = {line.target for line in lines}
    if any(target.shape for target in targets):
        return False
    slopes = {symbol for line in lines for q in targets for symbol in sympy.diff(line.value, q).free_symbols}
    radicals = any(node.is_number and not node.is_rational for line in lines for node in line.value.atoms(Pow))
    return not radicals and not slopes & targets


def _tidy(recurrence: Recurrence) -> Callable[[Expr], Expr]:
    """How its entries are written: sums of terms, or quotients in lowest terms where equations were solved."""
    return sympy.cancel if systems(recurrence.step) else sympy.expand


def write_linear_step(author: Author, ode: ODE, recurrence: Recurrence) -> dict[str, Expr]:
    """Section on the step matrix, its determinant and eigenvalues; empty where the system is not linear."""
    matrix = step_matrix(ode, recurrence)
    if matrix is None or len(recurrence.old) > 3:
        return {}
    names, after = (", ".join(q.latex for q in state) for state in (recurrence.old, recurrence.new))
    author.relation(
        "the step as a matrix",
        Kind.DEFINITION,
        rf"W = \frac{{\partial({after})}}{{\partial({names})}} = {_matrix_latex(matrix)}",
        text=f"W = {matrix.tolist()}",
        reason="the step is affine in the state: it is a linear recurrent net driven by what remains",
        name="step_matrix",
    )
    determinant = _tidy(recurrence)(matrix.det())
    symbols = tuple(by_name(matrix.atoms(Quantity)))
    author.relation(
        "determinant",
        Kind.IDENTITY,
        rf"\det W = {latex(determinant)}",
        text=f"det W = {determinant}",
        reason="the factor by which one step changes volumes",
        name="determinant",
        check=IdentityCheck(_numeric_determinant(matrix), determinant, symbols),
    )
    results: dict[str, Expr] = {"determinant": determinant}
    results |= _write_eigenvalues(author, matrix, symbols)
    author.close("The step as a linear map")
    return results


def _write_eigenvalues(author: Author, matrix: Matrix, symbols: tuple[Quantity, ...]) -> dict[str, Expr]:
    trace = sympy.expand(matrix.trace())
    discriminant = sympy.factor(trace**2 - 4 * matrix.det()) if matrix.rows == 2 else None
    if discriminant is None:
        return {}
    author.relation(
        "eigenvalues",
        Kind.IDENTITY,
        rf"\lambda_\pm = {latex(trace / 2)} \pm \tfrac12 \sqrt{{{latex(discriminant)}}}",
        text=f"lambda = {trace / 2} +- sqrt({discriminant})/2",
        reason="trace and determinant; complex where the radicand is negative, and then |lambda|^2 = det W",
        name="eigenvalues",
        check=IdentityCheck(_numeric_discriminant(matrix), discriminant, symbols),
    )
    excess = sympy.factor(matrix.det() - 1)
    author.relation(
        "growth per step where the eigenvalues are complex",
        Kind.IDENTITY,
        rf"|\lambda|^2 - 1 = {latex(excess)}",
        text=f"|lambda|^2 - 1 = {excess}",
        reason="positive means growth at every step size, however small",
        name="growth",
        check=ResidualCheck(
            partial(_growth_residual, matrix, symbols), (excess,), "eigenvalues where they are complex"
        ),
    )
    return {"growth": excess}


def _entries(matrix: Matrix, values: Mapping[Quantity, Numeric]) -> list[list[Numeric]]:
    return [[value_of(sympy.sympify(entry), values) for entry in row] for row in matrix.tolist()]


def _numeric_determinant(matrix: Matrix) -> Route:
    def route(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        return mpmath.det(mpmath.matrix(_entries(matrix, values)))

    return route


def _numeric_discriminant(matrix: Matrix) -> Route:
    def route(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        first, second = mpmath.eig(mpmath.matrix(_entries(matrix, values)), left=False, right=False)
        return (first - second) ** 2

    return route


def _growth_residual(matrix: Matrix, symbols: tuple[Quantity, ...], excess: tuple[Expr, ...]) -> float:
    """|lambda|^2 - 1 of the numeric eigenvalues at three random points at which they are complex."""
    worst, found = 0.0, 0
    for seed in range(100):
        values = Sampler(symbols, seed=seed).values()
        one, _ = mpmath.eig(mpmath.matrix(_entries(matrix, values)), left=False, right=False)
        if abs(mpmath.im(one)) < mpmath.mpf("1e-3"):
            continue
        worst = max(worst, relative_difference(abs(one) ** 2 - 1, value_of(excess[0], values)))
        found += 1
        if found == 3:
            return worst
    return 1.0


def _matrix_latex(matrix: Matrix) -> str:
    rows = r" \\ ".join(" & ".join(latex(entry) for entry in row) for row in matrix.tolist())
    return rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}"


def write_invariants(
    author: Author, ode: ODE, recurrence: Recurrence, invariants: Mapping[str, tuple[Expr, Mapping[Quantity, Expr]]]
) -> dict[str, Expr]:
    """Section on quantities the ODE conserves (under conditions on its parameters) and their factor per step."""
    results: dict[str, Expr] = {}
    for name, (value, where) in invariants.items() if _has_closed_form(recurrence) else ():
        rate = pushforward(value, dict(zip(ode.state, ode.velocity, strict=True)))
        rate = sympy.expand(rate.xreplace(dict(where)))
        condition = ", ".join(f"{q.latex} = {latex(v)}" for q, v in where.items())
        old = value.xreplace(dict(zip(ode.state, recurrence.old, strict=False)))
        new = old.xreplace({q: _inlined(recurrence, n) for q, n in zip(recurrence.old, recurrence.new, strict=True)})
        ratio = new.xreplace(dict(where)) / old
        ratio = _tidy(recurrence)(sympy.factor(sympy.cancel(ratio)))
        results |= {f"{name}_rate": rate, f"{name}_ratio": ratio}
        symbols = tuple(sorted({*recurrence.step.inputs}, key=lambda q: q.name))
        author.relation(
            f"{name} along solutions ({condition or 'always'})",
            Kind.IDENTITY,
            rf"E = {latex(value)},\qquad \dot E = {latex(rate)}",
            text=f"E = {value}, dE/dt = {rate}",
            reason="derivative along the field",
            name=f"{name}_rate",
            check=IdentityCheck(_difference_rate(ode, value, where), rate, _all_symbols(ode, value)),
        )
        author.relation(
            f"{name} after one step ({condition or 'always'})",
            Kind.IDENTITY,
            rf"\frac{{E_{{n+1}}}}{{E_n}} = {latex(ratio)}",
            text=f"E_next/E = {ratio}",
            reason="the step put into E",
            name=f"{name}_ratio",
            check=IdentityCheck(_stepped_ratio(recurrence, old, where), ratio, symbols),
        )
        author.close(f"Conserved quantity: {name}", "What the ODE keeps, and what one step does to it.")
    return results


def _all_symbols(ode: ODE, value: Expr) -> tuple[Quantity, ...]:
    return tuple(sorted({*ode.quantities, *ode.state, *value.atoms(Quantity)}, key=lambda q: q.name))


def _difference_rate(ode: ODE, value: Expr, where: Mapping[Quantity, Expr]) -> Route:
    def route(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        given = {**values, **{q: value_of(sympy.sympify(v), values) for q, v in where.items()}}
        step = mpmath.mpf("1e-20")
        moved = [
            {
                **given,
                **{
                    x: given[x] + sign * step * value_of(v, given) for x, v in zip(ode.state, ode.velocity, strict=True)
                },
            }
            for sign in (1, -1)
        ]
        return (value_of(value, moved[0]) - value_of(value, moved[1])) / (2 * step)

    return route


def _stepped_ratio(recurrence: Recurrence, energy: Expr, where: Mapping[Quantity, Expr]) -> Route:
    def route(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        given = {**values, **{q: value_of(sympy.sympify(v), values) for q, v in where.items()}}
        after = evaluate(recurrence.step, given)
        moved = {**given, **{q: after[n] for q, n in zip(recurrence.old, recurrence.new, strict=True)}}
        return value_of(energy, moved) / value_of(energy, given)

    return route
