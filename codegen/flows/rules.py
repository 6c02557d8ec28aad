"""Segments of a flow -> forward, derived backward and scalar equations as source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sympy import Expr, Integer, diff

from codegen.layers.printer import LayerPrinter
from codegen.steps.adjoint_lines import reduced
from codegen.steps.source import Function, tuple_display
from derive.flow_programs import adjoint_of
from derive.norms import components
from derive.program import Assignment, Program, blocks, symbols_of, unknowns_of
from derive.reverse_sweep import Adjoint, computed_values
from derive.symbols import Quantity

Numbers = Callable[[str, Quantity], str]


@dataclass(frozen=True)
class MapWriter:
    """Writes one segment.

    Attributes:
        name: what its functions are called after, as in `_forward_<name>`.
        title: what their docstrings call it.
        kind: of the lines, for their equation numbers.
        program: its lines.
        numbers: (kind of line, quantity) -> equation number.
        like: a vector with the batch axes, for outputs that do not depend on the data.
    """

    name: str
    title: str
    kind: str
    program: Program
    numbers: Numbers
    like: Quantity | None

    @property
    def operands(self) -> tuple[Quantity, ...]:
        """What it reads, in the order of the arguments."""
        given = self.program.inputs
        return given if self.like is None or self.like in given or not self._spread() else (self.like, *given)

    @property
    def adjoint(self) -> Adjoint:
        """The reverse sweep in everything that is read."""
        return adjoint_of(self.program, self.program.inputs)

    def _spread(self) -> list[Assignment]:
        """Lines of outputs that carry batch axes although nothing that they read does."""
        return [
            line
            for line in self.program.assignments
            if line.target.role.batched and not any(q.role.batched for q in symbols_of(_without_counts(line.value)))
        ]

    def returned(self) -> tuple[Quantity, ...]:
        """The outputs, and what else the backward reads."""
        swept = self.adjoint.program
        read = {quantity for line in swept.assignments for quantity in symbols_of(line.value)}
        read |= {q for q in self.program.targets if not q.role.batched and q in self.adjoint.cotangents}
        outputs = self.program.outputs
        return (*outputs, *(q for q in self.program.targets if q in read and q not in outputs))

    def functions(self) -> tuple[Function, ...]:
        """Everything of the segment: its equations, forward and backward."""
        found = [self._equation(block) for block in blocks(self.program.assignments) if unknowns_of(block)]
        backward = [self._backward()] if self.returns_gradients else []
        return (*found, self._forward(), *backward)

    @property
    def returns_gradients(self) -> bool:
        """Whether anything it reads has a cotangent."""
        return bool(self.adjoint.program.assignments)

    def rule(self) -> str:
        """Source of the table entry."""
        backward = f"_backward_{self.name}" if self.returns_gradients else "None"
        return f"MapRule(_forward_{self.name}, {len(self.program.outputs)}, {backward})"

    def _forward(self) -> Function:
        printer = LayerPrinter()
        body: list[str] = []
        spread = self._spread()
        for block in blocks(self.program.assignments):
            if unknowns_of(block):
                body += self._solved(block, printer)
                continue
            (line,) = block
            text = printer(line.value)
            if isinstance(line.value, Quantity):  # a function of autograd may not return what it was given
                text += ".clone()"
            if line in spread and self.like is not None:
                zeros = f"torch.zeros_like({self.like.name}[..., :1])"
                text = zeros if line.value == 0 else f"{text} + {zeros}"
            body.append(self._line(self.kind, line, text))
        body.append(f"return {tuple_display([q.name for q in self.returned()])}")
        parameters = ", ".join(f"{q.name}: Tensor" for q in self.operands)
        doc = f"{self.title}: the outputs, and what else its backward reads."
        return Function(f"_forward_{self.name}", parameters, "tuple[Tensor, ...]", doc, tuple(body))

    def _solved(self, block: tuple[Assignment, ...], printer: LayerPrinter) -> Iterator[str]:
        """The root, then the lines that the equation computes on its way."""
        (unknown,), (guess,) = unknowns_of(block), block[0].solve.guesses if block[0].solve else ()
        given = ", ".join(["", *(q.name for q in _coefficients(block))])
        line = next(line for line in block if line.target == unknown)
        yield self._line(self.kind, line, f"monotone_root(_equation_{self._of(unknown)}, {guess.name}{given})")
        yield from (self._line(self.kind, each, printer(each.value)) for each in block if each is not line)

    def _of(self, unknown: Quantity) -> str:
        return f"{self.name}_{unknown.name}"

    def _equation(self, block: tuple[Assignment, ...]) -> Function:
        """(unknown, what else it holds) -> (residual, slope) of unknown - right-hand side."""
        (unknown,), printer = unknowns_of(block), LayerPrinter()
        line = next(line for line in block if line.target == unknown)
        body = [self._line(self.kind, each, printer(each.value)) for each in block if each is not line]
        body.append(f"return {printer(unknown - line.value)}, {printer(_slope(block, unknown))}")
        parameters = ", ".join(f"{q.name}: Tensor" for q in (unknown, *_coefficients(block)))
        number = self.numbers(self.kind, unknown)
        doc = f"The equation ({number}) of {unknown.name}: residual and slope."
        return Function(f"_equation_{self._of(unknown)}", parameters, "tuple[Tensor, Tensor]", doc, tuple(body))

    def _backward(self) -> Function:
        adjoint = self.adjoint
        bars = {q: adjoint.cotangents[q] for q in self.operands if q in adjoint.cotangents}
        sweep = adjoint.program.needed_for(bars.values())
        inner = {q for line in sweep.assignments for q in symbols_of(line.value)}
        printer = LayerPrinter()
        seeds = [adjoint.seeds[q] for q in self.program.outputs]
        read = inner | set(bars.values())
        body = [
            _unpacked([f"needs_{q.name}" if q in bars else f"_needs_{q.name}" for q in self.operands], "needs"),
            _unpacked([seed.name if seed in read else f"_{seed.name}" for seed in seeds], "bars"),
        ]
        about = {bar: q for q, bar in adjoint.cotangents.items()}
        for line in sweep.assignments:
            primal = about[line.target]
            text = printer(line.value) if line.target.role.batched else reduced(line.value, primal, printer)
            if primal in self.operands and line.target not in inner:
                text = f"{text} if needs_{primal.name} else None"
            body.append(self._line(f"{self.kind}_adjoint", line, text))
        body.append(f"return {tuple_display([bars[q].name if q in bars else 'None' for q in self.operands])}")
        given = dict.fromkeys([*self.operands, *self.returned()])
        parameters = ", ".join(["needs: Needs", "bars: tuple[Tensor, ...]", *(f"{q.name}: Tensor" for q in given)])
        return Function(f"_backward_{self.name}", parameters, "Gradients", f"{self.title}: cotangents.", tuple(body))

    def _line(self, kind: str, line: Assignment, text: str) -> str:
        number = self.numbers(kind, line.target)
        return f"{line.target.name} = {text}" + (f"  # ({number})" if number else "")


def _without_counts(value: Expr) -> Expr:
    """A number of components is read from a vector, and has no batch axes."""
    return value.xreplace(dict.fromkeys(value.atoms(components), Integer(1)))


def _unpacked(names: list[str], value: str) -> str:
    return f"{', '.join(names)}{',' * (len(names) == 1)} = {value}"


def _coefficients(block: tuple[Assignment, ...]) -> list[Quantity]:
    """What a block of equations reads beside its unknown, by name."""
    made = {line.target for line in block} | set(unknowns_of(block))
    found = {q for line in block for q in symbols_of(line.value)} - made
    return sorted(found, key=lambda q: q.name)


def _slope(block: tuple[Assignment, ...], unknown: Quantity) -> Expr:
    """d/dz (z - g(z)) through the lines of the block, in the values that they compute."""
    slopes: dict[Quantity, Expr] = {unknown: Integer(1)}
    known = computed_values(Program((), (), ())) | {line.value: line.target for line in block if line.value.args}
    total: Expr = Integer(0)
    for line in block:
        rate: Expr = Integer(0)
        for q in sorted(symbols_of(line.value), key=str):
            rate += diff(line.value, q).xreplace(known) * slopes.get(q, Integer(0))
        if line.target == unknown:
            total = rate
        else:
            slopes[line.target] = rate
    return 1 - total


def once(functions: Iterator[Function]) -> tuple[Function, ...]:
    """Functions in order, each name once."""
    ordered = sorted(enumerate(functions), key=lambda pair: (pair[1].name, pair[0]))
    kept = {next(group)[0] for _, group in groupby(ordered, key=lambda pair: pair[1].name)}
    return tuple(function for place, function in sorted(ordered) if place in kept)
