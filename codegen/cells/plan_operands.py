"""Where the parameters of a recurrent cell lie: tensors that hold several of them as rows, or one alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from codegen.products import PRODUCTS
from derive.errors import UnsupportedError
from derive.program import Program, symbols_of
from derive.symbols import LONGEST_NAME, Dimension, Quantity, Role, by_name
from derive.systems import Stack


@dataclass(frozen=True)
class Operand:
    """One tensor that the functions of a cell take.

    Attributes:
        name: of the argument.
        rows: parameters in order, as blocks of rows or, if `separate`, along a first axis of their own.
        parts: parameters of the module whose sum it is, or which lie one below the other in it if `below`.
        separate: see `rows`.
        below: see `parts`.
        alone: a parameter that belongs to no stack; it has its own shape.
        zero: whether the parts start at zero.
    """

    name: str
    rows: tuple[Quantity, ...]
    parts: tuple[str, ...]
    separate: bool = False
    below: bool = False
    alone: bool = False
    zero: bool = False


@dataclass(frozen=True)
class Layout:
    """The operands of one cell, in the order of its functions' arguments.

    Attributes:
        operands: see above; the first is a matrix.
        sizes: named dimension -> the local variable that holds its size, for the text of slices.
    """

    operands: tuple[Operand, ...]
    sizes: Mapping[Dimension, str] = field(default_factory=dict)

    def place(self, parameter: Quantity) -> tuple[Operand, int]:
        """The operand that holds a parameter, and its row there."""
        return next((o, o.rows.index(parameter)) for o in self.operands if parameter in o.rows)

    def rank(self, parameter: Quantity) -> int:
        """Place of the operand that holds a parameter."""
        return self.operands.index(self.place(parameter)[0])

    def single(self, parameter: Quantity) -> str:
        """Text of one parameter as it is in formulas."""
        return self.wide((parameter,)) if len(parameter.shape) == 1 else self.flat((parameter,))

    def bindings(self, parameters: Iterable[Quantity]) -> list[str]:
        """Statements that give parameters their own names, where these are not names of operands already."""
        wanted, lines = set(parameters), []
        for operand in self.operands:
            rows = [q for q in operand.rows if q in wanted and self.single(q) != q.name]
            if operand.separate and len(rows) == len(operand.rows) > 1:
                lines.append(f"{', '.join(q.name for q in rows)} = {operand.name}.unbind(0)")
            else:
                lines += [f"{q.name} = {self.single(q)}" for q in rows]
        return lines

    def consecutive(self, first: Quantity, second: Quantity) -> bool:
        """Whether two parameters are neighbouring rows of one stack."""
        (one, place), (other, next_place) = self.place(first), self.place(second)
        return one == other and next_place == place + 1

    def joinable(self, first: Quantity, second: Quantity) -> bool:
        """Whether two parameters can be read as one block: neighbours in a stack, or both alone (then copied once)."""
        alone = first.shape == second.shape and self.place(first)[0].alone and self.place(second)[0].alone
        return self.consecutive(first, second) or (alone and len(first.shape) < 3)

    def flat(self, parameters: Sequence[Quantity], prefix: str = "") -> str:
        """Text of the block (n H, ...) of parameters, one below the other; `prefix` goes before the operand's name."""
        operand, start = self.place(parameters[0])
        if operand.alone:
            return self._alone(parameters, prefix, "torch.cat")
        name, stop = prefix + operand.name, start + len(parameters)
        if not operand.separate:
            return name + rows_slice(start, stop, len(operand.rows), self._size(parameters[0]))
        if len(parameters) == 1:
            return f"{name}[{start}]"
        return f"{name}{entries_slice(start, stop, len(operand.rows))}.flatten(0, 1)"

    def wide(self, parameters: Sequence[Quantity], prefix: str = "") -> str:
        """Text of the vectors (H,) as a block (n, H), or (H,) for one of them."""
        operand, start = self.place(parameters[0])
        stop = start + len(parameters)
        if operand.alone:
            return self._alone(parameters, prefix, "torch.stack")
        if not operand.separate:
            flat = self.flat(parameters, prefix)
            return flat if len(parameters) == 1 else f"{flat}.view({len(parameters)}, {self._size(parameters[0])})"
        if len(parameters) == 1:
            return f"{prefix}{operand.name}[{start}]"
        return f"{prefix}{operand.name}{entries_slice(start, stop, len(operand.rows))}"

    def _size(self, parameter: Quantity) -> str:
        """Text of the size of a block of rows."""
        return next((self.sizes[size] for size in parameter.shape[:1] if size in self.sizes), "size")

    def _alone(self, parameters: Sequence[Quantity], prefix: str, joined_by: str) -> str:
        names = [prefix + self.place(parameter)[0].name for parameter in parameters]
        return names[0] if len(names) == 1 else f"{joined_by}(({', '.join(names)}))"


def rows_slice(start: int, stop: int, count: int, size: str) -> str:
    """Text that cuts blocks `start` to `stop` out of `count` blocks of `size` rows; nothing for all of them."""
    if (start, stop) == (0, count):
        return ""
    first = multiple(start, size) + " " if start else ""
    last = " " + multiple(stop, size) if stop < count else ""
    return f"[{first}:{last}]"


def entries_slice(start: int, stop: int, count: int) -> str:
    """Text that cuts entries `start` to `stop` out of a first axis of `count` entries; nothing for all of them."""
    return "" if (start, stop) == (0, count) else f"[{start}:{stop}]"


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


def multiple(count: int, size: str) -> str:
    """`count` times a size."""
    return size if count == 1 else f"{count} * {size}"


def layout_of(step: Program, stacks: Sequence[Stack], runs: Sequence[tuple[Quantity, ...]] = ()) -> Layout:
    """Operands of a step: the stacks that hold its parameters, then what stands alone; a matrix is the first.

    Of what stands alone each of `runs` is one operand.

    Raises:
        UnsupportedError: a stack is used in part only, or its rows differ in shape.
    """
    parameters = [q for q in step.inputs if q.role is Role.PARAMETER]
    operands = []
    for stack in stacks:
        used = [q for q in stack.rows if q in parameters]
        if used:
            _check_stack(stack, used)
            zero = stack.initial == "zeros"
            operands.append(Operand(stack.name, stack.rows, stack.parts or (stack.name,), stack.separate, zero=zero))
    held = {q for operand in operands for q in operand.rows}
    run_of = {q: run for run in runs for q in run}
    left = dict.fromkeys(run_of.get(q, (q,)) for q in _in_order(step) if q not in held)
    taken = {q.name for q in (*step.inputs, *step.targets)}
    operands += [_of_run(run, taken) for run in left]
    matrix = next((operand for operand in operands if len(operand.rows[0].shape) >= 2), None)
    if matrix is None:
        raise UnsupportedError(
            "the step has no matrix: a recurrent cell multiplies its input and its state by matrices"
        )
    operands.sort(key=lambda operand: operand is not matrix)
    return Layout(tuple(operands))


def _of_run(run: tuple[Quantity, ...], taken: set[str]) -> Operand:
    """Parameters that belong to no stack as one tensor."""
    name = joined([q.name for q in run])
    while len(run) > 1 and name in taken:
        name += "_"
    return Operand(name, run, tuple(q.name for q in run), below=len(run) > 1, alone=len(run) == 1)


def _in_order(step: Program) -> list[Quantity]:
    """Parameters as torch orders them: matrices of the input, other matrices, the rest; each group as the step goes."""
    found = [q for line in step.assignments for q in by_name(symbols_of(line.value)) if q.role is Role.PARAMETER]
    products = [node for line in step.assignments for node in line.value.atoms(*PRODUCTS)]
    of_input = {node.args[0] for node in products if node.args[1].role is Role.INPUT}
    return sorted(dict.fromkeys(found), key=lambda q: 0 if q in of_input else 1 if len(q.shape) >= 2 else 2)


def _check_stack(stack: Stack, used: Sequence[Quantity]) -> None:
    if len(used) < len(stack.rows):
        left = ", ".join(q.name for q in stack.rows if q not in used)
        raise UnsupportedError(
            f"the step uses a part of the stack {stack.name} only; {left} are left out: stack them apart"
        )
    if len(used) > 1 and any(len(q.shape) > 2 for q in used):
        raise UnsupportedError(f"the stack {stack.name} holds matrices for several lags; stack these alone")
    shapes = {q.shape for q in stack.rows}
    if len(shapes) > 1:
        raise UnsupportedError(
            f"the rows of the stack {stack.name} have shapes {sorted(map(str, shapes))}; one is allowed"
        )


def part_shape(operand: Operand, sizes: dict[Dimension, str]) -> tuple[str, ...]:
    """Text of each axis of the shape of an operand's parts, given the text of each named dimension."""
    inner = [sizes[dimension] for dimension in operand.rows[0].shape]
    if operand.alone or operand.below:
        return tuple(inner)
    if operand.separate:
        return (str(len(operand.rows)), *inner)
    return (multiple(len(operand.rows), inner[0]), *inner[1:])
