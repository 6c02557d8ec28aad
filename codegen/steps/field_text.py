"""The lines of a written-out field: its value, the pullback of one stage, and the gradients after the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Add, Expr, Mul

from codegen.cells.lowering import Names, commented
from codegen.cells.lowering_statements import slopes_in
from codegen.printer import TorchPrinter
from codegen.steps.adjoint_lines import reduced
from codegen.steps.facts import Facts
from codegen.steps.field_inner import InnerNumbers
from codegen.steps.field_numbers import FieldNumbers
from codegen.steps.field_plan import FieldPlan, depends_on_state, depends_on_time
from codegen.steps.field_sums import FieldSums
from codegen.steps.rules import tuple_display
from derive.functions import tanh
from derive.operators import shape_of, transpose
from derive.program import Assignment, symbols_of
from derive.symbols import LONGEST_NAME, Quantity, Role, by_name


class FieldPrinter(TorchPrinter):
    """Prints what depends on the state; everything else by the name under which it is handed in."""

    def __init__(self, text: FieldText) -> None:
        super().__init__()
        self.text = text

    def _print(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, Quantity):
            return self.text.name_of(node), 3
        return super()._print(node)


@dataclass
class FieldText:
    """Writes the functions; `held` and `clock` collect what they read of parameters and times."""

    facts: Facts
    plan: FieldPlan
    numbers: FieldNumbers | InnerNumbers
    held: dict[Expr, str] = field(default_factory=dict)
    clock: dict[Expr, str] = field(default_factory=dict)
    coefficients: dict[Expr, Quantity] = field(default_factory=dict)
    notes: dict[str, list[Quantity]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan, layout = self.plan, self.facts.layout
        adjoint = plan.adjoint.program
        known = [*plan.program.inputs, *plan.program.targets, *adjoint.inputs, *adjoint.targets]
        self.names = Names({q.name for q in (*known, *layout.local, *layout.shared)})
        self.printer = FieldPrinter(self)
        self.sums = FieldSums(self.printer, self.fixed)
        self.plain = TorchPrinter()
        self.line: Quantity | None = None
        self.vector = bool(plan.states[0].shape)

    def name_of(self, quantity: Quantity) -> str:
        """The name of a quantity where a statement reads it."""
        if quantity in self.plan.adjoint.program.targets and not quantity.role.batched:
            return quantity.name
        if not quantity.role.batched:
            return self.fixed(quantity)
        return (self.plan.slots.get(quantity) or self.plan.bar_slots.get(quantity) or quantity).name

    def fixed(self, value: Expr) -> str:
        """The name under which an expression in parameters and times is handed in."""
        table = self.clock if depends_on_time(value, self.plan.program) else self.held
        if value not in table:
            table[value] = value.name if isinstance(value, Quantity) else self.names(self._name(value), value)
        if self.line is not None:
            self.notes.setdefault(table[value], []).append(self.line)
        return table[value]

    @staticmethod
    def _name(value: Expr) -> str:
        if isinstance(value, transpose) and isinstance(value.args[0], Quantity):
            return f"{value.args[0].name}_t"
        kind = "matrix" if shape_of(value)[1:] else "factor"
        return "_".join([kind, *(q.name for q in by_name(symbols_of(value)))])[:LONGEST_NAME]

    def _numbered(self, line: Assignment, lines: Sequence[str]) -> list[str]:
        return commented(lines, self.numbers.comment([line.target]))

    def value(self) -> list[str]:
        """Statements of the field; a matrix product that only a tanh reads is one operation with it."""
        found: list[str] = []
        joined = {line.value.args[0]: line for line in self.plan.lines if self._lies_in_tanh(line)}
        done: set[Quantity] = set()
        for line in self.plan.lines:
            both = self._with_tanh(line, joined[line.target]) if line.target in joined else []
            done |= {joined[line.target].target} if both else set()
            if line.target not in done:
                found += both or self._in_place(line, line.value)
        return found

    def _lies_in_tanh(self, line: Assignment) -> bool:
        """Whether a line is the tanh of a line that is read nowhere else."""
        slots = self.plan.slots
        return isinstance(line.value, tanh) and slots.get(line.value.args[0]) == slots[line.target]

    def _with_tanh(self, argument: Assignment, line: Assignment) -> list[str]:
        """A line and its tanh as one operation, or nothing."""
        self.line = argument.target
        found = self.sums.tanh(self.name_of(line.target), argument.value)
        self.line = None
        return commented(found, self.numbers.comment([argument.target, line.target]))

    def pull_back(self) -> list[str]:
        """Statements of the reverse sweep over the field at one stage."""
        lines = [text for line in self.plan.loop for text in self._in_place(line, self._with_coefficients(line))]
        return lines + [f"bar_{q.name}.zero_()" for q in self.plan.states if q not in self.plan.adjoint.cotangents]

    def _in_place(self, line: Assignment, value: Expr) -> list[str]:
        self.line = line.target
        found = self._numbered(line, self.sums.into(self.name_of(line.target), value))
        self.line = None
        return found

    def _with_coefficients(self, line: Assignment) -> Expr:
        """The line with what multiplies a cotangent as one quantity, which is computed for all stages at once."""
        value = Add(*(self._term(term, line.target) for term in Add.make_args(line.value)))
        timed = [q for q in by_name(symbols_of(value)) if depends_on_time(q, self.plan.program)]
        return value.xreplace({q: self._coefficient(q, line.target, q) for q in timed})

    def _term(self, term: Expr, target: Quantity) -> Expr:
        """One term; the slope of a function in its value stays, and so do factors that have a name."""
        bars = [factor for factor in Mul.make_args(term) if isinstance(factor, Quantity) and _is_bar(factor)]
        if len(bars) != 1 or any(scale == bars[0] for _, _, scale in slopes_in(term)):
            return term
        rest = term / bars[0]
        named = isinstance(rest.as_coeff_Mul()[1], Quantity) or not depends_on_state(rest)
        if any(map(_is_bar, symbols_of(rest))) or (named and not depends_on_time(rest, self.plan.program)):
            return term
        return bars[0] * self._coefficient(rest, target, bars[0])

    def _coefficient(self, value: Expr, target: Quantity, bar: Quantity) -> Quantity:
        if value not in self.coefficients:
            name = self.names(f"{target.name}_by_{bar.name}", value)
            self.coefficients[value] = Quantity(name, shape_of(value), Role.INTERMEDIATE)
        self.notes.setdefault(self.coefficients[value].name, []).append(target)
        return self.coefficients[value]

    def coefficient_lines(self) -> list[str]:
        """What the pullback multiplies cotangents by."""
        return [
            f"{quantity.name} = {self.printer(value)}{self.numbers.comment(self.notes[quantity.name])}"
            for value, quantity in self.coefficients.items()
        ]

    def gradients(self) -> list[str]:
        """Cotangents of what has no batch axes."""
        about = {bar: q for q, bar in self.plan.adjoint.cotangents.items()}
        lines = []
        for line in self.plan.after:
            for q in by_name({about[line.target], *symbols_of(line.value)}):
                self.name_of(q)
            text = reduced(line.value, about[line.target], self.printer, self._varies)
            lines += self._numbered(line, [f"{line.target.name} = {text}"])
        return lines

    def _varies(self, value: Expr) -> bool:
        """Whether an expression differs between the samples or the steps of a block."""
        return depends_on_state(value) or depends_on_time(value, self.plan.program)

    def shapes(self, quantities: Sequence[Quantity]) -> str:
        """Last axes of some quantities, as a tuple of tuples."""
        return tuple_display([tuple_display([self._size(q)] if self.vector else []) for q in quantities])

    def _size(self, quantity: Quantity) -> str:
        state = self.plan.states[0]
        if not quantity.shape:
            return "1"
        (size,) = quantity.shape
        if isinstance(size, int):
            return str(size)
        if state.shape == quantity.shape:
            return f"{state.name}.shape[-1]"
        owner, place = self.plan.sizes[size]
        return f"{self.fixed(owner)}.shape[{place}]"

    def clock_lines(self) -> list[str]:
        """What depends on the time; it may read parameters, which are handed in."""
        wanted = {q for value in self.clock for q in symbols_of(value)}
        program = self.plan.program.needed_for(by_name(wanted))
        timed = [line for line in program.assignments if depends_on_time(line.target, self.plan.program)]
        known = {*(line.target for line in timed), *(q for q in program.inputs if q.role is Role.TIME)}
        for q in by_name({q for line in timed for q in symbols_of(line.value)} | wanted):
            if q not in known:
                self.fixed(q)
        lines = [
            text for line in timed for text in self._numbered(line, [f"{line.target.name} = {self.plain(line.value)}"])
        ]
        return lines + self._definitions(self.clock)

    def held_lines(self) -> list[str]:
        """What depends on parameters alone."""
        wanted = {q for value in self.held for q in symbols_of(value)}
        program = self.plan.program.needed_for(by_name(wanted))
        lines = [
            text
            for line in program.assignments
            for text in self._numbered(line, [f"{line.target.name} = {self.plain(line.value)}"])
        ]
        return lines + self._definitions(self.held)

    def _definitions(self, table: Mapping[Expr, str]) -> list[str]:
        """Lines for the entries that are no quantities."""
        return [
            f"{name} = {self._definition(value)}{self.numbers.comment(self.notes.get(name, ()))}"
            for value, name in table.items()
            if not isinstance(value, Quantity)
        ]

    def _definition(self, value: Expr) -> str:
        step = next(q.name for q in self.facts.layout.shared if q.role is Role.STEP_SIZE)
        return f"torch.full_like({step}, {self.plain(value)})" if value.is_number else self.plain(value)


def _is_bar(quantity: Expr) -> bool:
    return isinstance(quantity, Quantity) and quantity.role is Role.COTANGENT
