"""What the emitted functions of a cell have in common: names, slices, equation numbers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from codegen.cells.lowering_blocks import Block
from codegen.cells.lowering_past import PastText
from codegen.cells.plan import CellPlan
from codegen.cells.plan_operands import Operand
from derive.symbols import Dimension, Quantity, Role

Numbers = Callable[[Quantity | str], str]
"""Quantity of the step or its adjoint, or name of a relation -> number of that equation; empty where there is none."""

DOC_WIDTH = 108
HELPERS = ("sigmoid_slope", "tanh_slope", "add_product", "set_product", "product")


@dataclass
class Names:
    """Names of the local variables of the emitted functions: one for each meaning, none that a quantity has."""

    taken: set[str]
    given: dict[tuple[str, Hashable], str] = field(default_factory=dict)

    def __call__(self, base: str, meaning: Hashable = None) -> str:
        """`base`, or with underscores behind it where that name is something else."""
        if (base, meaning) not in self.given:
            name = base
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.given[base, meaning] = name
        return self.given[base, meaning]


class CellText:
    """One cell on its way to text.

    Args:
        plan: what the functions do.
        suffix: of their names, for a variant.
        numbers: for the comments.
    """

    def __init__(self, plan: CellPlan, suffix: str, numbers: Numbers) -> None:
        self.plan, self.suffix, self.numbers = plan, suffix, numbers
        self.program = plan.program
        step, adjoint = plan.program.step, plan.adjoint
        known = {q.name for q in (*step.inputs, *step.targets, *adjoint.seeds, *adjoint.bars.values())}
        known |= {q.name for q in plan.program.old} | {f"bar_{q.name}" for q in plan.program.inputs}
        operands = {prefix + o.name for o in plan.program.layout.operands for prefix in ("", "bar_")}
        told = {lag.name for lag in plan.program.told_lags}
        self.names = Names({*known, *operands, *HELPERS, *told})
        first, dimensions = self._first_size(), plan.program.dimensions
        self.sizes = {first: self.names("size")}
        self.sizes |= {size: self.names(f"{size.lower()}_size", size) for size in map(str, dimensions) if size != first}
        self.size = self.sizes[first]
        self.layout = replace(plan.program.layout, sizes=self.sizes)
        groups = plan.program.groups
        self.blocks = tuple(self._block(rows, place) for place, rows in enumerate(groups))
        inputs = plan.program.inputs
        self.x = inputs[0].name if len(inputs) == 1 else self.names("inputs")
        sources = [q for q in (*plan.program.old, plan.program.input) if plan.program.past_of(q)]
        self.past = {q: PastText(q, plan.program.past_of(q), self.names) for q in sources}

    def _first_size(self) -> Dimension:
        """The size that is read from the first state or, where there is none, from the first operand."""
        (first,) = self.program.old[0].shape if self.program.old else self.first_matrix.shape[-2:-1]
        return first

    @property
    def first_matrix(self) -> Quantity:
        """The first parameter of the first operand."""
        return self.program.layout.operands[0].rows[0]

    def _block(self, rows: tuple[int, ...], place: int) -> Block:
        (size,) = self.program.rows[rows[0]].target.shape
        return Block(rows, self.sizes[size], f"_{str(size).lower()}" if place else "")

    def block(self, rows: Sequence[int]) -> Block:
        """The buffer that holds rows."""
        return next(block for block in self.blocks if rows[0] in block.rows)

    def local(self, base: str, block: Block) -> str:
        """Name of something that every stacked buffer has one of."""
        return self.names(base + block.suffix)

    @property
    def stored(self) -> list[str]:
        """Names of the stacked buffers that are kept for the adjoint sweep."""
        return [self.local("a_path", self.blocks[place]) for place in self.plan.stored]

    @property
    def rows_kept(self) -> str:
        """What these hold, for docstrings."""
        blocks = [self.blocks[place] for place in self.plan.stored]
        sizes = [self.program.rows[block.rows[0]].target.shape[0] for block in blocks]
        return " and ".join(f"(T, B, {b.count} {size})" for b, size in zip(blocks, sizes, strict=True))

    @staticmethod
    def shapes(quantities: Iterable[Quantity]) -> str:
        """Shapes of paths, for docstrings."""
        return " and ".join(dict.fromkeys(f"(T, B, {q.shape[0]})" for q in quantities))

    def first_sizes(self, state: str, operand: str, lines: Sequence[str]) -> str:
        """The line that reads the sizes from the input and, where `lines` use it, from a state or the first operand."""
        if self.size not in words(lines):
            return f"{self.names('steps')}, {self.names('batch')} = {self.x}.shape[0], {self.x}.shape[1]"
        names = f"{self.names('steps')}, {self.names('batch')}, {self.size}"
        return f"{names} = {self.x}.shape[0], {self.x}.shape[1], {self.first_size(state, operand)}"

    def first_size(self, state: str, operand: str) -> str:
        """Text of the size of a state; of the rows of the first operand where there is no state."""
        first = self.layout.operands[0]
        if not self.program.stateless:
            return f"{state}.shape[-1]"
        parts = 1 if first.separate else len(first.rows)
        return f"{operand}.shape[-2]" + (f" // {parts}" if parts > 1 else "")

    def sizes_of_groups(self, lines: Sequence[str]) -> str:
        """The line of `first_sizes` in a function that gets states and operands as tuples."""
        return self.first_sizes(f"{self.names('before')}[0]", f"{self.names('operands')}[0]", lines)

    @property
    def past_input(self) -> list[str]:
        """Name of the argument that holds inputs before the first step, where they are read."""
        return [self.names(f"{self.x}_past", "past")] if self.program.reads_past_input else []

    def width_of(self, quantity: Quantity) -> str:
        """Text of the last axis of what holds a quantity: a number has one, of size 1."""
        return self.sizes[quantity.shape[0]] if quantity.shape else "1"

    def further_sizes(self, lines: Sequence[str], states: Sequence[str] = ()) -> list[str]:
        """Lines that read the other sizes from the operands, or from `states`, where `lines` use them."""
        used, given = words(lines), states or self.before
        return [
            f"{name} = {self._read(size, given)}"
            for size, name in self.sizes.items()
            if name in used and name != self.size
        ]

    def _read(self, size: Dimension, states: Sequence[str]) -> str:
        texts = [_size_in(operand, size) for operand in self.layout.operands]
        pairs = zip(self.program.old, states, strict=False)
        texts += [f"{name}.shape[-1]" for q, name in pairs if size in q.shape]
        return next(text for text in texts if text)

    def split_inputs(self, lines: Sequence[str], prefix: str = "") -> list[str]:
        """The line that cuts several inputs, or their cotangents, out of one tensor, where `lines` use them."""
        inputs, used = self.program.inputs, words(lines)
        names = [prefix + q.name if prefix + q.name in used else "_" for q in inputs]
        if len(inputs) == 1 or set(names) == {"_"}:
            return []
        rows = self.program.rows
        matrices = [next(m for row in rows for m, given in row.inputs if given == q) for q in inputs]
        widths = ", ".join(f"{self.layout.place(matrix)[0].name}.shape[-1]" for matrix in matrices)
        return [f"{', '.join(names)} = {prefix}{self.x}.split(({widths}), -1)"]

    @property
    def shape(self) -> str:
        """Text of the first two axes of a path."""
        return f"{self.names('steps')}, {self.names('batch')}"

    def comment(self, lines: Iterable[Quantity | str]) -> str:
        """Equation numbers of some lines and named relations, each once and in order."""
        found = sorted({int(number) for number in map(self.numbers, lines) if number})
        return "  # " + " ".join(f"({number})" for number in found) if found else ""

    def held(self, row: int) -> Quantity:
        """The quantity that a row's block holds after the step."""
        return self.plan.forward.held[row]

    def row_of_held(self, quantity: Quantity) -> int | None:
        """The row whose block holds a quantity."""
        held = self.plan.forward.held
        return held.index(quantity) if quantity in held else None

    @property
    def path_arguments(self) -> str:
        """Arguments that `recompute` and `backward` have in common."""
        groups = ", ".join(f"{self.names(group)}: Values" for group in ("before", "paths", "operands"))
        return f"{self.x}: Tensor, {groups}"

    def unpacked(self, lines: Sequence[str]) -> list[str]:
        """Statements that name the states and operands that `lines` use."""
        cuts = self._cuts(lines)
        groups = {"before": self.before, "paths": self.after, "operands": self.operand_names()}
        unpacked = [
            line for group, names in groups.items() for line in unpacking(self.names(group), names, [*cuts, *lines])
        ]
        return [*unpacked, *cuts]

    @property
    def before(self) -> list[str]:
        """Names of the states before the step, and of inputs that are kept, where they are arguments."""
        names = [self.past[q].all if q in self.past else q.name for q in self.program.old]
        return names + [self.past[q].all for q in (self.program.input,) if q in self.past]

    def _cuts(self, lines: Sequence[str]) -> list[str]:
        """Statements that cut past values to what each step reads, for those that `lines` use."""
        used, found = words(lines), []
        for source, text in self.past.items():
            read = (source, *text.values) if source.role is Role.STATE else text.values
            cuts = [f"{q.name} = {text.cut(q, text.all)}" for q in read if q.name in used]
            if cuts or text.local in used:
                found += text.measured(f"{text.all}.shape[0] - {text.steps}")
            found += cuts
        return found

    def chain(self, place: int) -> str:
        """Name of the relation that hands the cotangent of a state from step to step."""
        return f"chain.{self.program.new[place].name}"

    def operand_names(self, prefix: str = "") -> list[str]:
        """Names of the operands, in order."""
        return [prefix + operand.name for operand in self.layout.operands]

    @property
    def after(self) -> list[str]:
        """Names of the states after the step, where they are arguments."""
        program = self.program
        if program.stateless:
            return [program.new[0].name]
        return [
            self.names(f"{old.name}_after", place) if new in program.old else new.name
            for place, (old, new) in enumerate(zip(program.old, program.new, strict=True))
        ]


def fitting(doc: str, summary: str, rest: str) -> str:
    """A docstring in one line, or a summary and the rest where it is too long for one."""
    if len(doc) <= DOC_WIDTH:
        return doc
    more = textwrap.fill(rest, DOC_WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return f"{summary}\n\n{more}\n    "


def _size_in(operand: Operand, size: Dimension) -> str:
    """Text of a size as an operand has it; empty where it has it not."""
    shape = operand.rows[0].shape
    if len(shape) > 1 and shape[-1] == size:
        return f"{operand.name}.shape[-1]"
    if size not in shape:
        return ""
    if operand.alone:
        return f"{operand.name}.shape[{shape.index(size)}]"
    count = len(operand.rows)
    if operand.separate:
        return f"{operand.name}.shape[1]"
    return f"{operand.name}.shape[0]" + (f" // {count}" if count > 1 else "")


def unpacking(source: str, names: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The statement that names the entries of a tuple; those that no line uses are passed over."""
    used = words(lines)
    shown = [name if name in used else "_" for name in names]
    if used.isdisjoint(names):
        return []
    return [f"({shown[0]},) = {source}" if len(shown) == 1 else f"{', '.join(shown)} = {source}"]


def words(lines: Sequence[str]) -> set[str]:
    """Names that occur in statements."""
    return set(re.findall(r"\w+", "\n".join(line.partition("#")[0] for line in lines)))


def commented(lines: Sequence[str], comment: str) -> list[str]:
    """The comment behind every statement."""
    return [line + comment for line in lines]


def parameters_text(names: Iterable[str], optional: Iterable[str] = ()) -> str:
    """Parameters of an emitted function: tensors, then tensors that may be None."""
    return ", ".join([*(f"{name}: Tensor" for name in names), *(f"{name}: Tensor | None" for name in optional)])


def loop(variables: Sequence[tuple[str, str]], body: Sequence[str]) -> list[str]:
    """A loop over several iterables of equal length."""
    if len(variables) == 1:
        ((name, iterable),) = variables
        return [f"for {name} in {iterable}:", *(f"    {line}" for line in body)]
    names = ", ".join(name for name, _ in variables)
    iterables = ", ".join(iterable for _, iterable in variables)
    return [f"for {names} in zip({iterables}, strict=True):", *(f"    {line}" for line in body)]


def in_place_loop(variables: Sequence[tuple[str, str]], body: Sequence[str]) -> list[str]:
    """A loop of in-place operations on buffers of a sweep, spared the dispatch to autograd, which never sees them."""
    return ["with torch.inference_mode():", *(f"    {line}" for line in loop(variables, body))]


def tuple_text(items: Sequence[str]) -> str:
    """What stands behind `return` for a tuple."""
    return f"({items[0]},)" if len(items) == 1 else ", ".join(items) if items else "()"
