"""Closed forms of scalar linear-quadratic problems: the Riccati equation by the exponential of the phase flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mpmath
from sympy import Expr, Integer, diff, exp, expand, sqrt, together

from derive.checks import central_difference
from derive.control_checks import pointwise
from derive.control_feedback import Feedback, per_state
from derive.control_runs import Values
from derive.control_sections import Results, formula
from derive.control_words import VALUE, Words, clock_of
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.lagrangian import StepNames
from derive.latex import plain
from derive.numbering import Author
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity


@dataclass(frozen=True)
class Solution:
    """P(t) of one scalar unknown with constant coefficients.

    The phase flow is linear with a matrix N of trace 0, so that N^2 = omega^2 I and its exponential has two terms.
    """

    feedback: Feedback

    @property
    def clock(self) -> Quantity:
        """The time."""
        return clock_of(self.feedback.control)

    @cached_property
    def matrix(self) -> tuple[tuple[Expr, ...], ...]:
        """N: derivatives of both velocities in state and costate."""
        velocities = self.feedback.velocities
        return tuple(tuple(diff(velocity, q) for q in velocities) for velocity in velocities.values())

    @cached_property
    def last(self) -> Expr:
        """P at the final time."""
        ((pair, last),) = self.feedback.lasts.items()
        return per_state(last or Integer(0), pair[1])

    @property
    def exists(self) -> bool:
        """Whether the only unknown is a number and nothing depends on the time."""
        if len(self.feedback.costates) > 1 or any(x.shape for x in self.feedback.costates):
            return False
        entries = [*self.matrix[0], *self.matrix[1], self.last]
        return all(self.clock not in entry.atoms(Quantity) for entry in entries)

    @cached_property
    def value(self) -> Expr:
        """P(t)."""
        (state, into_state), (into_costate, _) = self.matrix
        square, left = expand(state**2 + into_state * into_costate), self.feedback.control.end - self.clock
        one, part = Integer(1), left
        if square != 0:  # both terms times 2 omega exp(-omega left), so that nothing overflows
            decay = exp(-2 * sqrt(square) * left)
            one, part = sqrt(square) * (1 + decay), 1 - decay
        above = self.last * one + part * expand(self.last * state - into_costate)
        below = one - part * expand(state + self.last * into_state)
        return together(above / below) if square == 0 else above / below

    def by_exponential(self, values: Values, sampler: Sampler) -> Numeric:
        """The same from the numeric exponential of N."""
        entries = mpmath.matrix([[value_of(entry, values) for entry in row] for row in self.matrix])
        flow = mpmath.expm(entries * (values[self.feedback.control.end] - values[self.clock]))
        last = value_of(self.last, values)
        return (last * flow[0, 0] - flow[1, 0]) / (flow[1, 1] - last * flow[0, 1])


def write_solution(author: Author, feedback: Feedback, names: StepNames) -> Results:
    """Relations on P(t) and the value function; nothing where there is no closed form."""
    solution = Solution(feedback)
    if not solution.exists:
        return {}
    (matrix,), clock, value = feedback.blocks.values(), solution.clock, solution.value
    author.relation(
        "solution of the Riccati equation",
        Kind.IDENTITY,
        rf"{matrix.latex}({clock.latex}) = {formula(value)}",
        text=f"{matrix}({clock}) = {plain(value)}",
        reason="exponential of the phase flow, whose matrix has trace 0: two terms by Cayley and Hamilton",
        name=names.joined("riccati_solution"),
        check=pointwise(solution.by_exponential, value, *solution.matrix[0], *solution.matrix[1], clock),
    )
    if not feedback.homogeneous:
        return {"riccati_solution": value}
    return {"riccati_solution": value, **_write_value(author, solution, names)}


def _write_value(author: Author, solution: Solution, names: StepNames) -> Results:
    """V = P(t) x^2 / 2 solves the Hamilton-Jacobi-Bellman equation."""
    feedback, clock = solution.feedback, solution.clock
    ((x, costate),), (matrix,) = feedback.costates.items(), feedback.blocks.values()
    found, letter = feedback.controls, Words(feedback.control).letter(VALUE)
    worth, slope = solution.value * x**2 / 2, {costate: solution.value * x}
    energy = feedback.control.hamiltonian.energy.xreplace(dict(feedback.controls))
    right = -expand(energy).xreplace(slope)

    def left(values: Values, sampler: Sampler) -> Numeric:
        return central_difference(worth, values, {clock: 1}, sampler)

    author.relation(
        "value function",
        Kind.IDENTITY,
        rf"{letter} = \tfrac12 {matrix.latex}({clock.latex}) {x.latex}^2: \quad \partial_{{{clock.latex}}} {letter}"
        rf" = -H({x.latex}, \partial_{{{x.latex}}} {letter}, {', '.join(f'{q.latex}^*' for q in found)})",
        text=f"{letter} = {matrix}({clock}) {x}**2/2: d{letter}/d{clock} = -H({x}, d{letter}/d{x}, "
        f"{', '.join(f'{q}*' for q in found)})",
        reason="what is still to be paid: the Hamilton-Jacobi-Bellman equation, V differentiated in time on one side",
        name=names.joined("value"),
        check=pointwise(left, right, clock),
    )
    return {"value": worth}
