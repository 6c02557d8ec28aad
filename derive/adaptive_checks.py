"""How relations on adaptive steps are tested: dense output at its ends, and continuous against discrete adjoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer

from derive.checks import DIGITS, NUDGE, IdentityCheck, ResidualCheck
from derive.control import OptimalControl
from derive.discretization import STEP_SIZE, time_at_step
from derive.embedded import EmbeddedPair, EmbeddedStep
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric
from derive.power_series import Series, array_of
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.scheme_report.residuals import tolerance
from derive.symbols import Quantity

Values = Mapping[Quantity, Numeric]
NOTHING = mpmath.mpf(10) ** -30


def inside_at_one(step: EmbeddedStep, place: int, pair: EmbeddedPair) -> IdentityCheck:
    """The dense output at theta = 1 against the step, to the digits that were published of the table."""
    program = step.program

    def left(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        given = {q: values[q] for q in program.inputs} | {step.theta: Integer(1)}
        return evaluate(program, given, sampler.networks)[step.inside[place]]

    return IdentityCheck(left, step.new[place], program.inputs, program.networks(), program, tolerance(pair.given))


def rate_inside(step: EmbeddedStep, place: int, rate: Expr) -> IdentityCheck:
    """The velocity of the dense output against its central difference in theta over h."""
    program, inside = step.program, step.inside[place]

    def left(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        nudge = mpmath.mpf(NUDGE)
        given = {q: values[q] for q in program.inputs}
        ends = [{**given, step.theta: values[step.theta] + sign * nudge} for sign in (1, -1)]
        ahead, behind = (evaluate(program, end, sampler.networks)[inside] for end in ends)
        return (ahead - behind) / (2 * nudge * values[STEP_SIZE])

    return IdentityCheck(left, rate, program.inputs, program.networks(), program)


@dataclass(frozen=True)
class AdjointGap:
    """Costates before one step: by the discrete adjoint, and by the same step on the adjoint equation, backwards."""

    control: OptimalControl
    pair: EmbeddedPair
    step: EmbeddedStep

    def check(self, power: int) -> ResidualCheck:
        """That their difference has no power of h below this one, expanded in h around a random point."""

        def residual(coefficients: tuple[Expr, ...]) -> float:
            gaps = self._gaps(power - 1, _number(coefficients[0]))
            return float(max(abs(c) for gap in gaps for c in gap.coefficients))

        detail = "truncated power series in h of both steps, 60 digits"
        return ResidualCheck(residual, (Integer(1),), detail, tolerance(self.pair.given))

    def leading(self, most: int) -> int:
        """The first power of h that is there, or one more than `most`; what published decimals leave is nothing."""
        digits = self.pair.given.digits
        with mpmath.workdps(DIGITS):
            nothing = NOTHING if digits is None else mpmath.mpf(10) ** (2 - digits)
            gaps = self._gaps(most)
            there = (n for n in range(most + 1) if any(abs(gap.coefficients[n]) > nothing for gap in gaps))
            return next(there, most + 1)

    def _gaps(self, most: int, factor: Any = 1) -> list[Series]:
        """A multiple of the discrete costate less the continuous one."""
        h = Series([mpmath.mpf(0), mpmath.mpf(1), *[mpmath.mpf(0)] * (most - 1)], "h")
        program = self.step.program.needed_for(self.step.new)
        adjoint = reverse_sweep(program, self.step.old)
        sampler = Sampler({*program.inputs, *adjoint.program.inputs, *self.control.quantities}, program.networks())
        values: dict[Quantity, Numeric] = {**sampler.values(), STEP_SIZE: h}
        forward = {**values, **evaluate(program, {q: values[q] for q in program.inputs}, sampler.networks)}
        seeds = [values[adjoint.seeds[x]] for x in self.step.new]
        bars = evaluate(adjoint.program, {q: forward[q] for q in adjoint.program.inputs}, sampler.networks)
        found = [bars[adjoint.cotangents[x]] for x in self.step.old]
        back = self._back(forward, seeds, h, sampler)
        return [gap for one, other in zip(found, back, strict=True) for gap in np.atleast_1d(factor * one - other)]

    def _back(self, known: Values, seeds: list[Numeric], h: Series, sampler: Sampler) -> list[Numeric]:
        """The costates by one step of size -h of the pair on state and costate."""
        form, ode, tableau = self.control.hamiltonian, self.control.ode, self.pair.tableau
        names = [*ode.state, *form.costates.values()]
        start = [*(known[x] for x in self.step.new), *seeds]
        now = time_at_step(ode)
        slopes: list[list[Numeric]] = []
        for row, node in zip(tableau.A, tableau.c, strict=True):
            point = self._moved(start, row, slopes, h)
            given = {**known, **dict(zip(names, point, strict=True))}
            if ode.time is not None and now is not None:
                given[ode.time] = known[now] + h - _number(node) * h
            rates = [*ode.velocity, *map(form.costate_velocity, form.costates)]
            values = [value_of(rate, given, sampler.networks) for rate in rates]
            slopes.append([value + 0 * one for value, one in zip(values, point, strict=True)])
        return self._moved(start, tableau.b, slopes, h)[len(ode.state) :]

    @staticmethod
    def _moved(start: list[Numeric], row: Sequence[Expr], slopes: list[list[Numeric]], h: Series) -> list[Numeric]:
        moved = list(start)
        for weight, slope in zip(row, slopes, strict=False):
            if weight != 0:
                factor: Callable[[Numeric], Numeric] = _scale(-_number(weight) * h)
                moved = [x + factor(k) for x, k in zip(moved, slope, strict=True)]
        return moved


def _number(value: Expr) -> mpmath.mpf:
    return mpmath.mpf(str(value.evalf(70)))


def _scale(factor: Series) -> Callable[[Numeric], Numeric]:
    """Multiplication by a series, entry by entry."""

    def scaled(value: Numeric) -> Numeric:
        return array_of([entry * factor for entry in value]) if np.ndim(value) else value * factor

    return scaled
