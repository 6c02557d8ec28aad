r"""Local truncation error, order and modified equation of a scheme, checked by truncated power series.

The scheme is compared with the equation it is consistent with: $\dot u = s f$, where $s = \sigma(1)/\rho'(1)$ of a
multistep scheme (1 for Runge-Kutta). The local error is exact minus numeric after one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer, S, expand, solve

from derive.discretization import STEP_SIZE, at_step, discretize, slope_at_step, time_at_step
from derive.elementary import derivative_along_flow, elementary_differential, taylor
from derive.errors import UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric
from derive.power_series import Series, array_of
from derive.program import Program
from derive.sampling import Sampler
from derive.schemes import ButcherTableau, LinearMultistep, Scheme
from derive.series.rk import OneStepVerdicts
from derive.series.trees import Tree, trees
from derive.symbols import Quantity, by_name
from derive.systems import ODE

MOST_TREES = 20  # those of six vertices: differentials of a concrete field grow with the order beyond what one reads


@dataclass(frozen=True)
class Truncation:
    """Leading local error of a scheme on an ODE.

    Attributes:
        scheme, ode: what was analysed.
        order: p, with local error O(h^(p+1)).
        speed: s of the equation u' = s f that the scheme is consistent with.
        terms: pairs (coefficient, tree) of h^(p+1) for a Runge-Kutta scheme, (C_(p+1), None) for a multistep one.
        conditions: symbol -> its values at which the order is higher.
    """

    scheme: ButcherTableau | LinearMultistep
    ode: ODE
    order: int
    speed: Expr
    terms: tuple[tuple[Expr, Tree | None], ...]
    conditions: dict[Quantity, tuple[Expr, ...]]

    @property
    def is_spelled(self) -> bool:
        """Whether the terms are few enough to be written on this field; the scheme's own section has them all."""
        return len(trees(self.order + 1)) <= MOST_TREES

    @property
    def refers(self) -> bool:
        """Whether its terms are several and no others than those that the scheme's own section spells out."""
        if not isinstance(self.scheme, ButcherTableau) or len(self.terms) < 2:
            return False
        return len(self.terms) == len(OneStepVerdicts(self.scheme).principal_error.terms)

    @property
    def coefficients(self) -> tuple[Expr, ...]:
        """Coefficients of the leading terms."""
        return tuple(coefficient for coefficient, _ in self.terms)

    def local_error(self, coefficients: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Coefficient of h^(p+1) in the local error for each unknown, as an expression in the state."""
        total = [S.Zero for _ in self.ode.state]
        for coefficient, (_, tree) in zip(coefficients, self.terms, strict=True):
            if tree is None:
                scale = coefficient * self.speed ** (self.order + 1)
                parts = derivative_along_flow(self.ode, self.order + 1)
            else:
                scale, parts = coefficient, elementary_differential(self.ode, tree)
            total = [t + scale * part for t, part in zip(total, parts, strict=True)]
        return tuple(total)


def truncation(ode: ODE, scheme: Scheme) -> Truncation:
    """Order and leading local error.

    Raises:
        UnsupportedError: a scheme for a field in several parts.
    """
    if isinstance(scheme, ButcherTableau):
        verdicts = OneStepVerdicts(scheme)
        p = verdicts.order
        terms = tuple((coefficient, tree) for tree, coefficient in verdicts.principal_error.terms.items())
        found = Truncation(scheme, ode, p, Integer(1), terms, {})
        if ode.networks or not found.is_spelled:
            return found
        # Of a polynomial of low degree, many differentials vanish identically.
        return replace(found, terms=tuple(term for term in terms if _present(ode, term[1])) or terms)
    if not isinstance(scheme, LinearMultistep):
        raise UnsupportedError(
            f"{scheme.title} is of kind {type(scheme).__name__}; give a Butcher tableau or a linear multistep scheme"
        )
    p = scheme.derived_order
    constant = scheme.error_constant(p + 1)
    conditions = {
        symbol: tuple(sorted((root for root in solve(constant, symbol) if root.is_real is not False), key=str))
        for symbol in by_name(constant.free_symbols)
    }
    return Truncation(scheme, ode, p, scheme.speed, ((constant, None),), conditions)


def _present(ode: ODE, tree: Tree) -> bool:
    return any(expand(part) != 0 for part in elementary_differential(ode, tree))


def local_error_residual(analysis: Truncation, coefficients: tuple[Expr, ...]) -> float:
    """Relative size of (exact - numeric) - claimed leading term, in the powers of h up to p + 1."""
    sampler, values = _sample(analysis)
    order = analysis.order + 1
    velocity = tuple(analysis.speed * part for part in analysis.ode.velocity)
    solution = taylor(analysis.ode, velocity, values, sampler, order)
    numeric = _step_series(analysis, values, sampler, [_powers(column, order) for column in solution])
    claimed = [value_of(part, values, sampler.networks) for part in analysis.local_error(coefficients)]
    worst = 0.0
    for column, after, leading in zip(solution, numeric, claimed, strict=True):
        exact = _powers(column, order)(1)
        errors = [_size(_coefficients(exact - after, j)) for j in range(order)]
        last = _size(_coefficients(exact - after, order) - leading)
        worst = max(worst, *(float(e) for e in errors), float(last / _size(leading)) if _size(leading) else float(last))
    return worst


def modified_field_residual(analysis: Truncation, coefficients: tuple[Expr, ...]) -> float:
    """Relative residual, up to h^(p+1), of one step along the solution of u' = s f - h^p (local error)/rho'(1)."""
    sampler, values = _sample(analysis)
    order = analysis.order + 1
    correction = modified_correction(analysis, coefficients)
    power = _series([0] * analysis.order + [1], order)
    lifted = {q: _lift(v, order) for q, v in values.items()}
    lifted[_POWER] = power
    velocity = tuple(
        analysis.speed * part + _POWER * extra for part, extra in zip(analysis.ode.velocity, correction, strict=True)
    )
    solution = taylor(analysis.ode, velocity, lifted, sampler, order)
    numeric = _step_series(analysis, lifted, sampler, [_shifted_sum(column, order) for column in solution])
    worst = 0.0
    for column, after in zip(solution, numeric, strict=True):
        residual = _shifted_sum(column, order)(1) - after
        scale = sum(_size(_coefficients(_shifted_sum(column, order)(1), j)) for j in range(order + 1))
        worst = max(worst, *(float(_size(_coefficients(residual, j)) / scale) for j in range(order + 1)))
    return worst


def start_error_residual(analysis: Truncation, name: str, gaps: tuple[Expr, ...]) -> float:
    """Relative size of u(t + h) - x_1 minus gap * h f, in the powers of h up to 1."""
    sampler, values = _sample(analysis)
    recurrence = discretize(analysis.ode, analysis.scheme)
    start = recurrence.starts[name]
    velocity = tuple(analysis.speed * part for part in analysis.ode.velocity)
    solution = taylor(analysis.ode, velocity, values, sampler, 1)
    known = {**values, STEP_SIZE: _series([0, 1], 1)}
    now = time_at_step(analysis.ode)
    if now is not None and analysis.ode.time is not None:
        known[now] = values[analysis.ode.time]
    for unknown, column in zip(analysis.ode.state, solution, strict=True):
        known[at_step(unknown, 0)] = column[0]
    found = evaluate(start, {q: known[q] for q in start.inputs}, sampler.networks)
    worst = 0.0
    for unknown, column, velocity_part in zip(analysis.ode.state, solution, analysis.ode.velocity, strict=True):
        error = _powers(column, 1)(1) - found[at_step(unknown, -1)]
        claimed = value_of(gaps[0] * velocity_part, values, sampler.networks)
        size = _size(column[1])
        worst = max(
            worst, float(_size(_coefficients(error, 1) - claimed) / size), float(_size(_coefficients(error, 0)))
        )
    return worst


_POWER = Quantity("power_of_h", (), STEP_SIZE.role)


def modified_correction(analysis: Truncation, coefficients: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """f_(p+1) of the modified equation u' = s f + h^p f_(p+1) + ...: minus the local error, per rho'(1)."""
    slope = Integer(1)
    if isinstance(analysis.scheme, LinearMultistep):
        slope = sum(analysis.scheme.beta) / analysis.speed
    return tuple(-part / slope for part in analysis.local_error(coefficients))


def _sample(analysis: Truncation) -> tuple[Sampler, dict[Quantity, Numeric]]:
    recurrence = discretize(analysis.ode, analysis.scheme)
    quantities = {*recurrence.step.inputs, *analysis.ode.quantities, *analysis.ode.state} - {STEP_SIZE}
    sampler = Sampler(quantities, analysis.ode.networks)
    values = sampler.values()
    return sampler, values


def _step_series(
    analysis: Truncation, values: dict[Quantity, Numeric], sampler: Sampler, solution: list[Any]
) -> list[Numeric]:
    """The state after one step of size h from exact past values, as series in h."""
    recurrence = discretize(analysis.ode, analysis.scheme)
    known = {**values, STEP_SIZE: _series([0, 1], analysis.order + 1)}
    now = time_at_step(analysis.ode)
    if now is not None and analysis.ode.time is not None:
        known[now] = values[analysis.ode.time]
    for lag in range(recurrence.lags):
        for unknown, past in zip(analysis.ode.state, solution, strict=True):
            known[at_step(unknown, lag)] = past(-lag)
        known |= _slopes(analysis.ode, known, lag, sampler) if lag else {}
    step: Program = recurrence.step
    found = evaluate(step, {q: known[q] for q in step.inputs}, sampler.networks)
    return [found[q] for q in recurrence.new[: len(analysis.ode.state)]]


def _slopes(ode: ODE, known: dict[Quantity, Numeric], lag: int, sampler: Sampler) -> dict[Quantity, Numeric]:
    """The field at past values: what a scheme that remembers it has in its state."""
    then = {x: known[at_step(x, lag)] for x in ode.state}
    if ode.time is not None:
        then[ode.time] = known[ode.time] - lag * known[STEP_SIZE]
    found = [value_of(velocity, {**known, **then}, sampler.networks) for velocity in ode.velocity]
    return dict(zip(slope_at_step(ode, lag), found, strict=True))


def _series(coefficients: list[int], order: int) -> Series:
    padded = [*coefficients, *[0] * (order + 1)][: order + 1]
    return Series([mpmath.mpf(c) for c in padded], "h")


def _lift(value: Numeric, order: int) -> Numeric:
    def constant(entry: Any) -> Series:
        return Series([entry, *[0 * entry] * order], "h")

    return _map(constant, value)


def _powers(column: list[Numeric], order: int) -> Any:
    """m -> the solution at t + m h as a series in h, from its Taylor coefficients."""

    def at(multiple: int) -> Numeric:
        scaled = [coefficient * mpmath.mpf(multiple) ** j for j, coefficient in enumerate(column)]
        if not np.shape(column[0]):
            return Series(scaled, "h")
        flat = zip(*(np.ravel(array) for array in scaled), strict=True)
        return array_of([Series(list(entries), "h") for entries in flat]).reshape(np.shape(column[0]))

    return at


def _shifted_sum(column: list[Numeric], order: int) -> Any:
    """m -> sum_j c_j(h) (m h)^j, where the Taylor coefficients are series in h themselves."""

    def at(multiple: int) -> Numeric:
        step = _series([0, multiple], order)
        return sum((coefficient * step**j for j, coefficient in enumerate(column)), 0 * column[0])

    return at


def _coefficients(value: Numeric, j: int) -> Numeric:
    return _map(partial(_pick, j=j), value)


def _pick(entry: Any, j: int) -> Any:
    return entry.coefficients[j]


def _map(function: Any, value: Numeric) -> Numeric:
    if not np.shape(value):
        return function(value)
    return array_of([function(entry) for entry in np.ravel(value)]).reshape(np.shape(value))


def _size(value: Numeric) -> Any:
    return mpmath.sqrt(sum(abs(entry) ** 2 for entry in np.ravel(np.asarray(value, dtype=object))))
