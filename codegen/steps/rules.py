"""Programs of one step -> the rule functions that the step loop calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy
from sympy import Add, Expr, Integer, Symbol

from codegen.printer import TorchPrinter
from derive.errors import UnsupportedError
from derive.inversion import Inverse
from derive.networks import Call, Pullback
from derive.operators import dot, outer, shape_of, total, transpose
from derive.program import Assignment, Program, symbols_of
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role, by_name
from derive.systems import Recurrence

Numbers = Callable[[str, Quantity], str]
STATE_ARGUMENTS = "state: State, local: tuple[Tensor, ...], shared: Shared"


@dataclass(frozen=True)
class Function:
    """Source of one emitted function: what a template lays out."""

    name: str
    parameters: str
    returns: str
    doc: str
    body: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where the quantities of a step travel.

    Attributes:
        local: quantities with one value per step, in order.
        shared: quantities and numbers used by every step, in order.
        components: unknowns of the system; several share the last axis of one tensor.
        lags: how many past values the state holds.
    """

    local: tuple[Quantity, ...]
    shared: tuple[Quantity, ...]
    components: int
    lags: int


def layout_of(recurrence: Recurrence) -> Layout:
    """Layout of a step whose state is made of one or several unknowns."""
    quantities = [q for q in recurrence.step.inputs if not _is_network_parameter(recurrence, q)]
    local = [q for q in quantities if q.role in (Role.LAYER_PARAMETER, Role.TIME)]
    shared = [q for q in quantities if q.role in (Role.PARAMETER, Role.CONSTANT, Role.STEP_SIZE)]
    components = len(recurrence.old) // recurrence.lags if recurrence.starts else len(recurrence.old)
    if components > 1 and any(q.shape for q in recurrence.old):
        raise UnsupportedError(
            f"the unknowns {', '.join(q.name for q in recurrence.old)} share one tensor, "
            "which is possible for scalars only; "
            "write the system with one vector unknown"
        )
    return Layout(
        tuple(by_name(local)), tuple(by_name(shared)), components, recurrence.lags if recurrence.starts else 1
    )


def _is_network_parameter(recurrence: Recurrence, quantity: Quantity) -> bool:
    return any(network.theta == quantity for network in recurrence.step.networks())


class RuleWriter:
    """Writes the rules of one recurrence.

    Args:
        layout: where quantities travel.
        numbers: (kind of line, quantity) -> equation number.
    """

    def __init__(self, layout: Layout, numbers: Numbers) -> None:
        self.layout = layout
        self.numbers = numbers

    def step(
        self,
        name: str,
        program: Program,
        old: Sequence[Quantity],
        new: Sequence[Quantity],
        doc: str = "One step: the new state.",
    ) -> Function:
        """The rule `step(field, state, local, shared) -> new state`."""
        printer = TorchPrinter(lambda node, arguments: f"field({', '.join(arguments)})")
        needed = program.needed_for(new)
        body = [*self._unpack_state("state", old, needed.inputs), *self._unpack(needed.inputs)]
        body += [self._line("step", line, printer(line.value)) for line in needed.assignments]
        body.append(f"return {self._pack(new)}")
        return Function(name, f"field: Field, {STATE_ARGUMENTS}", "State", doc, tuple(body))

    def inverse(self, inverse: Inverse, recurrence: Recurrence) -> Function:
        """The rule `inverse(field, new_state, local, shared) -> state`."""
        printer = TorchPrinter(lambda node, arguments: f"field({', '.join(arguments)})")
        program = inverse.program
        body = [*self._unpack_state("state", recurrence.new, program.inputs), *self._unpack(program.inputs)]
        for line in program.assignments:
            kind = "inverse" if line.target in program.outputs else "step"
            body.append(self._line(kind, line, printer(line.value)))
        body.append(f"return {self._pack(recurrence.old)}")
        return Function(
            "_inverse",
            f"field: Field, {STATE_ARGUMENTS}",
            "State",
            "The step solved for its oldest state: new state -> old state.",
            tuple(body),
        )

    def adjoint(
        self,
        name: str,
        program: Program,
        old: Sequence[Quantity],
        new: Sequence[Quantity],
        doc: str = "Reverse sweep over one step.",
    ) -> Function:
        """The rule `adjoint(linearize, state, local, shared, bar_new)` -> cotangents of all three."""
        wanted = [*old, *self.layout.local, *self.layout.shared]
        adjoint = reverse_sweep(program, [q for q in wanted if q in program.inputs and q.role is not Role.CONSTANT])
        bars = [adjoint.cotangents[q] for q in wanted if q in adjoint.cotangents]
        swept = adjoint.program.needed_for(bars)
        lines = _AdjointLines(self, program, adjoint, swept)
        used = lines.used_inputs()
        body = [*self._unpack_state("state", old, used), *self._unpack(used)]
        body += self._unpack_bars(adjoint, new)
        body += lines.write()
        returned = ", ".join(
            [
                self._packed_bars(adjoint, old),
                self._tuple(adjoint, self.layout.local),
                self._tuple(adjoint, self.layout.shared),
            ]
        )
        body.append(f"return {returned}")
        parameters = f"linearize: Linearize, {STATE_ARGUMENTS}, bar_new: State"
        return Function(name, parameters, "Cotangents", doc, tuple(body))

    def _line(self, kind: str, line: Assignment, text: str) -> str:
        number = self.numbers(kind, line.target)
        return f"{line.target.name} = {text}" + (f"  # ({number})" if number else "")

    def _unpack(self, used: Iterable[Quantity]) -> list[str]:
        used = set(used)
        lines = []
        for name, group in (("local", self.layout.local), ("shared", self.layout.shared)):
            if used & set(group):
                names = ", ".join(q.name if q in used else f"_{q.name}" for q in group)
                lines.append(f"{names} = {name}" if len(group) > 1 else f"({names},) = {name}")
        return lines

    def _unpack_state(self, name: str, quantities: Sequence[Quantity], used: Iterable[Quantity]) -> list[str]:
        used = set(used)
        names = [q.name if q in used else f"_{q.name}" for q in quantities]
        if self.layout.components == 1:
            return (
                [f"{', '.join(names)} = {name}" if len(names) > 1 else f"({names[0]},) = {name}"]
                if used & set(quantities)
                else []
            )
        width = self.layout.components
        return [
            f"{', '.join(names[place : place + width])} = {name}[{place // width}].unbind(-1)"
            for place in range(0, len(names), width)
            if used & set(quantities[place : place + width])
        ]

    def _pack(self, quantities: Sequence[Quantity]) -> str:
        return self._packed([q.name for q in quantities])

    def _packed(self, names: Sequence[str]) -> str:
        width = self.layout.components
        if width == 1:
            parts = list(names)
        else:
            parts = [
                f"torch.stack(({', '.join(names[place : place + width])}), -1)" for place in range(0, len(names), width)
            ]
        return tuple_display(parts)

    def _packed_bars(self, adjoint: Adjoint, old: Sequence[Quantity]) -> str:
        missing = [q.name for q in old if q not in adjoint.cotangents]
        if missing and self.layout.components > 1:
            raise UnsupportedError(f"the step does not depend on {', '.join(missing)}: leave it out of the state")
        return self._packed([adjoint.cotangents[q].name if q in adjoint.cotangents else "None" for q in old])

    def _tuple(self, adjoint: Adjoint, group: Sequence[Quantity]) -> str:
        names = [adjoint.cotangents[q].name if q in adjoint.cotangents else "None" for q in group]
        return tuple_display(names)

    def _unpack_bars(self, adjoint: Adjoint, new: Sequence[Quantity]) -> list[str]:
        seeds = [adjoint.seeds[q] for q in new]
        return self._unpack_state("bar_new", seeds, seeds)


def tuple_display(items: Sequence[str]) -> str:
    """Source of a tuple."""
    return f"({', '.join(items)},)" if len(items) == 1 else f"({', '.join(items)})"


class _AdjointLines:
    """The body of an adjoint: primal lines that it reads, network calls with pullbacks, then the reverse sweep."""

    def __init__(self, writer: RuleWriter, program: Program, adjoint: Adjoint, swept: Program) -> None:
        self.writer = writer
        self.adjoint = adjoint
        self.swept = swept
        self.calls = [line for line in program.assignments if isinstance(line.value, Call)]
        read = {q for line in swept.assignments for q in _read(line.value)}
        self.read = read
        reading = [q for q in program.targets if q in read or any(q == line.target for line in self.calls)]
        self.primal = program.needed_for(reading)
        self.pullbacks = _pullbacks(swept)
        self.printer = TorchPrinter(self._network)

    def used_inputs(self) -> set[Quantity]:
        """Inputs of the primal that the body reads."""
        arguments = {q for line in self.primal.assignments for q in _read(line.value)}
        reduced_to = {
            q for q, bar in self.adjoint.cotangents.items() if bar in self.swept.outputs and not q.role.batched
        }
        return arguments | self.read | reduced_to

    def _network(self, node: Call | Pullback, arguments: list[str]) -> str:
        if isinstance(node, Call):
            return f"linearize({', '.join(arguments)})"
        return self._pullback_name(node, node.slot)

    def _pullback_name(self, node: Pullback, slot: int) -> str:
        call = self._call_of(node)
        argument = "x" if slot == len(node.point) - 2 else "t"
        return f"bar_{argument}_by_{call.target.name}"

    def _call_of(self, node: Pullback) -> Assignment:
        return next(line for line in self.calls if line.value.args[:2] == node.args[:2])

    def write(self) -> list[str]:
        """All lines, in order."""
        lines = []
        for line in self.primal.assignments:
            text = self.printer(line.value)
            if line in self.calls:
                value = line.target.name if line.target in self.read_values() else "_"
                number = self.writer.numbers("step", line.target)
                lines.append(f"{value}, pullback_{line.target.name} = {text}" + (f"  # ({number})" if number else ""))
            else:
                lines.append(self.writer._line("step", line, text))
        for line in self.swept.assignments:
            if not self._inside_networks(line.target):
                lines.append(self._cotangent(line))
            lines += [self._call_pullback(node) for node in self.pullbacks.get(line.target, ())]
        return lines

    def read_values(self) -> set[Quantity]:
        """Quantities whose values are read, by the sweep or by later primal lines."""
        return self.read | {q for line in self.primal.assignments for q in _read(line.value)}

    def _inside_networks(self, bar: Quantity) -> bool:
        """Cotangents of network parameters: the pullback adds them up where they belong."""
        return any(bar.name == f"bar_theta_{line.value.network.name}" for line in self.calls)

    def _call_pullback(self, node: Pullback) -> str:
        call = self._call_of(node)
        names = [self._pullback_name(node, slot) for slot in range(len(node.point) - 1)]
        wanted = {n for line in self.swept.assignments for n in line.value.atoms(Pullback)}
        slots = {n.slot for n in wanted if n.args[:2] == node.args[:2]}
        shown = [name if slot in slots else "_" for slot, name in enumerate(names)]
        left = f"({shown[0]},)" if len(shown) == 1 else ", ".join(shown)
        users = [line for line in self.swept.assignments if not self._inside_networks(line.target)]
        used = [line for line in users if any(n.args[:2] == node.args[:2] for n in line.value.atoms(Pullback))]
        numbers = dict.fromkeys(self.writer.numbers("adjoint", line.target) for line in used)
        shown_numbers = ", ".join(f"({number})" for number in numbers if number)
        text = f"{left} = pullback_{call.target.name}({node.covector.name})"
        return f"{text}  # {shown_numbers}" if shown_numbers else text

    def _cotangent(self, line: Assignment) -> str:
        about = next(q for q, bar in self.adjoint.cotangents.items() if bar == line.target)
        if line.target.role.batched:
            return self.writer._line("adjoint", line, self.printer(line.value))
        text = reduced(line.value, about, self.printer)
        if about.role in (Role.STEP_SIZE, Role.TIME):
            text = f"{text} if isinstance({about.name}, Tensor) else None"
        return self.writer._line("adjoint", line, text)


def _pullbacks(swept: Program) -> Mapping[Quantity, list[Pullback]]:
    """Cotangent of a network's value -> the pullbacks to call once it is known, one per network call."""
    found: dict[Quantity, dict[tuple[Expr, ...], Pullback]] = {}
    for line in swept.assignments:
        for node in sorted(line.value.atoms(Pullback), key=str):
            found.setdefault(node.covector, {}).setdefault(node.args[:2], node)
    return {bar: list(nodes.values()) for bar, nodes in found.items()}


def _read(value: Expr) -> set[Quantity]:
    """Quantities that the printed text of an expression mentions: of a pullback only its covector, which is named."""
    nodes = value.atoms(Pullback)
    plain = value.xreplace({node: Integer(1) if not shape_of(node) else node.covector for node in nodes})
    thetas = {call.network.theta for call in value.atoms(Call)}
    return symbols_of(plain) - thetas


def reduced(value: Expr, like: Quantity, printer: TorchPrinter) -> str:
    """A cotangent contribution of a quantity without batch axes: the sum over the batch, read from the shapes."""
    pulled = [term for term in Add.make_args(value) if term.atoms(Pullback)]
    matrices = [term for term in Add.make_args(value) if term not in pulled and term.atoms(outer)]
    plain = [term for term in Add.make_args(value) if term not in pulled and term not in matrices]
    parts = []
    if matrices:
        parts.append(_OuterPrinter()(sum(matrices, Integer(0))))
    if plain:
        flat = sum((_without_reduction(term) for term in plain), Integer(0))
        parts.append(f"sum_to({printer(flat)}, {like.name})")
    parts += [printer(term) for term in pulled]
    return " + ".join(parts)


def _without_reduction(term: Expr) -> Expr:
    """Inner products as plain products: the sum to the parameter's shape adds up components and batch at once."""
    table: dict[Expr, Expr] = {node: node.args[0] * node.args[1] for node in term.atoms(dot)}
    table |= {node: node.args[0] for node in term.atoms(total)}
    return term.xreplace(table)


class _OuterPrinter(TorchPrinter):
    """Prints the cotangent of a matrix: outer products are summed over the batch."""

    def _function(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, outer):
            left, right = (self(argument) for argument in node.args)
            return f"batch_outer({left}, {right})", 3
        if isinstance(node, transpose):
            return f"{self._wrapped(node.args[0], 3)}.mT", 3
        return super()._function(node)


def amplification(roots: Sequence[Expr], layout: Layout, number: str) -> tuple[str, ...]:
    """Body of the rule `amplification(local, shared, lipschitz)`: 1/|smallest root| for |h lambda| = h Lip on the axes.

    The roots name h lambda `z`; in the text it is `h_lambda`, which no quantity of the system is called.
    """
    loop = Symbol("h_lambda")
    printer = _ComplexPrinter()
    texts = [printer(sympy.together(root.xreplace({Symbol("z"): loop}))) for root in roots]
    mark = f"  # ({number})" if number else ""
    used = {s.name for root in roots for s in root.free_symbols}
    body = [
        f"{', '.join(q.name if q.name in used or q.role is Role.STEP_SIZE else f'_{q.name}' for q in group)}"
        + ("" if len(group) > 1 else ",")
        + f" = {source}"
        for source, group in (("local", layout.local), ("shared", layout.shared))
        if group
    ]
    step = next(q.name for q in layout.shared if q.role is Role.STEP_SIZE)
    body += [
        "smallest = math.inf",
        f"for {loop} in ({step} * lipschitz, -{step} * lipschitz, {step} * lipschitz * 1j):",
        *(f"    smallest = min(smallest, abs({text})){mark}" for text in texts),
        f"return 1.0 / smallest if smallest > 0.0 else math.inf{mark}",
    ]
    return tuple(body)


class _ComplexPrinter(TorchPrinter):
    """Prints scalar formulas on Python's complex numbers."""

    def _print(self, node: Expr) -> tuple[str, int]:
        return (node.name, 3) if isinstance(node, Symbol) else super()._print(node)

    def _power(self, node: Expr) -> tuple[str, int]:
        base, exponent = node.args
        if exponent == sympy.Rational(1, 2):
            return f"cmath.sqrt({self(base)})", 3
        return super()._power(node)
