"""Section on a step whose network is linear: the stability function R(z), and where on the real axis it is bounded."""

from __future__ import annotations

from functools import partial

import sympy
from sympy import Expr, Integer, Poly, Rational, Symbol

from derive.checks import DIGITS, ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.error_growth import Scaling
from derive.evaluator import evaluate
from derive.lagrangian import StepNames
from derive.latex import latex
from derive.networks import Call
from derive.numbering import Author
from derive.recurrence import Recurrence
from derive.step_quantities import STEP_SIZE

Z = Symbol("z")


def stability_function(recurrence: Recurrence) -> Expr | None:
    """R(z) with x_next = R(z) x where the one network of a step is f(x) = z x / h; None for other steps."""
    networks = recurrence.step.networks()
    if len(networks) != 1 or len(recurrence.old) != 1 or STEP_SIZE not in recurrence.step.inputs:
        return None
    table: dict[Expr, Expr] = {}
    for line in recurrence.step.assignments:
        value = line.value.xreplace(table)
        calls = {node: Z / STEP_SIZE * node.point[-2] for node in value.atoms(Call)}
        table[line.target] = sympy.expand(value.xreplace(calls))
    found = sympy.expand(table[recurrence.new[0]] / recurrence.old[0])
    return found if found.free_symbols <= {Z} else None


def write_linear_test(author: Author, recurrence: Recurrence, names: StepNames) -> dict[str, Expr]:
    """Section on R(z) and its real interval; returns R(z) as a result for claims."""
    function = stability_function(recurrence)
    if function is None:
        return {}
    (network,) = recurrence.step.networks()
    author.relation(
        "stability function",
        Kind.IDENTITY,
        rf"{recurrence.new[0].latex} = R(z)\, {recurrence.old[0].latex},\qquad R(z) = {latex(function)}",
        text=f"{recurrence.new[0]} = ({function}) {recurrence.old[0]} for {network}(x) = (z/h) x",
        reason=f"the step with {network}(x) = \\lambda x, z = h \\lambda".replace("\\", ""),
        name=names.joined("stability_function"),
        check=ResidualCheck(
            partial(_function_residual, recurrence),
            tuple(Poly(function, Z).all_coeffs()),
            "the step on linear networks, 60 digits",
        ),
    )
    left = real_interval(function)
    author.relation(
        "real interval of stability",
        Kind.INEQUALITY,
        rf"|R(z)| \le 1 \iff z \in \left[{latex(_shown(left))},\, 0\right] \quad \text{{(the component of }} 0)",
        text=f"|R(z)| <= 1 for z in [{_shown(left)}, 0], the component of 0",
        reason="real roots of R^2 - 1",
        name=names.joined("real_interval"),
        check=SampledCheck(partial(_interval_disagreements, function), left, lambda edge: edge * Rational(21, 20)),
    )
    author.close(f"Linear stability{names.title}", "The step on x' = lambda x.")
    return {"stability_function": function, "real_interval_left": left}


def real_interval(function: Expr) -> Expr:
    """Left end of the interval of the real axis that ends at 0 and has |R| <= 1; 0 where there is none."""
    roots = sorted((root for root in sympy.real_roots(Poly(function**2 - 1, Z)) if root < 0), reverse=True)
    for place, root in enumerate(roots):
        inside = (roots[place - 1] if place else Integer(0)) / 2 + root / 2
        if not _bounded(function, inside):
            return roots[place - 1] if place else Integer(0)
    outside = (roots[-1] if roots else Integer(0)) - 1
    return -sympy.oo if _bounded(function, outside) else (roots[-1] if roots else Integer(0))


def _bounded(function: Expr, point: Expr) -> bool:
    return bool(abs(sympy.N(function.subs(Z, sympy.N(point, 40)), 30)) <= 1)


def _shown(edge: Expr) -> Expr:
    """A rational end exactly, an algebraic one to ten digits."""
    return edge if edge.is_Rational or edge.is_infinite else sympy.N(edge, 10)


def _function_residual(recurrence: Recurrence, coefficients: tuple[Expr, ...]) -> float:
    (network,) = recurrence.step.networks()
    worst = 0.0
    for point in (Rational(-7, 5), Rational(3, 10)):
        h, start = sympy.Float("0.3", DIGITS), sympy.Float("0.7", DIGITS)
        values = {STEP_SIZE: h, recurrence.old[0]: start, network.theta: Integer(0)}
        model = Scaling(sympy.N(point, DIGITS) / h)
        found = evaluate(recurrence.step, values, {network: model})[recurrence.new[0]] / start
        claimed = Poly(list(coefficients), Z).as_expr().subs(Z, sympy.N(point, DIGITS))
        worst = max(worst, abs(float(found - claimed)))
    return worst


def _interval_disagreements(function: Expr, left: Expr) -> int:
    """Points beside the left end, between the ends and at them, at which |R| <= 1 and the interval differ."""
    if left == -sympy.oo:
        return sum(not _bounded(function, Integer(-(10**power))) for power in range(6))
    edge = sympy.N(left, 30)
    inside = [edge * Rational(99, 100), edge / 2, edge / 10]
    return sum(not _bounded(function, point) for point in inside) + _bounded(function, edge * Rational(101, 100))
