"""The step of a recurrent cell in normal form: rows, which hold all matrix products, and elementwise lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sympy import Add, Expr, Mul

from codegen.cells.interface import Interface, dimensions, interface_of, output_of
from codegen.cells.mixing import MIXING, with_named_operators
from codegen.cells.plan_operands import Layout, layout_of
from codegen.products import PRODUCTS, split_products
from derive.errors import UnsupportedError
from derive.norms import components
from derive.operators import Operator, show_shape
from derive.past_values import Lag, Lags, Past, told_lags
from derive.program import Assignment, Program, name_functions
from derive.recurrence import Recurrence
from derive.symbols import Dimension, Quantity, Role
from derive.systems import Stack

Terms = tuple[tuple[Quantity, Quantity], ...]


@dataclass(frozen=True)
class Row:
    """A line with matrix products: one block of columns of the stacked buffer.

    Attributes:
        target: what the line defines.
        inputs: pairs (matrix, input, or what it was): products that do not depend on the recurrence.
        products: pairs (matrix, vector): the others.
        biases: parameters that are added as they are.
        hadamards: pairs (parameter, vector): elementwise products of one parameter and one vector.
        terms: the other terms.
    """

    target: Quantity
    inputs: Terms
    products: Terms
    biases: tuple[Quantity, ...]
    hadamards: Terms
    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class CellProgram:
    """One step of a cell in normal form.

    Attributes:
        step: the program; every matrix product is a term of its line, of a matrix and a named vector.
        old, new: the states before and after it; a cell without states has its output alone as `new`.
        inputs: what is known of all steps beforehand: what is read afresh, then states that targets replace.
        past: what is read of states and of the input as they were several steps before.
        rows: lines with matrix products, in the order of their blocks in the stacked buffers, one buffer for each size.
        layout: where the parameters lie.
        origins: line -> the line of the spec that it was split off.
        interface: what the caller sees of it.
        dimensions: sizes of states and lines, that of the output last.
        output: place of the state that is given out.
    """

    step: Program
    old: tuple[Quantity, ...]
    new: tuple[Quantity, ...]
    inputs: tuple[Quantity, ...]
    past: tuple[Past, ...]
    rows: tuple[Row, ...]
    layout: Layout
    origins: Mapping[Quantity, Quantity]
    interface: Interface
    dimensions: tuple[Dimension, ...]
    output: int = 0

    @property
    def input(self) -> Quantity:
        """What is read afresh at every step."""
        return self.inputs[0]

    def row_of(self, target: Quantity) -> int | None:
        """Place of a line among the rows; None for an elementwise line."""
        return next((place for place, row in enumerate(self.rows) if row.target == target), None)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Places of the rows of each size, neighbours all."""
        places = range(len(self.rows))
        sizes = dict.fromkeys(row.target.shape for row in self.rows)
        return tuple(tuple(place for place in places if self.rows[place].target.shape == size) for size in sizes)

    def adjoining(self, ones: Sequence[int], others: Sequence[int]) -> bool:
        """Whether rows lie beside others in one stacked buffer."""
        return ones[-1] + 1 == others[0] and any(ones[-1] in group and others[0] in group for group in self.groups)

    @property
    def stateless(self) -> bool:
        """Whether no step waits for the one before it: all are done at once."""
        return not self.old

    @property
    def told_lags(self) -> tuple[Lag | Lags, ...]:
        """Lags that the functions are told, by name."""
        return told_lags(self.past)

    def past_of(self, source: Quantity) -> tuple[Past, ...]:
        """What is read of a state or the input beyond its last value."""
        return tuple(value for value in self.past if value.source == source)

    @property
    def reads_past_input(self) -> bool:
        """Whether inputs of earlier steps are read."""
        return bool(self.past_of(self.input))

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """Everything learnable, in the order of the operands."""
        return tuple(q for operand in self.layout.operands for q in operand.rows)


def normal_form(
    recurrence: Recurrence, stacks: Sequence[Stack], runs: Sequence[tuple[Quantity, ...]] = ()
) -> CellProgram:
    """The step of a recurrence as rows and elementwise lines; `runs` are parameters that lie one below the other.

    Raises:
        UnsupportedError: the step is not that of a gated cell; says what was read and what is allowed.
    """
    interface = interface_of(recurrence)
    recurrence = interface.step
    _check_kind(recurrence)
    named = with_named_operators(name_functions(recurrence.step))
    lines, origins = split_products(named, recurrence.step)
    step = Program(named.inputs, tuple(lines), named.outputs)
    _check_lines(step, recurrence)
    layout = layout_of(step, stacks, runs)
    inputs, new = recurrence.inputs, recurrence.new or (output_of(recurrence),)
    rows = [_row(line, inputs, layout) for line in lines if line.value.atoms(*PRODUCTS)]
    return CellProgram(
        step,
        recurrence.old,
        new,
        inputs,
        recurrence.past,
        _ordered(rows, layout),
        layout,
        origins,
        interface,
        dimensions(recurrence, interface.states, lines),
        new.index(interface.output),
    )


def _check_kind(recurrence: Recurrence) -> None:
    x, states = recurrence.inputs[0], (*recurrence.old, *recurrence.inputs[1:]) or (output_of(recurrence),)
    for state in states:
        if len(state.shape) != 1 or isinstance(state.shape[0], int):
            raise UnsupportedError(
                f"state {state.name} has shape {show_shape(state.shape)}; "
                "all states of a recurrent module are vectors of named sizes"
            )
    if len(x.shape) != 1 or isinstance(x.shape[0], int) or x.shape in [state.shape for state in states]:
        shapes = ", ".join(dict.fromkeys(show_shape(state.shape) for state in states))
        raise UnsupportedError(
            f"input {x.name} has shape {show_shape(x.shape)}; a vector is needed whose size has a name of its own "
            f"(the states have {shapes})"
        )
    for place, new in enumerate(recurrence.new):
        if new in recurrence.new[:place]:
            twin = recurrence.old[recurrence.new.index(new)]
            raise UnsupportedError(
                f"states {twin.name} and {recurrence.old[place].name} both become {new.name}; keep one"
            )
    for quantity in recurrence.step.inputs:
        if quantity.role not in (Role.STATE, Role.INPUT, Role.PARAMETER):
            raise UnsupportedError(
                f"{quantity.name} is a {quantity.role.value}; a recurrent module has states, one input and parameters"
            )


def _check_lines(step: Program, recurrence: Recurrence) -> None:
    x = recurrence.inputs[0]
    read = {q: q for q in recurrence.inputs} | {value: x for value in recurrence.past if value.source == x}
    for line in step.assignments:
        for node in sorted(line.value.atoms(*PRODUCTS), key=str):
            if not isinstance(node.args[0], Quantity) or node.args[0].role is not Role.PARAMETER:
                raise UnsupportedError(
                    f"the matrix of {node} is not a parameter; a recurrent cell multiplies by parameters only"
                )
        if not line.target.role.batched:
            raise UnsupportedError(f"{line.target.name} is computed from parameters alone; make it a parameter")
        if any(isinstance(size, int) or size in x.shape for size in line.target.shape) or len(line.target.shape) > 1:
            raise UnsupportedError(
                f"{line.target.name} has shape {show_shape(line.target.shape)}; every line of a recurrent cell is a "
                f"number, or a vector of a named size that is not that of the input, {show_shape(x.shape)}"
            )
        for node in sorted(line.value.atoms(Operator), key=str):
            if not isinstance(node, (*PRODUCTS, components, *MIXING)):
                raise UnsupportedError(
                    f"{line.target.name} uses {type(node).__name__}; a recurrent cell has matrix products, "
                    f"elementwise functions and {', '.join(kind.__name__ for kind in MIXING)}"
                )
        bare = line.value.xreplace({node: node.args[0] for node in line.value.atoms(*PRODUCTS)}).free_symbols
        outside = [given.name for value, given in read.items() if value in bare]
        if outside:
            raise UnsupportedError(f"{line.target.name} uses the input {outside[0]} outside a matrix product")


def _row(line: Assignment, given: Sequence[Quantity], layout: Layout) -> Row:
    inputs: list[tuple[Quantity, Quantity]] = []
    products: list[tuple[Quantity, Quantity]] = []
    hadamards: list[tuple[Quantity, Quantity]] = []
    biases: list[Quantity] = []
    terms: list[Expr] = []
    for term in Add.make_args(line.value):
        if isinstance(term, PRODUCTS):
            matrix, vector = term.args
            of_input = not {vector, getattr(vector, "source", vector)}.isdisjoint(given)
            (inputs if of_input else products).append((matrix, vector))
        elif isinstance(term, Quantity) and term.role is Role.PARAMETER and term.shape:
            biases.append(term)
        elif (pair := _hadamard(term)) is not None:
            hadamards.append(pair)
        else:
            terms.append(term)
    for pairs in (inputs, products, hadamards):
        pairs.sort(key=lambda pair: layout.rank(pair[0]))
    biases.sort(key=layout.rank)
    return Row(line.target, tuple(inputs), tuple(products), tuple(biases), tuple(hadamards), tuple(terms))


def _hadamard(term: Expr) -> tuple[Quantity, Quantity] | None:
    """(parameter, vector) where the term is their product and nothing else."""
    factors = term.args if isinstance(term, Mul) and len(term.args) == 2 else ()
    parameters = [f for f in factors if isinstance(f, Quantity) and f.role is Role.PARAMETER and f.shape]
    vectors = [f for f in factors if isinstance(f, Quantity) and f.role.batched]
    return (parameters[0], vectors[0]) if len(parameters) == len(vectors) == 1 else None


def _ordered(rows: Iterable[Row], layout: Layout) -> tuple[Row, ...]:
    """Rows of one size together, in the order of the stack that the loop multiplies by, so that its product is one."""
    rows = tuple(rows)
    order: dict[Quantity, Row] = {}
    for of_loop in (True, False):
        for operand in layout.operands:
            for parameter in operand.rows:
                for row in rows:
                    if any(matrix == parameter for matrix, _ in (row.products if of_loop else row.inputs)):
                        order.setdefault(row.target, row)
    first = layout.operands[0].rows[0].shape[-2:-1]
    sizes = list(dict.fromkeys([first, *(row.target.shape for row in order.values())]))
    return tuple(sorted(order.values(), key=lambda row: sizes.index(row.target.shape)))
