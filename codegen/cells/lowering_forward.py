"""The forward functions of a cell: the loop in place, and the stacked buffer of all steps at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from codegen.cells.lowering import CellText, commented, in_place_loop, joined, parameters_text, tuple_text
from codegen.cells.lowering_statements import Statements
from codegen.cells.plan_forward import Activate, AddTerms, Compute, Hadamard, InputBlock, Keep, Operation, Product
from codegen.steps.source import Function
from derive.program import symbols_of
from derive.symbols import Quantity, Role, by_name


class Frame(ABC):
    """Where the operations of a step take place: one step of the loop, or all steps at once."""

    def __init__(self, cell: CellText) -> None:
        self.cell = cell
        self.parameters: dict[Quantity, None] = {}
        self.setup: list[str] = []
        self.bound: set[str] = set()
        self.statements = Statements()

    @abstractmethod
    def flat(self, rows: Sequence[int]) -> str:
        """Neighbouring rows side by side, (B, n H)."""

    @abstractmethod
    def wide(self, rows: Sequence[int]) -> str:
        """Neighbouring rows along an axis of their own, (B, n, H)."""

    @abstractmethod
    def vector(self, quantity: Quantity) -> str:
        """A quantity as a factor of a matrix product, (B, H)."""

    @abstractmethod
    def wide_vector(self, quantity: Quantity) -> str:
        """A quantity as a factor of several rows, (B, 1, H)."""

    @abstractmethod
    def transposed(self, matrices: Sequence[Quantity]) -> str:
        """Matrices one below the other, transposed."""

    @abstractmethod
    def use(self, quantity: Quantity) -> None:
        """See to it that a quantity can be read, or written, by its name."""

    @abstractmethod
    def compute(self, operation: Compute) -> list[str]:
        """An elementwise line."""

    @abstractmethod
    def keep(self, operation: Keep) -> list[str]:
        """Copy a quantity into a state's path."""

    @property
    def before(self) -> list[str]:
        """What is defined before the operations."""
        return [*self.cell.layout.bindings(self.parameters), *self.setup]

    def single(self, row: int) -> str:
        """One row, (B, H), by the name of what it holds in the end."""
        quantity = self.cell.held(row)
        self.use(quantity)
        return quantity.name

    def bind(self, name: str, value: str) -> str:
        """Define a name before the operations, once."""
        if name not in self.bound:
            self.bound.add(name)
            self.setup.append(f"{name} = {value}")
        return name

    def parameter(self, quantity: Quantity) -> str:
        """A parameter by its own name."""
        self.parameters[quantity] = None
        return quantity.name

    def read(self, quantities: set[Quantity]) -> None:
        """Make everything that an expression mentions readable."""
        for quantity in by_name(quantities):
            if quantity.role is Role.PARAMETER:
                self.parameter(quantity)
            else:
                self.use(quantity)

    def lines(self, operation: Operation) -> list[str]:
        """Statements of one operation, with their equation numbers."""
        return commented(self._statements(operation), self.cell.comment(operation.lines))

    def _statements(self, operation: Operation) -> list[str]:
        if isinstance(operation, Product):
            weight = self.transposed(operation.matrices)
            return [f"{self.flat(operation.rows)}.addmm_({self.vector(operation.vector)}, {weight})"]
        if isinstance(operation, Hadamard):
            return [self._hadamard(operation)]
        if isinstance(operation, AddTerms):
            self.read(symbols_of(operation.value))
            return self.statements.add(self.single(operation.row), operation.value)
        if isinstance(operation, Activate):
            return [f"{self.any(operation.rows)}.{operation.function.__name__}_()"]
        if isinstance(operation, Compute):
            self.read(symbols_of(operation.value))
            return self.compute(operation)
        assert isinstance(operation, Keep)
        return self.keep(operation)

    def any(self, rows: Sequence[int]) -> str:
        """Neighbouring rows in whatever shape."""
        return self.single(rows[0]) if len(rows) == 1 else self.flat(rows)

    def _hadamard(self, operation: Hadamard) -> str:
        if len(operation.rows) == 1:
            self.use(operation.vector)
            parameter = self.parameter(operation.parameters[0])
            return f"{self.single(operation.rows[0])}.addcmul_({operation.vector.name}, {parameter})"
        block = self.cell.layout.wide(operation.parameters)
        if not block.isidentifier():
            name = self.cell.names(joined([q.name for q in operation.parameters]), operation.parameters)
            block = self.bind(name, block)
        return f"{self.wide(operation.rows)}.addcmul_({self.wide_vector(operation.vector)}, {block})"


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
        elif quantity in program.old:
            place = program.old.index(quantity)
            self._variable(name, f"({self.initial(quantity)}, *{self.path_rows(place)}[:-1])", 2, place, 0)
        elif quantity in program.new:
            place = program.new.index(quantity)
            self._variable(name, self.path_rows(place), 3, place, 0)
        elif name not in self.bound:
            self.bound.add(name)
            self.buffers.append(f"{name} = {self.cell.x}.new_empty({self.cell.names('batch')}, {self.cell.size})")

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


def forward_function(cell: CellText) -> Function:
    """forward(x, *states, *operands) -> (*paths, *activations)."""
    frame, program = LoopFrame(cell), cell.program
    body = [line for operation in cell.plan.forward.loop for line in frame.lines(operation)]
    initial = [frame.initial(q) for q in program.old]
    paths = [frame.path(place) for place in range(len(program.old))]
    empty = f"{cell.x}.new_empty({cell.shape}, {cell.size})"
    lines = [cell.sizes(initial[0])]
    lines += [f"{path} = {empty}" for path in paths]
    lines += [f"{frame.path_rows(place)} = {path}.unbind(0)" for place, path in enumerate(paths)]
    lines += [*_input_part(cell, cell.names("a_path")), *frame.before, *frame.buffers]
    lines += in_place_loop(frame.sorted_variables(), body)
    lines.append(f"return {tuple_text([*paths, *([cell.names('a_path')] if cell.plan.stored else [])])}")
    kept = f"and the rows (T, B, {cell.count} H) " if cell.plan.stored else ""
    return Function(
        f"_forward{cell.suffix}",
        parameters_text([cell.x, *initial, *cell.operand_names()]),
        "Values",
        f"Forward sweep in place: paths of {', '.join(q.name for q in program.old)} (T, B, H) {kept}after each step.",
        tuple(lines),
    )


def recompute_function(cell: CellText) -> Function:
    """recompute(x, before, paths, operands) -> activations."""
    lines = _recomputed(cell) if cell.plan.stored else ["return ()"]
    return Function(
        f"_recompute{cell.suffix}",
        cell.path_arguments,
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
    lines = [*_input_part(cell, a, flat=True), *frame.before, *body, f"return ({a}.view({cell.shape}, {cell.width}),)"]
    return [cell.sizes(f"{cell.names('before')}[0]"), *cell.unpacked(lines), *lines]


def _read_by_rows(cell: CellText, operation: Compute) -> bool:
    """Whether a row needs an elementwise line, at first or second hand."""
    needed: set[Quantity] = set()
    for line in reversed(cell.program.step.assignments):
        if cell.program.row_of(line.target) is not None or line.target in needed:
            needed |= symbols_of(line.value)
    return operation.target in needed


def _input_part(cell: CellText, name: str, flat: bool = False) -> list[str]:
    """The part of the stacked buffer that does not depend on the recurrence, one block of rows after the other."""
    x, blocks = f"{cell.x}.flatten(0, 1)", cell.plan.forward.before
    view = "" if flat else f".view({cell.shape}, {cell.width})"
    if len(blocks) == 1 and blocks[0].products:
        (block,) = blocks
        first, *more = block.products
        comment = _block_comment(cell, block)
        lines = [f"{name} = {_product(cell, block, x, first)}{view}{comment}"]
        return lines + [f"{name}.flatten(0, -2).addmm_({x}, {cell.layout.flat(m)}.t()){comment}" for m in more]
    shape = f"{cell.names('steps')} * {cell.names('batch')}" if flat else cell.shape
    lines = [f"{name} = {cell.x}.new_empty({shape}, {cell.width})"]
    for block in blocks:
        lines += commented(
            _block(cell, block, name if flat else f"{name}.flatten(0, 1)", x), _block_comment(cell, block)
        )
    return lines


def _block_comment(cell: CellText, block: InputBlock) -> str:
    return cell.comment(cell.program.rows[row].target for row in block.rows)


def _block(cell: CellText, block: InputBlock, name: str, x: str) -> list[str]:
    target = name if cell.whole(block.rows) else f"{name}[:, {cell.columns(block.rows)}]"
    if not block.products:
        biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
        return [f"{target}.copy_({biases})" if biases else f"{target}.zero_()"]
    first, *more = block.products
    lines = [f"{_product(cell, block, x, first)[:-1]}, out={target})"]
    return lines + [f"{target}.addmm_({x}, {cell.layout.flat(matrices)}.t())" for matrices in more]


def _product(cell: CellText, block: InputBlock, x: str, matrices: Sequence[Quantity]) -> str:
    weight = f"{cell.layout.flat(matrices)}.t()"
    biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
    return f"torch.addmm({biases}, {x}, {weight})" if biases else f"torch.mm({x}, {weight})"
