"""An optimal-control problem in numbers: the cost as a functional, and the solution of its adjoint equation.

The cost knows nothing of the adjoint: it is integrated forwards, and complex nudges of what it depends on give its
derivatives to rounding. The other pass goes backwards along what was derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from sympy import Expr

from derive.checks import DIGITS
from derive.control import OptimalControl
from derive.evaluator import value_of
from derive.gradients import gradient_of
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, time
from derive.trajectories import advanced

Values = dict[Quantity, Numeric]
Integrand = Callable[[Mapping[Quantity, Numeric]], Any]
FIRST, LAST = 0.1, 0.4  # the interval of every sample
STEPS = 8  # from one moment to the next: the error is below 1e-13
PEOPLE = 3  # samples of a population
NUDGE = 1e-30
CLOCK = time("clock")  # the time, where the ODE has no name for it
ORDER = 3  # coefficients of a control as a polynomial in time


@dataclass(frozen=True)
class Point:
    """Everything the cost is a function of.

    Attributes:
        samples: initial states and targets, one table for each sample of the population.
        shared: parameters and constants.
        paths: control -> coefficients of its polynomial in time.
        times: initial, observation and final times.
    """

    samples: tuple[Values, ...]
    shared: Values
    paths: Mapping[Quantity, list[Numeric]]
    times: Values

    def moved(self, other: Point, factor: complex) -> Point:
        """The point plus a multiple of a direction, which has the same form."""
        return Point(
            tuple(_moved(a, b, factor) for a, b in zip(self.samples, other.samples, strict=True)),
            _moved(self.shared, other.shared, factor),
            {q: [a + factor * b for a, b in zip(c, other.paths[q], strict=True)] for q, c in self.paths.items()},
            _moved(self.times, other.times, factor),
        )

    def only(self, *kept: Quantity) -> Point:
        """As a direction: everything but the quantities that are named is zero."""
        return Point(
            tuple({q: v * (q in kept) for q, v in one.items()} for one in self.samples),
            {q: v * (q in kept) for q, v in self.shared.items()},
            {q: [v * (q in kept) for v in c] for q, c in self.paths.items()},
            {q: v * (q in kept) for q, v in self.times.items()},
        )


def _moved(values: Values, other: Values, factor: complex) -> Values:
    return {q: v + factor * other[q] for q, v in values.items()}


class ControlRun:
    """One random sample of a problem: controls are polynomials in time, dimensions are small."""

    def __init__(self, control: OptimalControl, seed: int = 0) -> None:
        self.control, self.ode, self.form = control, control.ode, control.hamiltonian
        with mpmath.workdps(DIGITS):
            self.sampler = self._sampler(seed)
            self.point, self.direction, self.other = (self._point(seed + 100 * k) for k in range(3))
        self.moments = (control.begin, *control.observations, control.end)
        self.point = replace(self.point, times=self._times())

    def _sampler(self, seed: int) -> Sampler:
        return Sampler(self.control.quantities, self.control.networks, seed)

    def _times(self) -> Values:
        spread = np.linspace(FIRST, LAST, len(self.moments))
        return {moment: complex(value) for moment, value in zip(self.moments, spread, strict=True)}

    def _point(self, seed: int) -> Point:
        drawn = [self._sampler(seed + 1000 * k).values() for k in range(max(ORDER, PEOPLE))]
        numbers = [{q: _complex(v) for q, v in one.items()} for one in drawn]
        people = PEOPLE if self.control.population else 1
        apart = (*self.control.controls, self.control.begin, self.control.end, *self.control.observations)
        shared = {q: v for q, v in numbers[0].items() if not q.role.batched and q not in apart}
        shared = {q: v for q, v in shared.items() if q != self.ode.time}
        samples = tuple({q: v for q, v in one.items() if q.role.batched} for one in numbers[:people])
        paths = {q: [one[q] for one in numbers[:ORDER]] for q in self.control.controls}
        times = {q: complex(numbers[0][q].real) for q in apart if q.role is Role.TIME}
        return Point(samples, shared, paths, times)

    def known(
        self, point: Point, sample: Values, moment: Numeric, packed: Numeric, names: Sequence[Quantity]
    ) -> Values:
        """Everything an expression may read at one time."""
        found = {**point.shared, **sample, **unpacked(packed, names, sample | self._shapes(sample))}
        found |= {q: sum(c * moment**k for k, c in enumerate(path)) for q, path in point.paths.items()}
        found[CLOCK] = moment
        return found if self.ode.time is None else {**found, self.ode.time: moment}

    def _shapes(self, sample: Values) -> Values:
        return {a: sample[x] for x, a in self.form.costates.items()}

    def value(self, expression: Expr, known: Mapping[Quantity, Numeric]) -> Numeric:
        """Value of an expression."""
        return value_of(expression, known, self.sampler.networks)

    def cost(self, point: Point) -> complex:
        """The functional, integrated forwards: its mean over the population."""
        return complex(np.mean([self._cost(point, sample) for sample in point.samples]))

    def _cost(self, point: Point, sample: Values) -> complex:
        packed, found = np.append(self.start(sample), 0), complex(0)
        for before, after in pairwise(self.moments):
            packed = self.spent(point, sample, packed, point.times[before], point.times[after])
            known = self.known(point, sample, point.times[after], packed[:-1], self.ode.state)
            found += self.value(self.control.moments[after], known)
        return found + packed[-1]

    def spent(
        self,
        point: Point,
        sample: Values,
        packed: Numeric,
        begin: Numeric,
        end: Numeric,
        held: Values | None = None,
        steps: int = STEPS,
    ) -> Numeric:
        """State and running cost so far, from one time to another; `held` replaces values on the way."""
        names = self.ode.state

        def velocity(now: Numeric, y: Numeric) -> Numeric:
            known = {**self.known(point, sample, now, y[:-1], names), **(held or {})}
            rates = _rates(self, self.ode.velocity, names, known)
            return np.append(flat(rates), self.value(self.control.running, known))

        return advanced(velocity, packed, begin, end, steps)

    def start(self, sample: Values) -> Numeric:
        """Initial states of one sample as one vector."""
        return flat([sample[x] for x in self.ode.state])

    def derivative(self, direction: Point, point: Point | None = None) -> float:
        """Derivative of the cost along a direction."""
        return self.cost((point or self.point).moved(direction, 1j * NUDGE)).imag / NUDGE

    @cached_property
    def passes(self) -> tuple[Pass, ...]:
        """The adjoint pass of every sample."""
        return self.passes_at(self.point)

    def passes_at(self, point: Point) -> tuple[Pass, ...]:
        """The adjoint pass of every sample at a point."""
        return tuple(Pass(self, point, sample) for sample in point.samples)

    def mean(self, each: Callable[[Pass, Values], Any], direction: Point | None = None) -> complex:
        """Mean over the population of what is computed of the pass and the direction of each sample."""
        samples = (direction or self.direction).samples
        return complex(np.mean([each(one, sample) for one, sample in zip(self.passes, samples, strict=True)]))


class Pass:
    """State and costate of one sample, from the final time to the initial one.

    Attributes:
        after: time -> all values just after it.
        before: time -> all values just before it: costates jump at observations.
    """

    def __init__(self, run: ControlRun, point: Point, sample: Values) -> None:
        self.run, self.point, self.sample = run, point, sample
        self.names = (*run.ode.state, *run.form.costates.values())
        self.after: dict[Quantity, Values] = {}
        self.before: dict[Quantity, Values] = {}
        self._sweep()

    def _known(self, moment: Numeric, packed: Numeric) -> Values:
        return self.run.known(self.point, self.sample, moment, packed, self.names)

    def _forward(self) -> dict[Quantity, Numeric]:
        run, states = self.run, {self.run.moments[0]: self.run.start(self.sample)}
        half = len(states[run.moments[0]])

        def velocity(now: Numeric, y: Numeric) -> Numeric:
            known = run.known(self.point, self.sample, now, y, run.ode.state)
            return flat(_rates(run, run.ode.velocity, run.ode.state, known))

        for before, after in pairwise(run.moments):
            begin, end = self.point.times[before], self.point.times[after]
            states[after] = advanced(velocity, states[before][:half], begin, end, STEPS)
        return states

    def _sweep(self) -> None:
        run, states = self.run, self._forward()
        costate = 0 * states[run.moments[0]]
        for later, earlier in pairwise([*reversed(run.moments)]):
            known = self._known(self.point.times[later], np.append(states[later], costate))
            self.after[later] = known
            cost = run.control.moments[later]
            jump = [run.value(gradient_of(cost, x), known) + 0 * known[x] for x in run.ode.state]
            costate = costate + flat(jump)
            packed = np.append(states[later], costate)
            self.before[later] = self._known(self.point.times[later], packed)
            packed = advanced(self.velocity, packed, self.point.times[later], self.point.times[earlier], STEPS)
            costate = packed[len(costate) :]
            self.after[earlier] = self._known(self.point.times[earlier], packed)

    def velocity(self, now: Numeric, packed: Numeric) -> Numeric:
        """Of state and costate together."""
        run, known = self.run, self._known(now, packed)
        back = [run.form.costate_velocity(x) for x in run.ode.state]
        return flat(_rates(run, (*run.ode.velocity, *back), (*run.ode.state, *run.ode.state), known))

    def packed(self, known: Values) -> Numeric:
        """State and costate as one vector."""
        return flat([known[q] for q in self.names])

    def at(self, moment: Numeric) -> Values:
        """All values at a time of the last interval."""
        end = self.run.moments[-1]
        found = advanced(self.velocity, self.packed(self.before[end]), self.point.times[end], moment, STEPS)
        return self._known(moment, found)

    def visited(self, points: int) -> list[Values]:
        """All values at equidistant times between every two moments, in order of time."""
        found: list[Values] = []
        for later, earlier in pairwise([*reversed(self.run.moments)]):
            times = np.linspace(self.point.times[later], self.point.times[earlier], points)
            packed = self.packed(self.before[later])
            found.append(self._known(times[0], packed))
            for begin, end in pairwise(times):
                packed = advanced(self.velocity, packed, begin, end, 1)
                found.append(self._known(end, packed))
        return found[::-1]

    @cached_property
    def jacobian(self) -> Numeric:
        """d(x, a)(t_1)/d(x, a)(t_0); costs at observations do not enter it."""
        start, (first, *_, last) = self.packed(self.after[self.run.moments[0]]), self.run.moments
        ends = (self.point.times[first], self.point.times[last])
        nudged = (start + 1j * NUDGE * unit for unit in np.eye(len(start)))
        return np.stack([advanced(self.velocity, at, *ends, STEPS).imag / NUDGE for at in nudged], axis=1)

    def integral(self, integrand: Integrand) -> complex:
        """Of a function of all values, over the whole interval."""
        found = complex(0)

        def velocity(now: Numeric, y: Numeric) -> Numeric:
            return np.append(self.velocity(now, y[:-1]), integrand(self._known(now, y[:-1])))

        for later, earlier in pairwise([*reversed(self.run.moments)]):
            begin = self.packed(self.before[later])
            ends = (self.point.times[later], self.point.times[earlier])
            found -= advanced(velocity, np.append(begin, 0), *ends, STEPS)[-1]
        return found


def _rates(run: ControlRun, velocities: Sequence[Expr], like: Sequence[Quantity], known: Values) -> list[Numeric]:
    return [run.value(part, known) + 0 * known[x] for part, x in zip(velocities, like, strict=True)]


def _complex(value: Numeric) -> Numeric:
    return np.array(value, dtype=complex) if np.ndim(value) else complex(value)


def flat(parts: Sequence[Numeric]) -> Numeric:
    """Several arrays as one vector."""
    return np.concatenate([np.ravel(np.asarray(part, dtype=complex)) for part in parts])


def unpacked(packed: Numeric, names: Sequence[Quantity], like: Mapping[Quantity, Numeric]) -> Values:
    """The parts of a vector, in the shapes of other values."""
    found: Values = {}
    start = 0
    for quantity in names:
        shape = np.shape(like[quantity])
        count = int(np.prod(shape, dtype=int))
        part = packed[start : start + count]
        found[quantity] = part.reshape(shape) if shape else part[0]
        start += count
    return found
