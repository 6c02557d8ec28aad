"""A recurrence as one graph: a fixed number of its steps, one behind the other."""

from __future__ import annotations

from sympy import Expr

from derive.errors import UnsupportedError
from derive.past_values import EARLIER, Past
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.symbols import Quantity, Role, by_name, with_index

SHARED = (Role.PARAMETER, Role.CONSTANT, Role.STEP_SIZE)


def unrolled(recurrence: Recurrence, steps: int) -> Program:
    """The graph of so many steps: what step k computes carries the index k, the state it begins with the index 0.

    Parameters, constants and the step size are shared by all steps; everything else that a step reads has its number.
    A graph serves to show and to check; to compute, loop.

    Args:
        recurrence: what is repeated; its lags are numbers (`derive.with_lags`), and what lies before the first step has
            the numbers 0, -1, ... of its steps, written m1 for -1 in names.
        steps: how many times, at least once.

    Returns:
        A program with the last state as its outputs; of a recurrence without states, the outputs of all steps.
    """
    state = dict(zip(recurrence.old, (at(x, 0) for x in recurrence.old), strict=True))
    lines: list[Assignment] = []
    for k in range(1, steps + 1):
        after = {new: at(old, k) for old, new in zip(recurrence.old, recurrence.new, strict=True)}
        table: dict[Expr, Expr] = {**state}
        for value in recurrence.past:
            table[value] = _earlier(value, k)
        for quantity in (*recurrence.step.inputs, *recurrence.step.targets):
            if quantity not in table and quantity.role not in SHARED:
                table[quantity] = after.get(quantity) or at(quantity, k)
        for line in recurrence.step.assignments:
            lines.append(Assignment(table[line.target], line.value.xreplace(table), line.reason))
        state = {old: after[new] for old, new in zip(recurrence.old, recurrence.new, strict=True)}
    outputs = tuple(state.values())
    if not state and recurrence.output is not None:
        outputs = tuple(at(recurrence.output, k) for k in range(1, steps + 1))
    read = {q for line in lines for q in line.value.atoms(Quantity)} - {line.target for line in lines}
    return Program(tuple(by_name(read)), tuple(lines), outputs)


def _earlier(value: Past, step: int) -> Quantity:
    """What a step reads of a state or an input some steps before."""
    if not isinstance(value.lag, int):
        raise UnsupportedError(f"{value.name} has a lag that the constructor is told; take numbers: with_lags")
    return at(value.source, step - value.lag)


def at(quantity: Quantity, step: int) -> Quantity:
    """The quantity of one step."""
    found = EARLIER.match(quantity.latex)
    letter = found["letter"] if found and found["index"] in "tkn" else quantity.latex
    number = str(step) if step >= 0 else f"m{-step}"
    return quantity.renamed(f"{quantity.name}_{number}", with_index(letter, str(step)))
