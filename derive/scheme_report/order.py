"""Section on the order of a scheme: leading error terms, conditions on its symbols, orders of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sympy
from sympy import Eq, Expr, Integer, Rational, Symbol
from sympy.logic.boolalg import And, Boolean, Or

from derive.analysis import Analysis
from derive.checks import ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.numbering import Author
from derive.scheme_report.residuals import (
    dense_disagreements,
    derivative_residual,
    error_constant_residual,
    error_terms_residual,
    order_disagreements,
    stage_disagreements,
    tolerance,
)
from derive.scheme_report.series_maps import sampled_symbols
from derive.scheme_report.show import condition_latex, said, sum_latex, value_latex
from derive.scheme_sections import ORDER_TITLE
from derive.schemes import ButcherTableau, LinearMultistep
from derive.series.conditions import condition_text

BY_SERIES = "truncated power series of step and flow on a random polynomial field, 60 digits"
MOVED = Rational(1, 50)
Values = tuple[tuple[tuple[Symbol, Expr], ...], ...]


def write_order(author: Author, analysis: Analysis) -> None:
    """Order, error terms, conditions, error constants, orders of stages, embedded scheme and dense output."""
    scheme, p = analysis.scheme, int(analysis.order)
    table = analysis.principal_error
    left = rf"u(t_n + h) - x_{{n+1}} = h^{{{p + 1}}} \left({sum_latex(table)}\right) + O(h^{{{p + 2}}})"
    author.relation(
        f"local error, exact minus numerical: order {p}{analysis.reservation}",
        Kind.ASYMPTOTIC,
        left,
        reason=_reason(analysis),
        name="scheme.local_error",
        check=ResidualCheck(
            partial(error_terms_residual, scheme, tuple(table.terms), p),
            tuple(table.terms.values()),
            BY_SERIES,
            tolerance(scheme),
        ),
        steps=said(table),
    )
    author.relation(
        "norm of the leading error terms",
        Kind.DEFINITION,
        rf"\left\| \tau_{{{p + 1}}} \right\|_2 = {value_latex(analysis.principal_error_norm)}",
        reason="Euclidean norm of the coefficients above: what schemes of one order are compared by",
    )
    if isinstance(scheme, LinearMultistep):
        _write_constants(author, analysis, scheme)
    elif analysis.error_constant is not None:
        author.relation(
            "error constant",
            Kind.IDENTITY,
            rf"C_{{{p + 1}}} = {value_latex(analysis.error_constant)}",
            reason=f"the leading error terms are this multiple of h^{p + 1} u^({p + 1}), spelled out in trees",
            check=ResidualCheck(
                partial(derivative_residual, scheme, p + 1), (analysis.error_constant,), BY_SERIES, tolerance(scheme)
            ),
        )
    for higher, condition in analysis.order_conditions.items():
        _write_condition(author, analysis, higher, condition)
    _write_parts(author, analysis)
    author.close(ORDER_TITLE, "What one step from exact values misses, term by term.")


def _reason(analysis: Analysis) -> str:
    if not isinstance(analysis.scheme, LinearMultistep):
        return "rooted trees: at each elementary differential 1/gamma minus the elementary weight, over sigma"
    speed = analysis.scheme.speed
    along = "u' = f" if speed == 1 else f"u' = s f with s = sigma(1)/rho'(1) = {speed}"
    return f"past values on a solution of {along}: C_(p+1) times its derivative of order p + 1, spelled out in trees"


def _write_constants(author: Author, analysis: Analysis, scheme: LinearMultistep) -> None:
    power = int(analysis.order) + 1
    exponentials = "Taylor coefficients of the step on exponentials"
    per = r"\sigma(1)" if scheme.speed == 1 else r"\rho'(1)"
    pairs = (
        (rf"C_{{{power}}}", "error constant", analysis.error_constant, Integer(1)),
        (rf"C_{{{power}}}/{per}", "error constant, normalized", analysis.error_constant_normalized, Integer(0)),
    )
    for left, title, value, scale in pairs:
        assert value is not None
        author.relation(
            title,
            Kind.IDENTITY,
            rf"{left} = {value_latex(value)}",
            reason="of h^(p+1) u^(p+1) in the residual"
            if scale
            else "what the global error grows by; with it schemes of any scaling compare",
            check=ResidualCheck(partial(error_constant_residual, scheme, power, scale), (value,), exponentials),
        )


def _write_condition(author: Author, analysis: Analysis, higher: int, condition: Boolean) -> None:
    values = solutions(condition)
    author.relation(
        f"order {higher} iff {condition_text(condition)}",
        Kind.INEQUALITY,
        rf"p \ge {higher} \iff {condition_latex(condition)}",
        reason="the remaining order conditions, solved for the symbols",
        check=SampledCheck(partial(_condition_disagreements, analysis, higher), values, _moved),
    )


def solutions(condition: Boolean) -> Values:
    """Values of the symbols that satisfy a condition; of free symbols some."""
    symbols = sorted(condition.free_symbols, key=str)
    found: list[tuple[tuple[Symbol, Expr], ...]] = []
    for case in Or.make_args(sympy.to_dnf(condition)):
        equations = [part.lhs - part.rhs for part in And.make_args(case) if isinstance(part, Eq)]
        for solution in sympy.solve(equations, symbols, dict=True):
            free = {s: Rational(7 + place, 11) for place, s in enumerate(symbols) if s not in solution}
            bound = {s: sympy.sympify(value).subs(free) for s, value in solution.items()}
            found.append(tuple((s, (free | bound)[s]) for s in symbols))
    return tuple(found)


def _moved(values: Values) -> Values:
    return tuple(tuple((symbol, value + MOVED) for symbol, value in point) for point in values)


def _condition_disagreements(analysis: Analysis, higher: int, values: Values) -> int:
    """Claimed values at which the order is not reached, or none claimed, plus random ones at which it is."""
    generic = sampled_symbols(analysis.scheme)
    wrong = int(not values) + int(not _misses(analysis, generic, higher))
    return wrong + sum(_misses(analysis, generic | dict(point), higher) for point in values)


def _misses(analysis: Analysis, values: Mapping[Symbol, Any], order: int) -> bool:
    return order_disagreements(analysis.scheme, dict(values), None, order, at_least=True) > 0


def _write_parts(author: Author, analysis: Analysis) -> None:
    """Stage order, embedded order, order of the dense output."""
    scheme, p = analysis.scheme, int(analysis.order)
    values = sampled_symbols(scheme)
    if analysis.stage_order is not None:
        q = int(analysis.stage_order)
        author.relation(
            f"stage order {q}",
            Kind.INEQUALITY,
            rf"\sum_j a_{{ij}} c_j^{{k-1}} = \frac{{c_i^k}}{{k}} \quad \text{{for }} k \le {q}",
            reason="to this order the stages themselves follow the solution; stiff problems show it",
            check=SampledCheck(partial(stage_disagreements, scheme, p), q, lambda found: found - 1),
        )
    if not isinstance(scheme, ButcherTableau):
        return
    if analysis.embedded_order is not None:
        author.relation(
            f"embedded scheme: order {analysis.embedded_order}",
            Kind.ASYMPTOTIC,
            rf"u(t_n + h) - \hat x_{{n+1}} = O(h^{{{int(analysis.embedded_order) + 1}}})",
            reason="the second row of weights on the same stages; the difference of the two estimates the error",
            check=SampledCheck(
                partial(order_disagreements, scheme, values, scheme.b_error),
                int(analysis.embedded_order),
                lambda found: found - 1,
            ),
        )
    if analysis.dense_order is not None:
        author.relation(
            f"dense output: order {analysis.dense_order}",
            Kind.ASYMPTOTIC,
            rf"u(t_n + \theta h) - x_n - h \sum_i b_i(\theta) K_i = O(h^{{{int(analysis.dense_order) + 1}}})",
            reason=f"for every theta between 0 and 1, {_extra_stages(scheme)}",
            check=SampledCheck(
                partial(dense_disagreements, scheme), int(analysis.dense_order), lambda found: found - 1
            ),
        )


def _extra_stages(scheme: ButcherTableau) -> str:
    """What the dense output costs beyond the step."""
    extra = len(scheme.dense_stages)
    return f"with {extra} stages more" if extra else "without another stage"
