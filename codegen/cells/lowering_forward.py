"""The forward function of a cell: the loop in place."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, in_place_loop, joined, parameters_text, tuple_text
from codegen.cells.lowering_batch import all_at_once
from codegen.cells.lowering_frame import Frame, tapped_lines
from codegen.cells.lowering_input import input_part, past_input
from codegen.cells.lowering_past import lag_arguments
from codegen.cells.plan_forward import Compute, Keep, Product
from codegen.steps.source import Function
from derive.past_values import Past
from derive.symbols import Quantity


class LoopFrame(Frame):
    """One step of the loop: every tensor is a variable of the loop, or a buffer that serves all steps."""

    def __init__(self, cell: CellText) -> None:
        super().__init__(cell)
        self.variables: dict[str, str] = {}
        self.order: dict[str, tuple[int, ...]] = {}
        self.buffers: list[str] = []
        self.views: dict[tuple[int, ...], str] = {}

    def _variable(self, name: str, iterable: str, *order: int) -> str:
        self.variables.setdefault(name, iterable)
        self.order.setdefault(name, order)
        return name

    def sorted_variables(self) -> list[tuple[str, str]]:
        """Variables of the loop: blocks of rows, single rows, old states, new states."""
        return sorted(self.variables.items(), key=lambda variable: self.order[variable[0]])

    def flat(self, rows: Sequence[int]) -> str:
        if len(rows) == 1:
            return self.single(rows[0])
        path, cell = self.cell.names("a_path"), self.cell
        if cell.whole(rows):
            return self._view(rows, cell.names("a"), f"{path}.unbind(0)")
        name = cell.names(joined([cell.held(row).name for row in rows]), ("flat", *rows))
        return self._view(rows, name, f"{path}[:, :, {cell.columns(rows)}].unbind(0)")

    def _view(self, rows: Sequence[int], name: str, iterable: str) -> str:
        self.views.setdefault(tuple(rows), name)
        return self._variable(name, iterable, 0, -len(rows), rows[0])

    def wide(self, rows: Sequence[int]) -> str:
        base = joined([self.cell.held(row).name for row in rows])
        name = self.cell.names(f"{base}_wide" if tuple(rows) in self.views else base, ("wide", *rows))
        chosen = "" if self.cell.whole(rows) else f"[:, :, {rows[0]}:{rows[-1] + 1}]"
        return self._view(rows, name, f"{self.stack}{chosen}.unbind(0)")

    def any(self, rows: Sequence[int]) -> str:
        return self.views.get(tuple(rows)) or super().any(rows)

    @property
    def stack(self) -> str:
        """The stacked buffer of all steps with an axis for its rows."""
        cell = self.cell
        return self.bind(cell.names("stack"), f"{cell.names('a_path')}.view({cell.shape}, {cell.count}, {cell.size})")

    def vector(self, quantity: Quantity) -> str:
        self.use(quantity)
        return quantity.name

    def wide_vector(self, quantity: Quantity) -> str:
        program, name = self.cell.program, self.cell.names(f"{quantity.name}_wide", quantity)
        row = self.cell.row_of_held(quantity)
        if row is not None:
            return self._variable(name, f"{self.stack}[:, :, {row}:{row + 1}].unbind(0)", 1, row, 1)
        if isinstance(quantity, Past) or quantity in self.cell.past:
            rows = self._past_rows(quantity)
            return self._variable(name, f"[row.unsqueeze(1) for row in {rows}]", *self._past_order(quantity), 1)
        if quantity in program.old:
            place = program.old.index(quantity)
            iterable = f"({self.initial(quantity)}.unsqueeze(1), *{self.path(place)}[:-1].unsqueeze(2).unbind(0))"
            return self._variable(name, iterable, 2, place, 1)
        if quantity in program.new:
            place = program.new.index(quantity)
            return self._variable(name, f"{self.path(place)}.unsqueeze(2).unbind(0)", 3, place, 1)
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
            path = f"{self.stack}[:, :, {row}]" if self.cell.count > 1 else self.cell.names("a_path")
            self._variable(name, f"{path}.unbind(0)", 1, row, 0)
        elif isinstance(quantity, Past) or quantity in self.cell.past:
            self._variable(name, self._past_rows(quantity), *self._past_order(quantity), 0)
        elif quantity in program.old:
            place = program.old.index(quantity)
            self._variable(name, f"({self.initial(quantity)}, *{self.path_rows(place)}[:-1])", 2, place, 0)
        elif quantity in program.new:
            place = program.new.index(quantity)
            self._variable(name, self.path_rows(place), 3, place, 0)
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
        state = self._variable(name, self.path_rows(operation.place), 3, operation.place, 0)
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
    frame, program = LoopFrame(cell), cell.program
    body = [line for operation in cell.plan.forward.loop for line in frame.lines(operation)]
    initial = [frame.initial(q) for q in program.old]
    paths = [frame.path(place) for place in range(len(program.old))]
    empty = f"{cell.x}.new_empty({cell.shape}, {cell.size})"
    lines = [cell.sizes(initial[0], "")]
    lines += [f"{path} = {empty}" for path in paths]
    lines += [f"{frame.path_rows(place)} = {path}.unbind(0)" for place, path in enumerate(paths)]
    for place, old in enumerate(program.old):
        lines += _kept_rows(cell, old, initial[place], frame.path_rows(place))
    inputs = input_part(cell, cell.names("a_path"))
    lines += [*past_input(cell, inputs), *inputs, *frame.before, *frame.buffers]
    lines += in_place_loop(frame.sorted_variables(), body)
    lines.append(f"return {tuple_text([*paths, *([cell.names('a_path')] if cell.plan.stored else [])])}")
    kept = f"and the rows (T, B, {cell.count} H) " if cell.plan.stored else ""
    return Function(
        f"_forward{cell.suffix}",
        parameters_text([cell.x, *initial, *cell.past_input, *cell.operand_names()]) + lag_arguments(program),
        "Values",
        f"Forward sweep in place: paths of {', '.join(q.name for q in program.old)} (T, B, H) {kept}after each step.",
        tuple(lines),
    )


def _kept_rows(cell: CellText, old: Quantity, initial: str, rows: str) -> list[str]:
    """Statements that put the kept values of a state before its path, where there are several."""
    if old not in cell.past:
        return []
    past = cell.past[old]
    return [*past.measured(f"{initial}.shape[1]"), f"{past.all} = (*{initial}.flip(1).unbind(1), *{rows})"]
