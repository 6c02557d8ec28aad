"""Expectations over random draws in numbers: the step is run at every combination of the nodes of its laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import mpmath
import numpy as np
from sympy import Expr

from derive.error_growth import Scaling
from derive.evaluator import evaluate, value_of
from derive.laws import Law
from derive.networks import Network
from derive.operators import Numeric
from derive.power_series import Series, array_of
from derive.random_recurrence import Draw, RandomRecurrence
from derive.sampling import Sampler
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity
from derive.weak_limit import ROOT_OF_STEP, Noise, WeakLimit

Values = dict[Quantity, Numeric]
SMALLEST_SIZE = mpmath.mpf("1e-6")


def law_residual(law: Law, claimed: Sequence[Expr]) -> float:
    """Largest difference of mean and central moments from sums over the law's nodes."""
    values = Sampler(law.quantities).values()
    nodes = law.nodes(partial(_number, values))
    mean = sum(weight * at for at, weight in nodes)
    found = [mean, *(sum(weight * (at - mean) ** power for at, weight in nodes) for power in (2, 3, 4))]
    return max(gap(one, _number(values, expression)) for one, expression in zip(found, claimed, strict=True))


def _number(values: Values, expression: Expr) -> Any:
    return value_of(expression, values or {STEP_SIZE: mpmath.mpf(1)})


def gap(found: Numeric, claimed: Numeric) -> float:
    """Largest difference of two numbers or arrays, relative to the largest of their entries."""
    a, b = (np.ravel(np.asarray(side, dtype=object)) for side in (found, claimed))
    size = max(SMALLEST_SIZE, *(abs(entry) for entry in [*a, *b]))
    return float(max(abs(entry) for entry in a - b) / size)


def sampled(system: RandomRecurrence) -> tuple[Sampler, Values]:
    """Random values of everything that a step reads but its draws."""
    read = {*system.quantities, *system.old}
    sampler = Sampler(read, system.step.networks())
    drawn = {q for draw in system.draws for q in draw.quantities}
    return sampler, {q: value for q, value in sampler.values().items() if q not in drawn}


def drawn_values(draws: Sequence[Draw], sampler: Sampler, values: Values) -> Iterator[tuple[Any, Values]]:
    """Weight and values of every combination of nodes; a draw of each component has nodes for each."""
    choices = []
    for draw in draws:
        nodes = draw.law.nodes(partial(_number, values))
        shape = sampler.shape(draw.quantity.shape)
        each = product(nodes, repeat=int(np.prod(shape, dtype=int)))
        choices.append([(draw.quantity, one, shape) for one in each])
    for combination in product(*choices):
        weight, given = mpmath.mpf(1), {}
        for quantity, picked, shape in combination:
            for _, share in picked:
                weight = weight * share
            given[quantity] = array_of([at for at, _ in picked]).reshape(shape) if shape else picked[0][0]
        yield weight, given


def outcomes(
    system: RandomRecurrence, sampler: Sampler, values: Values, models: Mapping[Network, Any] | None = None
) -> list[tuple[Any, Numeric]]:
    """Weight and new state of every combination of draws."""
    networks = sampler.networks if models is None else models
    found = []
    for weight, given in drawn_values(system.draws, sampler, values):
        known = evaluate(system.step, {**values, **given}, networks)
        found.append((weight, known[system.new[0]]))
    return found


def expected_state(system: RandomRecurrence, values: Values, sampler: Sampler) -> Numeric:
    """The mean of the new state."""
    return sum(weight * after for weight, after in outcomes(system, sampler, values))


def small_increments(
    system: RandomRecurrence, limit: WeakLimit, sampler: Sampler, values: Values
) -> list[tuple[Any, Numeric]]:
    """Weight and increment of every combination of draws, as series in s = sqrt(h) up to s^3.

    A step that does not read its size is scaled: its mean by s^2, what it draws around that by s.
    """
    x = values[system.old[0]]
    if limit.scaled:
        program = system.step_in(ROOT_OF_STEP)
        known = {**values, ROOT_OF_STEP: Series([mpmath.mpf(int(power == 1)) for power in range(4)], "h")}
        runs = [
            (weight, evaluate(program, {**known, **given}, sampler.networks)[system.new[0]])
            for weight, given in drawn_values(system.draws, sampler, values)
        ]
        return [(weight, after - x) for weight, after in runs]
    moves = [(weight, after - x) for weight, after in outcomes(system, sampler, values)]
    mean = sum(weight * moved for weight, moved in moves)
    root, step = (Series([mpmath.mpf(int(power == at)) for power in range(4)], "h") for at in (1, 2))
    return [(weight, (moved - mean) * root + mean * step) for weight, moved in moves]


def moments_residual(system: RandomRecurrence, limit: WeakLimit, claimed: Sequence[Expr]) -> float:
    """Mean, variance and third central moment of an increment along a random direction, in powers of s = sqrt(h).

    `claimed`: the mean, then the variance and the third central moment of each draw.
    """
    sampler, values = sampled(system)
    along = sampler.value(system.old[0])
    runs = [(weight, np.sum(along * moved)) for weight, moved in small_increments(system, limit, sampler, values)]
    mean = sum(weight * side for weight, side in runs)
    found = [mean.coefficients[2]]
    found += [sum(w * (side - mean) ** power for w, side in runs).coefficients[power] for power in (2, 3)]
    drift, *moments = claimed
    expected = [np.sum(along * _value(drift, values, sampler)), mpmath.mpf(0), mpmath.mpf(0)]
    for noise, *pair in zip(limit.noises, moments[::2], moments[1::2], strict=True):
        for power, moment in zip((2, 3), pair, strict=True):
            whole = _along(noise, noise.direction, power, along, values, sampler)
            expected[power - 1] = expected[power - 1] + _number(values, moment) * whole
    return max(gap(a, b) for a, b in zip(found, expected, strict=True))


def _along(noise: Noise, vector: Expr, power: int, along: Numeric, values: Values, sampler: Sampler) -> Any:
    """What a vector with one random factor, or with one for each component, gives to the moment along a direction."""
    moved = along * (_value(vector, values, sampler) + 0 * along)
    return np.sum(moved**power) if noise.kind == "diagonal" else np.sum(moved) ** power


def _value(expression: Expr, values: Values, sampler: Sampler) -> Numeric:
    return value_of(expression, values, sampler.networks)


def generator_residual(system: RandomRecurrence, limit: WeakLimit, claimed: Sequence[Expr]) -> float:
    r"""One small step against the SDE, both as power series in s = sqrt(h) of $E \exp(w \cdot x)$.

    `claimed`: the drift, then diffusion and third central moment of each noise. The chain's coefficients are those of
    its runs at the nodes; s^2 must be the generator's, s^3 what the third moments make of the third derivative.
    """
    sampler, values = sampled(system)
    along = sampler.value(system.old[0])
    runs = [(weight, np.sum(along * moved)) for weight, moved in small_increments(system, limit, sampler, values)]
    total = sum(weight * side.elementary("exp") for weight, side in runs)
    drift, *moments = claimed
    second, third = np.sum(along * _value(drift, values, sampler)), mpmath.mpf(0)
    for noise, diffusion, cubed in zip(limit.noises, moments[::2], moments[1::2], strict=True):
        second = second + _along(noise, diffusion, 2, along, values, sampler) / 2
        third = third + _number(values, cubed) * _along(noise, noise.direction, 3, along, values, sampler) / 6
    return max(gap(c, e) for c, e in zip(total.coefficients[1:], (mpmath.mpf(0), second, third), strict=True))


def unscaled_residual(system: RandomRecurrence, claimed: Sequence[Expr]) -> float:
    """The chain x + h (x_next - x) against the ODE: the coefficient of h in E exp(w x) has no second derivative."""
    sampler, values = sampled(system)
    x, along = values[system.old[0]], sampler.value(system.old[0])
    total = Series([mpmath.mpf(0)] * 2, "h")
    for weight, after in outcomes(system, sampler, values):
        exponent = Series([np.sum(along * x), np.sum(along * (after - x))], "h")
        total = total + weight * exponent.elementary("exp")
    return gap(total.coefficients[1] / total.coefficients[0], np.sum(along * _value(claimed[0], values, sampler)))


def scalar_outcomes(
    system: RandomRecurrence, values: Values, factors: Mapping[Network, Quantity]
) -> list[tuple[Any, Any]]:
    """Weight and new state where the state is one number and every network multiplies by its factor."""
    models = {network: Scaling(values[factor]) for network, factor in factors.items()}
    thetas = {network.theta: mpmath.mpf(0) for network in factors}
    nodes = [[(draw.quantity, *one) for one in draw.law.nodes(partial(_number, values))] for draw in system.draws]
    found = []
    for combination in product(*nodes):
        weight, given = mpmath.mpf(1), {}
        for quantity, at, share in combination:
            weight, given[quantity] = weight * share, at
        known = evaluate(system.step, {**values, **thetas, **given}, models)
        found.append((weight, known[system.new[0]]))
    return found
