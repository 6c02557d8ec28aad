"""Stochastic differential equation x scheme -> one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sympy import Expr, Integer

from derive.program import Builder, Program, name_functions
from derive.recurrence import Recurrence
from derive.schemes.stochastic import StochasticRungeKutta, stochastic_scheme
from derive.sde import SDE
from derive.sde_calculus import HALF, along, correction, reads_state
from derive.step_quantities import STEP_SIZE, at_step, stage_latex
from derive.symbols import Quantity, Role, with_index


@cache
def stochastic_step(sde: SDE, scheme: StochasticRungeKutta | str, calculus: str = "") -> Recurrence:
    """One step of a scheme for an equation, in the equation's own calculus or as if it were meant in another.

    Drift, diffusion and correction at stage i are named `f_i`, `g_i`, `c_i`, or without a number where there is one
    stage. The scheme's own calculus needs the drift f - c or f + c where it is not the equation's.

    Raises:
        UnsupportedError: a correction that is not derived.
    """
    return _Step(sde, stochastic_scheme(scheme), calculus or sde.calculus).made()


@dataclass
class _Step:
    """Writes the lines of a step."""

    sde: SDE
    scheme: StochasticRungeKutta
    calculus: str
    builder: Builder = field(default_factory=Builder)
    points: list[Quantity] = field(default_factory=list)
    drifts: list[Quantity] = field(default_factory=list)
    diffusions: list[Quantity] = field(default_factory=list)
    corrections: dict[int, Expr] = field(default_factory=dict)

    def made(self) -> Recurrence:
        old, new = at_step(self.sde.state, 0), at_step(self.sde.state, -1)
        for stage in range(self.scheme.stages):
            self._evaluate(stage, old)
        second = self._second(old)
        moved = self._moved(self.scheme.alpha, self.scheme.beta, last=True)
        target = self._let(new, old + moved + second, self.scheme.title)
        program = name_functions(self.builder.build((target,)).needed_for((target,)))
        inputs = tuple(dict.fromkeys((old, *program.inputs)))
        program = Program(inputs, program.assignments, program.outputs)
        return Recurrence(program, (old,), (target,), inputs=(self.sde.increment,))

    def _evaluate(self, stage: int, old: Quantity) -> None:
        point = old
        if any(self.scheme.A[stage]) or any(self.scheme.B[stage]):
            name = f"{old.name}_{stage + 1}"
            point = Quantity(name, old.shape, Role.INTERMEDIATE, stage_latex(old, stage), f"stage {stage + 1}")
            self._let(point, old + self._moved(self.scheme.A[stage], self.scheme.B[stage]), "stage")
        self.points.append(point)
        self.drifts.append(self._named("f", stage, self.sde.drift, "drift"))
        self.diffusions.append(self._named("g", stage, self.sde.diffusion, "diffusion"))

    def _correction(self, stage: int) -> Expr:
        """c at a stage, written once; zero where there is none."""
        if stage not in self.corrections:
            value = correction(self.sde)
            made = self._named("c", stage, value, "correction between the calculi") if value != 0 else value
            self.corrections[stage] = made
        return self.corrections[stage]

    def _moved(self, drift: Sequence[Expr], noise: Sequence[Expr], last: bool = False) -> Expr:
        """h times the weighted drifts, and the increment through the weighted diffusions.

        The scheme's calculus has its own drift; Milstein's second integrals of Ito's calculus bring another correction.
        """
        sign = (self.scheme.calculus == "ito") - (self.calculus == "ito")
        rate = Integer(0)
        for stage, (weight, f) in enumerate(zip(drift, self.drifts, strict=False)):
            own = self.scheme.gamma if last and stage == 0 and self.scheme.calculus == "ito" else 0
            corrected = sign * weight - own
            rate += weight * f + (corrected * self._correction(stage) if corrected != 0 else 0)
        matrix = sum((w * g for w, g in zip(noise, self.diffusions, strict=False)), Integer(0))
        driven = self.sde.driven(matrix, self.sde.increment) if matrix != 0 else Integer(0)
        return STEP_SIZE * rate + driven

    def _second(self, old: Quantity) -> Expr:
        """Half of gamma times the derivative of the diffusion along its own increment, times the increment."""
        sde, weight = self.sde, self.scheme.gamma
        if weight == 0 or not reads_state(sde):
            return Integer(0)
        through = sde.driven(self.diffusions[0], sde.increment)
        way = self._fresh("w", through, "w", "increment through the diffusion")
        slope = self._at(along(sde, way), 0)
        turned = self._fresh("g_w", slope, r"Dg_{n}[w]", "derivative of the diffusion along w")
        return weight * HALF * sde.driven(turned, sde.increment)

    def _at(self, value: Expr, stage: int) -> Expr:
        table: dict[Quantity, Expr] = {self.sde.state: self.points[stage]}
        if self.sde.time is not None:
            table[self.sde.time] = time_of(self.sde, self.scheme.nodes[stage])
        return value.xreplace(table)

    def _named(self, letter: str, stage: int, value: Expr, meaning: str) -> Quantity:
        several = self.scheme.stages > 1
        name, index = (f"{letter}_{stage + 1}", str(stage + 1)) if several else (letter, "n")
        return self._fresh(name, self._at(value, stage), f"{letter}_{{{index}}}", meaning)

    def _fresh(self, name: str, value: Expr, latex: str, meaning: str) -> Quantity:
        """A line under a name that the equation does not use."""
        taken = {q.name for q in self.sde.quantities}
        free = next(one for one in (name, f"{name}_n", f"{name}_value", f"{name}_of_step") if one not in taken)
        return self.builder.let(free, value, latex=latex, meaning=meaning, reason=meaning)

    def _let(self, target: Quantity, value: Expr, reason: str) -> Quantity:
        return self.builder.let(target.name, value, latex=target.latex, meaning=target.meaning, reason=reason)


def time_of(sde: SDE, node: Any) -> Expr:
    """The time t_n + node h."""
    assert sde.time is not None
    return Quantity(sde.time.name, (), Role.TIME, with_index(sde.time.latex, "n"), sde.time.meaning) + node * STEP_SIZE
