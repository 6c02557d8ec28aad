"""All steps at once: the stacked buffer anew from the paths, and cells in which no step waits for another."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, parameters_text, tuple_text
from codegen.cells.lowering_blocks import Block
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
        block = self.cell.block(rows)
        name = self.cell.local("a", block)
        return name if block.whole(rows) else f"{name}[:, {block.columns(rows)}]"

    def wide(self, rows: Sequence[int]) -> str:
        block = self.cell.block(rows)
        return self.stack(block) if block.whole(rows) else f"{self.stack(block)}[:, :, {block.chosen(rows)}]"

    def stack(self, block: Block) -> str:
        """The stacked buffer with axes for steps, batch and rows."""
        cell = self.cell
        view = f"{cell.local('a', block)}.view({cell.shape}, {block.count}, {block.size})"
        return self.bind(cell.local("stack", block), view)

    def any(self, rows: Sequence[int]) -> str:
        return self.flat(rows)

    def single(self, row: int) -> str:
        block = self.cell.block([row])
        return f"{self.stack(block)}[:, :, {block.place(row)}]"

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
            self.bind(quantity.name, self.single(row))

    def compute(self, operation: Compute) -> list[str]:
        return self.statements.fresh(operation.target.name, operation.value)

    def keep(self, operation: Keep) -> list[str]:
        return []


def all_at_once(cell: CellText) -> Function:
    """The forward function of a cell without states: no step waits for another."""
    frame, program = BatchFrame(cell), cell.program
    body = [line for operation in cell.plan.forward.loop for line in frame.lines(operation)]
    (output,) = program.new
    row = program.row_of(output)
    made = output.name if row is None else f"{frame.single(row)}.clone()"
    inputs = [line for block in cell.blocks for line in input_part(cell, block, cell.local("a", block), flat=True)]
    kept = _kept(cell)
    lines = [*past_input(cell, inputs), *inputs, *frame.before, *body, f"return {tuple_text([made, *kept])}"]
    return Function(
        f"_forward{cell.suffix}",
        parameters_text([cell.x, *cell.past_input, *cell.operand_names()]) + lag_arguments(program),
        "Values",
        f"All steps at once: {output.name} {cell.shapes([output])}{f' and the rows {cell.rows_kept}' if kept else ''}.",
        (cell.first_sizes("", cell.layout.operands[0].name, lines), *cell.further_sizes(lines), *lines),
    )


def _kept(cell: CellText) -> list[str]:
    """The stacked buffers that are kept, with axes for steps and batch."""
    blocks = [cell.blocks[place] for place in cell.plan.stored]
    return [f"{cell.local('a', block)}.view({cell.shape}, {block.width})" for block in blocks]


def recompute_function(cell: CellText) -> Function:
    """recompute(x, before, paths, operands) -> activations."""
    lines = _recomputed(cell) if cell.plan.stored else ["return ()"]
    return Function(
        f"_recompute{cell.suffix}",
        cell.path_arguments + lag_arguments(cell.program),
        "Values",
        f"The rows {cell.rows_kept} of all steps at once, from the paths {cell.shapes(cell.program.new)}."
        if cell.plan.stored
        else "Nothing: the adjoint sweep reads the paths only.",
        tuple(lines),
    )


def _recomputed(cell: CellText) -> list[str]:
    frame, wanted = BatchFrame(cell), _wanted(cell)
    body = [line for op in cell.plan.forward.loop if not wanted.isdisjoint(op.lines) for line in frame.lines(op)]
    used = [block for block in cell.blocks if any(cell.program.rows[row].target in wanted for row in block.rows)]
    inputs = [line for block in used for line in input_part(cell, block, cell.local("a", block), flat=True)]
    lines = [*cell.split_inputs(inputs), *inputs, *frame.before, *body, f"return {tuple_text(_kept(cell))}"]
    more = cell.further_sizes(lines)
    return [cell.sizes_of_groups([*more, *lines]), *cell.unpacked([*more, *lines]), *more, *lines]


def _wanted(cell: CellText) -> set[Quantity]:
    """Lines to compute anew: those of the rows that are kept, and what they need besides the paths."""
    rows = [row for place in cell.plan.stored for row in cell.blocks[place].rows]
    wanted = {q for row in rows for q in (cell.program.rows[row].target, cell.held(row))}
    for line in reversed(cell.program.step.assignments):
        if line.target in wanted:
            wanted |= symbols_of(line.value) - set(cell.program.new)
    return wanted
