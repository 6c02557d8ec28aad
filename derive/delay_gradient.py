"""The adjoint equation of a delay equation in numbers: solved backwards, against a difference of solutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mpmath
import numpy as np
from sympy import Expr

from derive.delay import Delay, DelayODE
from derive.delay_checks import STRETCH, Record, ranks, sampled_run, sampler_of
from derive.delay_steps import delay_step
from derive.evaluator import value_of
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity

FINE = 16  # steps of the forward solution on a stretch; those of the adjoint are twice as long
DIGITS = 25
NUDGE = "1e-12"
Past = Mapping[Quantity, Expr]
Ahead = Mapping[Delay, Mapping[Quantity, Quantity]]


@dataclass
class BackwardSolution:
    """The functional <w, x(t_1)> of an equation whose history is exp(t) x_0, and its gradient in x_0.

    Places are counted in steps of the forward solution; on every second one the adjoint is solved, in between it is
    interpolated. Costates jump to zero behind the end, so every stretch of time sees them from inside.

    Attributes:
        system: the equation.
        costates, ahead, past, rates: of its adjoint, see `derive.delay_adjoint.ContinuousAdjoint`.
        delay_times: the quantity that stands for each delay's time.
    """

    system: DelayODE
    costates: Sequence[Quantity]
    ahead: Ahead
    past: Past
    rates: Sequence[Expr]
    delay_times: Mapping[Delay, Quantity]
    sampler: Sampler = field(init=False)
    values: dict[Quantity, Numeric] = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = sampler_of(self.system)
        self.values = self.sampler.values()
        self.values |= {q: ranks(self.system)[delay] * STRETCH for delay, q in self.delay_times.items()}
        self.weights = [self.sampler.value(a) for a in self.costates]
        self.direction = {x: self.sampler.value(x) for x in self.system.state}
        self.fine = replace(self.system, scheme="rk4")
        self.step, self.last = STRETCH / FINE, (len(self.system.delays) + 1) * FINE
        self.lags = {delay: rank * FINE for delay, rank in ranks(self.system).items()}
        self.solved: dict[int, Record] = {}

    def difference(self) -> Any:
        """The derivative of the functional along the direction, by solutions from two initial values."""
        with mpmath.workdps(DIGITS):
            ends = [self._end(sign * mpmath.mpf(NUDGE)) for sign in (1, -1)]
            return (ends[0] - ends[1]) / (2 * mpmath.mpf(NUDGE))

    def _end(self, amount: Any) -> Any:
        return _paired(self.weights, self._forward({x: amount * v for x, v in self.direction.items()})[-1])

    def _forward(self, nudge: Mapping[Quantity, Numeric] | None = None) -> list[Record]:
        return sampled_run(self.fine, delay_step(self.fine), FINE, self.sampler, self.values, nudge)

    def gradient(self) -> Any:
        """The same by the adjoint: a(t_0), and what the history is sent."""
        with mpmath.workdps(DIGITS):
            self.states = self._forward()
            self._solve()
            directions = [self.direction[x] for x in self.system.state]
            total = _paired(self.solved[0], directions)
            return total + sum((self._sent(q) for q in self.past), mpmath.mpf(0))

    def _sent(self, quantity: Quantity) -> Any:
        """Integral over the history of what is sent to it, by Simpson's rule."""
        unknown, delay = self.system.delayed[quantity]

        def at(place: int) -> Any:
            value = value_of(self.past[quantity], self._known(place, place), self.sampler.networks)
            return mpmath.exp(place * self.step) * np.sum(value * self.direction[unknown])

        begins = range(-self.lags[delay], 0, 2)
        panels = (at(place) + 4 * at(place + 1) + at(place + 2) for place in begins)
        return sum(panels, mpmath.mpf(0)) * self.step / 3

    def _solve(self) -> None:
        """Runge's classical scheme backwards, with the middle of every step interpolated from slopes at its ends."""
        size, state = 2 * self.step, list(self.weights)
        self.solved = {self.last: state}
        for low in range(self.last - 2, -1, -2):

            def rate(place: int, costates: Record, low: int = low) -> Record:
                known = {**self._known(place, low), **dict(zip(self.costates, costates, strict=True))}
                return [value_of(one, known, self.sampler.networks) for one in self.rates]

            first = rate(low + 2, state)
            second = rate(low + 1, _moved(state, first, -size / 2))
            third = rate(low + 1, _moved(state, second, -size / 2))
            fourth = rate(low, _moved(state, third, -size))
            slopes = [a / 6 + b / 3 + c / 3 + d / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)]
            begin = _moved(state, slopes, -size)
            ends = zip(begin, state, rate(low, begin), first, strict=True)
            self.solved[low + 1] = [(a + b) / 2 + size / 8 * (c - d) for a, b, c, d in ends]
            self.solved[low] = state = begin

    def _state(self, place: int) -> Record:
        """Values of the unknowns; before the initial time the history, behind the end whatever."""
        if place < 0:
            return [mpmath.exp(place * self.step) * x for x in self.states[0]]
        return self.states[min(place, self.last)]

    def _known(self, place: int, low: int) -> dict[Quantity, Numeric]:
        """Everything that rates read at a place, seen from the step that begins at `low`; costates there excepted."""
        known = {**self.values, **self._moment(place)}
        if self.system.time is not None:
            known[self.system.time] = place * self.step
        for delay, names in self.ahead.items():
            later = place + self.lags[delay]
            known |= {names[q]: value for q, value in self._moment(later).items()}
            beyond = low + self.lags[delay] >= self.last
            arrived = [0 * w for w in self.weights] if beyond or later < 0 else self.solved[later]
            known |= {names[a]: value for a, value in zip(self.costates, arrived, strict=True)}
        return known

    def _moment(self, place: int) -> dict[Quantity, Numeric]:
        """Unknowns and past values."""
        of: Callable[[Quantity], int] = self.system.state.index
        found = dict(zip(self.system.state, self._state(place), strict=True))
        past = {q: self._state(place - self.lags[d])[of(x)] for q, (x, d) in self.system.delayed.items()}
        return {**found, **past}


def _moved(state: Record, slopes: Record, amount: Any) -> Record:
    return [x + amount * slope for x, slope in zip(state, slopes, strict=True)]


def _paired(left: Sequence[Numeric], right: Sequence[Numeric]) -> Any:
    return sum((np.sum(a * b) for a, b in zip(left, right, strict=True)), mpmath.mpf(0))
