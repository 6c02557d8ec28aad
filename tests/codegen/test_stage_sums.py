"""Sums of a Runge-Kutta step as calls that add each slope in one operation."""

from __future__ import annotations

import pytest
from sympy import Expr, Integer

from codegen.steps.stage_sums import stage_sum
from derive.symbols import Quantity, Role

x, y, f_1, f_2, f_10 = (Quantity(name, ("d",), Role.INTERMEDIATE) for name in ("x", "y", "f_1", "f_2", "f_10"))
h, k = Quantity("h", (), Role.STEP_SIZE), Quantity("k", (), Role.CONSTANT)
w = Quantity("w", ("d",), Role.PARAMETER)
ONE = Integer(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (x + h * f_1, "plus_slopes(x, h, (1, f_1))"),
        (h * (f_2 - f_1 / 3) + x, "plus_slopes(x, h, (-1 / 3, f_1), (1, f_2))"),
        (x + h * (f_10 / 4 + 3 * f_2 / 4), "plus_slopes(x, h, (3 / 4, f_2), (1 / 4, f_10))"),
        (x + h * (1 - ONE / 2 / k) * f_1, "plus_slopes(x, h, ((2 * k - 1) / (2 * k), f_1))"),
        (x + y, None),
        (2 * x + h * f_1, None),
        (x + y + h * f_1, None),
        (h * f_1 + h * f_2, None),
        (x + h * w * f_1, None),
        (x + h**2 * f_1, None),
        (x + h * f_1 * f_2, None),
        (x + w + h * f_1, None),
    ],
)
def test_only_a_start_and_weighted_slopes_are_one_call(value: Expr, text: str | None) -> None:
    assert stage_sum(value) == text
