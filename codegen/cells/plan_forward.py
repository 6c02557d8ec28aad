"""The loop of the forward sweep: which operations, in which order, on which rows of the stacked buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sympy import Expr

from codegen.cells.plan_operands import Layout
from codegen.cells.plan_program import CellProgram, Row
from codegen.cells.plan_schedule import Schedule
from derive import functions
from derive.program import Assignment, symbols_of
from derive.symbols import Quantity

IN_PLACE = (functions.sigmoid, functions.tanh)
"""Functions whose slope is written in their value, so that the value may replace the argument."""


@dataclass(frozen=True)
class Operation:
    """One operation on neighbouring rows of the stacked buffer, or on a line of its own.

    Attributes:
        lines: the lines of the program that it computes, or a term of.
    """

    lines: tuple[Quantity, ...]


@dataclass(frozen=True)
class Product(Operation):
    """Rows += matrices times a vector."""

    rows: tuple[int, ...]
    matrices: tuple[Quantity, ...]
    vector: Quantity


@dataclass(frozen=True)
class Hadamard(Operation):
    """Rows += parameters * a vector, elementwise."""

    rows: tuple[int, ...]
    parameters: tuple[Quantity, ...]
    vector: Quantity


@dataclass(frozen=True)
class AddTerms(Operation):
    """One row += an elementwise expression."""

    row: int
    value: Expr


@dataclass(frozen=True)
class Activate(Operation):
    """Rows = function(rows), in place; `lines` are the values."""

    rows: tuple[int, ...]
    function: type


@dataclass(frozen=True)
class Compute(Operation):
    """An elementwise line."""

    target: Quantity
    value: Expr


@dataclass(frozen=True)
class Keep(Operation):
    """Path of a state = a quantity that is not computed there: a row, an old state, or another state's new value."""

    place: int
    source: Quantity


@dataclass(frozen=True)
class InputProduct:
    """Matrices of neighbouring rows times the input, or what it was some steps before."""

    matrices: tuple[Quantity, ...]
    vector: Quantity


@dataclass(frozen=True)
class InputBlock:
    """Rows whose part that does not depend on the recurrence is computed for all steps at once.

    Attributes:
        rows: neighbouring rows.
        products: each product with the input.
        biases: for each bias of a row, those of all rows.
    """

    rows: tuple[int, ...]
    products: tuple[InputProduct, ...]
    biases: tuple[tuple[Quantity, ...], ...]


@dataclass(frozen=True)
class ForwardPlan:
    """What the forward sweep does.

    Attributes:
        before: blocks of rows computed before the loop.
        loop: operations of one step, in order.
        held: for each row, what its block holds after the step: the line or, in place of it, its activation.
    """

    before: tuple[InputBlock, ...]
    loop: tuple[Operation, ...]
    held: tuple[Quantity, ...]


def plan_forward(program: CellProgram, reread: frozenset[Quantity]) -> ForwardPlan:
    """The forward sweep; lines in `reread` are wanted by the adjoint sweep and stay as they are."""
    activations = _activations(program, reread)
    held = tuple(activations.get(row.target, row.target) for row in program.rows)
    tasks = Schedule[Operation](lambda one, other: merged(one, other, program))
    rank = {line.target: place for place, line in enumerate(program.step.assignments)}
    for place, row in enumerate(program.rows):
        for operation in _row_operations(place, row):
            tasks.add(operation, rank[row.target], {row.target}, _read(operation))
    for line in program.step.assignments:
        if program.row_of(line.target) is None:
            tasks.add(_line_operation(line, held), rank[line.target], {line.target}, symbols_of(line.value))
    for place in copied_states(program):
        source = program.new[place]
        tasks.add(Keep((source,), place, source), rank.get(source, 0), (), {source})
    return ForwardPlan(tuple(_input_blocks(program)), tuple(tasks.ordered()), held)


def copied_states(program: CellProgram) -> list[int]:
    """States whose new value is computed elsewhere than in its path."""
    return [place for place, new in enumerate(program.new) if new in program.old or program.row_of(new) is not None]


def _activations(program: CellProgram, reread: frozenset[Quantity]) -> dict[Quantity, Quantity]:
    """Row -> the value that may take its place: a function that is its only use, and whose slope does not need it."""
    found = {}
    for row in program.rows:
        users = [line for line in program.step.assignments if row.target in symbols_of(line.value)]
        kept = row.target in program.new or row.target in reread
        if len(users) == 1 and not kept and isinstance(users[0].value, IN_PLACE) and users[0].target not in program.new:
            found[row.target] = users[0].target
    return found


def _row_operations(place: int, row: Row) -> Iterator[Operation]:
    lines = (row.target,)
    for matrix, vector in row.products:
        yield Product(lines, (place,), (matrix,), vector)
    for parameter, vector in row.hadamards:
        yield Hadamard(lines, (place,), (parameter,), vector)
    if row.terms:
        yield AddTerms(lines, place, sum(row.terms[1:], row.terms[0]))


def _line_operation(line: Assignment, held: tuple[Quantity, ...]) -> Operation:
    """An elementwise line: in the place of its argument, if a row holds it in the end."""
    if line.target in held:
        return Activate((line.target,), (held.index(line.target),), type(line.value))
    return Compute((line.target,), line.target, line.value)


def _read(operation: Operation) -> frozenset[Quantity]:
    if isinstance(operation, Product | Hadamard):
        return frozenset({operation.vector})
    assert isinstance(operation, AddTerms)
    return frozenset(symbols_of(operation.value))


def merged(one: Operation, other: Operation, program: CellProgram) -> Operation | None:
    """One operation in place of two of the same kind on neighbouring rows."""
    layout = program.layout
    if type(one) is not type(other) or not isinstance(one, Product | Hadamard | Activate):
        return None
    assert isinstance(other, Product | Hadamard | Activate)
    if not program.adjoining(one.rows, other.rows):
        return None
    lines, rows = one.lines + other.lines, one.rows + other.rows
    if isinstance(one, Activate) and isinstance(other, Activate):
        return Activate(lines, rows, one.function) if one.function is other.function else None
    if isinstance(one, Product) and isinstance(other, Product):
        fits = one.vector == other.vector and layout.joinable(one.matrices[-1], other.matrices[0])
        return replace(one, lines=lines, rows=rows, matrices=one.matrices + other.matrices) if fits else None
    if isinstance(one, Hadamard) and isinstance(other, Hadamard):
        fits = one.vector == other.vector and layout.joinable(one.parameters[-1], other.parameters[0])
        return replace(one, lines=lines, rows=rows, parameters=one.parameters + other.parameters) if fits else None
    return None


def _input_blocks(program: CellProgram) -> Iterator[InputBlock]:
    """Runs of rows whose input matrices and biases lie beside each other."""
    blocks: list[InputBlock] = []
    for place, row in enumerate(program.rows):
        products = tuple(InputProduct((matrix,), vector) for matrix, vector in row.inputs)
        block = InputBlock((place,), products, tuple((b,) for b in row.biases))
        joint = _joined(blocks[-1], block, program) if blocks else None
        if joint is None:
            blocks.append(block)
        else:
            blocks[-1] = joint
    yield from blocks


def _joined(one: InputBlock, other: InputBlock, program: CellProgram) -> InputBlock | None:
    if not program.adjoining(one.rows, other.rows):
        return None
    vectors = dict.fromkeys(product.vector for product in (*one.products, *other.products))
    products: list[InputProduct] = []
    for vector in vectors:
        here, there = ([p.matrices for p in side.products if p.vector == vector] for side in (one, other))
        pairs = _paired(here, there, program.layout)
        if pairs is None:
            return None
        products += [InputProduct(matrices, vector) for matrices in pairs]
    biases = _paired(one.biases, other.biases, program.layout)
    return None if biases is None else InputBlock(one.rows + other.rows, tuple(products), biases)


def _paired(
    ones: Iterable[tuple[Quantity, ...]], others: Iterable[tuple[Quantity, ...]], layout: Layout
) -> tuple[tuple[Quantity, ...], ...] | None:
    ones, left = list(ones), list(others)
    pairs = []
    for one in ones:
        other = next((o for o in left if layout.joinable(one[-1], o[0])), None)
        if other is None:
            return None
        left.remove(other)
        pairs.append(one + other)
    return None if left else tuple(pairs)
