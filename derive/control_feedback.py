"""Linear two-point problems of optimal control: the ansatz a = P x + s, and what it turns them into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, Integer, expand

from derive.control import OptimalControl
from derive.control_optimum import closed_velocities, optimal_controls
from derive.control_words import free_letter, names_of
from derive.gradients import gradient_of
from derive.linear_forms import distributed, linear_part
from derive.operators import dot, matvec
from derive.symbols import Quantity, Role

MATRIX, OFFSET = ("P", "Pi", "Riccati"), ("s", "r", "offset")  # the first that begins no name of the problem
Pair = tuple[Quantity, Quantity]


@dataclass(frozen=True)
class Feedback:
    """A two-point problem that is linear in states and costates, and its ansatz a_i = sum_j P_ij x_j + s_i.

    Attributes:
        control: the problem.
        costates: x_i -> a_i.
        controls: control -> its optimal value in states and costates.
        blocks: (x_i, x_j) -> P_ij; of numbers P_ij and P_ji are one.
        offsets: x_i -> s_i.
    """

    control: OptimalControl
    costates: Mapping[Quantity, Quantity]
    controls: Mapping[Quantity, Expr]
    blocks: Mapping[Pair, Quantity]
    offsets: Mapping[Quantity, Quantity]

    def acting(self, row: Quantity, values: Mapping[Quantity, Expr]) -> Expr:
        """Row i of P times a value for every unknown."""
        return sum((self.block(row, x, value) for x, value in values.items()), Integer(0))

    def block(self, row: Quantity, column: Quantity, value: Expr) -> Expr:
        """P_ij times a value of the shape of x_j."""
        block = self.blocks[row, column]
        if row.shape and column.shape:
            return matvec(block, value)
        return dot(block, value) if column.shape else block * value

    @cached_property
    def ansatz(self) -> dict[Quantity, Expr]:
        """Costate -> P x, and s where there is one."""
        states = {x: x for x in self.costates}
        return {
            a: self.acting(x, states) + (Integer(0) if self.homogeneous else self.offsets[x])
            for x, a in self.costates.items()
        }

    @cached_property
    def velocities(self) -> dict[Quantity, Expr]:
        """Of states and costates, with the optimal controls put in."""
        return closed_velocities(self.control, self.controls)

    @cached_property
    def residuals(self) -> dict[Quantity, Expr]:
        """a_i' - row i of P x' with the ansatz put in: it must be that of P' x + s' for every x."""
        moved = {q: distributed(velocity.xreplace(self.ansatz)) for q, velocity in self.velocities.items()}
        forward = {x: moved[x] for x in self.costates}
        return {x: distributed(moved[a] - self.acting(x, forward)) for x, a in self.costates.items()}

    @cached_property
    def rates(self) -> dict[Pair, Expr | None]:
        """P_ij' x_j."""
        return {(x, y): linear_part(self.residuals[x], y) for x, y in self.blocks}

    @cached_property
    def offset_rates(self) -> dict[Quantity, Expr]:
        """s_i'."""
        return {x: distributed(residual - self._row(self.rates, x)) for x, residual in self.residuals.items()}

    @cached_property
    def gradients(self) -> dict[Quantity, Expr]:
        """What the costates end with."""
        return {x: distributed(gradient_of(self.control.terminal, x)) for x in self.costates}

    @cached_property
    def lasts(self) -> dict[Pair, Expr | None]:
        """P_ij x_j at the final time."""
        return {(x, y): linear_part(self.gradients[x], y) for x, y in self.blocks}

    @cached_property
    def offset_lasts(self) -> dict[Quantity, Expr]:
        """s_i at the final time."""
        return {x: distributed(gradient - self._row(self.lasts, x)) for x, gradient in self.gradients.items()}

    @staticmethod
    def _row(parts: Mapping[Pair, Expr | None], row: Quantity) -> Expr:
        return sum((part for (x, _), part in parts.items() if x == row and part is not None), Integer(0))

    @property
    def pairs(self) -> list[Pair]:
        """One pair for each block that is shown."""
        first: dict[Quantity, Pair] = {}
        for pair, block in self.blocks.items():
            first.setdefault(block, pair)
        return list(first.values())

    @cached_property
    def homogeneous(self) -> bool:
        """Whether nothing asks for an offset: no part of the two-point problem is without state or costate."""
        every = [*self.costates, *self.costates.values()]
        at_zero = [_is_linear(value, every) for value in self.velocities.values()]
        return all(at_zero) and not any(self.offset_lasts.values())

    @property
    def closed(self) -> bool:
        """Whether states and costates enter as a linear two-point problem."""
        every = [*self.costates, *self.costates.values()]
        parts = [linear_part(value, q) for value in self.velocities.values() for q in every]
        return None not in [*parts, *self.lasts.values()] and None not in self.rates.values()


def per_state(value: Expr, column: Quantity) -> Expr:
    """P_ij' itself of P_ij' x_j, where x_j is a number."""
    return value if column.shape else expand(value / column)


def _is_linear(value: Expr, quantities: Iterable[Quantity]) -> bool:
    """Whether an expression is a sum of parts that are linear in one of the quantities."""
    parts = [linear_part(value, q) for q in quantities]
    known = [part for part in parts if part is not None]
    return len(known) == len(parts) and distributed(value - sum(known, Integer(0))) == 0


def feedback_of(control: OptimalControl) -> Feedback | None:
    """The ansatz of a problem whose optimal controls make it a linear two-point problem; else None."""
    controls = optimal_controls(control)
    if not controls or control.observations:
        return None
    unknowns = control.ode.state
    taken = [name.partition("_")[0] for name in names_of(control)]  # as letters with the unknowns as indices
    free = [free_letter(taken, letters) for letters in (MATRIX, OFFSET)]
    found = Feedback(
        control,
        control.hamiltonian.costates,
        controls,
        {(x, y): _block(free[0], unknowns, x, y) for x in unknowns for y in unknowns},
        {x: _named(free[1], unknowns, (x,), x.shape, Role.COTANGENT) for x in unknowns},
    )
    return found if found.closed else None


def _block(letter: str, unknowns: tuple[Quantity, ...], row: Quantity, column: Quantity) -> Quantity:
    if not row.shape and not column.shape and unknowns.index(row) > unknowns.index(column):
        row, column = column, row
    return _named(letter, unknowns, (row, column), row.shape + column.shape, Role.PARAMETER)


def _named(
    letter: str, unknowns: tuple[Quantity, ...], about: tuple[Quantity, ...], shape: tuple[int | str, ...], role: Role
) -> Quantity:
    """A letter, with the unknowns it is about where there are several."""
    if len(unknowns) == 1:
        return Quantity(letter, shape, role, meaning="of the ansatz")
    latex = rf"{letter}_{{{' '.join(x.latex for x in about)}}}"
    return Quantity("_".join([letter, *(x.name for x in about)]), shape, role, latex, "of the ansatz")
