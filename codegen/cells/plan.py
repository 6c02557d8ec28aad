"""The plan of a recurrent cell: passes from the program of one step to what is done before, in and after the loops.

normal form   every matrix product a term of a row; rows ordered by the stack that the loop multiplies by
forward       products of the input hoisted out of the loop; operations of one kind on neighbouring rows as one
adjoint       every cotangent a linear form in few pivots; its coefficients are computed for all steps at once
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codegen.cells.linear_forms import LinearForm
from codegen.cells.plan_adjoint import (
    AdjointPlan,
    Carry,
    Gather,
    SendBack,
    adjoint_of,
    no_adjoint,
    plan_adjoint,
)
from codegen.cells.plan_forward import ForwardPlan, plan_forward
from codegen.cells.plan_program import CellProgram, normal_form
from derive.program import Program, symbols_of
from derive.recurrence import Recurrence
from derive.symbols import Quantity
from derive.systems import Stack


@dataclass(frozen=True)
class CellPlan:
    """Everything that the emitted functions of one cell do.

    Attributes:
        program: the step in normal form.
        forward, adjoint: the two sweeps.
        stored: which of the stacked buffers are kept for the adjoint sweep.
    """

    program: CellProgram
    forward: ForwardPlan
    adjoint: AdjointPlan
    stored: tuple[int, ...]

    @property
    def silent(self) -> bool:
        """Whether the slope is zero almost everywhere: no cotangent reaches a row, and there is no adjoint sweep."""
        return not self.adjoint.rows

    def recomputed(self, wanted: set[Quantity]) -> Program:
        """Elementwise lines that have to be computed anew from paths and rows to know the wanted quantities."""
        known = {*self.program.old, *self.program.new, *self.forward.held}
        lines = tuple(line for line in self.program.step.assignments if line.target not in known)
        outputs = tuple(line.target for line in lines if line.target in wanted)
        inputs = (*self.program.step.inputs, *(q for q in self.program.step.targets if q in known))
        return Program(inputs, lines, outputs).needed_for(outputs)


def plan(recurrence: Recurrence, stacks: Sequence[Stack] = ()) -> CellPlan:
    """Plan of a recurrent cell.

    Raises:
        UnsupportedError: the step is not that of a gated cell; says what was read and what is allowed.
    """
    program = normal_form(recurrence, stacks)
    adjoint = adjoint_of(program)
    if adjoint is None:
        return CellPlan(program, plan_forward(program, frozenset()), no_adjoint(), stored=())
    reread = frozenset(q for line in adjoint.program.assignments for q in symbols_of(line.value))
    forward = plan_forward(program, reread)
    backward = plan_adjoint(program, adjoint)
    found = CellPlan(program, forward, backward, stored=())
    wanted = set(values_read(backward))
    needed = {*wanted, *(q for line in found.recomputed(wanted).assignments for q in symbols_of(line.value))}
    wanted = needed - set(program.new)
    groups = enumerate(program.groups)
    stored = tuple(place for place, rows in groups if any(forward.held[row] in wanted for row in rows))
    return CellPlan(program, forward, backward, stored)


def values_read(adjoint: AdjointPlan) -> Iterator[Quantity]:
    """Quantities of the forward sweep that the adjoint sweep reads, and cotangents among them."""
    for scaled in adjoint.coefficients.values():
        yield from sorted(symbols_of(scaled.coefficient), key=str)
    for form in forms(adjoint):
        for coefficient in form.coefficients:
            yield from sorted(symbols_of(coefficient), key=str)
    for gradient in adjoint.gradients:
        yield from sorted(symbols_of(gradient.coefficient), key=str)


def forms(adjoint: AdjointPlan) -> Iterator[LinearForm]:
    """Linear forms in the loop, in order."""
    yield from (operation.form for operation in adjoint.loop if isinstance(operation, Gather | Carry | SendBack))
