"""The plan of a recurrent cell: passes from the program of one step to what is done before, in and after the loops.

normal form   every matrix product a term of a row; rows ordered by the stack that the loop multiplies by
forward       products of the input hoisted out of the loop; operations of one kind on neighbouring rows as one
adjoint       every cotangent a linear form in few pivots; its coefficients are computed for all steps at once
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
from codegen.cells.plan_forward import ForwardPlan, Hadamard, Product, plan_forward
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


def plan(recurrence: Recurrence, stacks: Sequence[Stack] = (), apart: Collection[Quantity] = frozenset()) -> CellPlan:
    """Plan of a recurrent cell; parameters `apart` keep tensors of their own.

    Raises:
        UnsupportedError: the step is not that of a gated cell; says what was read and what is allowed.
    """
    program = normal_form(recurrence, stacks)
    runs = read_together(program, plan_forward(program, frozenset()), apart)
    program = normal_form(recurrence, stacks, runs) if runs else program
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


def read_together(
    program: CellProgram, forward: ForwardPlan, apart: Collection[Quantity]
) -> list[tuple[Quantity, ...]]:
    """Parameters of no stack that the forward sweep reads as one block and nowhere else: they are joined beforehand.

    Then their gradients are one product over all steps.
    """
    found: list[tuple[Quantity, ...]] = []
    for block in forward.before:
        found += [*(product.matrices for product in block.products), *block.biases]
    for operation in forward.loop:
        found += [operation.matrices] if isinstance(operation, Product) else []
        found += [operation.parameters] if isinstance(operation, Hadamard) else []
    counts = Counter(q for run in found for q in run)
    return [
        run
        for run in found
        if len(run) > 1 and all(program.layout.place(q)[0].alone and counts[q] == 1 and q not in apart for q in run)
    ]


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
