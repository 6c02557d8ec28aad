"""Checks of what is derived of stochastic differential equations, by differences of values at 100 digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

import mpmath
import numpy as np
from sympy import Expr

from derive import checks
from derive.checks import IDENTITY_TOLERANCE, PERTURBATION, central_difference, perturb, relative_difference, terms_of
from derive.derivation import Outcome
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric
from derive.power_series import array_of
from derive.program import Program, symbols_of
from derive.sampling import Sampler
from derive.schemes.stochastic import StochasticRungeKutta
from derive.sde import SDE
from derive.sde_density import score_of
from derive.sde_moments import ELAPSED
from derive.symbols import Quantity

DIGITS = 130
NUDGE = "1e-22"  # of first and second differences, whose error is its square
SLOPE_TOLERANCE = 1e-6
Measure = Callable[[dict[Quantity, Numeric], Sampler], Numeric]


class Fields:
    """Drift and diffusion of an equation in numbers.

    Attributes:
        matrix: state -> the columns of the diffusion.
    """

    def __init__(self, sde: SDE, extra: set[Quantity], seed: int) -> None:
        self.sde = sde
        quantities = symbols_of(sde.drift) | symbols_of(sde.diffusion) | {sde.state} | extra
        quantities |= {Quantity("noise_like", sde.noise_shape, sde.increment.role)}
        self.sampler = Sampler(quantities - {score_of(sde)}, sde.networks, seed)
        self.values = self.sampler.values()

    def at(self, value: Expr, x: Numeric, **more: Numeric) -> Numeric:
        """An expression at a state; `score` may be given."""
        known = {**self.values, self.sde.state: x}
        known |= {score_of(self.sde): more["score"]} if more else {}
        found = value_of(value, known, self.sampler.networks)
        return found + 0 * x if np.ndim(found) < np.ndim(x) else found

    def columns(self, x: Numeric) -> list[Numeric]:
        """The columns of the diffusion at a state."""
        g = self.at(self.sde.diffusion, x)
        if self.sde.is_matrix:
            return list(g.T)
        if self.sde.noise == "scalar" or not np.ndim(g):
            return [g]
        zero = 0 * g
        return [np.where(np.arange(len(g)) == j, g, zero) for j in range(len(g))]

    def column(self, j: int, x: Numeric) -> Numeric:
        """One of them."""
        return self.columns(x)[j]

    @property
    def start(self) -> Numeric:
        """The sampled state."""
        return self.values[self.sde.state]

    @property
    def units(self) -> list[Numeric]:
        """Unit vectors."""
        count = len(self.start) if np.ndim(self.start) else 0
        return [array_of([mpmath.mpf(i == j) for i in range(count)]) for j in range(count)] or [mpmath.mpf(1)]


def difference(function: Callable[[Numeric], Numeric], x: Numeric, way: Numeric) -> Numeric:
    """Derivative along a direction by central differences."""
    step = mpmath.mpf(NUDGE)
    return (function(x + step * way) - function(x - step * way)) / (2 * step)


def correction_by_columns(sde: SDE) -> Measure:
    """1/2 sum of Dg_j[g_j], column by column, from differences."""

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        fields = Fields(sde, set(), 0)
        fields.values, fields.sampler = values, sampler
        x = values[sde.state]
        return sum(difference(partial(fields.column, j), x, column) for j, column in enumerate(fields.columns(x))) / 2

    return measure


def derivative_of(program: Program, target: Quantity, moving: Mapping[Quantity, Quantity]) -> Measure:
    """The derivative of a quantity of a program along tangents of its inputs, by central differences."""

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        step = mpmath.mpf(checks.NUDGE)
        ends = [
            evaluate(
                program,
                {**values, **{q: values[q] + sign * step * values[way] for q, way in moving.items()}},
                sampler.networks,
            )[target]
            for sign in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * step)

    return measure


def rate_of(value: Expr) -> Measure:
    """The derivative of an expression in the time after the start."""
    return lambda values, sampler: central_difference(value, values, {ELAPSED: mpmath.mpf(1)}, sampler)


def operator_of(fields: Fields, density: Callable[[Numeric], Numeric]) -> Numeric:
    """The Fokker-Planck operator in its usual form on a density, at the sampled state."""
    x, pairs = fields.start, list(enumerate(fields.units))

    def drifted(z: Numeric) -> Numeric:
        return fields.at(fields.sde.drift, z) * density(z)

    def spread(z: Numeric) -> Numeric:
        return sum(np.outer(column, column) for column in map(np.atleast_1d, fields.columns(z))) * density(z)

    found = -sum(np.atleast_1d(difference(drifted, x, unit))[i] for i, unit in pairs)
    for (i, one), (j, other) in product(pairs, pairs):
        found += difference(partial(difference, spread, way=other), x, one)[i, j] / 2
    return found


def rate_of_density(sde: SDE, log_density: Expr) -> Measure:
    """What the Fokker-Planck operator makes of a density, over the density; the equation is Ito's."""

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        with mpmath.workdps(DIGITS):
            fields = Fields(sde, set(), 0)
            fields.values, fields.sampler = values, sampler

            def density(z: Numeric) -> Numeric:
                return mpmath.exp(value_of(log_density, {**values, sde.state: z}, sampler.networks))

            return operator_of(fields, density) / density(fields.start)

    return measure


@dataclass(frozen=True)
class DensityCheck:
    """-div(v q) against the Fokker-Planck operator in its usual form, for a density of fourth degree.

    Attributes:
        sde: the equation, in Ito's calculus.
        velocity: v in the score.
    """

    sde: SDE
    velocity: Expr
    tolerance: float = IDENTITY_TOLERANCE
    points: int = 2

    def run(self) -> Outcome:
        """Largest relative difference over the points."""
        with mpmath.workdps(DIGITS):
            worst = max(self._at(seed) for seed in range(self.points))
        return Outcome(worst, self.tolerance, f"differences at {self.points} random points, {DIGITS} digits")

    def _at(self, seed: int) -> float:
        fields = Fields(self.sde, symbols_of(self.velocity), seed)
        x, units = fields.start, fields.units

        def density(z: Numeric) -> Numeric:
            return mpmath.exp(np.sum(-z * z / 2 + z**3 / 7 - z**4 / 5))

        def score(z: Numeric) -> Numeric:
            return -z + 3 * z**2 / 7 - 4 * z**3 / 5

        def moved(z: Numeric) -> Numeric:
            return fields.at(self.velocity, z, score=score(z)) * density(z)

        right = -sum(np.atleast_1d(difference(moved, x, unit))[i] for i, unit in enumerate(units))
        left = operator_of(fields, density)
        return relative_difference(left, right)

    @property
    def terms(self) -> int:
        """Terms of the velocity."""
        return terms_of(self.velocity)

    def perturbed(self, term: int = 0) -> DensityCheck:
        """With one coefficient of the velocity changed."""
        return replace(self, velocity=perturb(self.velocity, term))


@dataclass(frozen=True)
class GeneratorCheck:
    """The rate of the mean of a power, against short steps with the signs +-1 in place of normal numbers.

    The mean over all signs of phi(x + f e^2 + sum g_j e s_j) is phi + e^2 L phi + O(e^4).

    Attributes:
        sde: the equation, in Ito's calculus.
        power: of the components.
        value: L x^k, of each component.
    """

    sde: SDE
    power: int
    value: Expr
    tolerance: float = IDENTITY_TOLERANCE

    def run(self) -> Outcome:
        """Relative difference at one random point."""
        with mpmath.workdps(DIGITS):
            fields = Fields(self.sde, symbols_of(self.value), 1)
            x = fields.start
            drift, columns = fields.at(self.sde.drift, x), fields.columns(x)
            step = mpmath.mpf(NUDGE)
            signs = list(product((1, -1), repeat=len(columns)))
            total = 0 * x
            for chosen in signs:
                end = x + drift * step**2 + step * sum(s * column for s, column in zip(chosen, columns, strict=True))
                total = total + end**self.power
            found = (total / len(signs) - x**self.power) / step**2
            error = relative_difference(found, fields.at(self.value, x))
        return Outcome(error, self.tolerance, f"mean over {len(signs)} short steps, {DIGITS} digits")

    @property
    def terms(self) -> int:
        """Terms of the rate."""
        return terms_of(self.value)

    def perturbed(self, term: int = 0) -> GeneratorCheck:
        """With one coefficient of the rate changed."""
        return replace(self, value=perturb(self.value, term))


Polynomial = dict[int, Any]  # power of the increment -> coefficient
RATE, SPREAD = "0.7", "0.9"


@dataclass(frozen=True)
class SchemeOrderCheck:
    """Orders of a scheme from one short step on an equation that is solved: dX = a X dt + b X dW, or b dW.

    The step is a polynomial in the increment, so that all means are known: of the squared error, of the error, and of
    powers of the value.

    Attributes:
        scheme: the table.
        additive: whether the noise is.
        strong, weak: the claimed orders.
    """

    scheme: StochasticRungeKutta
    additive: bool
    strong: Any
    weak: Any
    tolerance: float = SLOPE_TOLERANCE

    def run(self) -> Outcome:
        """By how much a measured order falls short of what is claimed."""
        with mpmath.workdps(DIGITS):
            steps = [mpmath.mpf(10) ** -12, mpmath.mpf(10) ** -13]
            errors = [self._errors(h) for h in steps]
            slopes = [mpmath.log10(big / small) if small else mpmath.inf for big, small in zip(*errors, strict=True)]
        strong = (min(slopes[0] - 1, 2 * slopes[1] - 2)) / 2
        weak = min(slopes[1:]) - 1
        short = max(float(self.strong) - float(strong), float(self.weak) - float(weak), 0.0)
        return Outcome(short, self.tolerance, f"errors of one step, {DIGITS} digits: slopes by h")

    def _errors(self, h: Any) -> list[Any]:
        """Mean squared error, and errors of the means of x, x^2, x^3."""
        a, b = mpmath.mpf(RATE), mpmath.mpf(SPREAD)
        step = self._step(a, b, h)
        powers = [_power(step, k) for k in (1, 2, 3)]
        means = [_mean(power, h) for power in powers]
        if self.additive:
            grown = mpmath.exp(a * h)
            variance = b**2 * (mpmath.exp(2 * a * h) - 1) / (2 * a)
            wanted = [grown, grown**2 + variance, grown**3 + 3 * grown * variance]
            shared = b * (mpmath.exp(a * h) - 1) / a  # of the increment and the stochastic integral
            crossed = grown * means[0] + sum(c * n * _moment(n - 1, h) for n, c in step.items() if n) * shared
        else:
            wanted = [mpmath.exp((k * a + k * (k - 1) * b**2 / 2) * h) for k in (1, 2, 3)]
            crossed = sum(c * _tilted(n, a, b, h) for n, c in step.items())
        squared = means[1] - 2 * crossed + wanted[1]
        return [abs(squared), *(abs(mean - right) for mean, right in zip(means, wanted, strict=True))]

    def _step(self, a: Any, b: Any, h: Any) -> Polynomial:
        """The value after a step from 1, as a polynomial in the increment."""
        scheme, calculus = self.scheme, self.scheme.calculus
        rate = a - b**2 / 2 if calculus == "stratonovich" and not self.additive else a
        stages: list[Polynomial] = []

        def number(entry: Expr) -> Any:
            return mpmath.mpf(str(entry.evalf(DIGITS)))

        def moved(drift: Any, noise: Any) -> Polynomial:
            total: Polynomial = {0: mpmath.mpf(1)}
            for w, v, stage in zip(drift, noise, stages, strict=False):
                for n, c in stage.items():
                    total[n] = total.get(n, 0) + number(w) * h * rate * c
                    if not self.additive:
                        total[n + 1] = total.get(n + 1, 0) + number(v) * b * c
                if self.additive:
                    total[1] = total.get(1, 0) + number(v) * b
            return total

        for drift, noise in zip(scheme.A, scheme.B, strict=True):
            stages.append(moved(drift, noise))
        found = moved(scheme.alpha, scheme.beta)
        if not self.additive:
            weight = number(scheme.gamma) * b**2 / 2
            found[2] = found.get(2, 0) + weight
            found[0] -= weight * h if calculus == "ito" else 0
        return found

    @property
    def terms(self) -> int:
        """The two orders."""
        return 2

    def perturbed(self, term: int = 0) -> SchemeOrderCheck:
        """With one of them larger by a thousandth."""
        factor = Fraction(PERTURBATION.p, PERTURBATION.q)
        return replace(self, strong=self.strong * factor) if term == 0 else replace(self, weak=self.weak * factor)


def _power(value: Polynomial, exponent: int) -> Polynomial:
    found: Polynomial = {0: mpmath.mpf(1)}
    for _ in range(exponent):
        longer: Polynomial = {}
        for (n, c), (m, d) in product(found.items(), value.items()):
            longer[n + m] = longer.get(n + m, 0) + c * d
        found = longer
    return found


def _moment(n: int, h: Any) -> Any:
    return mpmath.mpf(0) if n % 2 else mpmath.fac2(n - 1) * h ** (n // 2) if n else mpmath.mpf(1)


def _mean(value: Polynomial, h: Any) -> Any:
    return sum(c * _moment(n, h) for n, c in value.items())


def _tilted(n: int, a: Any, b: Any, h: Any) -> Any:
    """E w^n exp((a - b^2/2) h + b w) for an increment w: the moments of one with mean b h, times exp(a h)."""
    found = sum(mpmath.binomial(n, k) * (b * h) ** (n - k) * _moment(k, h) for k in range(n + 1))
    return mpmath.exp(a * h) * found
