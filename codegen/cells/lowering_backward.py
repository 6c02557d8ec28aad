"""The backward function of a cell: coefficients of all steps, the loop over pivots, and gradients after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Expr

from codegen.cells.linear_forms import Inner, LinearForm, Scaled
from codegen.cells.lowering import CellText, commented, fitting, in_place_loop, tuple_text, unpacking
from codegen.cells.lowering_blocks import Block
from codegen.cells.lowering_gradients import gradient_lines
from codegen.cells.lowering_past import lag_arguments, many
from codegen.cells.lowering_running import RunningBars
from codegen.cells.lowering_statements import Statements, Sum
from codegen.cells.mixing import MIXING, varies
from codegen.cells.plan import values_read
from codegen.cells.plan_adjoint import AdjointPlan, BackwardOperation, Carry, Gather, KeepPivot, ScaleRows, SendBack
from codegen.cells.plan_operands import joined
from codegen.steps.source import Function
from derive.operators import Operator, fill, shape_of
from derive.program import symbols_of
from derive.symbols import LONGEST_NAME, Quantity, Role, by_name


def backward_function(cell: CellText) -> Function:
    """backward(x, before, paths, operands, activations, workspace, bars, sums) -> cotangents of the initial states."""
    return BackwardWriter(cell).function()


class BackwardWriter(RunningBars):
    """Writes the adjoint sweep."""

    def __init__(self, cell: CellText) -> None:
        super().__init__(cell)
        self.adjoint, self.rows = cell.plan.adjoint, cell.plan.adjoint.rows
        self.statements = Statements()
        self.parameters: dict[Quantity, None] = {}
        self.bound: dict[str, str] = {}
        self.coefficients: list[str] = []
        self.buffers: list[str] = []
        self.products: set[str] = set()

    def function(self) -> Function:
        """The function."""
        cell = self.cell
        bars = [cell.names("bar_output"), *self.state_bars()]
        lines = [
            *self.sweep(self.adjoint),
            *gradient_lines(cell),
            f"return {tuple_text(self.handed_back())}{cell.comment(['initial_state'])}",
        ]
        return Function(
            f"_backward{cell.suffix}",
            self.arguments(),
            "Values",
            fitting(
                f"Adjoint sweep; every cotangent is linear in {self._pivots()}, and its coefficients come first.",
                "Adjoint sweep; the coefficients of all cotangents come first.",
                f"Every cotangent is linear in {self._pivots()}.",
            ),
            self.whole(bars, lines),
        )

    def whole(self, bars: Sequence[str], lines: Sequence[str]) -> tuple[str, ...]:
        """The statements after those that name sizes and what is in the arguments."""
        lines = [*self.cell.split_inputs(lines), *lines]
        more = self.cell.further_sizes(lines)
        unpacked = self.unpacked(bars, [*more, *lines])
        return (self.cell.sizes_of_groups([*unpacked, *lines]), *unpacked, *more, *lines)

    def sweep(self, adjoint: AdjointPlan) -> list[str]:
        """The statements up to the end of the loop."""
        cell = self.cell
        body = [line for operation in adjoint.loop for line in self._operation(operation)]
        body += self._staged()
        values = self._values(adjoint)
        return [
            *cell.layout.bindings(self.parameters),
            *values,
            *(line for place, block in enumerate(cell.blocks) for line in self._stack(block, given=not place)),
            *(f"{name} = {value}" for name, value in self.bound.items()),
            *self._row_coefficients(),
            *self.coefficients,
            "",
            *self.seeded(cell.names("bar_output")),
            *self.buffers,
            *self._swept(body),
            "",
        ]

    def _swept(self, body: Sequence[str]) -> list[str]:
        """The loop over the steps, last one first; all steps at once where none waits for another."""
        if not self.cell.program.stateless:
            return in_place_loop([(name, f"{iterable}[::-1]") for name, iterable in self.variables.items()], body)
        views = [
            f"{name} = {iterable.removesuffix('.unbind(0)')}.flatten(0, 1)" for name, iterable in self.variables.items()
        ]
        return [*views, *body]

    def arguments(self) -> str:
        """Text of the arguments."""
        names = [self.cell.names(group) for group in ("activations", "bar_a", "bars", "sums")]
        return (
            f"{self.cell.path_arguments}, {names[0]}: Values, {names[1]}: Tensor, {names[2]}: Values, {names[3]}: Sums"
            + lag_arguments(self.cell.program)
        )

    def unpacked(self, bars: Sequence[str], lines: Sequence[str]) -> list[str]:
        names = self.cell.names
        sums = [f"bar_{self.cell.x}", *self.cell.operand_names("bar_")]
        return [
            *self.cell.unpacked(lines),
            *unpacking(names("activations"), self.cell.stored, lines),
            *unpacking(names("bars"), bars, lines),
            *unpacking(names("sums"), sums, lines),
        ]

    def _pivots(self) -> str:
        """Names of the pivots."""
        gathered = [op.target for op in self.adjoint.loop if isinstance(op, Gather) and op.target not in self.rows]
        names = [pivot.name for pivot in (*(s.pivot for s in self.adjoint.coefficients.values()), *gathered)]
        *others, last = dict.fromkeys(names or [self.seeds[0].name])
        return f"{', '.join(others)} and {last}" if others else last

    def _values(self, adjoint: AdjointPlan) -> list[str]:
        """Quantities of the forward sweep, for all steps: views of the stacked buffer and what is computed anew."""
        cell, plan = self.cell, self.cell.plan
        wanted = set(values_read(adjoint))
        program = plan.recomputed(wanted)
        read = wanted | {q for line in program.assignments for q in symbols_of(line.value)}
        self.parameters |= dict.fromkeys(q for q in by_name(read) if q.role is Role.PARAMETER)
        lines = []
        for block in (cell.blocks[place] for place in plan.stored):
            rows = [row for row in block.rows if cell.held(row) in read and cell.held(row) not in cell.program.new]
            lines += _views(cell, block, {row: cell.held(row).name for row in rows})
        for line in program.assignments:
            lines += commented(self.statements.fresh(line.target.name, line.value), cell.comment([line.target]))
        return lines

    def _stack(self, block: Block, given: bool) -> list[str]:
        """A stacked buffer of rows' cotangents; one is given if there is room in it."""
        cell, name = self.cell, self.cell.local("bar_a", block)
        first = cell.layout.operands[0]
        sizes = {first.rows[0].shape[-2], cell.program.rows[block.rows[0]].target.shape[0]}
        roomy = given and not first.separate and len(first.rows) == block.count and len(sizes) == 1
        lines = [] if roomy else [f"{name} = {cell.x}.new_empty({cell.shape}, {block.width})"]
        stack = cell.local("bar_stack", block)
        lines.append(f"{stack} = {name}.view({cell.shape}, {block.count}, {block.size})")
        used = [row for row in block.rows if row in self.adjoint.coefficients]
        views = {row: self.rows[row].name for row in used}
        return lines + _cut_views(block, stack, views)

    def _row_coefficients(self) -> list[str]:
        lines = []
        for row, scaled in self.adjoint.coefficients.items():
            comment = self._note(scaled.lines, scaled.pivot)
            lines += commented(self.statements.into(self.rows[row].name, scaled.coefficient), comment)
        return lines

    def _operation(self, operation: BackwardOperation) -> list[str]:
        comment = self.cell.comment(operation.lines)
        if isinstance(operation, ScaleRows):
            return [f"{self._row_view(operation.rows)}.mul_({self._pivot(operation)}){comment}"]
        if isinstance(operation, Gather):
            target = self._row((operation.target,)) if operation.target in self.rows else self._buffer(operation.target)
            form = self._sum(operation.target, operation.target.name, operation.form, operation.lines)
            return commented(form.into(target), comment)
        if isinstance(operation, Carry):
            chain = self.cell.chain(operation.place)
            return commented(self._carry(operation), self.cell.comment([*operation.lines, chain]))
        if isinstance(operation, SendBack):
            chain = self.cell.chain(operation.place)
            return commented(self._send_back(operation), self.cell.comment([*operation.lines, chain]))
        assert isinstance(operation, KeepPivot)
        name = self.cell.names(f"{operation.pivot.name}_path", operation.pivot)
        width = self.cell.width_of(operation.pivot)
        self.buffers.append(f"{name} = {self.cell.x}.new_empty({self.cell.shape}, {width})")
        return [f"{self._variable(f'{name}_row', name)}.copy_({self._term(operation.pivot)}){comment}"]

    def _carry(self, operation: Carry) -> list[str]:
        seed = self.seeds[operation.place].name
        target = seed
        if operation.staged:
            target = self.cell.names(f"{seed}_before", operation.place)
            self.buffers.append(f"{target} = torch.empty_like({seed})")
        old = self.cell.program.old[operation.place]
        form = self._sum(old, f"bar_{old.name}", operation.form, operation.lines)
        if operation.place == self.cell.program.output:
            bar_output, name = self.cell.names("bar_output"), self.cell.names("bar_output_prev")
            self.variables[name] = f"(torch.zeros_like({seed}), *{bar_output}[:-1].unbind(0))"
            form = replace(form, plain=(("1", name), *form.plain))
        return [] if form == Sum((("1", target),), (), (), chosen=True) else form.into(target)

    def _send_back(self, operation: SendBack) -> list[str]:
        """Add to the cotangent of the step that made a value, or of each step for several lags."""
        cell, old = self.cell, self.cell.program.old[operation.place]
        past, name = cell.past[old], f"bar_{operation.value.name}"
        rows = past.rows(operation.value, cell.names(f"{self.all_of(old)}_rows"))
        target = cell.names(f"{name}_row", ("sent", operation.value))
        self.variables.setdefault(target, rows)
        if not many(operation.value):
            return self._sum(operation.value, name, operation.form, operation.lines).onto(target)
        lines = []
        for back in operation.form.products:
            one, value = (
                cell.names(f"{back.matrices[0].name}_k", back.matrices[0]),
                cell.names(f"{name}_k", operation.value),
            )
            lines += [
                f"for {one}, {value} in zip({self._weight(back.matrices)}, {target}, strict=True):",
                f"    add_product({value}, {self._flat(back.rows)}, {one})",
            ]
        return lines

    def _staged(self) -> list[str]:
        staged = [op for op in self.adjoint.loop if isinstance(op, Carry) and op.staged]
        lines = []
        for operation in staged:
            seed, chain = self.seeds[operation.place].name, self.cell.chain(operation.place)
            before = self.cell.names(f"{seed}_before", operation.place)
            lines.append(f"{seed}.copy_({before}){self.cell.comment([chain])}")
        return lines

    def _sum(self, target: Quantity, name: str, form: LinearForm, lines: Sequence[Quantity]) -> Sum:
        plain: list[tuple[str, str]] = []
        products: list[tuple[str, str, str]] = []
        narrow: list[tuple[str, str, str]] = []
        inner: list[tuple[str, str]] = []
        for scaled in (*form.scaled, *form.inner):
            number, rest = scaled.coefficient.as_coeff_Mul()
            thin = isinstance(scaled, Inner) or not scaled.pivot.shape
            pivot = self._inner(name, scaled, lines, inner) if isinstance(scaled, Inner) else self._term(scaled.pivot)
            if rest == 1:
                found = (self.statements.printer(number), pivot, "")
            elif rest in self.rows and number == 1 and not isinstance(scaled, Inner):
                found = ("1", self._row((rest,)), "")
            else:
                found = self._product(f"{name}_by_{pivot}", scaled, lines, pivot)
            if thin and target.shape and shape_of(scaled.coefficient) == ():
                narrow.append(found)
            elif found[2]:
                products.append(found)
            else:
                plain.append(found[:2])
        matrices = [(self._flat(back.rows), self._weight(back.matrices)) for back in form.products]
        return Sum(tuple(plain), tuple(products), tuple(matrices), tuple(inner), tuple(narrow), chosen=True)

    def _product(self, name: str, scaled: Scaled, lines: Sequence[Quantity], pivot: str) -> tuple[str, str, str]:
        """A number, a pivot, and the rest of its coefficient at one step."""
        number, rest = scaled.coefficient.as_coeff_Mul()
        whole = isinstance(rest, Quantity) and rest not in self.rows
        text = self._coefficient(rest if whole else scaled.coefficient, name, scaled, lines)
        return (self.statements.printer(number) if whole else "1", pivot, text)

    def _inner(self, name: str, term: Inner, lines: Sequence[Quantity], found: list[tuple[str, str]]) -> str:
        """The name of an inner product with a pivot, which is computed first."""
        pivot = self._term(term.pivot)
        if term.weight == 1:
            result, text = self.cell.names(f"{pivot}_total", term.pivot), f"{pivot}.sum(-1, keepdim=True)"
        else:
            weight = self._coefficient(term.weight, f"{name}_along_{pivot}", term, lines)
            result = self.cell.names(f"{pivot}_product", (term.pivot, term.weight))
            text = f"({pivot} * {weight}).sum(-1, keepdim=True)"
        if result not in self.products:
            self.products.add(result)
            found.append((result, text))
        return result

    def _coefficient(self, value: Expr, name: str, scaled: Scaled, lines: Sequence[Quantity]) -> str:
        """A coefficient at one step: of a path that is there, of a buffer made before the loop, or of parameters."""
        value = value.args[0] if isinstance(value, fill) else value
        value = value.xreplace({node: self._operator(node) for node in sorted(value.atoms(*MIXING), key=str)})
        if isinstance(value, Quantity):
            return value.name if value.role is Role.PARAMETER else self._variable(f"{value.name}_row", value.name)
        buffer = self.cell.names(name, (name, scaled.pivot, value))
        comment = self._note((*scaled.lines, *lines), scaled.pivot)
        self.coefficients += commented(self.statements.fresh(buffer, value), comment)
        if not varies(value):
            return buffer
        return self._variable(f"{buffer}_row", buffer)

    def _operator(self, node: Operator) -> Quantity:
        """An operator that several coefficients may hold, for all steps at once."""
        about = "_".join([type(node).__name__, *(q.name for q in by_name(symbols_of(node)))])
        name = self.cell.names(about[:LONGEST_NAME], node)
        lines = self.statements.fresh(name, node)
        self.coefficients += [line for line in lines if line not in self.coefficients]
        return Quantity(name, shape_of(node), Role.INTERMEDIATE)

    def _note(self, lines: Sequence[Quantity], pivot: Quantity) -> str:
        numbers = self.cell.comment(lines)
        return f"{numbers or '  #'} per {pivot.name}"

    def _variable(self, base: str, path: str) -> str:
        name = self.cell.names(base, path)
        self.variables.setdefault(name, f"{path}.unbind(0)")
        return name

    def _term(self, quantity: Quantity) -> str:
        """A pivot at one step."""
        return self._row((quantity,)) if quantity in self.rows else quantity.name

    def _buffer(self, quantity: Quantity) -> str:
        kept = self.cell.past and not self.cell.program.stateless
        alike, seed = quantity.shape in ((), self.seeds[0].shape), self.seeds[0].name
        width = self.cell.width_of(self.seeds[0] if alike else quantity)
        like = f"torch.empty_like({seed})" if alike else f"{seed}.new_empty({seed}.shape[0], {width})"
        like = f"{self.cell.x}.new_empty({self.cell.names('batch')}, {width})" if kept else like
        line = f"{quantity.name} = {like if quantity.shape else f'{like}[:, :1]'}"
        if line not in self.buffers:
            self.buffers.append(line)
        return quantity.name

    def _pivot(self, operation: ScaleRows) -> str:
        if len(operation.rows) == 1:
            return self._term(operation.pivot)
        name = self.cell.names(f"{operation.pivot.name}_wide", operation.pivot)
        if operation.pivot in self.rows:
            row = self.rows.index(operation.pivot)
            block = self.cell.block([row])
            path = f"{self.cell.local('bar_stack', block)}[:, :, {block.chosen([row])}]"
            self.variables.setdefault(name, f"{path}.unbind(0)")
        elif (old := self._kept_state(operation.pivot)) is not None:
            rows = f"{self.all_of(old)}[{self.cell.past[old].depth}:].unsqueeze(2).unbind(0)"
            self.variables.setdefault(name, rows)
        elif (line := f"{name} = {operation.pivot.name}.unsqueeze(1)") not in self.buffers:
            self.buffers.append(line)
        return name

    def _kept_state(self, seed: Quantity) -> Quantity | None:
        """The state of a running cotangent, where it keeps several values."""
        states = zip(self.cell.program.old, self.seeds, strict=False)
        return next((old for old, each in states if each == seed and old in self.cell.past), None)

    def _row(self, rows: Sequence[Quantity]) -> str:
        return self._row_view([self.rows.index(row) for row in rows])

    def _row_view(self, rows: Sequence[int]) -> str:
        """Rows of the stacked buffer at one step, (B, n, H), or (B, H) for one."""
        block = self.cell.block(rows)
        whole = block.whole(rows) and len(rows) > 1
        base = f"bar_a{block.suffix}_wide" if whole else joined([self.rows[row].name for row in rows])
        chosen = str(block.place(rows[0])) if len(rows) == 1 else block.chosen(rows)
        stack = self.cell.local("bar_stack", block)
        path = stack if whole else f"{stack}[:, :, {chosen}]"
        return self._variable_of(f"{base}_row", ("wide", *rows), path)

    def _flat(self, rows: Sequence[int]) -> str:
        """Rows of the stacked buffer at one step, (B, n H)."""
        block = self.cell.block(rows)
        name = self.cell.local("bar_a", block)
        if block.whole(rows) and len(rows) > 1:
            return self._variable_of(f"{name}_row", "flat", name)
        if len(rows) == 1:
            return self._row_view(rows)
        base = joined([self.rows[row].name for row in rows])
        return self._variable_of(f"{base}_flat", ("flat", *rows), f"{name}[:, :, {block.columns(rows)}]")

    def _variable_of(self, base: str, meaning: object, path: str) -> str:
        name = self.cell.names(base, repr(meaning))
        self.variables.setdefault(name, f"{path}.unbind(0)")
        return name

    def _weight(self, matrices: Sequence[Quantity]) -> str:
        text = self.cell.layout.flat(matrices)
        if len(matrices) == 1:
            self.parameters[matrices[0]] = None
            return matrices[0].name
        if text.isidentifier():
            return text
        name = self.cell.names(joined([q.name for q in matrices]), tuple(matrices))
        self.bound.setdefault(name, text)
        return name


def _views(cell: CellText, block: Block, names: dict[int, str]) -> list[str]:
    if not names:
        return []
    return _cut_views(block, f"{cell.local('a_path', block)}.view({cell.shape}, {block.count}, {block.size})", names)


def _cut_views(block: Block, stack: str, names: dict[int, str]) -> list[str]:
    """Names for single rows of a stacked buffer."""
    if len(names) == block.count > 1:
        return [f"{', '.join(names[row] for row in block.rows)} = {stack}.unbind(2)"]
    return [f"{name} = {stack}[:, :, {block.place(row)}]" for row, name in sorted(names.items())]
