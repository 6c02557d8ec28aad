"""The plain form of a cell: straight-line code for autograd, one assignment per line of the program."""

from __future__ import annotations

import re
from collections.abc import Sequence

from codegen.cells.lowering import CellText, joined, loop, parameters_text
from codegen.cells.plan_forward import Activate, AddTerms, Compute, Hadamard, InputBlock, Operation, Product
from codegen.printer import TorchPrinter
from codegen.steps.source import Function
from derive.program import symbols_of
from derive.symbols import Quantity, Role, by_name


def plain_function(cell: CellText) -> Function:
    """plain(x, *states, *operands) -> (output, *final states)."""
    return _Plain(cell).function()


class _Plain:
    """Writes the plain form in the order of the plan; a row is assigned once all its terms are known."""

    def __init__(self, cell: CellText) -> None:
        self.cell = cell
        self.printer = TorchPrinter()
        self.parameters: dict[Quantity, None] = {}
        self.setup: dict[str, str] = {}
        self.variables: list[tuple[str, str]] = []
        self.body: list[str] = []
        self.parts: list[list[str]] = [[] for _ in cell.program.rows]
        self.left = [len(row.products) + len(row.hadamards) + bool(row.terms) for row in cell.program.rows]
        self.partners: dict[Product, str] = {}

    def function(self) -> Function:
        """The function."""
        cell, program = self.cell, self.cell.program
        for block in cell.plan.forward.before:
            self._input(block)
        for row in range(cell.count):
            self._assign_row(row)
        for operation in cell.plan.forward.loop:
            self._operation(operation)
        old, new = (", ".join(q.name for q in group) for group in (program.old, program.new))
        output = cell.names("output")
        body = [*self.body, f"{output}.append({program.new[0].name})", f"{old} = {new}"]
        lines = [
            *cell.layout.bindings(self.parameters),
            *(f"{name} = {value}" for name, value in self.setup.items()),
            f"{output} = []",
            *loop(self.variables, body),
            f"return torch.stack({output}), {old}",
        ]
        return Function(
            f"_plain{cell.suffix}",
            parameters_text([cell.x, *(q.name for q in program.old), *cell.operand_names()]),
            "Values",
            f"Plain form: {cell.x} (T, B, {program.input.shape[0]}) and {old} (B, {program.old[0].shape[0]}) "
            "-> output of every step and the final state.",
            (*self._size(lines), *lines),
        )

    def _size(self, lines: Sequence[str]) -> list[str]:
        """The line that reads the state's size, where slices need it."""
        name = self.cell.size
        sliced = any(re.search(rf"\b{name}\b", line) for line in lines)
        return [f"{name} = {self.cell.program.old[0].name}.shape[-1]"] if sliced else []

    def _input(self, block: InputBlock) -> None:
        """What the input gives to neighbouring rows; the product of the loop for the same rows is added at once."""
        cell, rows = self.cell, block.rows
        biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
        if not block.products:
            for row in rows:
                self.parts[row] += [self._parameter(bias) for bias in cell.program.rows[row].biases]
        for place, matrices in enumerate(block.products):
            base = "a" if cell.whole(rows) else joined([q.name for q in self._targets(rows)])
            name = cell.names(f"{base}_{cell.x}", ("input", rows, place))
            bias = f", {biases}" if biases and not place else ""
            linear = f"torch.nn.functional.linear({cell.x}, {cell.layout.flat(matrices)}{bias})"
            self.variables.append((name, f"{linear}.unbind(0)"))
            partner = self._partner(rows)
            if partner is not None and not place:
                self.partners[partner] = name
            else:
                names = [cell.names(f"{q.name}_{cell.x}", (q, place)) for q in self._targets(rows)]
                self._cut(rows, names, name)

    def _partner(self, rows: Sequence[int]) -> Product | None:
        products = [op for op in self.cell.plan.forward.loop if isinstance(op, Product)]
        return next((op for op in products if op.rows == tuple(rows) and op.vector in self.cell.program.old), None)

    def _operation(self, operation: Operation) -> None:
        if isinstance(operation, Product):
            self._product(operation)
        elif isinstance(operation, Hadamard):
            for row, parameter in zip(operation.rows, operation.parameters, strict=True):
                self._add(row, f"{self._parameter(parameter)} * {operation.vector.name}")
        elif isinstance(operation, AddTerms):
            self._add(operation.row, self._printed(operation.value))
        elif isinstance(operation, Activate | Compute):
            for target in operation.lines:
                value = self._printed(self.cell.program.step.value(target))
                self.body.append(f"{target.name} = {value}{self.cell.comment([target])}")

    def _product(self, operation: Product) -> None:
        weight, vector = self._transposed(operation.matrices), operation.vector.name
        base = self.partners.get(operation)
        if base is not None:
            self._cut(
                operation.rows,
                [q.name for q in self._targets(operation.rows)],
                f"torch.addmm({base}, {vector}, {weight})",
            )
        else:
            pairs = zip(operation.rows, operation.matrices, strict=True)
            names = [self.cell.names(f"{matrix.name}_{vector}", ("product", row)) for row, matrix in pairs]
            self._cut(operation.rows, names, f"torch.mm({vector}, {weight})")
        for row in operation.rows:
            self.left[row] -= 1
            self._assign_row(row)

    def _cut(self, rows: Sequence[int], names: Sequence[str], value: str) -> None:
        """Name the terms of neighbouring rows."""
        comment = self.cell.comment(self._targets(rows))
        if len(rows) > 1:
            self.body.append(f"{', '.join(names)} = {value}.chunk({len(rows)}, -1){comment}")
        elif value.isidentifier():
            names = [value]
        else:
            self.body.append(f"{names[0]} = {value}{comment}")
        for row, name in zip(rows, names, strict=True):
            self.parts[row].append(name)

    def _add(self, row: int, text: str) -> None:
        self.parts[row].append(text)
        self.left[row] -= 1
        self._assign_row(row)

    def _assign_row(self, row: int) -> None:
        """The line of a row, once nothing is missing."""
        target = self.cell.program.rows[row].target
        if self.left[row] or self.parts[row] == [target.name]:
            return
        value = " + ".join(self.parts[row]).replace("+ -", "- ")
        self.body.append(f"{target.name} = {value}{self.cell.comment([target])}")

    def _targets(self, rows: Sequence[int]) -> list[Quantity]:
        return [self.cell.program.rows[row].target for row in rows]

    def _printed(self, value: object) -> str:
        for quantity in by_name(symbols_of(value)):
            if quantity.role is Role.PARAMETER:
                self._parameter(quantity)
        return self.printer(value)

    def _transposed(self, matrices: Sequence[Quantity]) -> str:
        text = self.cell.layout.flat(matrices)
        base = text if text.isidentifier() else joined([q.name for q in matrices])
        name = self.cell.names(f"{base}_t", tuple(matrices))
        self.setup.setdefault(name, f"{text}.t()")
        return name

    def _parameter(self, quantity: Quantity) -> str:
        self.parameters[quantity] = None
        return quantity.name
