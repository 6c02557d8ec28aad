r"""Momentum form of two-step schemes: $v_n = (x_{n+1} - x_n)/h$, the heavy ball and its second-order limit."""

from __future__ import annotations

from functools import partial

import sympy
from sympy import Expr, Integer, Symbol

from derive.checks import ProgramCheck, ResidualCheck
from derive.derivation import Kind
from derive.discretization import STEP_SIZE, at_step
from derive.expansion import solution_weights
from derive.latex import latex
from derive.numbering import Author
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.schemes import LinearMultistep
from derive.symbols import Quantity, Role


def write_momentum(author: Author, recurrence: Recurrence, scheme: LinearMultistep) -> None:
    """Section on the heavy-ball form of a two-step scheme with beta_0 alone, and its limit."""
    if scheme.steps != 2 or len(recurrence.old) != 2 or any(w != 0 for w in (scheme.beta[0], scheme.beta[2])):
        return
    x, x_prev = recurrence.old
    f = next(line for line in recurrence.step.assignments if line.reason == "field")
    v_prev = Quantity("momentum_before", x.shape, Role.INTERMEDIATE, "v_{n-1}", "momentum before the step")
    v = Quantity("momentum_after", x.shape, Role.INTERMEDIATE, "v_n", "momentum after the step")
    after = at_step(x, -1).renamed("x_by_momentum", "x_{n+1}", Role.INTERMEDIATE)
    momentum = -scheme.alpha[1]
    lines = (
        Assignment(v_prev, (x - x_prev) / STEP_SIZE),
        Assignment(v, scheme.beta[1] * f.target + momentum * v_prev),
        Assignment(after, x + STEP_SIZE * v),
    )
    step = recurrence.step
    inputs = tuple(sorted({*step.inputs, *recurrence.old}, key=lambda q: q.name))
    right = Program(
        inputs, (*(line for line in step.assignments if line.target != recurrence.new[0]), *lines), (after,)
    )
    left = Program(inputs, step.assignments, step.outputs)
    author.relation(
        f"heavy-ball form: momentum {momentum}",
        Kind.IDENTITY,
        rf"v_n = {latex(lines[1].value)}, \qquad {recurrence.new[0].latex} = {x.latex} + h\, v_n, "
        rf"\qquad v_{{n-1}} = \frac{{{x.latex} - {x_prev.latex}}}{{h}}",
        text=f"{v} = {lines[1].value}, {recurrence.new[0]} = {x} + h*{v}",
        reason="the alphas sum to 1, so only the difference of the two past values enters",
        name="heavy_ball",
        check=ProgramCheck(left, _nudgeable(right, lines[1]), ((recurrence.new[0], after),)),
    )
    _write_limit(author, scheme)
    author.close("Heavy-ball form", "A second past value is momentum.")


def _nudgeable(program: Program, line: Assignment) -> Program:
    """The program with a line that is checked moved into the last one, where a perturbation reaches it."""
    *head, last = [item for item in program.assignments if item != line]
    merged = Assignment(last.target, sympy.expand(last.value.xreplace({line.target: line.value})))
    return Program(program.inputs, (*head, merged), program.outputs)


def _write_limit(author: Author, scheme: LinearMultistep) -> None:
    """At the value of the symbol where the first-derivative term vanishes, the scheme becomes a damped oscillator."""
    weights = solution_weights(scheme, 3)
    free = sorted(weights[0].free_symbols, key=str)
    if len(free) != 1:
        return
    parameter = free[0]
    roots = [r for r in sympy.solve(weights[0], parameter) if weights[1].subs(parameter, r) != 0]
    if len(roots) != 1:
        return
    gamma, delta = Symbol("gamma"), Symbol("delta")
    slope = sympy.diff(weights[0], parameter)
    path = roots[0] + gamma * delta / slope
    limits = _limit_weights(weights, parameter, path, delta)
    author.relation(
        "limit of vanishing first-derivative term",
        Kind.ASYMPTOTIC,
        rf"{latex(parameter)} = {latex(path)},\ h = \delta^2,\ \delta \to 0:\qquad "
        rf"{_times(limits[1])}\ddot u + {_times(limits[0])}\dot u = {_times(scheme.beta[1])}f(u)",
        reason="the modified equation on the time scale s = n delta",
        name="heavy_ball_limit",
        check=ResidualCheck(
            partial(_limit_residual, scheme, parameter, path),
            tuple(limits),
            "the step on exp(s) and s exp(s), delta = 1e-40",
        ),
    )


def _times(weight: Expr) -> str:
    return "" if weight == 1 else rf"{latex(weight)}\,"


def _limit_weights(weights: tuple[Expr, ...], parameter: Symbol, path: Expr, delta: Symbol) -> list[Expr]:
    """Coefficients of u', u'' as delta -> 0 when time runs in steps of delta and h = delta^2."""
    scaled = [sympy.expand(w.subs(parameter, path) * delta**q / delta**2) for q, w in enumerate(weights, start=1)]
    return [sympy.limit(w, delta, 0) for w in scaled[:2]]


def _limit_residual(scheme: LinearMultistep, parameter: Symbol, path: Expr, limits: tuple[Expr, ...]) -> float:
    """[u(s + d) - sum alpha_j u(s - jd)]/d^2 on u = exp(cs) against the limit operator, at d = 1e-40 and two c."""
    gamma, delta = Symbol("gamma"), Symbol("delta")
    small = sympy.Rational(1, 10**40)
    worst = 0.0
    for rate in (sympy.Rational(1, 2), sympy.Rational(-3, 2)):
        point = {gamma: sympy.Rational(7, 10), delta: small}
        weights = [sympy.sympify(a).subs(parameter, path).subs(point) for a in scheme.alpha]
        shifts = [sympy.exp(rate * small), *(-w * sympy.exp(-rate * j * small) for j, w in enumerate(weights))]
        left = sympy.N(sum(shifts, Integer(0)), 150) / small**2
        right = sum((w.subs(point) * rate**q for q, w in enumerate(limits, start=1)), Integer(0))
        worst = max(worst, float(abs(left - right)))
    return worst
