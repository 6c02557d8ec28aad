"""Sections on a scheme: order, local error, modified equation, starts, root condition."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import sympy
from sympy import And, Expr, Integer, Interval, Or, Poly, S, StrictGreaterThan, StrictLessThan, Symbol, false, true
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from derive.checks import ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.elementary import labellings
from derive.expansion import expansion_check, modified_equation
from derive.latex import latex
from derive.linear_stability import zero_stability
from derive.numbering import Author
from derive.schemes import ButcherTableau, LinearMultistep, Scheme
from derive.schemes.substitution import with_values
from derive.series.notation import differential_latex
from derive.series.rk import order
from derive.series.trees import trees
from derive.starts import starts_of
from derive.symbols import Quantity
from derive.truncation import (
    Truncation,
    local_error_residual,
    modified_field_residual,
    start_error_residual,
    truncation,
)

ORDER_TITLE = "Order and error terms of the scheme"
NOT_ZERO_STABLE = "not zero-stable: errors grow without bound when h goes to 0"


def write_truncation(author: Author, analysis: Truncation) -> dict[str, Expr]:
    """Section on order, local error and modified equation; returns named results for claims."""
    p, ode = analysis.order, analysis.ode
    results: dict[str, Expr] = {"order": Integer(p), "local_error_power": Integer(p + 1)}
    if not analysis.is_spelled:
        return results
    formula = _error_formula(analysis)
    author.relation(
        f"local truncation error (exact minus numeric after one step); order {p}",
        Kind.ASYMPTOTIC,
        rf"\tau_n = {formula} + O(h^{{{p + 2}}})",
        reason="Taylor expansion of the step along a solution of the equation it is consistent with"
        + (_reference(p) if _named(analysis) else ""),
        name="local_error",
        check=ResidualCheck(partial(local_error_residual, analysis), analysis.coefficients),
    )
    if isinstance(analysis.scheme, LinearMultistep):
        results |= _write_multistep(author, analysis, analysis.scheme)
    _write_modified_field(author, analysis)
    if not ode.networks:
        for unknown, part in zip(ode.state, analysis.local_error(analysis.coefficients), strict=True):
            results[f"local_error_{unknown.name}"] = part
    author.close(
        "Order, local error and modified equation",
        "What the scheme really solves: the equation whose exact flow interpolates the numerical solution.",
    )
    return results


def _reference(p: int) -> str:
    return f"; tau_{p + 1} is the sum in brackets of the section {ORDER_TITLE!r}"


def _named(analysis: Truncation) -> bool:
    """Whether the formula of the local error only names the terms that the scheme's own section spells out."""
    return analysis.refers and any(unknown.shape for unknown in analysis.ode.state)


def _error_formula(analysis: Truncation) -> str:
    p = analysis.order
    if isinstance(analysis.scheme, LinearMultistep):
        return rf"{latex(analysis.coefficients[0])}\, h^{{{p + 1}}} u^{{({p + 1})}}"
    if not any(unknown.shape for unknown in analysis.ode.state):
        parts = [latex(sympy.factor_terms(part)) for part in analysis.local_error(analysis.coefficients)]
        body = parts[0] if len(parts) == 1 else r"\begin{pmatrix}" + r" \\ ".join(parts) + r"\end{pmatrix}"
        return rf"h^{{{p + 1}}} \left({body}\right)" if len(parts) == 1 else rf"h^{{{p + 1}}} {body}"
    if _named(analysis):
        return rf"h^{{{p + 1}}}\, \tau_{{{p + 1}}}[f]"
    terms = [rf"{latex(c)}\, {differential_latex(tree)}" for c, tree in analysis.terms if tree is not None]
    return rf"h^{{{p + 1}}} \left({' + '.join(terms).replace('+ -', '- ')}\right)"


def _write_multistep(author: Author, analysis: Truncation, scheme: LinearMultistep) -> dict[str, Expr]:
    field = Symbol("f")
    author.relation(
        "the equation the scheme is consistent with",
        Kind.IDENTITY,
        rf"\dot u = \frac{{\sigma(1)}}{{\rho'(1)}} f = {latex(analysis.speed * field)}",
        reason="sigma(1)/rho'(1) of the scheme; it is f itself only where that is 1",
        name="effective_field",
        check=ResidualCheck(partial(_speed_residual, scheme), (analysis.speed,), "derivative of rho by differences"),
    )
    equation = modified_equation(scheme, analysis.order + 2)
    author.relation(
        "modified equation",
        Kind.ASYMPTOTIC,
        equation.latex(),
        reason="the step divided by h, expanded at t_n",
        name="modified_equation",
        check=expansion_check(scheme, equation),
    )
    results = {"effective_field": analysis.speed * field, "order": Integer(analysis.order)}
    results["modified_equation"] = equation.left_side(2)
    for symbol, found in analysis.conditions.items():
        values = ", ".join(latex(value) for value in found)
        author.relation(
            f"order {analysis.order + 1} at {', '.join(f'{symbol} = {value}' for value in found) or 'no value'}",
            Kind.IDENTITY,
            rf"{latex(analysis.coefficients[0])} = 0 \iff {symbol.latex} \in \left\{{{values}\right\}}",
            reason="the leading error constant vanishes",
            name=f"order_condition_{symbol.name}",
            check=ResidualCheck(
                partial(_roots_residual, analysis, symbol), found, "local error by power series with the value put in"
            ),
        )
    return results


def _power_of_h(q: int) -> str:
    return "" if q == 1 else "h" if q == 2 else f"h^{{{q - 1}}}"


def _at_random(
    scheme: LinearMultistep, expressions: tuple[Expr, ...], seed: int
) -> tuple[dict[Symbol, Expr], tuple[Expr, ...]]:
    """Random rational values of a scheme's symbols, and the expressions there."""
    free = sorted({s for e in (*scheme.alpha, *scheme.beta) for s in e.free_symbols}, key=str)
    values = {s: sympy.Rational(3 + 2 * place + seed, 10) for place, s in enumerate(free)}
    return values, tuple(_sixty_digits(e.subs(values)) for e in expressions)


def _sixty_digits(value: Expr) -> Expr:
    """An exact number as a 60-digit one."""
    return sympy.N(value, 60)


def _speed_residual(scheme: LinearMultistep, speed: tuple[Expr, ...]) -> float:
    values, (number,) = _at_random(scheme, speed, 2)
    step = sympy.Rational(1, 10**25)
    rho = [scheme.characteristic(1 + sign * step).subs(values) for sign in (1, -1)]
    slope = (rho[0] - rho[1]) / (2 * step)
    sigma = (scheme.characteristic(Integer(1)) - scheme.characteristic(Integer(1), 1)).subs(values)
    return float(abs(_sixty_digits(sigma / slope) - number))


def _roots_residual(analysis: Truncation, symbol: Quantity, roots: tuple[Expr, ...]) -> float:
    """The whole analysis again with the symbol put in: the order must rise, and the new leading error must hold."""
    worst = 0.0
    for root in roots:
        special = _with_value(analysis, {symbol: root})
        rises = special.order > analysis.order
        worst = max(worst, local_error_residual(special, special.coefficients) if rises else 1.0)
    return worst


def _with_value(analysis: Truncation, values: dict[Quantity, Expr]) -> Truncation:
    velocity = tuple(v.xreplace(values) for v in analysis.ode.velocity)
    return truncation(replace(analysis.ode, velocity=velocity), with_values(analysis.scheme, values))


def _write_modified_field(author: Author, analysis: Truncation) -> None:
    p = analysis.order
    if analysis.refers:
        right = rf"F - {_power_of_h(p + 1)}\, \tau_{{{p + 1}}}[F]"
    elif isinstance(analysis.scheme, ButcherTableau):
        terms = [rf"{latex(-c)}\, {differential_latex(tree, 'F')}" for c, tree in analysis.terms if tree is not None]
        right = rf"F + {_power_of_h(p + 1)} \left({' + '.join(terms).replace('+ -', '- ')}\right)"
    else:
        scale = sympy.factor(-analysis.coefficients[0] * analysis.speed / sum(analysis.scheme.beta))
        terms = [rf"{latex(scale * labellings(tree))}\, {differential_latex(tree, 'F')}" for tree in trees(p + 1)]
        right = rf"F + {_power_of_h(p + 1)} \left({' + '.join(terms)}\right)"
    speed = "f" if analysis.speed == 1 else latex(analysis.speed * Symbol("f"))
    author.relation(
        "modified equation, first order in time",
        Kind.ASYMPTOTIC,
        rf"\dot u = {right} + O(h^{{{p + 1}}}), \qquad F = {speed}",
        reason=f"the local error turned round: one step along this flow leaves a residual O(h^{p + 2})"
        + (_reference(p) if analysis.refers else ""),
        name="modified_field",
        check=ResidualCheck(partial(modified_field_residual, analysis), analysis.coefficients),
    )


def write_starts(author: Author, analysis: Truncation) -> dict[str, int]:
    """Error of each start of a multistep scheme, and the order of scheme and start together."""
    scheme = analysis.scheme
    orders: dict[str, int] = {}
    if not isinstance(scheme, LinearMultistep):
        return orders
    for name, start in starts_of(scheme).items():
        speed = scheme.speed if start.effective else Integer(1)
        gap = sympy.factor(scheme.speed - speed)
        own = order(start.scheme)
        orders[name] = 1 if gap != 0 else own + 1
        formula = rf"{latex(gap)}\, h f(x_0)" if gap != 0 else "0"
        author.relation(
            f"error of the start {name!r}: global order min(p, {orders[name]})",
            Kind.ASYMPTOTIC,
            rf"u(t_0 + h) - x_1 = {formula} + O(h^2)",
            reason="one starting value wrong by h^q keeps the whole solution at order q: it excites the parasitic root",
            name=f"start_error.{name}",
            check=ResidualCheck(partial(start_error_residual, analysis, name), (gap,)),
        )
    author.close(
        "The start",
        "A scheme of several steps needs its first values from another; their error bounds the order of what follows.",
    )
    return orders


def write_root_condition(author: Author, scheme: LinearMultistep) -> str:
    """Zero stability by the root condition, for at most one symbol; returns the condition as text."""
    zeta = Symbol("zeta")
    rho = sympy.factor(scheme.characteristic(zeta))
    free = sorted(rho.free_symbols - {zeta}, key=str)
    if len(free) > 1:
        return ""
    author.relation(
        "characteristic polynomial",
        Kind.DEFINITION,
        rf"\rho(\zeta) = {latex(rho)}",
        reason="the scheme on x' = 0",
        name="characteristic",
    )
    if not free:
        return _write_fixed_root_condition(author, scheme, rho, zeta)
    parameter = free[0]
    region = stable_interval(scheme)
    author.relation(
        f"root condition: zero-stable for {interval_text(region, parameter)}",
        Kind.INEQUALITY,
        rf"\left|\zeta\right| \le 1,\ \text{{simple on the circle}} \iff {latex(parameter)} \in {sympy.latex(region)}",
        reason="roots of rho; a double root on the circle grows linearly",
        name="root_condition",
        check=SampledCheck(partial(_root_disagreements, rho, zeta, parameter), region, _move_boundary),
    )
    author.close("Zero stability", "Errors made once must not grow when h goes to 0.")
    return interval_text(region, parameter)


def _write_fixed_root_condition(author: Author, scheme: LinearMultistep, rho: Expr, zeta: Symbol) -> str:
    """The root condition of a scheme whose weights are numbers."""
    roots = sympy.roots(Poly(rho, zeta))
    stable = bool(zero_stability(scheme).value)
    listed = ",\\ ".join(latex(root) for root, count in roots.items() for _ in range(count))
    author.relation(
        f"root condition: {'zero-stable' if stable else 'not zero-stable'}",
        Kind.INEQUALITY,
        rf"\zeta \in \left\{{{listed}\right\}}",
        reason="all roots of rho within the unit circle and simple on it"
        if stable
        else "a root outside the unit circle, or a double one on it: errors grow without bound when h goes to 0",
        name="root_condition",
        check=SampledCheck(partial(_fixed_root_disagreements, rho, zeta), stable, lambda claimed: not claimed),
    )
    author.close("Zero stability", "Errors made once must not grow when h goes to 0.")
    return "every field" if stable else "no field"


def _fixed_root_disagreements(rho: Expr, zeta: Symbol, stable: bool) -> int:
    return int(stable != _satisfies_root_condition(np.roots([complex(c) for c in Poly(rho, zeta).all_coeffs()])))


def stable_interval(scheme: LinearMultistep) -> sympy.Set:
    """Values of a scheme's one symbol at which it is zero-stable; all or no reals where it has none."""
    value = zero_stability(scheme).value
    if value == true:
        return S.Reals
    return S.EmptySet if value == false else _values(value)


def _values(condition: Boolean) -> sympy.Set:
    """The set of a condition on one symbol; SymPy's own `as_set` loads its units and simplifies, which takes longer."""
    if isinstance(condition, And | Or):
        sets = [_values(part) for part in condition.args]
        return sympy.Intersection(*sets) if isinstance(condition, And) else sympy.Union(*sets)
    if isinstance(condition, sympy.Eq):
        return sympy.FiniteSet(condition.rhs if condition.lhs.is_Symbol else condition.lhs)
    if not isinstance(condition, Relational) or isinstance(condition, sympy.Ne):
        return condition.as_set()
    strict = isinstance(condition, StrictLessThan | StrictGreaterThan)
    low, high = condition.lts, condition.gts
    return Interval(S.NegativeInfinity, high, right_open=strict) if low.is_Symbol else Interval(low, S.Infinity, strict)


def warnings(scheme: Scheme) -> dict[str, str]:
    """What a user of a scheme must know before anything else."""
    unstable = isinstance(scheme, LinearMultistep) and zero_stability(scheme).value == false
    return {"warning": NOT_ZERO_STABLE} if unstable else {}


def interval_text(region: sympy.Set, parameter: Symbol) -> str:
    """`-1 < k <= 1`."""
    if not isinstance(region, Interval):
        return f"{parameter} in {region}"
    left, right = ("<" if is_open else "<=" for is_open in (region.left_open, region.right_open))
    return f"{region.start} {left} {parameter} {right} {region.end}"


def _root_disagreements(rho: Expr, zeta: Symbol, parameter: Symbol, region: sympy.Set) -> int:
    """Samples (on, beside and between the boundaries) where the numeric roots and the region differ."""
    edges = sorted({float(edge) for edge in region.boundary}) or [0.0]
    samples = {sympy.Rational(str(round(edge + shift, 6))) for edge in edges for shift in (-0.01, 0, 0.01)}
    samples |= {sympy.Rational(place, 4) for place in range(-9, 10)}
    wrong = 0
    for value in sorted(samples):
        coefficients = [complex(c) for c in Poly(rho.subs(parameter, value), zeta).all_coeffs()]
        wrong += bool(region.contains(value)) != _satisfies_root_condition(np.roots(coefficients))
    return wrong


def _satisfies_root_condition(roots: np.ndarray, slack: float = 1e-6) -> bool:
    on_circle = [root for root in roots if abs(abs(root) - 1) <= slack]
    close = any(abs(a - b) <= 1e-4 for place, a in enumerate(on_circle) for b in on_circle[place + 1 :])
    return bool(max(abs(roots)) <= 1 + slack) and not close


def _move_boundary(region: sympy.Set) -> sympy.Set:
    return Interval(
        region.inf + sympy.Rational(1, 50), region.sup + sympy.Rational(1, 50), region.left_open, region.right_open
    )
