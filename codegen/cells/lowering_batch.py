"""All steps at once: the stacked buffer anew from the paths, and cells in which no step waits for another."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, parameters_text, tuple_text
from codegen.cells.lowering_frame import Frame, tapped_lines
from codegen.cells.lowering_input import input_part, past_input
from codegen.cells.lowering_past import lag_arguments
from codegen.cells.plan_forward import Compute, Keep, Product
from codegen.steps.source import Function
from derive.program import symbols_of
from derive.symbols import Quantity


class BatchFrame(Frame):
    """All steps at once: rows are slices of the stacked buffer (T B, n H), quantities are paths (T, B, H)."""

    def flat(self, rows: Sequence[int]) -> str:
        name = self.cell.names("a")
        return name if self.cell.whole(rows) else f"{name}[:, {self.cell.columns(rows)}]"

    def wide(self, rows: Sequence[int]) -> str:
        return self.stack if self.cell.whole(rows) else f"{self.stack}[:, :, {rows[0]}:{rows[-1] + 1}]"

    @property
    def stack(self) -> str:
        """The stacked buffer with axes for steps, batch and rows."""
        cell = self.cell
        return self.bind(cell.names("stack"), f"{cell.names('a')}.view({cell.shape}, {cell.count}, {cell.size})")

    def any(self, rows: Sequence[int]) -> str:
        return self.flat(rows)

    def single(self, row: int) -> str:
        return f"{self.stack}[:, :, {row}]"

    def vector(self, quantity: Quantity) -> str:
        self.use(quantity)
        return f"{quantity.name}.flatten(0, 1)"

    def tapped(self, operation: Product) -> list[str]:
        each = f"{self.cell.layout.single(operation.matrices[0])}.mT"
        return tapped_lines(self, operation, each, operation.vector.name, ".flatten(0, 1)")

    def wide_vector(self, quantity: Quantity) -> str:
        self.use(quantity)
        return f"{quantity.name}.unsqueeze(2)"

    def transposed(self, matrices: Sequence[Quantity]) -> str:
        return f"{self.cell.layout.flat(matrices)}.t()"

    def use(self, quantity: Quantity) -> None:
        row = self.cell.row_of_held(quantity)
        if row is not None and quantity not in self.cell.program.new:
            self.bind(quantity.name, f"{self.stack}[:, :, {row}]")

    def compute(self, operation: Compute) -> list[str]:
        return self.statements.fresh(operation.target.name, operation.value)

    def keep(self, operation: Keep) -> list[str]:
        return []


def all_at_once(cell: CellText) -> Function:
    """The forward function of a cell without states: no step waits for another."""
    frame, program = BatchFrame(cell), cell.program
    body = [line for operation in cell.plan.forward.loop for line in frame.lines(operation)]
    (output,), a = program.new, cell.names("a")
    row = program.row_of(output)
    made = output.name if row is None else f"{frame.single(row)}.clone()"
    inputs = input_part(cell, a, flat=True)
    kept = [f"{a}.view({cell.shape}, {cell.width})"] if cell.plan.stored else []
    return Function(
        f"_forward{cell.suffix}",
        parameters_text([cell.x, *cell.past_input, *cell.operand_names()]) + lag_arguments(program),
        "Values",
        f"All steps at once: {output.name} (T, B, H){f' and the rows (T, B, {cell.count} H)' if kept else ''}.",
        (
            cell.sizes("", cell.layout.operands[0].name),
            *past_input(cell, inputs),
            *inputs,
            *frame.before,
            *body,
            f"return {tuple_text([made, *kept])}",
        ),
    )


def recompute_function(cell: CellText) -> Function:
    """recompute(x, before, paths, operands) -> activations."""
    lines = _recomputed(cell) if cell.plan.stored else ["return ()"]
    return Function(
        f"_recompute{cell.suffix}",
        cell.path_arguments + lag_arguments(cell.program),
        "Values",
        f"The rows (T, B, {cell.count} H) of all steps at once, from the paths (T, B, H)."
        if cell.plan.stored
        else "Nothing: the adjoint sweep reads the paths only.",
        tuple(lines),
    )


def _recomputed(cell: CellText) -> list[str]:
    frame, program = BatchFrame(cell), cell.program
    body = []
    for operation in cell.plan.forward.loop:
        if not (
            isinstance(operation, Compute) and (operation.target in program.new or not _read_by_rows(cell, operation))
        ):
            body += frame.lines(operation)
    a = cell.names("a")
    lines = [*input_part(cell, a, flat=True), *frame.before, *body, f"return ({a}.view({cell.shape}, {cell.width}),)"]
    return [cell.sizes_of_groups, *cell.unpacked(lines), *lines]


def _read_by_rows(cell: CellText, operation: Compute) -> bool:
    """Whether a row needs an elementwise line, at first or second hand."""
    needed: set[Quantity] = set()
    for line in reversed(cell.program.step.assignments):
        if cell.program.row_of(line.target) is not None or line.target in needed:
            needed |= symbols_of(line.value)
    return operation.target in needed
