"""The prelude of a cell: what the loop reads that is made of parameters alone, computed once per call before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sympy import Expr, Symbol

from codegen.cells.lowering import parameters_text, tuple_text
from codegen.cells.plan_operands import Layout, Operand
from codegen.printer import TABLES, TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.errors import UnsupportedError
from derive.latex import plain
from derive.operators import dot, identity_like, linear_solve, logsumexp, matvec, shape_of, total
from derive.program import Assignment, Program, name_functions, symbols_of
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role, by_name
from derive.systems import Stack

CONSTANTS = (Role.CONSTANT, Role.STEP_SIZE)
Numbers = Callable[[Quantity], str]


@dataclass(frozen=True)
class Prelude:
    """Lines of a step that read parameters and constants alone.

    Attributes:
        program: the lines; its outputs are what the loop reads.
        adjoint: the sweep back to the parameters.
        zero: parameters that start at zero.
    """

    program: Program
    adjoint: Adjoint
    zero: frozenset[Quantity] = frozenset()

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What the lines read and is learnt."""
        return tuple(q for q in self.program.inputs if q.role is Role.PARAMETER)

    @property
    def constants(self) -> tuple[Quantity, ...]:
        """Numbers that are given to the constructor."""
        return tuple(q for q in self.program.inputs if q.role in CONSTANTS)

    @property
    def kept(self) -> tuple[Quantity, ...]:
        """Lines that the loop does not read and the sweep back does."""
        read = {q for line in self.adjoint.program.assignments for q in symbols_of(line.value)}
        return tuple(q for q in self.program.targets if q in read and q not in self.program.outputs)

    @property
    def matrices(self) -> tuple[str, ...]:
        """The matrices of its linear systems, as text."""
        found = {node.args[0] for line in self.program.assignments for node in line.value.atoms(linear_solve)}
        return tuple(sorted(_shown(matrix, self.program) for matrix in found))

    def functions(self, suffix: str, number: Numbers) -> tuple[Function, ...]:
        """_prelude(*constants, *parameters) and its backward."""
        return _Writer(self, suffix, number).functions()


def _shown(matrix: Expr, program: Program) -> str:
    """A matrix by its formula."""
    formula = program.value(matrix) if isinstance(matrix, Quantity) else matrix
    value = plain(formula.replace(identity_like, lambda _: Symbol("I")))
    return f"{matrix} = {value}" if isinstance(matrix, Quantity) else value


def split_prelude(recurrence: Recurrence, stacks: Sequence[Stack]) -> tuple[Recurrence, Prelude | None]:
    """A cell whose lines all change from step to step, and what is computed before them.

    Raises:
        UnsupportedError: such a line has no parameter in it, is in a stack, or reads one of a stack.
    """
    step = _with_named_matrices(recurrence.step)
    named = name_functions(step)
    step = named if len(_fixed(named)) > len(_fixed(step)) else step
    fixed = _fixed(step)
    if not fixed:
        return recurrence, None
    moving = tuple(line for line in step.assignments if line.target.role.batched)
    read = {*recurrence.step.outputs}.union(*(symbols_of(line.value) for line in moving))
    wanted = tuple(line.target for line in fixed if line.target in read)
    program = Program(step.inputs, fixed, wanted).needed_for(wanted)
    _check(program, stacks)
    inputs = by_name([*(q for q in step.inputs if q in read), *wanted])
    core = replace(recurrence, step=Program(tuple(inputs), moving, step.outputs))
    program = name_functions(program)
    adjoint = reverse_sweep(program, [q for q in program.inputs if q.role is Role.PARAMETER])
    return core, Prelude(
        program, adjoint, frozenset(s.rows[0] for s in stacks if _is_plain(s) and s.initial == "zeros")
    )


def _is_plain(stack: Stack) -> bool:
    """Whether a stack holds one parameter under its own name, as if there were none: it says how that starts."""
    return [row.name for row in stack.rows] == [stack.name] and set(stack.parts) <= {stack.name}


def _fixed(step: Program) -> tuple[Assignment, ...]:
    return tuple(line for line in step.assignments if not line.target.role.batched)


def _with_named_matrices(step: Program) -> Program:
    """The step with a line of its own for every matrix that is an expression of parameters."""
    taken = {q.name for q in (*step.inputs, *step.targets)}
    lines: list[Assignment] = []
    named: dict[Expr, Quantity] = {}
    for line in step.assignments:
        for node in sorted(line.value.atoms(matvec), key=str):
            matrix = node.args[0]
            simple = isinstance(matrix, Quantity) or any(q.role.batched for q in symbols_of(matrix))
            if not simple and matrix not in named:
                name = _free_name("_".join(q.name for q in by_name(symbols_of(matrix))), taken)
                named[matrix] = Quantity(name, shape_of(matrix), Role.PARAMETER, meaning="made of parameters")
                lines.append(Assignment(named[matrix], matrix))
        lines.append(replace(line, value=line.value.xreplace(named)))
    return step if not named else Program(step.inputs, tuple(lines), step.outputs)


def _free_name(base: str, taken: set[str]) -> str:
    name = f"{base}_made"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _check(program: Program, stacks: Sequence[Stack]) -> None:
    for line in program.assignments:
        if not any(q.role is Role.PARAMETER for q in symbols_of(line.value)):
            raise UnsupportedError(f"{line.target.name} = {line.value} has no parameter in it; write the number itself")
    own = {*program.inputs, *program.targets}
    for stack in (stack for stack in stacks if not _is_plain(stack)):
        held = [q.name for q in stack.rows if q in own]
        if held:
            raise UnsupportedError(
                f"the stack {stack.name} holds {held[0]}, of which other operands are made before the loop; leave it "
                "out of the stacks"
            )


class _Printer(TorchPrinter):
    """Of tensors without batch axes; linear systems by functions of codegen/runtime/preludes.py."""

    tables: tuple[Mapping[type, str], ...] = (
        {total: "{}.sum()", dot: "({0} * {1}).sum()", logsumexp: "torch.logsumexp({}, -1)"},
        *TABLES,
    )

    def _solved(self, node: linear_solve) -> str:
        matrix, right = node.args
        return f"inverse_of({self(matrix)})" if node.is_inverse else f"solution_of({self(matrix)}, {self(right)})"


class _Writer:
    """Writes both functions of a prelude."""

    def __init__(self, prelude: Prelude, suffix: str, number: Numbers) -> None:
        self.prelude, self.suffix, self.number = prelude, suffix, number
        self.printer = _Printer()

    def functions(self) -> tuple[Function, ...]:
        """Forward and backward."""
        return self._forward(), self._backward()

    def _lines(self, program: Program) -> list[str]:
        found = []
        for line in program.assignments:
            number = self.number(line.target)
            found.append(f"{line.target.name} = {self.printer(line.value)}" + (f"  # ({number})" if number else ""))
        return found

    def _forward(self) -> Function:
        prelude = self.prelude
        program, constants = prelude.program, [q.name for q in prelude.constants]
        results = [q.name for q in (*program.outputs, *prelude.kept)]
        numbers = "".join(f"{name}: float, " for name in constants)
        doc = f"What the loop reads of parameters, once per call: {', '.join(q.name for q in program.outputs)}."
        body = (*self._lines(program), f"return {tuple_text(results)}")
        parameters = numbers + parameters_text([q.name for q in prelude.parameters])
        return Function(f"_prelude{self.suffix}", parameters, "Values", doc, body)

    def _backward(self) -> Function:
        prelude = self.prelude
        sweep, program = prelude.adjoint, prelude.program
        bars = sweep.cotangents
        results = [bars[q].name if q in bars else "None" for q in prelude.parameters]
        seeds = [sweep.seeds[q].name for q in program.outputs]
        given = [q.name for q in (*prelude.parameters, *program.outputs, *prelude.kept)]
        body = (f"{', '.join(seeds)}{',' * (len(seeds) == 1)} = bars", *self._lines(sweep.program))
        numbers = "".join(f"{q.name}: float, " for q in prelude.constants)
        return Function(
            f"_prelude_backward{self.suffix}",
            f"{numbers}needs: Needs, bars: Values, {parameters_text(given)}",
            "Gradients",
            f"From the sums over all steps of {', '.join(seeds)} to the parameters.",
            (*body, f"return {tuple_text(results)}"),
        )


def held_operands(layout: Layout, prelude: Prelude | None) -> list[Operand]:
    """Tensors that a layer holds: operands of the loop, then what a prelude reads besides."""
    if prelude is None:
        return list(layout.operands)
    operands = [o for o in layout.operands if set(prelude.program.outputs).isdisjoint(o.rows)]
    known = {q for operand in operands for q in operand.rows}
    read = (q for q in prelude.parameters if q not in known)
    return [*operands, *(Operand(q.name, (q,), (q.name,), alone=True, zero=q in prelude.zero) for q in read)]


def prelude_text(layout: Layout, prelude: Prelude, suffix: str) -> str:
    """Source of the prelude in the table of cells."""
    held = [operand.rows for operand in held_operands(layout, prelude)]
    known = [*held, *((q,) for q in prelude.program.outputs)]
    places = [held.index((q,)) for q in prelude.parameters], [known.index(o.rows) for o in layout.operands]
    shown = [tuple_display([str(place) for place in found]) for found in places]
    names = [repr(keyword(q)) for q in prelude.constants], [repr(text) for text in prelude.matrices]
    constants, matrices = (tuple_display(texts) if texts else "()" for texts in names)
    parts = [f"_prelude{suffix}", f"_prelude_backward{suffix}", str(len(prelude.program.outputs)), constants]
    return f"Prelude({', '.join([*parts, *shown, matrices])})"


def keyword(constant: Quantity) -> str:
    """The constructor's argument that gives a constant."""
    return "step_size" if constant.role is Role.STEP_SIZE else constant.name
