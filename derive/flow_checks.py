"""Checks of what is derived of flows: Jacobians by central differences at 60 digits, ranges by sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer, Rational

from derive.checks import NUDGE, ProgramCheck, ResidualCheck, SampledCheck, relative_difference
from derive.evaluator import evaluate, value_of
from derive.flow import Flow
from derive.injectivity import SignChange
from derive.invertibility import Condition
from derive.operators import Numeric
from derive.power_series import array_of
from derive.program import Assignment, Program, symbols_of
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, by_name

DRAWS, POINTS, FAR = 300, 4001, 1e6
NEAR = 1e-9  # of a bound
BOUND_MOVES = Rational(1, 5)
TALL = Integer(8)  # how far a variable without bound is followed closely


def numeric_jacobian(
    program: Program, parts: Sequence[Quantity], values: dict[Quantity, Numeric], sampler: Sampler
) -> Any:
    """The Jacobian of a program's vector outputs in its parts by central differences, as an mpmath matrix."""
    step = mpmath.mpf(NUDGE)
    outputs = [q for q in program.outputs if q.shape]
    given = {q: values[q] for q in program.inputs}
    columns = []
    for part in parts:
        for entry in range(len(values[part])):
            unit = array_of([step if place == entry else 0 * step for place in range(len(values[part]))])
            ends = [
                evaluate(program, {**given, part: values[part] + sign * unit}, sampler.networks) for sign in (1, -1)
            ]
            flat = [np.concatenate([np.ravel(end[q]) for q in outputs]) for end in ends]
            columns.append((flat[0] - flat[1]) / (2 * step))
    return mpmath.matrix(np.stack(columns, axis=1).tolist())


def log_det_of(program: Program, parts: Sequence[Quantity]) -> Callable[[dict[Quantity, Numeric], Sampler], Numeric]:
    """log |det| of the Jacobian of a program, for the left side of an identity."""

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        return mpmath.log(abs(mpmath.det(numeric_jacobian(program, parts, values, sampler))))

    return measure


def det_of(program: Program, parts: Sequence[Quantity]) -> Callable[[dict[Quantity, Numeric], Sampler], Numeric]:
    """The determinant of the Jacobian of a program, with its sign."""
    return lambda values, sampler: mpmath.det(numeric_jacobian(program, parts, values, sampler))


def trace_of(program: Program, part: Quantity) -> Callable[[dict[Quantity, Numeric], Sampler], Numeric]:
    """The rate of log |det(I + h J)| at h = 0: what a flow of the field does to volumes."""

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        matrix, step = numeric_jacobian(program, (part,), values, sampler), mpmath.mpf(NUDGE)
        ends = [mpmath.log(abs(mpmath.det(mpmath.eye(matrix.rows) + sign * step * matrix))) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step)

    return measure


def trace_check(program: Program, part: Quantity) -> ResidualCheck:
    """The same against the sum over the unit vectors of e . J e, for fields that hold opaque networks."""

    def residual(coefficients: tuple[Expr, ...]) -> float:
        sampler = Sampler(program.inputs, program.networks())
        values: dict[Quantity, Numeric] = sampler.values()
        matrix = numeric_jacobian(program, (part,), values, sampler)
        diagonal = sum(matrix[i, i] for i in range(matrix.rows))
        factor = mpmath.mpf(coefficients[0].p) / coefficients[0].q
        return relative_difference(trace_of(program, part)(values, sampler), factor * diagonal)

    return ResidualCheck(residual, (Integer(1),), "log |det(I + h J)| by central differences in h, 60 digits")


def round_trip(flow: Flow, forward: Program, backward: Program, parts: dict[Quantity, Quantity]) -> ProgramCheck:
    """The inverse after the map, with the constrained parameters in place; and minus the log-determinant."""
    constraint, names = flow.constraint(), dict(flow.effective)
    minus = Quantity("minus_log_det", (), Role.INTERMEDIATE)
    log_det = forward.outputs[-1]
    left = forward.renamed(names)
    lines = (*constraint.assignments, *left.assignments, Assignment(minus, -log_det))
    used = {q for line in lines for q in symbols_of(line.value)} | set(left.inputs)
    inputs = by_name(used - {line.target for line in lines})
    first = Program(tuple(inputs), lines, (*left.outputs, minus))
    pairs = [*((q, parts[q]) for q in flow.parts), (minus, backward.outputs[-1])]
    return ProgramCheck(first, backward.renamed(names), tuple(pairs))


@dataclass(frozen=True)
class _Sweep:
    """Random parameters, and the factors of a determinant over the whole range of their one variable."""

    conditions: tuple[Condition, ...]

    def disagreements(self, bound: Expr) -> int:
        """How often `all conditions above the bound` differs from `all factors are positive and finite`."""
        edge, wrong = float(bound), 0
        quantities = {
            q for c in self.conditions for e in (c.value, c.factor) for q in symbols_of(e) if not q.role.batched
        }
        for seed in range(DRAWS):
            sampler = Sampler(quantities, seed=seed)
            values = {q: 1.5 * np.asarray(v, dtype=float)[()] for q, v in sampler.values().items()}
            claimed = all(np.all(value_of(c.value, values) > edge) for c in self.conditions)
            wrong += claimed != all(self._is_positive(c, values) for c in self.conditions)
        return wrong

    def _is_positive(self, condition: Condition, values: dict[Quantity, Any]) -> bool:
        variable, ends = condition.variable, condition.range
        if variable is None or ends is None:
            return True
        low, high = (float(max(-TALL, min(TALL, end))) for end in ends)
        points = np.linspace(low, high, POINTS)
        points = np.append(points, [sign * FAR for sign, end in zip((-1, 1), ends, strict=True) if end.is_infinite])
        shape = (1,) * max(np.ndim(v) for v in values.values())
        found = value_of(condition.factor, {**values, variable: points.reshape(-1, *shape)})
        return bool(np.all(found > 0))


@dataclass(frozen=True)
class _Signs:
    """The determinant at two points, by central differences."""

    flow: Flow
    change: SignChange

    def disagreements(self, signs: tuple[int, int]) -> int:
        """At how many of the points it has another sign than is claimed."""
        sampler, (part,) = Sampler((), ()), self.flow.parts
        wrong = 0
        for sign, point in zip(signs, self.change.points, strict=True):
            values = {q: array_of([mpmath.mpf(v) for v in np.ravel(value)]).reshape(np.shape(value))
                      for q, value in {**self.change.parameters, part: point}.items()}  # fmt: skip
            values = {q: value if np.ndim(value) else value[()] for q, value in values.items()}
            wrong += mpmath.sign(det_of(self.flow.map, (part,))(values, sampler)) != sign
        return wrong


def signs_check(flow: Flow, change: SignChange) -> SampledCheck:
    """That a determinant is negative at one point and positive at another."""
    return SampledCheck(_Signs(flow, change).disagreements, (-1, 1), lambda signs: signs[::-1])


@dataclass(frozen=True)
class _Image:
    """Random parameters, and the image of points far out."""

    flow: Flow

    def disagreements(self, bounds: tuple[Expr, ...]) -> int:
        """How often the image is on both sides of a bound, or does not come near it."""
        (part,), (image,) = self.flow.parts, self.flow.images
        wrong = 0
        for seed in range(DRAWS):
            sampler = Sampler(self.flow.map.inputs, seed=seed)
            values = {q: np.asarray(v, dtype=float)[()] for q, v in sampler.values().items()}
            with np.errstate(over="ignore"):
                reached = [
                    evaluate(self.flow.map, {**values, part: values[part] * reach})[image] for reach in (-FAR, 0, FAR)
                ]
            for bound in bounds:
                away = np.stack(reached) - value_of(bound, values)
                one_side = np.all(away >= 0, axis=0) | np.all(away <= 0, axis=0)
                wrong += not np.all(one_side & (np.min(np.abs(away), axis=0) < NEAR))
        return wrong


def image_check(flow: Flow, bounds: tuple[Expr, ...]) -> SampledCheck:
    """That components of the image come near their bounds and do not pass them."""
    return SampledCheck(_Image(flow).disagreements, bounds, lambda old: tuple(b + BOUND_MOVES for b in old))


def range_check(conditions: Sequence[Condition]) -> SampledCheck:
    """That conditions on parameters are what makes factors of a determinant positive throughout."""
    return SampledCheck(_Sweep(tuple(conditions)).disagreements, Integer(0), lambda bound: bound + BOUND_MOVES)
