"""One step of an additive or partitioned Runge-Kutta scheme: its stages one after the other, or solved for."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, Integer

from derive.equations import separated
from derive.errors import SpecError
from derive.program import Builder, Program, name_functions, symbols_of
from derive.recurrence import Recurrence
from derive.schemes import AdditiveTableau, Splitting
from derive.step_quantities import STEP_SIZE, at_node, at_step, stage_latex
from derive.symbols import Quantity, Role
from derive.systems import ODE

PartsScheme = AdditiveTableau | Splitting
Rows = tuple[tuple[Expr, ...], ...]
Weights = dict[Quantity, Expr]  # evaluation of the field -> its weight in a stage value


def additive_step(ode: ODE, tableau: AdditiveTableau) -> Recurrence:
    """One step of `tableau` on the parts of `ode`.

    Which stage needs which is read from the field: a scheme with implicit parts is explicit where no value needs
    itself, as symplectic Euler is where the velocity of each unknown is a function of the others alone. Elsewhere the
    stages are equations, as few at a time as the field allows.

    Raises:
        SpecError: the scheme has another number of parts than the field.
    """
    if len(tableau.parts) != len(ode.split):
        raise SpecError(
            f"{tableau.title} is for {len(tableau.parts)} parts, the field has {len(ode.split)}; "
            "give ODE(..., parts=...), or a scheme with one tableau for each part"
        )
    stages = _Stages(ode, tableau)
    old, new = (tuple(at_step(x, lag) for x in ode.state) for lag in (0, -1))
    try:
        made = [stages.result(place) for place in range(len(ode.state))]
    except _NeedsItselfError:
        return Recurrence(_Equations(ode, tableau).program(new), old, new)
    for place, (before, after) in enumerate(zip(old, new, strict=True)):
        if made[place] == before:  # nothing drives it
            made[place] = stages.builder.let(after.name, before, latex=after.latex, meaning=after.meaning)
    program = stages.builder.build(made).renamed(dict(zip(made, new, strict=True)))
    return Recurrence(name_functions(program), old, new)


class _NeedsItselfError(Exception):
    """A stage value needs itself: the stages are equations."""


class _Stages:
    """Stage values and evaluations of the parts, each made when it is first asked for and made once.

    Values of one unknown with the same weights are one value, so that a stage that is the result bears its name, and a
    value is written as an earlier one plus what is added to it where its weights allow that: then each line changes one
    thing, and the step can be undone line by line.
    """

    def __init__(self, ode: ODE, tableau: AdditiveTableau) -> None:
        self.ode, self.tableau = ode, tableau
        self.builder = Builder()
        self.values: list[list[tuple[Weights, Quantity]]] = [[({}, at_step(x, 0))] for x in ode.state]
        self.at_stage: dict[tuple[int, int], Quantity] = {}
        self.evaluations: dict[Expr, Quantity] = {}
        self.waiting: list[tuple[int, int]] = []

    def result(self, place: int) -> Quantity:
        """The unknown after the step."""
        weights = self._weights(place, [part.b for part in self.tableau.parts])
        return self._value(place, weights, at_step(self.ode.state[place], -1))

    def _stage(self, place: int, stage: int) -> Quantity:
        """An unknown at a stage."""
        key = (place, stage)
        if key in self.waiting:
            raise _NeedsItselfError
        if key not in self.at_stage:
            self.waiting.append(key)
            weights = self._weights(place, [part.A[stage] for part in self.tableau.parts])
            x = at_step(self.ode.state[place], 0)
            named = x.renamed(f"{x.name}_{stage + 1}", stage_latex(x, stage))
            self.at_stage[key] = self._value(place, weights, named)
            self.waiting.pop()
        return self.at_stage[key]

    def _weights(self, place: int, rows: Sequence[Sequence[Expr]]) -> Weights:
        """Weights of the evaluations in a value of one unknown, given one row of weights for each part."""
        weights: Weights = {}
        for part, row in enumerate(rows):
            if self.ode.split[part][place] == 0:
                continue
            for stage, weight in enumerate(row):
                if weight != 0:
                    found = self._evaluation(part, stage, place)
                    weights[found] = weights.get(found, Integer(0)) + weight
        return {found: weight for found, weight in weights.items() if weight != 0}

    def _value(self, place: int, weights: Weights, named: Quantity) -> Quantity:
        known = self.values[place]
        found = next((value for others, value in known if others == weights), None)
        if found is not None:
            return found
        bases = [(others, value) for others, value in known if others.items() <= weights.items()]
        others, base = max(bases, key=lambda pair: len(pair[0]))
        increment = sum((weight * q for q, weight in weights.items() if q not in others), Integer(0))
        made = self.builder.let(
            named.name,
            base + STEP_SIZE * increment,
            latex=named.latex,
            meaning=named.meaning,
            reason=self.tableau.title,
        )
        known.append((weights, made))
        return made

    def _evaluation(self, part: int, stage: int, place: int) -> Quantity:
        """The right-hand side of one unknown in one part at a stage."""
        value = self.ode.split[part][place]
        used = symbols_of(value)
        table: dict[Quantity, Expr] = {
            x: self._stage(other, stage) for other, x in enumerate(self.ode.state) if x in used
        }
        point = value.xreplace(table | at_node(self.ode, self.tableau.parts[part].c[stage]))
        if point not in self.evaluations:
            name = "_".join(["f", *self._indices(part, stage, place)])
            latex = f"f_{{{','.join(self._indices(part, stage, place)) or 'n'}}}"
            self.evaluations[point] = self.builder.let(name, point, latex=latex, reason="field")
        return self.evaluations[point]

    def _indices(self, part: int, stage: int, place: int) -> list[str]:
        """What tells one evaluation from the others: its stage, its unknown, its part."""
        sharing = sum(other[place] != 0 for other in self.ode.split)
        indices = [str(stage + 1)] if self.tableau.stages > 1 else []
        indices += [self.ode.state[place].name] if len(self.ode.state) > 1 else []
        return indices + ([f"part{part + 1}"] if sharing > 1 else [])


class _Equations(_Stages):
    """The same where stages need themselves: all lines as equations; those of equal weights are one."""

    def __init__(self, ode: ODE, tableau: AdditiveTableau) -> None:
        super().__init__(ode, tableau)
        self.points: dict[tuple[int, Rows], Quantity] = {}

    def program(self, new: Sequence[Quantity]) -> Program:
        """The step, its systems of equations as small as they can be."""
        for place, after in enumerate(new):
            self.points[place, self._rows(place, None)] = after
        written = 0
        while written < len(self.points):
            (place, rows), named = list(self.points.items())[written]
            weights = self._weights(place, rows)
            increment = sum((weight * q for q, weight in weights.items()), Integer(0))
            value = at_step(self.ode.state[place], 0) + STEP_SIZE * increment
            reason = self.tableau.title
            self.builder.let(named.name, value, latex=named.latex, meaning=named.meaning, reason=reason)
            written += 1
        guesses = [at_step(self.ode.state[place], 0) for place, _ in self.points]
        self.builder.solve(0, self.points.values(), guesses)
        return separated(name_functions(self.builder.build(new)))

    def _stage(self, place: int, stage: int) -> Quantity:
        x, rows = at_step(self.ode.state[place], 0), self._rows(place, stage)
        if not any(weight != 0 for row in rows for weight in row):
            return x
        named = Quantity(f"{x.name}_{stage + 1}", x.shape, Role.INTERMEDIATE, stage_latex(x, stage))
        return self.points.setdefault((place, rows), named)

    def _rows(self, place: int, stage: int | None) -> Rows:
        """What the parts that drive an unknown weigh the stages with: at a stage, or (None) in the step."""
        rows = [part.b if stage is None else part.A[stage] for part in self.tableau.parts]
        return tuple(tuple(row) if self.ode.split[p][place] != 0 else () for p, row in enumerate(rows))
