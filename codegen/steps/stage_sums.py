"""The sums of a Runge-Kutta step, x + h (a_1 f_1 + a_2 f_2 + ...), as a call that adds each slope in one operation."""

from __future__ import annotations

from sympy import Expr, Poly

from codegen.printer import TorchPrinter
from derive.program import symbols_of
from derive.symbols import Role


def stage_sum(value: Expr) -> str | None:
    """`plus_slopes(x, h, (a_1, f_1), ...)`; None where an expression is no such sum, or a weight is no number."""
    found = sorted(symbols_of(value), key=lambda quantity: (len(quantity.name), quantity.name))
    moving = [quantity for quantity in found if quantity.role.batched]
    steps = [quantity for quantity in found if quantity.role is Role.STEP_SIZE]
    numbers = [quantity for quantity in found if quantity.role is Role.CONSTANT]
    known = len(found) == len(moving) + len(steps) + len(numbers)
    if len(steps) != 1 or not known or not value.is_polynomial(*moving, *steps):
        return None
    terms = Poly(value, *moving, *steps).as_dict(native=False)
    starts = [place for place in range(len(moving)) if terms.get(_powers(place, 0, len(moving))) == 1]
    slopes = [(place, weight) for place in range(len(moving)) if (weight := terms.get(_powers(place, 1, len(moving))))]
    if len(starts) != 1 or not slopes or len(terms) != 1 + len(slopes):
        return None
    listed = ", ".join(f"({TorchPrinter()(weight)}, {moving[place].name})" for place, weight in slopes)
    return f"plus_slopes({moving[starts[0]].name}, {steps[0].name}, {listed})"


def _powers(place: int, step: int, width: int) -> tuple[int, ...]:
    """Powers in (one of the moving quantities) * h**step."""
    return (*(int(other == place) for other in range(width)), step)
