r"""A one-step recurrence expanded in its step size: $x_{n+1} = \sum_q h^q c_q(x_n)$, $c_q$ in the field's own terms.

The coefficients are derivatives of the step along h, taken by the forward sweep at h = 0. Beside the Taylor
coefficients of the flow they give order, local error and modified equation of any one-step scheme; a step that is not
made from an ODE shows by them which equation it is consistent with.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import factorial
from typing import Any

import mpmath
import numpy as np
from sympy import Add, Expr, Integer, Mul, Tuple, expand

from derive.elementary import derivative_along_flow
from derive.evaluator import evaluate, value_of
from derive.linearization import pushforward
from derive.networks import Call, direction_list
from derive.operators import Numeric, Operator, fill, matvec, shape_of
from derive.power_series import Series, array_of
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.step_quantities import STEP_SIZE, at_step, time_at_step
from derive.symbols import Quantity, by_name
from derive.systems import ODE

Coefficients = tuple[Expr, ...]  # one for each unknown


def step_coefficients(recurrence: Recurrence, order: int) -> list[Coefficients]:
    """Coefficients of h^0, ..., h^order of the new state, as expressions in the old one."""
    table: dict[Quantity, Expr] = {}
    for line in recurrence.step.assignments:
        table[line.target] = line.value.xreplace(table)
    slopes = [table.get(q, q) for q in recurrence.new]
    found = []
    for power in range(order + 1):
        at_zero = [_at_zero(value) for value in slopes]
        found.append(tuple(multilinear(value) / factorial(power) for value in at_zero))
        slopes = [pushforward(value, {STEP_SIZE: Integer(1)}) for value in slopes]
    return found


def _at_zero(value: Expr) -> Expr:
    """The value at h = 0; an operator whose argument vanishes then is given a zero of the right shape."""
    if value == STEP_SIZE:
        return Integer(0)
    if not value.args:
        return value
    parts = [_at_zero(part) for part in value.args]
    if isinstance(value, Call):
        network, point, directions = parts
        if any(vector == 0 for _, vector in directions):
            return Integer(0)
        return Call(network, Tuple(*map(_kept_in_shape, point, value.point)), directions)
    if isinstance(value, Operator):
        parts = list(map(_kept_in_shape, parts, value.args))
    return value.func(*parts)


def _kept_in_shape(found: Expr, before: Expr) -> Expr:
    """A zero in place of a vector stays one: in the shape of a quantity that the vector was made of."""
    shape = shape_of(before)
    if found != 0 or not shape:
        return found
    like = next((q for q in by_name(before.atoms(Quantity)) if q.shape == shape), None)
    return found if like is None else fill(Integer(0), like)


def multilinear(value: Expr) -> Expr:
    """The same with products and differentials split at the sums they are linear in, and freed of the scalars there."""
    if not value.args:
        return value
    if isinstance(value, matvec):
        matrix, vector = (multilinear(part) for part in value.args)
        terms = [_scalars_apart(term) for term in Add.make_args(expand(vector, deep=False))]
        return Add(*(scale * matvec(matrix, rest) for scale, rest in terms if rest != 0))
    if not isinstance(value, Call):
        return expand(value.func(*(multilinear(part) for part in value.args)), deep=False)
    network, point, directions = value.args
    point = Tuple(*(multilinear(x) for x in point))
    choices: list[list[tuple[Expr, Expr]]] = []
    for _, vector in directions:
        terms = Add.make_args(expand(multilinear(vector), deep=False))
        choices.append([_scalars_apart(term) for term in terms])
    slots = [slot for slot, _ in directions]
    total: Expr = Integer(0)
    for chosen in product(*choices):
        pairs = direction_list(zip(slots, (vector for _, vector in chosen), strict=True))
        total += Mul(*(scale for scale, _ in chosen)) * Call(network, point, pairs)
    return total


def _scalars_apart(term: Expr) -> tuple[Expr, Expr]:
    """A term as (scalar factor, rest); the rest of a term without components is the term itself."""
    scalars = [factor for factor in Mul.make_args(term) if shape_of(factor) == ()]
    rest = [factor for factor in Mul.make_args(term) if shape_of(factor) != ()]
    return (Mul(*scalars), Mul(*rest)) if rest else (Integer(1), term)


def flow_coefficients(ode: ODE, order: int) -> list[Coefficients]:
    """Taylor coefficients of the solution through x_n, of h^0, ..., h^order, as expressions in x_n."""
    names: dict[Quantity, Expr] = {x: at_step(x, 0) for x in ode.state}
    now = time_at_step(ode)
    if ode.time is not None and now is not None:
        names[ode.time] = now
    found: list[Coefficients] = [tuple(at_step(x, 0) for x in ode.state)]
    for power in range(1, order + 1):
        derivatives = derivative_along_flow(ode, power)
        found.append(tuple(multilinear(value.xreplace(names)) / factorial(power) for value in derivatives))
    return found


def expansion_residual(recurrence: Recurrence, order: int, claimed: Coefficients) -> float:
    """Largest relative difference between claimed coefficients and those of the step run on power series in h.

    Args:
        recurrence: the step.
        order: the power of h up to which coefficients are claimed.
        claimed: coefficients of h^0, ..., h^order, all unknowns of one power before the next power.
    """
    sampler, values = sample(recurrence)
    found = step_series(recurrence, values, sampler, order)
    worst = 0.0
    for place, coefficient in enumerate(claimed):
        power, unknown = divmod(place, len(recurrence.new))
        expected = coefficient_of(found[unknown], power)
        value = value_of(coefficient, values, sampler.networks) + 0 * expected
        worst = max(worst, float(size(value - expected) / max(size(expected), mpmath.mpf("1e-6"))))
    return worst


def sample(recurrence: Recurrence) -> tuple[Sampler, dict[Quantity, Numeric]]:
    """Random values of everything that a step reads but its size."""
    quantities = {*recurrence.step.inputs, *recurrence.old} - {STEP_SIZE}
    sampler = Sampler(quantities, recurrence.step.networks())
    return sampler, sampler.values()


def step_series(
    recurrence: Recurrence, values: Mapping[Quantity, Numeric], sampler: Sampler, order: int
) -> list[Numeric]:
    """The new state as arrays of series in h up to h^order."""
    powers = [mpmath.mpf(int(power == 1)) for power in range(max(order, 1) + 1)]
    known = {**values, STEP_SIZE: Series(powers, "h")}
    found = evaluate(recurrence.step, {q: known[q] for q in recurrence.step.inputs}, sampler.networks)
    return [found[q] for q in recurrence.new]


def coefficient_of(value: Numeric, power: int) -> Numeric:
    """Coefficient of h^power of a number or array of series."""

    def pick(entry: Any) -> Any:
        if isinstance(entry, Series):
            return entry.coefficients[power]
        return entry if power == 0 else 0 * entry

    if not np.shape(value):
        return pick(value)
    return array_of([pick(entry) for entry in np.ravel(value)]).reshape(np.shape(value))


def size(value: Numeric) -> Any:
    """Euclidean norm of an array of mpmath numbers."""
    return mpmath.sqrt(sum(abs(entry) ** 2 for entry in np.ravel(np.asarray(value, dtype=object))))
