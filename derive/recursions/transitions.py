"""A cell with given weights as a finite machine: its exact table, one step for every state and input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from sympy import Expr, Rational

from derive.checks import ResidualCheck
from derive.derivation import Relation
from derive.errors import SpecError
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.relations import relation
from derive.starting_values import Value, filled, table_sizes
from derive.symbols import Quantity, Role

Numbers = tuple[Fraction, ...]


@dataclass(frozen=True)
class Transition:
    """One step.

    Attributes:
        state, given: the state before it, and what it reads.
        after, output: the state after it, and what it gives out.
        lines: name -> value of every line of the step.
    """

    state: Numbers
    given: Numbers
    after: Numbers
    output: Numbers
    lines: Mapping[str, Numbers]


def transitions(
    cell: Recurrence,
    values: Mapping[Quantity, Value],
    states: Iterable[Sequence[Any]],
    inputs: Iterable[Sequence[Any]],
    where: Mapping[Quantity, Any] = {},
) -> list[Transition]:
    """The step for every state and every input, in fractions: nothing is rounded.

    Args:
        cell: one state vector, one input vector.
        values: of its parameters, as in `Spec.values`; they give the sizes.
        states: all that are tried.
        inputs: all that are tried with each.
        where: values of constants among the values.

    Raises:
        SpecError: a parameter has no value.
    """
    parameters = _parameters(cell, values, where)
    (old,), (x,) = cell.old, cell.inputs
    tried = [(tuple(map(Fraction, state)), tuple(map(Fraction, given))) for state in states for given in inputs]
    return [_step(cell, {**parameters, old: _vector(state), x: _vector(given)}) for state, given in tried]


def reachable(
    cell: Recurrence,
    values: Mapping[Quantity, Value],
    start: Sequence[Any],
    inputs: Sequence[Sequence[Any]],
    where: Mapping[Quantity, Any] = {},
) -> list[Numbers]:
    """All states, finitely many, that follow from one under any inputs, in the order in which they are found."""
    found: dict[Numbers, None] = {}
    fresh = [tuple(map(Fraction, start))]
    while fresh:
        found |= dict.fromkeys(fresh)
        steps = transitions(cell, values, fresh, inputs, where)
        fresh = [state for state in dict.fromkeys(step.after for step in steps) if state not in found]
    return list(found)


def on_every_step(
    title: str,
    found: Callable[[Transition], Sequence[Fraction]],
    claimed: Sequence[Expr],
    formula: str,
    reason: str,
    name: str,
    *,
    steps: Callable[[], Sequence[Transition]],
    known: Callable[[Transition], Mapping[Expr, Fraction]],
    section: str,
) -> Relation:
    """What numbers of a step are, held against all steps of a table, in fractions.

    Args:
        title: what it is, in a few words.
        found: the numbers of a step.
        claimed: an expression for each.
        formula: in LaTeX.
        reason: why it holds.
        name: of the result, the first expression.
        steps: the table; made when the relation is checked.
        known: values of the symbols of the claimed expressions.
        section: the heading it stands under.
    """

    def residual(coefficients: tuple[Expr, ...]) -> float:
        worst = Fraction(0)
        for step in steps():
            values = {symbol: Rational(number.numerator, number.denominator) for symbol, number in known(step).items()}
            sides = zip(found(step), (value.xreplace(values) for value in coefficients), strict=True)
            worst = max([worst, *(abs(left - Fraction(int(right.p), int(right.q))) for left, right in sides)])
        return float(worst)

    text = f"{name}: {'; '.join(map(str, claimed))}"
    check = ResidualCheck(residual, tuple(claimed), "every state and input of the table, in fractions")
    return relation(
        title, "identity", formula, text=text, reason=reason, name=name, value=claimed[0], check=check, section=section
    )


def _parameters(
    cell: Recurrence, values: Mapping[Quantity, Value], where: Mapping[Quantity, Any]
) -> dict[Quantity, Numeric]:
    wanted = [q for q in cell.step.inputs if q.role is Role.PARAMETER]
    missing = [q.name for q in wanted if q not in values]
    if missing:
        raise SpecError(f"{', '.join(missing)}: no exact value is given")
    sizes = table_sizes("the cell", values)
    found = {}
    for q in wanted:
        shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in q.shape)
        numbers = [Fraction(int(entry.p), int(entry.q)) for entry in filled(values[q], shape, where)]
        found[q] = _vector(numbers).reshape(shape)
    return found


def _step(cell: Recurrence, known: Mapping[Quantity, Numeric]) -> Transition:
    found = evaluate(cell.step, known)
    lines = {q.name: _numbers(found[q]) for q in cell.step.targets}
    output = found[cell.new[0] if cell.output is None else cell.output]
    before, read, after = known[cell.old[0]], known[cell.inputs[0]], found[cell.new[0]]
    return Transition(_numbers(before), _numbers(read), _numbers(after), _numbers(output), lines)


def _vector(numbers: Sequence[Fraction]) -> Numeric:
    return np.array([*numbers, None], dtype=object)[:-1]


def _numbers(value: Numeric) -> Numbers:
    return tuple(Fraction(entry) for entry in value)
