"""The forward function of a cell: the loop in place."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, in_place_loop, parameters_text, tuple_text
from codegen.cells.lowering_batch import all_at_once
from codegen.cells.lowering_blocks import Block
from codegen.cells.lowering_frame import Frame, tapped_lines
from codegen.cells.lowering_input import input_part, past_input
from codegen.cells.lowering_past import lag_arguments, many
from codegen.cells.plan_forward import Compute, Keep, Operation, Product
from codegen.cells.plan_operands import joined
from codegen.steps.source import Function
from derive.past_values import Past
from derive.symbols import Quantity

MANY = 5  # views of rows in a step from which on two copies take less time


class LoopFrame(Frame):
    """One step of the loop: every tensor is a variable of the loop, or a buffer that serves all steps.

    Args:
        working: whether the rows are worked on in one such buffer, from where they are copied to their path: that
            spares every step the views of them.
    """

    def __init__(self, cell: CellText, working: bool) -> None:
        super().__init__(cell)
        self.working = working
        if working:
            (block,) = cell.blocks
            self.setup.append(f"{cell.names('a')} = {cell.x}.new_empty({cell.names('batch')}, {block.width})")
        self.variables: dict[str, str] = {}
        self.order: dict[str, tuple[int, ...]] = {}
        self.buffers: list[str] = []
        self.views: dict[tuple[int, ...], str] = {}

    def variable(self, name: str, iterable: str, *order: int) -> str:
        self.variables.setdefault(name, iterable)
        self.order.setdefault(name, order)
        return name

    def sorted_variables(self) -> list[tuple[str, str]]:
        """Variables of the loop: blocks of rows, single rows, old states, new states."""
        return sorted(self.variables.items(), key=lambda variable: self.order[variable[0]])

    def flat(self, rows: Sequence[int]) -> str:
        if len(rows) == 1:
            return self.single(rows[0])
        cell, block = self.cell, self.cell.block(rows)
        if block.whole(rows):
            return self._view(rows, cell.local("a", block), self.whole(block), "")
        name = cell.names(joined([cell.held(row).name for row in rows]), ("flat", *rows))
        return self._view(rows, name, self.whole(block), block.columns(rows))

    def _view(self, rows: Sequence[int], name: str, buffer: str, columns: str) -> str:
        self.views.setdefault(tuple(rows), name)
        return self._rows(name, buffer, columns, 0, -len(rows), rows[0])

    def _rows(self, name: str, buffer: str, columns: str, *order: int) -> str:
        """Neighbouring rows at one step: a view of the buffer that serves all steps, or of each step."""
        if self.working:
            return self.bind(name, f"{buffer}[:, {columns}]") if columns else name
        chosen = f"[:, :, {columns}]" if columns else ""
        return self.variable(name, f"{buffer}{chosen}.unbind(0)", *order)

    def whole(self, block: Block) -> str:
        """All rows of one size: the buffer that they are worked on in, or their path."""
        return self.cell.local("a" if self.working else "a_path", block)

    def wide(self, rows: Sequence[int]) -> str:
        base = joined([self.cell.held(row).name for row in rows])
        name = self.cell.names(f"{base}_wide" if tuple(rows) in self.views else base, ("wide", *rows))
        block = self.cell.block(rows)
        if self.working and block.whole(rows):
            return self.stack(block)
        return self._view(rows, name, self.stack(block), "" if block.whole(rows) else block.chosen(rows))

    def any(self, rows: Sequence[int]) -> str:
        return self.views.get(tuple(rows)) or super().any(rows)

    def stack(self, block: Block) -> str:
        """The same with an axis for its rows."""
        cell = self.cell
        shape = cell.names("batch") if self.working else cell.shape
        return self.bind(cell.local("stack", block), f"{self.whole(block)}.view({shape}, {block.count}, {block.size})")

    def vector(self, quantity: Quantity) -> str:
        self.use(quantity)
        return quantity.name

    def wide_vector(self, quantity: Quantity) -> str:
        program, name = self.cell.program, self.cell.names(f"{quantity.name}_wide", quantity)
        row = self.cell.row_of_held(quantity)
        if row is not None:
            block = self.cell.block([row])
            return self._rows(name, self.stack(block), block.chosen([row]), 1, row, 1)
        if isinstance(quantity, Past) or quantity in self.cell.past:
            rows = self._past_rows(quantity)
            return self.variable(name, f"[row.unsqueeze(1) for row in {rows}]", *self._past_order(quantity), 1)
        if quantity in program.old:
            place = program.old.index(quantity)
            iterable = f"({self.initial(quantity)}.unsqueeze(1), *{self.path(place)}[:-1].unsqueeze(2).unbind(0))"
            return self.variable(name, iterable, 2, place, 1)
        if quantity in program.new:
            place = program.new.index(quantity)
            return self.variable(name, f"{self.path(place)}.unsqueeze(2).unbind(0)", 3, place, 1)
        self.use(quantity)
        wide = f"{name} = {quantity.name}.unsqueeze(1)"
        if wide not in self.buffers:
            self.buffers.append(wide)
        return name

    def transposed(self, matrices: Sequence[Quantity]) -> str:
        layout = self.cell.layout
        text = layout.flat(matrices)
        base = text if text.isidentifier() else joined([q.name for q in matrices])
        return self.bind(self.cell.names(f"{base}_t", tuple(matrices)), f"{text}.t()")

    def use(self, quantity: Quantity) -> None:
        program, name = self.cell.program, quantity.name
        row = self.cell.row_of_held(quantity)
        if row is not None:
            block = self.cell.block([row])
            several = block.count > 1
            buffer, chosen = (self.stack(block), str(block.place(row))) if several else (self.whole(block), "")
            self._rows(name, buffer, chosen, 1, row, 0)
        elif isinstance(quantity, Past) or quantity in self.cell.past:
            self.variable(name, self._past_rows(quantity), *self._past_order(quantity), 0)
        elif quantity in program.old:
            place = program.old.index(quantity)
            self.variable(name, f"({self.initial(quantity)}, *{self.path_rows(place)}[:-1])", 2, place, 0)
        elif quantity in program.new:
            place = program.new.index(quantity)
            self.variable(name, self.path_rows(place), 3, place, 0)
        elif name not in self.bound:
            self.bound.add(name)
            self.buffers.append(
                f"{name} = {self.cell.x}.new_empty({self.cell.names('batch')}, {self.cell.width_of(quantity)})"
            )

    def _past_rows(self, quantity: Quantity) -> str:
        past = self.cell.past[quantity.source if isinstance(quantity, Past) else quantity]
        return past.rows(quantity, past.all)

    def _past_order(self, quantity: Quantity) -> tuple[int, ...]:
        source = quantity.source if isinstance(quantity, Past) else quantity
        return 2, self.cell.program.old.index(source)

    def tapped(self, operation: Product) -> list[str]:
        (matrix,), names = operation.matrices, self.cell.names
        self.use(operation.vector)
        each = self.bind(names(f"{matrix.name}_t", matrix), f"{self.cell.layout.single(matrix)}.mT.unbind(0)")
        return tapped_lines(self, operation, each, operation.vector.name, "")

    def compute(self, operation: Compute) -> list[str]:
        self.use(operation.target)
        return self.statements.into(operation.target.name, operation.value)

    def keep(self, operation: Keep) -> list[str]:
        self.use(operation.source)
        name = self.cell.names(f"{self.cell.program.old[operation.place].name}_after", operation.place)
        state = self.variable(name, self.path_rows(operation.place), 3, operation.place, 0)
        return [f"{state}.copy_({operation.source.name})"]

    def initial(self, quantity: Quantity) -> str:
        """Name of an initial state."""
        return self.cell.names(f"{quantity.name}_0", quantity)

    def path(self, place: int) -> str:
        """Name of a state's path."""
        old = self.cell.program.old[place]
        return self.cell.names(f"{old.name}_path", old)

    def path_rows(self, place: int) -> str:
        """Name of the tuple of the steps of a state's path."""
        old = self.cell.program.old[place]
        return self.cell.names(f"{old.name}_rows", old)


def forward_function(cell: CellText) -> Function:
    """forward(x, *states, *operands) -> (*paths, *activations)."""
    if cell.program.stateless:
        return all_at_once(cell)
    program = cell.program
    frame, body = _loop(cell)
    initial = [frame.initial(q) for q in program.old]
    paths = [frame.path(place) for place in range(len(program.old))]
    sizes = [cell.width_of(q) for q in program.old]
    lines = [f"{path} = {cell.x}.new_empty({cell.shape}, {size})" for path, size in zip(paths, sizes, strict=True)]
    lines += [f"{frame.path_rows(place)} = {path}.unbind(0)" for place, path in enumerate(paths)]
    for place, old in enumerate(program.old):
        lines += _kept_rows(cell, old, initial[place], frame.path_rows(place))
    inputs = [line for block in cell.blocks for line in input_part(cell, block, cell.local("a_path", block))]
    lines += [*cell.split_inputs(inputs), *past_input(cell, inputs), *inputs, *frame.before, *frame.buffers]
    lines += in_place_loop(frame.sorted_variables(), body)
    lines.append(f"return {tuple_text([*paths, *cell.stored])}")
    kept = f"and the rows {cell.rows_kept} " if cell.plan.stored else ""
    names = ", ".join(q.name for q in program.old)
    return Function(
        f"_forward{cell.suffix}",
        parameters_text([cell.x, *initial, *cell.past_input, *cell.operand_names()]) + lag_arguments(program),
        "Values",
        f"Forward sweep in place: paths of {names} {cell.shapes(program.old)} {kept}after each step.",
        (cell.first_sizes(initial[0], "", lines), *cell.further_sizes(lines, initial), *lines),
    )


def _loop(cell: CellText) -> tuple[LoopFrame, list[str]]:
    """The statements of one step, with a buffer to work in where that takes less time."""
    frame, operations = LoopFrame(cell, working=False), cell.plan.forward.loop
    body = [line for operation in operations for line in frame.lines(operation)]
    buffers = tuple(name for block in cell.blocks for name in (frame.whole(block), cell.local("stack", block)))
    views = sum(iterable.startswith(buffers) for iterable in frame.variables.values())
    if views < MANY or len(cell.blocks) > 1:
        return frame, body
    frame, a, row = LoopFrame(cell, working=True), cell.names("a"), cell.names("a_row")
    frame.variable(row, f"{cell.names('a_path')}.unbind(0)", -1)
    first = next((operation for operation in operations if _fills(cell, operation)), None)
    if isinstance(first, Product):
        factors = f"{frame.vector(first.vector)}, {frame.transposed(first.matrices)}"
        body = [f"set_product({a}, {factors}, {row}){cell.comment(first.lines)}"]
    else:
        rows = [line.target for line in cell.program.rows]
        body = [f"{a}.copy_({row}){cell.comment(rows)}"]
    body += [line for operation in operations if operation is not first for line in frame.lines(operation)]
    kept = f"{row}.copy_({a}){cell.comment(cell.plan.forward.held)}"
    return frame, [*body, kept] if cell.plan.stored else body


def _fills(cell: CellText, operation: Operation) -> bool:
    """Whether an operation adds to all rows what is known before the step: it can be the first."""
    return (
        isinstance(operation, Product)
        and cell.blocks[0].whole(operation.rows)
        and not many(operation.vector)
        and operation.vector not in cell.program.step.targets
    )


def _kept_rows(cell: CellText, old: Quantity, initial: str, rows: str) -> list[str]:
    """Statements that put the kept values of a state before its path, where there are several."""
    if old not in cell.past:
        return []
    past = cell.past[old]
    return [*past.measured(f"{initial}.shape[1]"), f"{past.all} = (*{initial}.flip(1).unbind(1), *{rows})"]
