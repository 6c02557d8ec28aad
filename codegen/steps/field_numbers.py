"""Equation numbers of a field's lines: those of the same lines at every stage of the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Expr

from codegen.steps.facts import Facts
from codegen.steps.field_plan import FieldPlan
from derive.discretization import STEP_SIZE
from derive.program import Program
from derive.reverse_sweep import reverse_sweep
from derive.schemes import ButcherTableau
from derive.symbols import Quantity, Role


class FieldNumbers:
    """Finds the lines of the step that a line of the field, or a cotangent of one, stands for.

    A line of the field is a function of the state and the time; with the point and the time of a stage in their place
    it is the line of the step at that stage.
    """

    def __init__(self, facts: Facts, plan: FieldPlan) -> None:
        assert isinstance(facts.scheme, ButcherTableau)
        self.number_of, self.plan = facts.derivation.number_of, plan
        step = facts.recurrence.step
        self.adjoint = reverse_sweep(step)
        points = [self._points(facts, stage) for stage in range(facts.scheme.stages)]
        whole = _expanded(step, {q for row in points for q in row.values()})
        by_value: dict[Expr, Quantity] = {}
        for target, value in whole.items():
            by_value.setdefault(value, target)
        fields = _expanded(plan.program, set())
        time = next((q for q in plan.program.inputs if q.role is Role.TIME), None)
        self.stages: dict[Quantity, list[Quantity]] = {}
        for line, value in fields.items():
            for node, table in zip(facts.scheme.c, points, strict=True):
                moved = {**table, time: time + node * STEP_SIZE} if time is not None else table
                found = by_value.get(value.xreplace(moved))
                if found is not None and found not in self.stages.setdefault(line, []):
                    self.stages[line].append(found)

    def _points(self, facts: Facts, stage: int) -> Mapping[Quantity, Quantity]:
        """The unknowns at a stage: names of the step's lines, or the old state itself."""
        names = {line.target.name: line.target for line in facts.recurrence.step.assignments}
        return {q: names.get(f"{q.name}_{stage + 1}", q) if stage else q for q in self.plan.states}

    def comment(self, lines: Iterable[Quantity]) -> str:
        """Numbers of lines of the field and of cotangents of its quantities, in order, as a comment."""
        found = {int(number) for line in lines for number in self._numbers(line) if number}
        return "  # " + " ".join(f"({number})" for number in sorted(found)) if found else ""

    def _numbers(self, line: Quantity) -> list[str]:
        about = {bar: q for q, bar in self.plan.adjoint.cotangents.items()}.get(line)
        if about is None:
            return [self.number_of(f"step.{q.name}") for q in self._in_step(line)]
        bars = [self.adjoint.cotangents.get(q) for q in self._in_step(about)]
        return [self.number_of(f"adjoint.{bar.name}") for bar in bars if bar is not None]

    def _in_step(self, line: Quantity) -> list[Quantity]:
        """The line at every stage; of a line that was split off, those that it belongs to; of an input itself."""
        if line in self.plan.program.inputs:
            return [line]
        return self.stages.get(line) or self.stages.get(self.plan.origins[line], [])


def _expanded(program: Program, stop: set[Quantity]) -> dict[Quantity, Expr]:
    """Every line as a function of the inputs and of the quantities to stop at."""
    known: dict[Quantity, Expr] = {}
    for line in program.assignments:
        value = line.value.xreplace({q: e for q, e in known.items() if q not in stop})
        known[line.target] = value
    return known
