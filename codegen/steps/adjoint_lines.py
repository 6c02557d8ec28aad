"""The body of an emitted adjoint: primal lines, network calls with pullbacks, the reverse sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sympy import Add, Expr, Integer, Mul

from codegen.printer import TorchPrinter
from codegen.steps.equations import System, as_computed, multipliers_text
from codegen.steps.equations import read as read_in
from codegen.steps.field_plan import depends_on_state
from derive.networks import Call, Pullback
from derive.operators import dot, outer, shape_of, total, transpose
from derive.program import Assignment, Program, blocks, symbols_of, unknowns_of
from derive.reverse_sweep import Adjoint
from derive.symbols import Quantity, Role

if TYPE_CHECKING:
    from codegen.steps.rules import RuleWriter

SUMMED = "summed_over_the_batch"  # stands for a sum while the factors around it are written


class AdjointLines:
    """The body of an adjoint: primal lines that it reads, network calls with pullbacks, then the reverse sweep."""

    def __init__(
        self, writer: RuleWriter, program: Program, adjoint: Adjoint, swept: Program, systems: Sequence[System]
    ) -> None:
        self.writer = writer
        self.systems = systems
        self.adjoint = adjoint
        self.swept = swept
        self.calls = [line for line in program.assignments if isinstance(line.value, Call)]
        read = {q for line in swept.assignments for q in read_in(line.value)}
        self.read = read
        reading = [q for q in program.targets if q in read or any(q == line.target for line in self.calls)]
        self.primal = as_computed(program, systems, reading)
        self.pullbacks = _pullbacks(swept)
        self.printer = TorchPrinter(self._network)

    def used_inputs(self) -> set[Quantity]:
        """Inputs of the primal that the body reads."""
        arguments = {q for line in self.primal.assignments for q in read_in(line.value)}
        arguments |= {q for system in self.systems for q in system.reads()}
        reduced_to = {
            q for q, bar in self.adjoint.cotangents.items() if bar in self.swept.outputs and not q.role.batched
        }
        return arguments | self.read | reduced_to

    def _network(self, node: Call | Pullback, arguments: list[str]) -> str:
        if isinstance(node, Call):
            return f"{self.writer.callable('linearize', node)}({', '.join(arguments)})"
        return self._pullback_name(node, node.slot)

    def _pullback_name(self, node: Pullback, slot: int) -> str:
        call = self._call_of(node)
        argument = "x" if slot == len(node.point) - 2 else "t"
        return f"bar_{argument}_by_{call.target.name}"

    def _call_of(self, node: Pullback) -> Assignment:
        return next(line for line in self.calls if line.value.args[:2] == node.args[:2])

    def write(self) -> list[str]:
        """All lines, in order."""
        lines = self.writer.primal_lines(self.primal, self.systems, "linearize", self._primal_line)
        solved = {bar for system in self.systems for bar in unknowns_of(system.multipliers)}
        for block in blocks(self.swept.assignments):
            lines += [self._multipliers(s) for s in self.systems if s.multipliers == block]
            lines += self._swept_lines([line for line in block if line.target not in solved])
        return lines

    def _primal_line(self, line: Assignment) -> str:
        text = self.printer(line.value)
        if line.target not in [call.target for call in self.calls]:
            return self.writer.line("step", line, text)
        value = line.target.name if line.target in self.read_values() else "_"
        number = self.writer.numbers("step", line.target)
        return f"{value}, pullback_{line.target.name} = {text}" + (f"  # ({number})" if number else "")

    def _multipliers(self, system: System) -> str:
        numbers = [self.writer.numbers("adjoint", line.target) for line in system.multipliers]
        mark = ", ".join(f"({number})" for number in numbers if number)
        return multipliers_text(system) + (f"  # {mark}" if mark else "")

    def _swept_lines(self, swept: Sequence[Assignment]) -> list[str]:
        lines = []
        for line in swept:
            if not self._inside_networks(line.target):
                lines.append(self._cotangent(line))
            lines += [self._call_pullback(node) for node in self.pullbacks.get(line.target, ())]
        return lines

    def read_values(self) -> set[Quantity]:
        """Quantities whose values are read, by the sweep or by later primal lines."""
        read = self.read | {q for line in self.primal.assignments for q in read_in(line.value)}
        return read | {q for system in self.systems for q in system.reads()}

    def _inside_networks(self, bar: Quantity) -> bool:
        """Cotangents of network parameters: the pullback adds them up where they belong."""
        return any(bar.name == f"bar_theta_{line.value.network.name}" for line in self.calls)

    def _call_pullback(self, node: Pullback) -> str:
        call = self._call_of(node)
        names = [self._pullback_name(node, slot) for slot in range(len(node.point) - 1)]
        solved = {bar for system in self.systems for bar in unknowns_of(system.multipliers)}
        rest = [line for line in self.swept.assignments if line.target not in solved]
        wanted = {n for line in rest for n in line.value.atoms(Pullback)}
        slots = {n.slot for n in wanted if n.args[:2] == node.args[:2]}
        shown = [name if slot in slots else "_" for slot, name in enumerate(names)]
        left = f"({shown[0]},)" if len(shown) == 1 else ", ".join(shown)
        users = [line for line in rest if not self._inside_networks(line.target)]
        used = [line for line in users if any(n.args[:2] == node.args[:2] for n in line.value.atoms(Pullback))]
        numbers = dict.fromkeys(self.writer.numbers("adjoint", line.target) for line in used)
        shown_numbers = ", ".join(f"({number})" for number in numbers if number)
        text = f"pullback_{call.target.name}({node.covector.name})"
        text = f"{left} = {text}" if slots else text
        return f"{text}  # {shown_numbers}" if shown_numbers else text

    def _cotangent(self, line: Assignment) -> str:
        about = next(q for q, bar in self.adjoint.cotangents.items() if bar == line.target)
        if line.target.role.batched:
            return self.writer.line("adjoint", line, self.printer(line.value))
        text = reduced(line.value, about, self.printer)
        if about.role in (Role.STEP_SIZE, Role.TIME):
            text = f"{text} if isinstance({about.name}, Tensor) else None"
        return self.writer.line("adjoint", line, text)


def _pullbacks(swept: Program) -> Mapping[Quantity, list[Pullback]]:
    """Cotangent of a network's value -> the pullbacks to call once it is known, one per network call."""
    found: dict[Quantity, dict[tuple[Expr, ...], Pullback]] = {}
    for line in swept.assignments:
        for node in sorted(line.value.atoms(Pullback), key=str):
            found.setdefault(node.covector, {}).setdefault(node.args[:2], node)
    return {bar: list(nodes.values()) for bar, nodes in found.items()}


def reduced(
    value: Expr, like: Quantity, printer: TorchPrinter, varies: Callable[[Expr], bool] = depends_on_state
) -> str:
    """A cotangent contribution of a quantity without batch axes: the sum over the batch, read from the shapes.

    Args:
        value: the contribution of one sample.
        like: the quantity.
        printer: writes expressions.
        varies: whether an expression differs within what is summed; factors that do not come after the sum.
    """
    pulled = [term for term in Add.make_args(value) if term.atoms(Pullback)]
    matrices = [term for term in Add.make_args(value) if term not in pulled and term.atoms(outer)]
    plain = [term for term in Add.make_args(value) if term not in pulled and term not in matrices]
    parts = []
    if matrices:
        parts.append(_OuterPrinter()(sum(matrices, Integer(0))))
    flat = [term if like.shape else _without_reduction(term) for term in plain]
    parts += [_sum_to(group, like, printer, varies) for group in _of_one_shape(flat)]
    parts += [printer(term) for term in pulled]
    return " + ".join(parts).replace(" + -", " - ")


def _sum_to(term: Expr, like: Quantity, printer: TorchPrinter, varies: Callable[[Expr], bool]) -> str:
    """The sum over the batch, then the constant factors: scaling first would copy all that is summed."""
    constants = [
        factor for factor in Mul.make_args(term) if not varies(factor) and shape_of(factor) in ((), like.shape)
    ]
    rest = term / Mul(*constants)
    text = f"sum_to({{}}, {like.name})"
    if not varies(rest) or shape_of(rest) != shape_of(term):
        return text.format(printer(term))
    whole = Quantity(SUMMED, like.shape, Role.INTERMEDIATE)
    return printer(Mul(*constants) * whole).replace(SUMMED, text.format(printer(rest)))


def _of_one_shape(terms: Sequence[Expr]) -> list[Expr]:
    """Sums of terms that have the same axes: what is added before the sum over an axis must have that axis."""
    groups: dict[object, Expr] = {}
    for place, term in enumerate(terms):
        batched = any(q.role.batched for q in symbols_of(term))
        key = shape_of(term) if batched else place
        groups[key] = groups.get(key, Integer(0)) + term
    return list(groups.values())


def _without_reduction(term: Expr) -> Expr:
    """For a scalar: the inner product with the cotangent as a plain product; the sum over the batch adds up both."""
    reductions = sorted(term.atoms(dot, total), key=lambda node: (_has_cotangent(node), len(str(node)), str(node)))
    if not reductions:
        return term
    whole = reductions[-1]
    return term.xreplace({whole: whole.args[0] * whole.args[1] if isinstance(whole, dot) else whole.args[0]})


def _has_cotangent(node: Expr) -> bool:
    return any(q.role is Role.COTANGENT for q in symbols_of(node))


class _OuterPrinter(TorchPrinter):
    """Prints the cotangent of a matrix: outer products are summed over the batch."""

    def _function(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, outer):
            left, right = (self(argument) for argument in node.args)
            return f"batch_outer({left}, {right})", 3
        if isinstance(node, transpose):
            return f"{self._wrapped(node.args[0], 3)}.mT", 3
        return super()._function(node)
