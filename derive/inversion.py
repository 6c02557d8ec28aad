"""Inverse of a step: solve it for its oldest state; where that needs no new solve, the step is reversible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy
from sympy import Expr, Integer, denom, solve, together

from derive.program import Assignment, Program, symbols_of
from derive.symbols import Quantity, Role
from derive.systems import Recurrence, has_operator


@dataclass(frozen=True)
class Inverse:
    """The inverse of a step.

    Attributes:
        program: reads the new state (and the newer part of the old one), computes the oldest state.
        conditions: expressions that must not vanish.
    """

    program: Program
    conditions: tuple[Expr, ...]


def invert(recurrence: Recurrence) -> Inverse | None:
    """The explicit inverse of a step, or None where it needs the solution of an equation.

    The oldest state is solved from the line that uses it. It must enter that line elementwise and nothing else may
    depend on it: then all that is evaluated is what the forward step evaluates, at states that are known.
    """
    kept = [q for q in recurrence.new if q in recurrence.old]
    oldest = [q for q in recurrence.old if q not in kept]
    lines: list[Assignment] = []
    conditions: list[Expr] = []
    unknown = set(oldest)
    program = recurrence.step
    shared = [line for line in program.assignments if not _depends(program, line.target, oldest)]
    for target in (q for q in recurrence.new if q not in kept):
        value = program.value(target)
        found = sorted(symbols_of(value) & unknown, key=lambda q: q.name)
        if len(found) != 1 or has_operator(value, found[0]) or _hidden(program, value, oldest):
            return None
        solution = _solved(value, found[0], target)
        if solution is None:
            return None
        conditions += _must_not_vanish(solution)
        lines.append(Assignment(_as_intermediate(found[0]), solution, f"the step solved for {found[0].name}"))
        unknown -= set(found)
    if unknown:
        return None
    return _assemble(recurrence, shared, lines, conditions)


def _solved(value: Expr, unknown: Quantity, target: Quantity) -> Expr | None:
    """The one solution of value = target; terms stay as the step has them where the unknown enters linearly."""
    slope = sympy.diff(value, unknown)
    if unknown not in slope.free_symbols:
        return (target - value.xreplace({unknown: Integer(0)})) / slope
    solutions = solve(target - value, unknown)
    return solutions[0] if len(solutions) == 1 else None


def _assemble(
    recurrence: Recurrence, shared: list[Assignment], lines: list[Assignment], conditions: list[Expr]
) -> Inverse:
    outputs = tuple(line.target for line in lines)
    used = {q for line in [*shared, *lines] for q in symbols_of(line.value)}
    inputs = used - {line.target for line in [*shared, *lines]}
    ordered = tuple(sorted(inputs, key=lambda q: q.name))
    program = Program(ordered, (*shared, *lines), outputs).needed_for(outputs)
    return Inverse(program, tuple(conditions))


def _as_intermediate(quantity: Quantity) -> Quantity:
    return quantity.renamed(quantity.name, quantity.latex, Role.INTERMEDIATE)


def _depends(program: Program, target: Quantity, on: Iterable[Quantity]) -> bool:
    part = program.needed_for((target,))
    return any(q in on for line in part.assignments for q in symbols_of(line.value))


def _hidden(program: Program, value: Expr, oldest: list[Quantity]) -> bool:
    """Whether the value depends on the oldest state through another assigned quantity."""
    return any(_depends(program, q, oldest) for q in symbols_of(value) if q in program.targets)


def _must_not_vanish(solution: Expr) -> list[Expr]:
    bottom = denom(together(solution))
    return [] if bottom.is_number else [sympy.factor(bottom)]
