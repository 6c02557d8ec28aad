"""Runge-Kutta schemes as Butcher tableaus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Matrix, Rational, cancel, expand, latex, sympify

from derive.errors import SpecError


@dataclass(frozen=True)
class ButcherTableau:
    """A Runge-Kutta scheme: stages `X_i = x + h sum_j a_ij K_j`, `x_next = x + h sum_i b_i K_i`.

    Attributes:
        A, b, c: the tableau; entries are exact (rationals, algebraic numbers or symbols).
        b_error: weights of the embedded scheme, where there is one.
        dense: coefficients of the dense output, where there is one: `b_i(theta) = sum_j dense[i][j] theta^(j+1)`.
        order, embedded_order, dense_order: the orders it claims, where it claims them.
        digits: digits of published decimals; None for exact entries.
        title: its usual name.

    Raises:
        SpecError: sizes that do not fit, a row of A that does not sum to c, or b that does not sum to 1.
    """

    A: Sequence[Sequence[Any]]
    b: Sequence[Any]
    c: Sequence[Any]
    b_error: Sequence[Any] | None = None
    dense: Sequence[Sequence[Any]] | None = None
    order: int | None = None
    embedded_order: int | None = None
    dense_order: int | None = None
    digits: int | None = None
    title: str = "Runge-Kutta"

    def __post_init__(self) -> None:
        object.__setattr__(self, "A", tuple(tuple(sympify(entry) for entry in row) for row in self.A))
        object.__setattr__(self, "b", tuple(sympify(entry) for entry in self.b))
        object.__setattr__(self, "c", tuple(sympify(entry) for entry in self.c))
        stages = len(self.b)
        if len(self.c) != stages or len(self.A) != stages or any(len(row) != stages for row in self.A):
            raise SpecError(
                f"{self.title}: b has {stages} stages; A must be {stages} x {stages} and c have {stages} entries"
            )
        for index, row in enumerate(self.A):
            if cancel(expand(sum(row) - self.c[index])) != 0:
                raise SpecError(
                    f"{self.title}: row {index + 1} of A sums to {sum(row)}, c_{index + 1} is {self.c[index]}"
                )
        self._check_weights("b", self.b)
        if self.b_error is not None:
            object.__setattr__(self, "b_error", tuple(sympify(entry) for entry in self.b_error))
            self._check_weights("b_error", self.b_error)

    def _check_weights(self, name: str, weights: Sequence[Any]) -> None:
        if len(weights) != self.stages:
            raise SpecError(f"{self.title}: {name} has {len(weights)} entries, b has {self.stages}")
        if cancel(expand(sum(weights) - 1)) != 0:
            raise SpecError(f"{self.title}: {name} sums to {sum(weights)}, not 1")

    @property
    def stages(self) -> int:
        """Number of evaluations of the field per step."""
        return len(self.b)

    @property
    def explicit(self) -> bool:
        """Whether every stage needs only earlier ones."""
        return all(self.A[i][j] == 0 for i in range(self.stages) for j in range(i, self.stages))

    def stability_function(self, z: Expr) -> Expr:
        """R(z) = 1 + z b^T (I - z A)^{-1} 1 as a polynomial in z (explicit schemes)."""
        matrix, weights, ones = Matrix(self.A), Matrix([self.b]), Matrix([1] * self.stages)
        power, result = ones, sympify(1)
        for order in range(1, self.stages + 1):
            result += z**order * (weights * power)[0]
            power = matrix * power
        return expand(result)

    def latex(self) -> str:
        """The tableau as it is printed in books."""
        rows = [
            " & ".join([latex(node), *(latex(entry) if j < i else "" for j, entry in enumerate(row))])
            for i, (node, row) in enumerate(zip(self.c, self.A, strict=True))
        ]
        rows.append(" & ".join([r"\hline ", *(latex(entry) for entry in self.b)]))
        columns = "c|" + "c" * self.stages
        return rf"\begin{{array}}{{{columns}}}" + r" \\ ".join(rows) + r"\end{array}"


half, third, sixth = Rational(1, 2), Rational(1, 3), Rational(1, 6)

FORWARD_EULER = ButcherTableau(A=[[0]], b=[1], c=[0], title="forward Euler")
MIDPOINT = ButcherTableau(A=[[0, 0], [half, 0]], b=[0, 1], c=[0, half], title="explicit midpoint")
HEUN = ButcherTableau(A=[[0, 0], [1, 0]], b=[half, half], c=[0, 1], title="Heun")
RK4 = ButcherTableau(
    A=[[0, 0, 0, 0], [half, 0, 0, 0], [0, half, 0, 0], [0, 0, 1, 0]],
    b=[sixth, third, third, sixth],
    c=[0, half, half, 1],
    title="classical Runge-Kutta",
)
