"""Recurrences whose steps draw random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sympy import Expr, Interval, Symbol

from derive.errors import SpecError
from derive.laws import Law
from derive.networks import Call
from derive.program import Program
from derive.recurrence import Recurrence
from derive.reverse_sweep import reverse_sweep
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role, by_name


@dataclass(frozen=True)
class Draw:
    """A random draw of a step.

    Attributes:
        quantity: what the step reads, declared with `draw`: of shape () one number for each sample, of another shape
            one for each component; draws of different steps are independent.
        law: its distribution.
        backward: a second, independent draw of the same law and shape that takes the place of the first in the reverse
            sweep; what the sweep gives is then no gradient.
    """

    quantity: Quantity
    law: Law
    backward: Quantity | None = None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The draw, and that of the reverse sweep."""
        return (self.quantity,) if self.backward is None else (self.quantity, self.backward)


@dataclass(frozen=True)
class RandomRecurrence(Recurrence):
    """One step of a loop that reads random draws; while a net is trained they are drawn, else they are their means.

    Attributes:
        draws: all of them.
        ranges: constants -> the interval of numbers that they may be, where that is less than a law allows.

    Raises:
        SpecError: draws that are not declared or that the step does not read, a state of several past values, or a
            range of something that is no constant.
    """

    draws: tuple[Draw, ...] = ()
    ranges: Mapping[Quantity, Interval] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        declared = {draw.quantity for draw in self.draws}
        read = {q for q in self.step.inputs if q.role is Role.DRAW}
        if not self.draws or declared != read:
            names = [", ".join(q.name for q in by_name(group)) or "nothing" for group in (read, declared)]
            raise SpecError(
                f"the step reads the random draws {names[0]}, declared are {names[1]}; allowed: RandomRecurrence(..., "
                "draws=(Draw(eta, Bernoulli(p)), ...)) with one Draw for each"
            )
        if self.lags > 1:
            raise SpecError(f"a step with random draws reads a state of one time; this one reads {self.lags}")
        for draw in self.draws:
            self._check_draw(draw)
        natural = {q: allowed for draw in self.draws for q, allowed in draw.law.ranges.items()}
        object.__setattr__(self, "ranges", {**natural, **self.ranges})
        for quantity in self.ranges:
            if quantity.role not in (Role.CONSTANT, Role.LAYER_CONSTANT):
                raise SpecError(f"ranges has {quantity.name}, a {quantity.role.value}; allowed: what constant declares")

    def _check_draw(self, draw: Draw) -> None:
        if draw.backward is None:
            return
        fits = draw.backward.role is Role.DRAW and draw.backward.shape == draw.quantity.shape
        if not fits or draw.backward in self.step.inputs:
            raise SpecError(
                f"the backward draw {draw.backward.name} of {draw.quantity.name}; allowed: a quantity declared with "
                "draw, of the same shape, that the step itself does not read"
            )
        read = set(reverse_sweep(self.step).program.inputs) & self.moved
        calls = [line.target for line in self.step.assignments if line.target in self.moved and line.value.atoms(Call)]
        if read or calls:
            names = ", ".join(q.name for q in by_name({*read, *calls}))
            raise SpecError(
                f"{draw.quantity.name} has a backward draw, but the reverse sweep reads {names}, which depends on "
                f"{draw.quantity.name}; allowed: a step that is linear in what is multiplied by it"
            )

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "random_explanation", "explain_random"

    @property
    def quantities(self) -> set[Quantity]:
        """What the step and its laws read, and the draws of the reverse sweep."""
        laws = {q for draw in self.draws for q in draw.law.quantities}
        return {*super().quantities, *laws, *(q for draw in self.draws for q in draw.quantities)}

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What stands in the table beside the step's own."""
        return tuple(by_name(self.quantities))

    @property
    def mean_step(self) -> Program:
        """The step with the mean in the place of every draw: what the net does when it is not trained."""
        return replaced(self.step, {draw.quantity: draw.law.expectation for draw in self.draws})

    def step_in(self, root: Quantity) -> Program:
        """The step as a program in the square root of its size."""
        lines = tuple(replace(line, value=in_root(line.value, root)) for line in self.step.assignments)
        return Program(tuple(root if q == STEP_SIZE else q for q in self.step.inputs), lines, self.step.outputs)

    @property
    def backward(self) -> dict[Quantity, Quantity]:
        """Draw -> that of the reverse sweep, where there is another."""
        return {draw.quantity: draw.backward for draw in self.draws if draw.backward is not None}

    @property
    def moved(self) -> set[Quantity]:
        """What depends on a draw that is another in the reverse sweep."""
        found: set[Quantity] = set()
        for line in self.step.assignments:
            if (found | set(self.backward)) & line.value.atoms(Quantity):
                found.add(line.target)
        return found

    @property
    def backward_step(self) -> Program:
        """The step whose adjoint the reverse sweep is."""
        return self.step.renamed(self.backward)

    def with_twins(self, twins: Mapping[Quantity, Quantity]) -> Program:
        """The step, and behind each line that `twins` has the one for the draws of the reverse sweep."""
        lines = []
        for line, other in zip(self.step.assignments, self.backward_step.assignments, strict=True):
            lines.append(line)
            if line.target in twins:
                lines.append(replace(other, target=twins[line.target], value=other.value.xreplace(dict(twins))))
        outputs = (*self.new, *(twins[q] for q in self.new if q in twins))
        return Program((*self.step.inputs, *self.backward.values()), tuple(lines), outputs)


def in_root(value: Expr, root: Quantity) -> Expr:
    """An expression in the step size h as one in its square root."""
    positive = Symbol("root", positive=True)  # the root of its square is itself
    return value.xreplace({STEP_SIZE: positive**2}).xreplace({positive: root})


def replaced(program: Program, values: Mapping[Quantity, object]) -> Program:
    """A program with expressions in the place of some of its inputs, without the lines that nothing reads then."""
    lines = tuple(replace(line, value=line.value.xreplace(dict(values))) for line in program.assignments)
    read = {q for line in lines for q in line.value.atoms(Quantity)}
    known = {line.target for line in lines}
    inputs = tuple(by_name((read | {q for q in program.inputs if q not in values}) - known))
    return Program(inputs, lines, program.outputs).needed_for(program.outputs)
