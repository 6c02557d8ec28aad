"""What the emitted functions of a cell have in common: names, slices, equation numbers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from codegen.cells.lowering_past import PastText
from codegen.cells.plan import CellPlan
from codegen.cells.plan_operands import Layout, multiple, rows_slice
from derive.symbols import LONGEST_NAME, Quantity, Role

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
        operands = {prefix + o.name for o in plan.program.layout.operands for prefix in ("", "bar_")}
        told = {lag.name for lag in plan.program.told_lags}
        self.names = Names({*known, *operands, *HELPERS, *told})
        self.size = self.names("size")
        self.layout = Layout(plan.program.layout.operands, self.size)
        self.count = len(plan.program.rows)
        self.width = multiple(self.count, self.size)
        self.x = plan.program.input.name
        sources = [q for q in (*plan.program.old, plan.program.input) if plan.program.past_of(q)]
        self.past = {q: PastText(q, plan.program.past_of(q), self.names) for q in sources}

    def sizes(self, state: str, operand: str) -> str:
        """The line that reads the sizes from the input and from a state, or from the first operand."""
        names = f"{self.names('steps')}, {self.names('batch')}, {self.size}"
        return f"{names} = {self.x}.shape[0], {self.x}.shape[1], {self.size_of(state, operand)}"

    def size_of(self, state: str, operand: str) -> str:
        """Text of the size of a state; of the rows of the first operand where there is no state."""
        first = self.layout.operands[0]
        if not self.program.stateless:
            return f"{state}.shape[-1]"
        parts = 1 if first.separate else len(first.rows)
        return f"{operand}.shape[-2]" + (f" // {parts}" if parts > 1 else "")

    @property
    def sizes_of_groups(self) -> str:
        """The same in a function that gets states and operands as tuples."""
        return self.sizes(f"{self.names('before')}[0]", f"{self.names('operands')}[0]")

    @property
    def past_input(self) -> list[str]:
        """Name of the argument that holds inputs before the first step, where they are read."""
        return [self.names(f"{self.x}_past", "past")] if self.program.reads_past_input else []

    def width_of(self, quantity: Quantity) -> str:
        """Text of the last axis of what holds a quantity: a number has one, of size 1."""
        return self.size if quantity.shape else "1"

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

    def whole(self, rows: Sequence[int]) -> bool:
        """Whether these are all rows."""
        return len(rows) == self.count

    def columns(self, rows: Sequence[int]) -> str:
        """Text that cuts the columns of neighbouring rows out of the last axis, behind a `:, `."""
        return rows_slice(rows[0], rows[-1] + 1, self.count, self.size).strip("[]")

    @property
    def path_arguments(self) -> str:
        """Arguments that `recompute` and `backward` have in common."""
        groups = ", ".join(f"{self.names(group)}: Values" for group in ("before", "paths", "operands"))
        return f"{self.x}: Tensor, {groups}"

    def unpacked(self, lines: Sequence[str]) -> list[str]:
        """Statements that name the states and operands that `lines` use."""
        cuts = self._cuts(lines)
        before = [self.past[q].all if q in self.past else q.name for q in self.program.old]
        before += [self.past[q].all for q in (self.program.input,) if q in self.past]
        groups = {"before": before, "paths": self.after, "operands": self.operand_names()}
        unpacked = [
            line for group, names in groups.items() for line in unpacking(self.names(group), names, [*cuts, *lines])
        ]
        return [*unpacked, *cuts]

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


def joined(names: Sequence[str]) -> str:
    """One name for several neighbours: `p_i`, `p_f` become `p_i_f`."""
    if len(names) == 1:
        return names[0]
    words = [name.split("_") for name in names]
    shared = 0
    while all(len(parts) > shared + 1 and parts[shared] == words[0][shared] for parts in words):
        shared += 1
    prefix = "".join(f"{word}_" for word in words[0][:shared])
    rest = [name.removeprefix(prefix) for name in names]
    whole = prefix + "_".join(rest)
    return whole if len(whole) <= LONGEST_NAME else f"{prefix}{rest[0]}_to_{rest[-1]}"


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
