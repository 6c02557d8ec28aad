"""The plain form of a cell: straight-line code for autograd, one assignment per line of the program."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, loop, parameters_text, words
from codegen.cells.lowering_input import past_input
from codegen.cells.lowering_past import lag_arguments, many
from codegen.cells.plan_forward import Activate, AddTerms, Compute, Hadamard, InputBlock, Operation, Product
from codegen.cells.plan_operands import joined
from codegen.printer import TorchPrinter
from codegen.steps.source import Function
from derive.past_values import Lags, Past
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
        for row in range(len(cell.program.rows)):
            self._assign_row(row)
        for operation in cell.plan.forward.loop:
            self._operation(operation)
        read = [*self.setup.values(), *(iterable for _, iterable in self.variables)]
        inputs, bindings = past_input(cell, read, side_by_side=True), cell.layout.bindings(self.parameters)
        lines = [
            *self._sizes([*bindings, *inputs, *read]),
            *cell.split_inputs(read),
            *bindings,
            *inputs,
            *(f"{name} = {value}" for name, value in self.setup.items()),
            *(self._at_once() if program.stateless else self._looped()),
        ]
        return Function(
            f"_plain{cell.suffix}",
            parameters_text([cell.x, *self._given(), *cell.operand_names()]) + lag_arguments(program),
            "Values",
            f"Plain form: {self._shown()} -> output of every step and the final state.",
            tuple(lines),
        )

    def _shown(self) -> str:
        """What the function takes beside operands, with shapes."""
        cell, program = self.cell, self.cell.program
        given = f"{cell.x} (T, B, {' + '.join(str(q.shape[0]) for q in program.inputs)})"
        if cell.past:
            return ", ".join([given, *(q.name for q in program.old), *cell.past_input])
        sizes: dict[str, list[str]] = {}
        for q in program.old:
            sizes.setdefault(f"(B, {q.shape[0]})", []).append(q.name)
        return f"{given} and " + ", ".join(f"{', '.join(names)} {shape}" for shape, names in sizes.items())

    def _given(self) -> list[str]:
        """Names of the arguments for what comes before the first step."""
        cell = self.cell
        states = [cell.names(f"{q.name}_0", q) if q in cell.past else q.name for q in cell.program.old]
        return [*states, *cell.past_input]

    def _sizes(self, lines: Sequence[str]) -> list[str]:
        """Lines that read the sizes that others need."""
        cell, found = self.cell, []
        if cell.size in words([*lines, *self.body]):
            state = self._given()[0] if self._given() else ""
            found.append(f"{cell.size} = {cell.first_size(state, cell.layout.operands[0].name)}")
        found += cell.further_sizes([*lines, *self.body], self._given())
        if cell.names("steps") in words(lines):
            found.append(f"{cell.names('steps')} = {cell.x}.shape[0]")
        return found

    def _looped(self) -> list[str]:
        """The loop over the steps, and what is returned."""
        cell, program, output = self.cell, self.cell.program, self.cell.names("output")
        before, reads, after, finals = [], [], [], []
        for old, new, given in zip(program.old, program.new, self._given(), strict=False):
            if old not in cell.past:
                finals.append(old.name)
                continue
            past = cell.past[old]
            before += [*past.measured(f"{given}.shape[1]"), f"{past.all} = [*{given}.flip(1).unbind(1)]"]
            reads += [f"{q.name} = {_latest(past.all, q)}" for q in (old, *past.values) if self._is_read(q)]
            after.append(f"{past.all}.append({new.name})")
            finals.append(f"torch.stack({past.all}[-{past.depth} :][::-1], 1)")
        plain = [
            (old.name, new.name) for old, new in zip(program.old, program.new, strict=True) if old not in cell.past
        ]
        moved = [f"{', '.join(old for old, _ in plain)} = {', '.join(new for _, new in plain)}"] if plain else []
        body = [*reads, *self.body, f"{output}.append({program.new[program.output].name})", *after, *moved]
        finals += self._final_input()
        return [
            *before,
            f"{output} = []",
            *loop(self.variables, body),
            f"return torch.stack({output}), {', '.join(finals)}",
        ]

    def _at_once(self) -> list[str]:
        """All steps, and what is returned, where no step waits for another."""
        parts = [f"{name} = {iterable.removesuffix('.unbind(0)')}" for name, iterable in self.variables]
        body = [line.replace("torch.mm(", "torch.matmul(") for line in self.body]
        return [*parts, *body, f"return {', '.join([self.cell.program.new[0].name, *self._final_input()])}"]

    def _final_input(self) -> list[str]:
        """The last inputs, newest first, where they are kept."""
        if not self.cell.past_input:
            return []
        past = self.cell.past[self.cell.program.input]
        return [past.handed_back(f"{past.all}[{self.cell.x}.shape[0] :]")]

    def _is_read(self, quantity: Quantity) -> bool:
        program = self.cell.program
        return quantity in program.new or any(quantity in symbols_of(line.value) for line in program.step.assignments)

    def _input(self, block: InputBlock) -> None:
        """What the input gives to neighbouring rows; the product of the loop for the same rows is added at once."""
        cell, rows = self.cell, block.rows
        biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
        if not block.products:
            for row in rows:
                self.parts[row] += [self._parameter(bias) for bias in cell.program.rows[row].biases]
        for place, product in enumerate(block.products):
            vector, whole = product.vector, cell.block(rows)
            source = vector.source if isinstance(vector, Past) else vector
            base = f"a{whole.suffix}" if whole.whole(rows) else joined([q.name for q in self._targets(rows)])
            name = cell.names(f"{base}_{source.name}", ("input", rows, place))
            bias = f", {biases}" if biases and not place else ""
            weight = self._side_by_side(product.matrices, product.vector)
            linear = f"torch.nn.functional.linear({product.vector.name}, {weight}{bias})"
            self.variables.append((name, f"{linear}.unbind(0)"))
            partner = self._partner(rows)
            if partner is not None and not place:
                self.partners[partner] = name
            else:
                names = [cell.names(f"{q.name}_{source.name}", (q, place)) for q in self._targets(rows)]
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
        weight, vector = self._transposed(operation), operation.vector.name
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

    def _side_by_side(self, matrices: Sequence[Quantity], vector: Quantity) -> str:
        """Matrices one below the other; those for several lags side by side, as their vectors are."""
        text = self.cell.layout.flat(matrices)
        return f"{text}.transpose(0, 1).flatten(1)" if many(vector) else text

    def _transposed(self, operation: Product) -> str:
        matrices = operation.matrices
        text = self._side_by_side(matrices, operation.vector)
        base = text if text.isidentifier() else joined([q.name for q in matrices])
        name = self.cell.names(f"{base}_t", tuple(matrices))
        self.setup.setdefault(name, f"{text}.t()")
        return name

    def _parameter(self, quantity: Quantity) -> str:
        self.parameters[quantity] = None
        return quantity.name


def _latest(every: str, quantity: Quantity) -> str:
    """What the step at hand reads of the values so far, the newest last; side by side for several lags."""
    if not isinstance(quantity, Past):
        return f"{every}[-1]"
    if isinstance(quantity.lag, Lags):
        return f"torch.cat([{every}[-k] for k in {quantity.lag.name}], -1)"
    return f"{every}[-{quantity.lag if isinstance(quantity.lag, int) else quantity.lag.name}]"
