"""Checks of what is derived of fixed points: tangents by differences of solutions, updates by direct minimisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer

from derive.checks import (
    DIGITS,
    IDENTITY_TOLERANCE,
    NUDGE,
    IdentityCheck,
    ResidualCheck,
    SampledCheck,
    bound_check,
    perturb,
    relative_difference,
    terms_of,
)
from derive.derivation import Outcome
from derive.evaluator import evaluate, value_of
from derive.least_change import LeastChange
from derive.linearization import Linearization
from derive.operators import Numeric, matvec
from derive.power_series import array_of
from derive.program import Assignment, Program, symbols_of
from derive.sampling import Sampler
from derive.symbols import Quantity

DIMENSIONS = (1, 2, 3, 4)
DOUBLINGS = 20
SMALLEST = mpmath.mpf("1e-45")  # of a residual: the last step has ended the iteration

Values = dict[Quantity, Numeric]


@dataclass(frozen=True)
class TangentCheck:
    """A line of a linearization against central differences of the whole program, its equations solved anew.

    Attributes:
        primal: the program.
        tangent: its linearization in all its inputs.
        line: the line under test; it stands in for the linearization's own.
        about: the quantity of the primal whose tangent the line computes.
    """

    primal: Program
    tangent: Linearization
    line: Assignment
    about: Quantity

    def run(self) -> Outcome:
        """Measure the tangent against the difference quotient along random directions."""
        with mpmath.workdps(DIGITS):
            primal, linear = self.primal, self.tangent.program
            sampler = Sampler({*primal.inputs, *primal.targets, *linear.inputs, *linear.targets}, primal.networks())
            sampled = sampler.values()
            given: Values = {q: sampled[q] for q in primal.inputs}
            ways: Values = {q: sampled[way] for q, way in self.tangent.tangents.items() if q in given}
            moved: Values = {self.tangent.tangents[q]: way for q, way in ways.items()}
            nudge = mpmath.mpf(NUDGE)
            ahead, behind = (self._at(given, ways, sign * nudge, sampler) for sign in (1, -1))
            known = evaluate(primal, given, sampler.networks)
            lines = tuple(self.line if line.target == self.line.target else line for line in linear.assignments)
            program = Program(linear.inputs, lines, linear.outputs)
            found = evaluate(program, {**sampled, **known, **moved}, sampler.networks)[self.line.target]
            error = relative_difference(found, (ahead - behind) / (2 * nudge))
            return Outcome(error, IDENTITY_TOLERANCE, f"central differences of solutions, {DIGITS} digits")

    def _at(self, given: Values, ways: Values, nudge: Any, sampler: Sampler) -> Numeric:
        there = {q: value + nudge * ways[q] if q in ways else value for q, value in given.items()}
        return evaluate(self.primal, there, sampler.networks)[self.about]

    @property
    def terms(self) -> int:
        """Coefficients of the line."""
        return terms_of(self.line.value)

    def perturbed(self, term: int = 0) -> TangentCheck:
        """With one coefficient of the line changed."""
        return replace(self, line=replace(self.line, value=perturb(self.line.value, term)))


def _nearest(update: LeastChange, values: Values) -> Any:
    """The matrix nearest to A among those that satisfy the condition, by least squares on a basis of these."""
    matrix, step, difference = (values[q] for q in (update.matrix, update.step, update.difference))
    size = len(step)
    rest = difference - matrix.dot(step)
    first = np.outer(rest, np.eye(size)[0]) / step[0]
    basis: list[list[Any]] = []
    for row in range(size):
        for column in range(1, size):
            direction = mpmath.zeros(size, size)
            direction[row, column], direction[row, 0] = mpmath.mpf(1), -step[column] / step[0]
            basis.append([direction[i, j] for i in range(size) for j in range(size)])
    if not basis:  # one number, which the condition determines
        return matrix + first
    rows, right = mpmath.matrix(basis).T, mpmath.matrix([-v for v in first.ravel()])
    weights = mpmath.lu_solve(rows.T * rows, rows.T * right)
    found = array_of([sum(rows[i, j] * weights[j] for j in range(len(basis))) for i in range(size**2)])
    return matrix + first + found.reshape(size, size)


def nearest_check(update: LeastChange, right: Expr) -> IdentityCheck:
    """The update against a minimisation over all matrices that satisfy the condition."""
    quantities = (update.matrix, update.step, update.difference)
    return IdentityCheck(lambda values, _: _nearest(update, values), right, quantities)


def multiplier_check(update: LeastChange) -> IdentityCheck:
    """The multiplier against the change of the nearest matrix along the step, per square of its length."""

    def left(values: Values, _: Sampler) -> Numeric:
        change, step = _nearest(update, values) - values[update.matrix], values[update.step]
        return change.dot(step) / step.dot(step)

    return IdentityCheck(left, update.solved, (update.matrix, update.step, update.difference))


def inverse_check(update: LeastChange, right: Expr) -> IdentityCheck:
    """The updated inverse against the inverse of the updated matrix."""

    def left(values: Values, _: Sampler) -> Numeric:
        matrix = _inverted(values[update.inverse])
        known = {**values, update.matrix: matrix}
        return _inverted(value_of(update.updated, known))

    return IdentityCheck(left, right, (update.inverse, update.step, update.difference))


def following_check(update: LeastChange, line: Assignment) -> IdentityCheck:
    """What follows a full step with B, by the updated inverse itself: its column, the next step, or B_+ v."""
    after, vector = (update.step.renamed(name) for name in ("g_next", "v"))
    made = update.product_program.inputs[-1]
    lines = [Assignment(update.tried, -matvec(update.inverse, after)), *update.following_program.assignments]
    lines = [one for one in lines if line.target not in (one.target, *symbols_of(one.value))]
    lines += [Assignment(made, matvec(update.inverse, vector))]
    inputs = (update.inverse, update.step, after, vector)
    given = Program(inputs, tuple(lines), (made,))

    def left(values: Values, _: Sampler) -> Numeric:
        old, step = values[update.inverse], values[update.step]
        known = {**values, update.difference: values[after] + _inverted(old).dot(step)}
        new = value_of(update.updated_inverse, known)
        if line.target == update.column:
            return (new - old).dot(values[vector]) / old.T.dot(step).dot(values[vector])
        return -new.dot(values[after]) if line.target == update.next_step else new.dot(values[vector])

    return IdentityCheck(left, line.value, inputs, given=given)


def _inverted(matrix: Numeric) -> Any:
    size = len(matrix)
    found = mpmath.matrix(matrix.tolist()) ** -1
    return array_of([found[i, j] for i in range(size) for j in range(size)]).reshape(size, size)


def termination_check(update: LeastChange) -> ResidualCheck:
    """That full steps with the updated inverse end on affine maps after twice their dimension at most."""

    def residual(coefficients: tuple[Expr, ...]) -> float:
        return max(_after_steps(update, coefficients[0], size) for size in DIMENSIONS)

    detail = f"random affine maps of dimension {DIMENSIONS[0]} to {DIMENSIONS[-1]}, {DIGITS} digits"
    return ResidualCheck(residual, (update.updated_inverse,), detail)


def _after_steps(update: LeastChange, formula: Expr, size: int) -> float:
    """Residual after 2 size steps over the first one, for a random affine map."""
    vector, matrix = Quantity("c", (size,), update.step.role), Quantity("J", (size, size), update.step.role)
    sampled = Sampler((vector, matrix), seed=size).values()

    def residual(z: Any) -> Any:
        return sampled[matrix].dot(z) + sampled[vector] - z

    z = array_of([mpmath.mpf(0)] * size)
    inverse = -array_of([mpmath.mpf(i == j) for i in range(size) for j in range(size)]).reshape(size, size)
    g = residual(z)
    begin = _length(g)
    for _ in range(2 * size):
        if _length(g) < SMALLEST * begin:
            break
        step = -inverse.dot(g)
        z, before = z + step, g
        g = residual(z)
        known: Values = {update.inverse: inverse, update.step: step, update.difference: g - before}
        inverse = value_of(formula, known) if _length(g) >= SMALLEST * begin else inverse
    return float(_length(g) / begin)


def _length(vector: Numeric) -> Any:
    return mpmath.sqrt(sum(abs(entry) ** 2 for entry in np.ravel(vector)))


def least_squares_check(
    directions: Quantity, residual: Quantity, weights: Quantity, sides: tuple[Expr, Expr]
) -> IdentityCheck:
    """Normal equations against the weights of a singular value decomposition, for any numbers of rows and columns."""

    def left(values: Values, _: Sampler) -> Numeric:
        u, sizes, v = mpmath.svd_r(mpmath.matrix(values[directions].tolist()))
        along = u.T * mpmath.matrix(list(values[residual]))
        found = v.T * mpmath.matrix([part / size for part, size in zip(along, sizes, strict=True)])
        return value_of(sides[0], {**values, weights: array_of(list(found))})

    return IdentityCheck(left, sides[1], (directions, residual))


def radius_check() -> SampledCheck:
    """That z <- J z + c converges from every start where the spectral radius of J is below a bound, and not above."""

    def converges(radius: Any) -> bool:
        rotation = mpmath.matrix([[mpmath.cos(1), -mpmath.sin(1)], [mpmath.sin(1), mpmath.cos(1)]])
        shear = mpmath.matrix([[1, 3], [0, 1]])  # the norm of the product is far above its spectral radius
        power = radius * shear * rotation * shear**-1
        for _ in range(DOUBLINGS):
            power = power * power
        return bool(mpmath.mnorm(power, "f") < 1)

    return bound_check(converges, Integer(1))
