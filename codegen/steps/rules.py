"""Programs of one step -> the rule functions that the step loop calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from codegen.printer import TorchPrinter
from codegen.steps.adjoint_lines import AdjointLines
from codegen.steps.equations import System, as_computed, equation_functions, solve_text, systems_of
from codegen.steps.source import Function, tuple_display
from codegen.steps.stage_sums import stage_sum
from derive.errors import SpecError, UnsupportedError
from derive.inversion import Inverse
from derive.networks import Call, Network, Pullback
from derive.program import Assignment, Program, symbols_of
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role, by_name
from derive.windows import LAGS

Numbers = Callable[[str, Quantity], str]
STATE_ARGUMENTS = "state: State, local: tuple[Tensor, ...], shared: Shared"


@dataclass(frozen=True)
class Layout:
    """Where the quantities of a step travel.

    Attributes:
        local: quantities with one value per step, in order.
        shared: quantities and numbers used by every step, in order.
        components: unknowns that share the last axis of one tensor: all of them where they are scalars.
        lags: how many consecutive times the state reaches back over.
        streams: tensors that hold one value of the state: one for each unknown that is a vector.
        networks: opaque networks of the step, in the order in which they are given to the rules.
        width: how many values of each unknown the state holds, of itself and of the field; 0 where it is windowed.
        windowed: whether each part of the state is a window of past values, of a length known at construction only.
    """

    local: tuple[Quantity, ...]
    shared: tuple[Quantity, ...]
    components: int
    lags: int
    streams: int = 1
    networks: tuple[Network, ...] = ()
    width: int = 1
    windowed: bool = False

    @property
    def unknowns(self) -> int:
        """How many unknowns the system has."""
        return self.components * self.streams


def layout_of(recurrence: Recurrence) -> Layout:
    """Layout of a step whose state is made of one or several unknowns: their values and what else is remembered."""
    read = recurrence.quantities.union(*(start.inputs for start in recurrence.starts.values()))
    quantities = [q for q in read if not _is_network_parameter(recurrence, q)]
    local = [q for q in quantities if q.role.per_step]
    shared = [q for q in quantities if q.role in (Role.PARAMETER, Role.CONSTANT, Role.STEP_SIZE)]
    unknowns = recurrence.old[: recurrence.unknowns or len(recurrence.old)]
    scalars = [q for q in unknowns if not q.shape]
    axes = {len(q.shape) for q in unknowns}
    if len(axes) > 1:
        raise UnsupportedError(
            f"the unknowns {', '.join(q.name for q in unknowns)} have {', '.join(map(str, sorted(axes)))} axes; "
            "scalars share one tensor and vectors have one each, but not both in one system: "
            "write the scalars as vectors of size 1"
        )
    components, streams = (len(unknowns), 1) if scalars else (1, len(unknowns))
    networks = recurrence.step.networks()
    taken = {f"field_{network.name}" for network in networks if len(networks) > 1}
    clash = [q.name for q in (*recurrence.step.inputs, *recurrence.step.targets) if q.name in taken]
    if clash:
        raise SpecError(f"{clash[0]} is how the emitted rules call a network; rename it")
    windowed = any(q.shape[:1] == (LAGS,) for q in unknowns)
    width = 0 if windowed else len(recurrence.old) // len(unknowns)
    by_step, by_all = tuple(by_name(local)), tuple(by_name(shared))
    return Layout(by_step, by_all, components, recurrence.lags, streams, networks, width, windowed)


def _is_network_parameter(recurrence: Recurrence, quantity: Quantity) -> bool:
    return any(network.theta == quantity for network in recurrence.step.networks())


class RuleWriter:
    """Writes the rules of one recurrence.

    Args:
        layout: where quantities travel.
        numbers: (kind of line, quantity) -> equation number.
        whole_graphs: whether autograd goes through the steps, where the operations of sums count.
    """

    def __init__(self, layout: Layout, numbers: Numbers, whole_graphs: bool = False) -> None:
        self.layout = layout
        self.numbers = numbers
        self.whole_graphs = whole_graphs

    def step(
        self,
        name: str,
        program: Program,
        old: Sequence[Quantity],
        new: Sequence[Quantity],
        doc: str = "One step: the new state.",
    ) -> Function:
        """The rule `step(field, state, local, shared) -> new state`."""
        printer = TorchPrinter(lambda node, arguments: f"{self.callable('field', node)}({', '.join(arguments)})")
        systems = self.systems(name, program, old)
        needed = as_computed(program, systems, new)
        used = {*needed.inputs, *(q for system in systems for q in system.reads())}
        body = [
            *self.unpack_networks("field", needed),
            *self.unpack_state("state", old, used),
            *self.unpack(used),
        ]

        def show(line: Assignment) -> str:
            summed = stage_sum(line.value) if self.whole_graphs else None
            return self.line("step", line, summed or printer(line.value))

        body += self.primal_lines(needed, systems, "field", show)
        body.append(f"return {self._pack(new)}")
        parameters = f"field: {self.annotation('Field', systems)}, {STATE_ARGUMENTS}"
        return Function(name, parameters, "State", doc, tuple(body))

    def systems(self, name: str, program: Program, old: Sequence[Quantity]) -> list[System]:
        """The systems of equations of a step."""
        return systems_of(name, program, self._swept(program, old), self.layout.components, self.layout.networks)

    def equations(self, name: str, program: Program, old: Sequence[Quantity]) -> list[Function]:
        """The functions that the systems of a step need."""
        return [f for system in self.systems(name, program, old) for f in equation_functions(system, self.line)]

    def primal_lines(
        self, program: Program, systems: Sequence[System], field: str, show: Callable[[Assignment], str]
    ) -> list[str]:
        """Lines in order; systems are solved up to the last one whose unknowns the next line reads."""
        body, waiting = [], list(systems)
        for line in program.assignments:
            while any(set(system.unknowns) & symbols_of(line.value) for system in waiting):
                body.append(self._solved(waiting.pop(0), field))
            body.append(show(line))
        return body + [self._solved(system, field) for system in waiting]

    def _solved(self, system: System, field: str) -> str:
        numbers = [self.numbers("step", line.target) for line in system.block]
        mark = ", ".join(f"({number})" for number in numbers if number)
        return solve_text(system, field) + (f"  # {mark}" if mark else "")

    def _swept(self, program: Program, old: Sequence[Quantity]) -> Adjoint:
        """The adjoint in everything that has a gradient and is no network's parameter."""
        wanted = [*old, *self.layout.local, *self.layout.shared]
        return reverse_sweep(program, [q for q in wanted if q in program.inputs and not q.role.fixed])

    def inverse(self, name: str, inverse: Inverse, recurrence: Recurrence) -> Function:
        """The rule `inverse(field, new_state, local, shared) -> state`."""
        program, step = inverse.program, recurrence.step
        systems = self.systems(name, step, recurrence.old)
        body = [
            *self.unpack_networks("field", program),
            *self.unpack_state("state", recurrence.new, program.inputs),
            *self.unpack(program.inputs),
        ]
        solved = {q.name for q, _ in inverse.solved}
        told = _calls_out_of_order(step, program)
        for line in program.assignments:
            call = told.get(line.target, "")
            printer = TorchPrinter(partial(self._numbered_call, call))
            kind = "inverse" if line.target.name in solved else "step"
            body.append(self.line(kind, line, printer(line.value)))
        body += [f"field.solved({system.pack(system.unknowns)})" for system in systems]
        body.append(f"return {self._pack(recurrence.old)}")
        return Function(
            name,
            f"field: {self.annotation('Field', systems)}, {STATE_ARGUMENTS}",
            "State",
            "The step solved for its oldest state: new state -> old state.",
            tuple(body),
        )

    def _numbered_call(self, call: str, node: Call | Pullback, arguments: list[str]) -> str:
        return f"{self.callable('field', node)}({', '.join([*arguments, *([call] if call else [])])})"

    def callable(self, what: str, node: Call | Pullback) -> str:
        """`field`, or `field_f` where a step has several networks."""
        return what if len(self.layout.networks) == 1 else f"{what}_{node.network.name}"

    def unpack_networks(self, what: str, program: Program) -> list[str]:
        """The line that names the functions of several networks."""
        used = program.networks()
        if len(self.layout.networks) == 1 or not used:
            return []
        names = [f"{what}_{n.name}" if n in used else f"_{what}_{n.name}" for n in self.layout.networks]
        return [f"{', '.join(names)} = {what}"]

    def annotation(self, kind: str, systems: Sequence[System] = ()) -> str:
        """`Field`, or the tuple of them that a step with several networks is given; where it solves, more than that."""
        if systems:
            return "Any"
        return kind if len(self.layout.networks) <= 1 else f"tuple[{kind}, ...]"

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
        adjoint = self._swept(program, old)
        bars = [adjoint.cotangents[q] for q in wanted if q in adjoint.cotangents]
        swept = adjoint.program.needed_for(bars)
        systems = self.systems(name.removesuffix("_adjoint"), program, old)
        lines = AdjointLines(self, program, adjoint, swept, systems)
        used = lines.used_inputs()
        body = [
            *self.unpack_networks("linearize", lines.primal),
            *self.unpack_state("state", old, used),
            *self.unpack(used),
        ]
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
        parameters = f"linearize: {self.annotation('Linearize', systems)}, {STATE_ARGUMENTS}, bar_new: State"
        return Function(name, parameters, "Cotangents", doc, tuple(body))

    def line(self, kind: str, line: Assignment, text: str) -> str:
        """One numbered assignment."""
        number = self.numbers(kind, line.target)
        return f"{line.target.name} = {text}" + (f"  # ({number})" if number else "")

    def unpack(self, used: Iterable[Quantity]) -> list[str]:
        """Lines that read the used parameters from their tuples."""
        used = set(used)
        lines = []
        for name, group in (("local", self.layout.local), ("shared", self.layout.shared)):
            if used & set(group):
                names = ", ".join(q.name if q in used else f"_{q.name}" for q in group)
                lines.append(f"{names} = {name}" if len(group) > 1 else f"({names},) = {name}")
        return lines

    def unpack_state(self, name: str, quantities: Sequence[Quantity], used: Iterable[Quantity]) -> list[str]:
        """Lines that read the used states from the tuple `name`."""
        used = set(used)
        names = [q.name if q in used else f"_{q.name}" for q in quantities]
        if self.layout.windowed:
            return [f"{', '.join(names)} = windows({name}, {len(names)})"]
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
        return tuple_display(self._packed_tensors(names))

    def _packed_tensors(self, names: Sequence[str]) -> list[str]:
        width = self.layout.components
        if self.layout.windowed:
            return [f"*{name}" for name in names]
        if width == 1:
            return list(names)
        return [
            f"torch.stack(({', '.join(names[place : place + width])}), -1)" for place in range(0, len(names), width)
        ]

    def _packed_bars(self, adjoint: Adjoint, old: Sequence[Quantity]) -> str:
        width = self.layout.components
        groups = [old[place : place + width] for place in range(0, len(old), width)]
        return tuple_display([self._packed_group(adjoint, group) for group in groups])

    def _packed_group(self, adjoint: Adjoint, group: Sequence[Quantity]) -> str:
        """Cotangent of one tensor of the state; None where nothing depends on any of it."""
        missing = [q.name for q in group if q not in adjoint.cotangents]
        if len(missing) == len(group):
            return "None"
        if missing:
            raise UnsupportedError(f"the step does not depend on {', '.join(missing)}: leave it out of the state")
        return self._packed_tensors([adjoint.cotangents[q].name for q in group])[0]

    def _tuple(self, adjoint: Adjoint, group: Sequence[Quantity]) -> str:
        names = [adjoint.cotangents[q].name if q in adjoint.cotangents else "None" for q in group]
        return tuple_display(names)

    def _unpack_bars(self, adjoint: Adjoint, new: Sequence[Quantity]) -> list[str]:
        seeds = [adjoint.seeds[q] for q in new]
        return self.unpack_state("bar_new", seeds, seeds)


def _calls_out_of_order(step: Program, inverse: Program) -> dict[Quantity, str]:
    """What tells a call of the inverse which of its network's calls it is, where the order does not."""

    def calls(program: Program, network: Network) -> list[Quantity]:
        return [x.target for x in program.assignments if isinstance(x.value, Call) and x.value.network == network]

    told = {}
    for network in inverse.networks():
        forward = calls(step, network)
        for place, target in enumerate(calls(inverse, network)):
            if forward.index(target) != place:
                told[target] = f"call={forward.index(target)}"
    return told
