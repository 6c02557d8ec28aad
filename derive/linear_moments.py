r"""Moments of a random recurrence whose networks are linear: exact, layer by layer, and those of its weak limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import mpmath
from sympy import Expr, Integer, Poly, expand, factor

from derive.evaluator import value_of
from derive.networks import Call, Network
from derive.operators import Operator
from derive.power_series import Series
from derive.random_checks import Values, gap, scalar_outcomes
from derive.random_recurrence import RandomRecurrence
from derive.sampling import Sampler
from derive.sde_moments import ELAPSED, MomentEquations
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role, constant
from derive.weak_limit import WeakLimit, increment_of

DEPTH = 3


@dataclass(frozen=True)
class LinearMoments:
    """A step on a state of one number, with networks f(x) = lambda x.

    Attributes:
        system: the step.
        limit: its weak limit.
        factors: network -> lambda.
    """

    system: RandomRecurrence
    limit: WeakLimit
    factors: Mapping[Network, Quantity]

    @property
    def state(self) -> Quantity:
        """The unknown."""
        return self.system.old[0]

    def linear(self, value: Expr) -> Expr:
        """An expression with lambda times its point for every call of a network."""
        return expand(value.replace(Call, lambda network, point, _: self.factors[network] * point[-2]))

    @cached_property
    def parts(self) -> tuple[Expr, list[tuple[Expr, Expr, Expr]]]:
        """Mean of the new state, and of every draw (what multiplies it, variance, third central moment)."""
        noises = [(self.linear(n.direction), n.law.central(2), n.law.central(3)) for n in self.limit.noises]
        return expand(self.state + self.linear(self.limit.drift)), noises

    @property
    def mean(self) -> Expr:
        """E[x_next | x]."""
        return self.parts[0]

    @cached_property
    def second(self) -> Expr:
        """E[x_next^2 | x]."""
        mean, noises = self.parts
        return expand(mean**2 + sum((variance * along**2 for along, variance, _ in noises), Integer(0)))

    def coefficients(self, value: Expr) -> tuple[Expr, ...]:
        """Coefficients of 1, x, x^2, ... of a polynomial in the state."""
        return tuple(factor(c) for c in reversed(Poly(value, self.state).all_coeffs()))

    @property
    def homogeneous(self) -> bool:
        """Whether the mean of a power is a multiple of that power, so that moments are powers of one number."""
        return all(
            all(c == 0 for c in self.coefficients(value)[:-1]) and len(self.coefficients(value)) == degree + 1
            for value, degree in ((self.mean, 1), (self.second, 2))
        )

    @property
    def rates(self) -> tuple[Expr, Expr]:
        """Of the SDE: d/dt E X as an expression in E X, d/dt E X^2 in E X^2 (and E X)."""
        x, drift = self.state, self.linear(self.limit.drift)
        noise = sum((variance * along**2 for along, variance, _ in self.parts[1]), Integer(0))
        return drift, expand(2 * x * drift + noise)

    @property
    def solution(self) -> tuple[Expr, ...] | None:
        """Of the SDE: E X_t and E X_t^2 from a start x; None where several draws drive it."""
        if len(self.limit.noises) != 1:
            return None
        sde = self.limit.sde
        linear = replace(sde, drift=self.linear(sde.drift), diffusion=self.linear(sde.diffusion))
        found = MomentEquations(linear)
        start = {found.initial(1): self.state, found.initial(2): self.state**2}
        return tuple(value.xreplace(start) for value in found.solutions.values())

    @property
    def third_error(self) -> tuple[Expr, Expr]:
        """(a, c): E x_N^3 - E X_T^3 = sqrt(h) a T exp(c T) x_0^3 + O(h), for what is homogeneous."""
        x, drift = self.state, self.linear(self.limit.drift)
        noise = sum((variance * along**2 for along, variance, _ in self.parts[1]), Integer(0))
        cubed = sum((third * along**3 for along, _, third in self.parts[1]), Integer(0))
        return factor(cubed / x**3), factor(expand(3 * drift / x + 3 * noise / x**2))

    def numbers(self, seed: int = 0) -> Values:
        """Random values of the constants, the factors and the state."""
        read = {*self.system.quantities, *self.factors.values(), self.state}
        scalars = [q for q in read if q not in {n.theta for n in self.factors}]
        known = Sampler(scalars, (), seed).values()
        return {q: v if not q.shape else mpmath.mpf("0.7") for q, v in known.items()}

    def enumerated(self, claimed: Sequence[Expr]) -> float:
        """Mean and second moment after a few layers, each with constants of its own, by a sum over all draws."""
        layers = [self.numbers(seed) for seed in range(DEPTH)]
        paths = [(mpmath.mpf(1), layers[0][self.state])]
        first, second = paths[0][1], paths[0][1] ** 2
        for values in layers:
            paths = [
                (weight * share, after)
                for weight, x in paths
                for share, after in scalar_outcomes(self.system, {**values, self.state: x}, self.factors)
            ]
            first, second = self.moved(claimed, values, first, second)
        found = [sum(weight * x**power for weight, x in paths) for power in (1, 2)]
        return max(gap(found[0], first), gap(found[1], second))

    def moved(self, maps: Sequence[Expr], values: Values, first: Any, second: Any) -> list[Any]:
        """Mean and second moment after a layer, by polynomials in the state for E[x_next | x] and E[x_next^2 | x]."""
        found = [[value_of(c, values) for c in self.coefficients(value)] for value in maps]
        return [sum(c * m for c, m in zip(one, (1, first, second), strict=False)) for one in found]


def linear_moments(system: RandomRecurrence, limit: WeakLimit) -> LinearMoments | None:
    """The moments where the step is elementwise but for its networks, and does not read its size."""
    whole = increment_of(system)
    if any(not isinstance(node, Call) for node in whole.atoms(Operator)) or STEP_SIZE in system.step.inputs:
        return None
    thetas = {network.theta for network in system.step.networks()}
    if any(q.shape and q not in thetas and q.role is not Role.DRAW for q in system.quantities - {system.old[0]}):
        return None
    factors = {n: constant(f"lambda_{n.name}", latex=rf"\lambda_{{{n.latex}}}") for n in system.step.networks()}
    if len(factors) == 1:
        factors = {n: constant(q.name, latex=r"\lambda") for n, q in factors.items()}
    found = LinearMoments(system, limit, factors)
    polynomial = all(value.is_polynomial(found.state) for value in (found.mean, found.second))
    return found if polynomial and Poly(found.mean, found.state).degree() <= 1 else None


def third_error_residual(moments: LinearMoments, claimed: Sequence[Expr]) -> float:
    """The logarithm of E (x_next / x)^3 of the scaled chain as a series in sqrt(h): its first two coefficients."""
    values = moments.numbers()
    x = values[moments.state]
    runs = [(weight, (after - x) / x) for weight, after in scalar_outcomes(moments.system, values, moments.factors)]
    mean = sum(weight * moved for weight, moved in runs)
    zero, one = mpmath.mpf(0), mpmath.mpf(1)
    total = Series([zero] * 4, "h")
    for weight, moved in runs:
        total = total + weight * Series([one, moved - mean, mean, zero], "h") ** 3
    growth = total.elementary("log").coefficients
    leading, rate = (value_of(value, values) for value in claimed)
    return max(gap(growth[3], leading), gap(growth[2], rate), float(abs(growth[1])))


def rates_residual(moments: LinearMoments, claimed: Sequence[Expr]) -> float:
    """What one step of the scaled chain makes of x and x^2, as series in sqrt(h): the coefficient of h."""
    values = moments.numbers()
    x = values[moments.state]
    runs = [(weight, after - x) for weight, after in scalar_outcomes(moments.system, values, moments.factors)]
    mean = sum(weight * moved for weight, moved in runs)
    worst = 0.0
    for power, rate in zip((1, 2), claimed, strict=True):
        total = Series([mpmath.mpf(0)] * 3, "h")
        for weight, moved in runs:
            total = total + weight * Series([x, moved - mean, mean], "h") ** power
        worst = max(worst, gap(total.coefficients[2], value_of(rate, values)), float(abs(total.coefficients[1])))
    return worst


def closed_form_residual(moments: LinearMoments, layers: Quantity, claimed: Sequence[Expr]) -> float:
    """A few equal layers by a sum over all draws."""
    values = {**moments.numbers(), layers: mpmath.mpf(DEPTH)}
    paths = [(mpmath.mpf(1), values[moments.state])]
    for _ in range(DEPTH):
        paths = [
            (weight * share, after)
            for weight, x in paths
            for share, after in scalar_outcomes(moments.system, {**values, moments.state: x}, moments.factors)
        ]
    found = [sum(weight * x**power for weight, x in paths) for power in (1, 2)]
    return max(gap(one, value_of(value, values)) for one, value in zip(found, claimed, strict=True))


def solution_residual(moments: LinearMoments, claimed: Sequence[Expr]) -> float:
    """The solved moments against their equations, by differences in time, and at the start."""
    values, rates = moments.numbers(), moments.rates
    x = values[moments.state]

    def at(time: Any) -> list[Any]:
        return [value_of(value, {**values, ELAPSED: time}) for value in claimed]

    now = mpmath.mpf("0.6")
    wanted = moments.moved(rates, values, *at(now))
    slopes = [mpmath.diff(lambda time, k=k: at(time)[k], now) for k in (0, 1)]
    starts = [gap(found, x**power) for found, power in zip(at(mpmath.mpf(0)), (1, 2), strict=True)]
    return max(*starts, *(gap(a, b) for a, b in zip(slopes, wanted, strict=True)))
