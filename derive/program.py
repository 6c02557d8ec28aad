"""Programs: ordered lists of named assignments in single-assignment form.

The program, not the expression, is what is differentiated: nothing is ever flattened or unrolled, so every derived line
keeps the name of the quantity it belongs to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr, Symbol, nan, preorder_traversal

from derive.errors import SpecError, UnsupportedError
from derive.functions import ELEMENTWISE, as_expression
from derive.networks import Call, Network
from derive.operators import shape_of, show_shape
from derive.symbols import Quantity, Role, Shape, by_name, with_index


@dataclass(frozen=True)
class Solve:
    """Marks the lines of one system of equations z = g(z), which hold together.

    Such lines stand side by side. Given the unknowns they are computed in order; a line may read an unknown before the
    line that computes it.

    Attributes:
        unknowns: z, in the order in which a solver holds them.
        guesses: what an iteration starts from, one for each; nothing where the equations are linear.
    """

    unknowns: tuple[Quantity, ...]
    guesses: tuple[Quantity, ...] = ()

    def renamed(self, names: Mapping[Quantity, Quantity]) -> Solve:
        """The same under other names."""
        unknowns, guesses = (tuple(names.get(q, q) for q in side) for side in (self.unknowns, self.guesses))
        return Solve(unknowns, guesses)


@dataclass(frozen=True)
class Assignment:
    """`target = value`, with the reason it holds; `solve` where it holds together with its neighbours only."""

    target: Quantity
    value: Expr
    reason: str = "definition"
    solve: Solve | None = None


@dataclass(frozen=True)
class Program:
    """A straight-line program over quantities.

    Attributes:
        inputs: quantities that are given.
        assignments: in order; each name is assigned once and used only after that.
        outputs: quantities that are returned.

    Raises:
        SpecError: a symbol is used before it is assigned or never declared, a name is assigned twice, or shapes differ.
    """

    inputs: tuple[Quantity, ...]
    assignments: tuple[Assignment, ...]
    outputs: tuple[Quantity, ...]

    def __post_init__(self) -> None:
        known: dict[str, Quantity] = {}
        for quantity in self.inputs:
            _declare(known, quantity, "declared twice among the inputs")
        for block in blocks(self.assignments):
            solved = {q.name: q for q in unknowns_of(block)}
            for line in block:
                _check_symbols(line, {**solved, **known})
                _check_shape(line)
                _declare(known, line.target, "assigned twice; every name is assigned once")
            _check_unknowns(block)
        for quantity in self.outputs:
            if known.get(quantity.name) != quantity:
                raise SpecError(f"output {quantity.name} is neither an input nor assigned")

    @property
    def targets(self) -> tuple[Quantity, ...]:
        """All assigned quantities, in order."""
        return tuple(line.target for line in self.assignments)

    def value(self, quantity: Quantity) -> Expr:
        """The right-hand side that defines `quantity` (itself when it is an input)."""
        return next((line.value for line in self.assignments if line.target == quantity), quantity)

    def needed_for(self, outputs: Iterable[Quantity]) -> Program:
        """The part of the program, and of its inputs, that the given outputs depend on."""
        outputs = tuple(outputs)
        needed = set(outputs)
        kept: list[Assignment] = []
        for block in reversed(list(blocks(self.assignments))):
            if any(line.target in needed for line in block):
                kept += reversed(block)
                needed = needed.union(*(symbols_of(line.value) for line in block), guesses_of(block))
        inputs = tuple(quantity for quantity in self.inputs if quantity in needed)
        return Program(inputs, tuple(reversed(kept)), outputs)

    def renamed(self, names: Mapping[Quantity, Quantity]) -> Program:
        """The same program under other names."""
        table = dict(names)
        lines = tuple(
            replace(
                line,
                target=table.get(line.target, line.target),
                value=line.value.xreplace(table),
                solve=line.solve.renamed(table) if line.solve else None,
            )
            for line in self.assignments
        )
        return Program(tuple(table.get(q, q) for q in self.inputs), lines, tuple(table.get(q, q) for q in self.outputs))

    def networks(self) -> tuple[Network, ...]:
        """Opaque networks that occur, by name."""
        found = {atom for line in self.assignments for atom in line.value.atoms(Network)}
        return tuple(sorted(found, key=lambda network: network.name))


def returning(program: Program, outputs: Iterable[Quantity]) -> Program:
    """The program with these quantities among its outputs; what nobody computes or reads becomes an input."""
    extra = tuple(q for q in dict.fromkeys(outputs) if q not in program.outputs)
    if not extra:
        return program
    unread = tuple(q for q in extra if q not in (*program.inputs, *program.targets))
    return replace(program, inputs=(*program.inputs, *unread), outputs=(*program.outputs, *extra))


def blocks(lines: Iterable[Assignment]) -> Iterator[tuple[Assignment, ...]]:
    """The lines in order: each alone, but those of one system of equations together."""
    for solve, run in itertools.groupby(lines, key=lambda line: line.solve):
        if solve is None:
            yield from ((line,) for line in run)
        else:
            yield tuple(run)


def unknowns_of(block: tuple[Assignment, ...]) -> tuple[Quantity, ...]:
    """What a block is solved for; nothing where it is an ordinary line."""
    return block[0].solve.unknowns if block[0].solve else ()


@dataclass
class Builder:
    """Writes a program line by line: `a = program.let("a", matvec(W, h) + b)` returns the new quantity."""

    lines: list[Assignment] = field(default_factory=list)

    def let(
        self, name: str, value: Expr, *, latex: str = "", meaning: str = "", reason: str = "definition"
    ) -> Quantity:
        """Append an assignment and return its quantity, of the shape and batch axes of its value."""
        value = as_expression(value)
        check_numbers(name, value)
        target = Quantity(name, shape_of(value), intermediate_role(value), latex, meaning)
        self.lines.append(Assignment(target, value, reason))
        return target

    def solve(self, first: int, unknowns: Iterable[Quantity], guesses: Iterable[Quantity]) -> None:
        """Let the lines from number `first` on hold together, as equations in the unknowns."""
        mark = Solve(tuple(unknowns), tuple(guesses))
        self.lines[first:] = [replace(line, solve=mark) for line in self.lines[first:]]

    def build(self, outputs: Iterable[Quantity]) -> Program:
        """The program; whatever is used and not assigned becomes an input, in order of name."""
        assigned = {line.target for line in self.lines}
        outputs = tuple(outputs)
        unnamed = [value for value in outputs if not isinstance(value, Quantity)]
        if unnamed:
            raise SpecError(f"{unnamed[0]} is given out and has no name: let(name, value) gives it one")
        used: set[Quantity] = set(outputs)
        for line in self.lines:
            used |= symbols_of(line.value)
        return Program(tuple(by_name(used - assigned)), tuple(self.lines), outputs)


def guesses_of(block: tuple[Assignment, ...]) -> tuple[Quantity, ...]:
    """What the solution of a block starts from; nothing where it is an ordinary line."""
    return block[0].solve.guesses if block[0].solve else ()


def intermediate_role(value: Expr) -> Role:
    """Values computed from parameters alone have no batch axes and count as constants of the step."""
    batched = any(quantity.role.batched for quantity in symbols_of(value))
    return Role.INTERMEDIATE if batched else Role.PARAMETER


def symbols_of(value: Expr) -> set[Quantity]:
    """Quantities in an expression. A set: sort by name before iterating."""
    return value.atoms(Quantity)


def undeclared(value: Expr) -> list[str]:
    """Names of plain SymPy symbols in an expression, which nobody gave a shape or a role."""
    plain = {atom.name for atom in value.atoms(Symbol) if not isinstance(atom, Quantity | Network)}
    return sorted(plain)


def check_numbers(name: str, value: Expr) -> None:
    """Refuse numbers that no tensor of real numbers can hold.

    Raises:
        UnsupportedError: a coefficient is complex, not finite, or beyond double precision.
    """
    for node in preorder_traversal(value):
        if not isinstance(node, Expr) or not node.is_number:
            continue
        if node.is_real is False or node.is_finite is False or node is nan or _overflows(node):
            raise UnsupportedError(
                f"{name} has the coefficient {node}; numbers must be real and finite: "
                "write it in real quantities (real and imaginary part as two unknowns)"
            )


def _overflows(node: Expr) -> bool:
    try:
        return bool(node.is_Number) and math.isinf(float(node))
    except OverflowError:
        return True


def name_functions(program: Program, beside: Iterable[Quantity] = ()) -> Program:
    """Give every elementwise function and every network call a name of its own, so that no sweep computes it twice.

    `h = o*tanh(c)` becomes `tanh_c = tanh(c); h = o*tanh_c`. A node that is a whole right-hand side already has a
    name. A compound argument gets a name as well: `f = tanh(W x + b)` becomes `a_f = W x + b; f = tanh(a_f)`.

    Args:
        program: what is named in.
        beside: quantities of programs that it stands beside, whose names and formulas are taken as well.
    """
    named: dict[Expr, Expr] = {}
    names = _Names((*program.inputs, *program.targets, *beside))
    lines: list[Assignment] = []
    for line in _named_arguments(program.assignments, names):
        for node in _unnamed(line.value):
            made = None if node == line.value or node in named else names.of_value(node, line.target)
            if made is not None:
                value = _with_named_arguments(node, named)
                named[node] = made
                lines.append(Assignment(made, value, solve=line.solve))
        whole = isinstance(line.value, (*ELEMENTWISE, Call))
        value = _with_named_arguments(line.value, named) if whole else line.value.xreplace(named)
        if isinstance(value, (*ELEMENTWISE, Call)):
            named[value] = line.target
        lines.append(replace(line, value=value))
    return Program(program.inputs, tuple(lines), program.outputs)


class _Names:
    """Names and formulas of what a program has none for: no two alike, and none like one that is there already."""

    def __init__(self, quantities: Sequence[Quantity]) -> None:
        self.taken = {quantity.name for quantity in quantities}
        self._written = {quantity.latex for quantity in quantities}
        self._index: dict[Expr, str] = {}

    def of_argument(self, inner: Expr, target: Quantity, place: str) -> Quantity:
        """An argument of a function in the line of `target`: a, with `place` in the index where there are several."""
        name = next(n for n in _argument_names(target) if n not in self.taken)
        self.taken.add(name)
        index = f"{target.latex},{place}" if place else target.latex
        meaning = f"argument {place} in {target.name}" if place else f"argument in {target.name}"
        found = Quantity(name, shape_of(inner), intermediate_role(inner), self._free("a", index), meaning)
        self._index[found] = index
        return found

    def of_value(self, node: Expr, target: Quantity) -> Quantity | None:
        """The value of a network, or of a function of a name; None if its name is taken.

        Its letter is that of the function, and y where that is of an argument named here, if nothing else is y.
        """
        if isinstance(node, Call):
            name = next(n for n in _numbered(f"{node.network.name}_in_{target.name}") if n not in self.taken)
            latex = self._free(node.network.latex)
        else:
            argument = node.args[0]
            name = f"{type(node).__name__}_{argument}"
            if name in self.taken:
                return None
            named = argument in self._index
            letter = "y" if named and "y" not in self._written else node.latex_name
            latex = self._free(letter, self._index[argument] if named else argument.latex)
        self.taken.add(name)
        meaning = "" if isinstance(node, Call) else f"{type(node).__name__} of {node.args[0]}"
        return Quantity(name, shape_of(node), intermediate_role(node), latex, meaning)

    def _free(self, letter: str, *index: str) -> str:
        """The letter with its index, and with one more index if something else is written so."""
        numbers = (str(count) for count in itertools.count(2))
        written = (with_index(letter, *index, *more) for more in itertools.chain([()], zip(numbers)))
        found = next(latex for latex in written if latex not in self._written)
        self._written.add(found)
        return found


def _named_arguments(lines: Iterable[Assignment], names: _Names) -> Iterator[Assignment]:
    """Lines in which every elementwise function is applied to a name."""
    for line in lines:
        value = line.value
        several = sum(not isinstance(node.args[0], Quantity) for node in value.atoms(*ELEMENTWISE)) > 1
        for place in itertools.count(1):
            compound = [node for node in value.atoms(*ELEMENTWISE) if _has_flat_compound_argument(node)]
            if not compound:
                break
            node = min(compound, key=str)
            inner = node.args[0]
            argument = names.of_argument(inner, line.target, str(place) if several else "")
            yield Assignment(argument, inner, f"argument of {type(node).__name__}", line.solve)
            value = value.xreplace({node: node.func(argument)})
        yield replace(line, value=value)


def _has_flat_compound_argument(node: Expr) -> bool:
    """An argument that is no name, with no function of a compound argument inside: those are named first."""
    inner = node.args[0]
    return not isinstance(inner, Quantity) and all(isinstance(n.args[0], Quantity) for n in inner.atoms(*ELEMENTWISE))


def _argument_names(target: Quantity) -> Iterator[str]:
    yield f"a_{target.name}"
    for count in itertools.count(2):
        yield f"a{count}_{target.name}"


def _unnamed(value: Expr) -> list[Expr]:
    """Functions of names and network calls, what stands inside another first."""
    functions = [node for node in value.atoms(*ELEMENTWISE) if isinstance(node.args[0], Quantity)]
    return sorted([*functions, *value.atoms(Call)], key=lambda node: (len(str(node)), str(node)))


def _with_named_arguments(node: Expr, named: Mapping[Expr, Quantity]) -> Expr:
    return node.func(*(argument.xreplace(named) for argument in node.args))


def _numbered(name: str) -> Iterator[str]:
    """The name, name_2, name_3, ..."""
    yield name
    yield from (f"{name}_{count}" for count in itertools.count(2))


def _declare(known: dict[str, Quantity], quantity: Quantity, complaint: str) -> None:
    if quantity.name in known:
        raise SpecError(f"{quantity.name} is {complaint}; {_TAKEN}")
    known[quantity.name] = quantity


_TAKEN = (
    "a scheme itself names its step size h, field values f, f_1, ... and states <x>_next, <x>_prev, "
    "the sweep its cotangents bar_<x>: rename yours"
)


def _check_unknowns(block: tuple[Assignment, ...]) -> None:
    targets = [line.target for line in block]
    missing = [q.name for q in unknowns_of(block) if q not in targets]
    if missing:
        raise SpecError(f"equations in {', '.join(missing)} without a line that computes it")


def _check_symbols(line: Assignment, known: Mapping[str, Quantity]) -> None:
    plain = undeclared(line.value)
    if plain:
        raise SpecError(
            f"{line.target.name} uses {', '.join(plain)}, which nobody declared; "
            "declare it with state, input_, parameter, constant, time or step_size"
        )
    for quantity in by_name(symbols_of(line.value)):
        if quantity.name not in known:
            raise SpecError(f"{line.target.name} uses {quantity.name} before it is assigned")
        if known[quantity.name] != quantity:
            other = known[quantity.name]
            raise SpecError(
                f"{line.target.name} uses {quantity.name} as {quantity.role.value} {show_shape(quantity.shape)}, "
                f"declared as {other.role.value} {show_shape(other.shape)}"
            )


def _check_shape(line: Assignment) -> None:
    try:
        shape: Shape = shape_of(line.value)
    except SpecError as error:
        raise SpecError(f"{line.target.name}: {error}") from None
    if shape not in (line.target.shape, ()):
        raise SpecError(f"{line.target.name} has shape {show_shape(line.target.shape)}, its value {show_shape(shape)}")
