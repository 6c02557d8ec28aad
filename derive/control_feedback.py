"""Linear two-point problems of optimal control: the ansatz a = P x + s, and what it turns them into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, Integer, expand

from derive.control import OptimalControl
from derive.control_optimum import closed_velocities, optimal_controls
from derive.gradients import gradient_of
from derive.linear_forms import distributed, linear_part
from derive.operators import matvec
from derive.symbols import Quantity, Role

MATRIX, OFFSET = ("P", "Pi", "Riccati"), ("s", "r", "offset")  # the first that is no name of the problem


@dataclass(frozen=True)
class Feedback:
    """The two-point problem of one unknown, linear in state and costate, and its ansatz a = P x + s.

    Attributes:
        control: the problem.
        unknown: x.
        costate: a.
        controls: control -> its optimal value in x and a.
        matrix: P, a number where x is one.
        offset: s.
    """

    control: OptimalControl
    unknown: Quantity
    costate: Quantity
    controls: Mapping[Quantity, Expr]
    matrix: Quantity
    offset: Quantity

    def acting(self, value: Expr) -> Expr:
        """P times a value."""
        return matvec(self.matrix, value) if self.unknown.shape else self.matrix * value

    @cached_property
    def velocities(self) -> tuple[Expr, Expr]:
        """Of state and costate, with the optimal controls put in."""
        found = closed_velocities(self.control, self.controls)
        return found[self.unknown], found[self.costate]

    @cached_property
    def residual(self) -> Expr:
        """a' - P x' with the ansatz put in: it must be P' x + s' for every x."""
        ansatz = {self.costate: self.acting(self.unknown) + (0 if self.homogeneous else self.offset)}
        forward, back = (distributed(value.xreplace(ansatz)) for value in self.velocities)
        return distributed(back - self.acting(forward))

    @cached_property
    def rate(self) -> Expr | None:
        """P' x."""
        return linear_part(self.residual, self.unknown)

    @property
    def shown_rate(self) -> Expr | None:
        """P' x, and P' itself where it is a number."""
        return self.rate if self.unknown.shape or self.rate is None else expand(self.rate / self.unknown)

    @cached_property
    def offset_rate(self) -> Expr:
        """s'."""
        return distributed(self.residual - (self.rate or 0))

    @cached_property
    def gradient(self) -> Expr:
        """What the costate ends with."""
        return distributed(gradient_of(self.control.terminal, self.unknown))

    @cached_property
    def last(self) -> Expr | None:
        """P x at the final time."""
        return linear_part(self.gradient, self.unknown)

    @cached_property
    def homogeneous(self) -> bool:
        """Whether nothing asks for an offset: no part of the two-point problem is without state or costate."""
        at_zero = [linear_in(value, (self.unknown, self.costate)) for value in self.velocities]
        return self.last == self.gradient and all(at_zero)

    @property
    def closed(self) -> bool:
        """Whether state and costate enter as a linear two-point problem."""
        parts = [linear_part(value, q) for value in self.velocities for q in (self.unknown, self.costate)]
        return all(part is not None for part in [*parts, self.last]) and self.rate is not None


def linear_in(value: Expr, quantities: tuple[Quantity, ...]) -> bool:
    """Whether an expression is a sum of parts that are linear in one of the quantities."""
    parts = [part for part in (linear_part(value, q) for q in quantities) if part is not None]
    return len(parts) == len(quantities) and distributed(value - sum(parts, Integer(0))) == 0


def feedback_of(control: OptimalControl) -> Feedback | None:
    """The ansatz of a problem with one unknown whose optimal controls make it a linear two-point problem."""
    controls = optimal_controls(control)
    if not controls or len(control.ode.state) != 1 or control.observations:
        return None
    ((unknown, costate),) = control.hamiltonian.costates.items()
    taken = {q.name for q in control.quantities}
    letters = [next(name for name in names if name not in taken) for names in (MATRIX, OFFSET)]
    matrix = Quantity(letters[0], unknown.shape * 2, Role.PARAMETER, meaning="a = P x + s")
    offset = Quantity(letters[1], unknown.shape, Role.COTANGENT, meaning="a = P x + s")
    found = Feedback(control, unknown, costate, controls, matrix, offset)
    return found if found.closed else None
