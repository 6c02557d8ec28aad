"""The emitted equations of an implicit step: right-hand sides with their pullback, and the equations of the adjoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sympy import Expr, Integer

from codegen.printer import TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.equations import Block, systems
from derive.networks import Call, Network, Pullback
from derive.operators import shape_of
from derive.program import Assignment, Program, symbols_of, unknowns_of
from derive.reverse_sweep import Adjoint
from derive.symbols import Quantity, by_name
from derive.windows import LAGS

Line = Callable[[str, Assignment, str], str]


@dataclass(frozen=True)
class System:
    """One system of equations of a step, and the one of its multipliers.

    Attributes:
        name: of the emitted function of its right-hand sides.
        block: its lines; `multipliers` the lines of the adjoint that belong to it.
        components: unknowns of the ODE; several scalars are stacked along a last axis.
        networks: of the step, in the order in which they are given to it.
    """

    name: str
    block: Block
    multipliers: Block
    components: int
    networks: tuple[Network, ...] = ()

    @property
    def unknowns(self) -> tuple[Quantity, ...]:
        """What is solved for."""
        return unknowns_of(self.block)

    @property
    def axes(self) -> int:
        """Feature axes of a packed unknown."""
        return 1 if self.components > 1 else len(self.unknowns[0].shape)

    @property
    def options(self) -> str:
        """How many axes that is, where it is not the usual one."""
        return "" if self.axes == 1 else f", axes={self.axes}"

    @property
    def calls(self) -> dict[Quantity, Call]:
        """Network calls among the lines."""
        return {line.target: line.value for line in self.block if isinstance(line.value, Call)}

    def linearizing(self, network: Network) -> str:
        """What the right-hand sides call for a network's value and pullback."""
        return "linearize" if len(self.networks) < 2 else f"linearize_{network.name}"

    def unpacked(self) -> list[str]:
        """The line that names what is called for several networks."""
        if len(self.networks) < 2:
            return []
        used = {call.network for call in self.calls.values()}
        names = [("" if network in used else "_") + self.linearizing(network) for network in self.networks]
        return [f"{', '.join(names)} = linearize"]

    def arguments(self) -> list[Quantity]:
        """What the right-hand sides read from outside, or their pullback does: of the primal."""
        inside = {line.target for line in self.block}
        used = {q for line in self.block for q in read(line.value)} - inside
        return by_name(used | {q for q in self.multiplier_reads() if not self._is_cotangent(q)} - inside)

    def reads(self) -> list[Quantity]:
        """What must be there before it is solved."""
        solve = self.block[0].solve
        assert solve is not None
        return [*self.arguments(), *solve.guesses]

    def multiplier_reads(self) -> list[Quantity]:
        """What the equations of the multipliers read besides those."""
        inside = {line.target for line in self.multipliers}
        return by_name({q for line in self.multipliers for q in read(line.value)} - inside)

    def seeds(self) -> list[Quantity]:
        """Cotangents that come from later lines."""
        return [q for q in self.multiplier_reads() if self._is_cotangent(q)]

    @staticmethod
    def _is_cotangent(quantity: Quantity) -> bool:
        return quantity.meaning.startswith("cotangent of ")

    def pack(self, quantities: Sequence[Quantity]) -> str:
        """Source of the tuple that a solver holds."""
        names = tuple_display([q.name for q in quantities])
        return f"(torch.stack({names}, -1),)" if self.components > 1 else names

    def unpack(self, quantities: Sequence[Quantity], source: str) -> str:
        """The way back."""
        names = tuple_display([q.name for q in quantities])
        left = names if len(quantities) == 1 else names[1:-1]
        return f"{left} = {source}" + ("[0].unbind(-1)" if self.components > 1 else "")


def read(value: Expr) -> set[Quantity]:
    """Quantities that the printed text of an expression mentions: of a pullback only its covector, which is named."""
    plain = value.xreplace({node: node.covector if shape_of(node) else Integer(1) for node in value.atoms(Pullback)})
    return symbols_of(plain) - {call.network.theta for call in value.atoms(Call)}


def systems_of(
    name: str, program: Program, adjoint: Adjoint, components: int, networks: tuple[Network, ...]
) -> list[System]:
    """The systems of a step in order; the function of the first is `<name>_equations`."""
    multipliers = {unknowns_of(block): block for block in systems(adjoint.program)}
    found = []
    for place, block in enumerate(systems(program)):
        bars = tuple(adjoint.cotangents[q] for q in unknowns_of(block))
        suffix = f"_{place + 1}" if place else ""
        found.append(System(f"{name}_equations{suffix}", block, multipliers[bars], components, networks))
    return found


def as_computed(program: Program, found: Sequence[System], outputs: Sequence[Quantity]) -> Program:
    """The lines that are left to compute for the outputs, once the systems are solved: their unknowns are given.

    Network calls stand in one order in every rule of a step, so that of those before the last needed one none is left
    out where there are systems.
    """
    unknowns = [q for system in found for q in system.unknowns]
    lines = [replace(line, solve=None) for line in program.assignments if line.target not in unknowns]
    whole = Program((*program.inputs, *unknowns), tuple(lines), ())
    wanted = [*outputs, *(q for system in found for q in system.arguments() if q in program.targets)]
    needed = whole.needed_for(wanted)
    calls = [line.target for line in lines if isinstance(line.value, Call)] if found else []
    last = max((n for n, target in enumerate(calls) if target in needed.targets), default=-1)
    return whole.needed_for([*wanted, *calls[: last + 1]])


def equation_functions(system: System, line: Line) -> list[Function]:
    """The two functions of a system."""
    return [_right_hand_sides(system, line), _multiplier_equations(system, line)]


def solve_text(system: System, field: str) -> str:
    """Source that solves for the unknowns; `field` is what the rule calls the thing it evaluates fields with."""
    given = "".join(f", {q.name}={q.name}" for q in system.arguments())
    solve = system.block[0].solve
    assert solve is not None
    call = f"{field}.solve(partial({system.name}{given}), {system.pack(solve.guesses)}{system.options})"
    return system.unpack(system.unknowns, call)


def multipliers_text(system: System) -> str:
    """Source that solves for the multipliers, inside an adjoint."""
    given = [f"{q.name}={q.name}" for q in system.multiplier_reads()]
    given += [f"pullback_{target.name}=pullback_{target.name}" for target in system.calls]
    function = f"partial({', '.join([f'{system.name}_adjoint', *given])})"
    call = f"linearize.multipliers({function}, {system.pack(system.unknowns)}{system.options})"
    return system.unpack(unknowns_of(system.multipliers), call)


def _right_hand_sides(system: System, line: Line) -> Function:
    printer = TorchPrinter(lambda node, arguments: f"{system.linearizing(node.network)}({', '.join(arguments)})")
    body = [*system.unpacked(), system.unpack(system.unknowns, "unknowns")]
    fresh = {q: q.renamed(f"new_{q.name}") for q in system.unknowns}
    for item in system.block:
        text = printer(item.value)
        if item.target in system.calls:
            body.append(line("step", item, text).replace(f"{item.target.name} = ", _with_pullback(item.target), 1))
        else:
            new = fresh.get(item.target, item.target).name
            body.append(line("step", item, text).replace(f"{item.target.name} = ", f"{new} = ", 1))
    given = [f"{q.name}={q.name}" for q in system.multiplier_reads() if q not in system.seeds()]
    given += [f"{q.name}={_zeros(system, q)}" for q in system.seeds()]
    given += [f"pullback_{target.name}=pullback_{target.name}" for target in system.calls]
    body.append(f"pull_back = partial({', '.join([f'{system.name}_adjoint', *given])})")
    body.append(f"return {system.pack(list(fresh.values()))}, pull_back")
    parameters = "".join(f", {q.name}: Any" for q in system.arguments())
    doc = "Right-hand sides g(z) of the equations z = g(z), and the map of bars to what the adjoint makes of them."
    returns = "tuple[State, Callable[[State], State]]"
    called = "Linearize" if len(system.networks) < 2 else "Any"
    return Function(system.name, f"linearize: {called}, unknowns: State{parameters}", returns, doc, tuple(body))


def _with_pullback(target: Quantity) -> str:
    return f"{target.name}, pullback_{target.name} = "


def _zeros(system: System, seed: Quantity) -> str:
    windowed = seed.shape[:1] == (LAGS,)  # of a window the newest value belongs to an unknown
    shape = seed.shape[1:] if windowed else seed.shape
    like = next((q for q in system.unknowns if q.shape == shape), None)
    zeros = f"torch.zeros_like({like.name})" if like is not None else "0.0"
    return f"({zeros},)" if windowed else zeros


def _multiplier_equations(system: System, line: Line) -> Function:
    names = {call.args[:2]: target.name for target, call in system.calls.items()}
    printer = TorchPrinter(lambda node, _: f"pullback_{names[node.args[:2]]}.state({node.covector.name})")
    bars = unknowns_of(system.multipliers)
    body = [system.unpack(bars, "bar_unknowns")]
    fresh = {q: q.renamed(f"new_{q.name}") for q in bars}
    for item in system.multipliers:
        text = line("adjoint", item, printer(item.value))
        body.append(text.replace(f"{item.target.name} = ", f"{fresh.get(item.target, item.target).name} = ", 1))
    body.append(f"return {system.pack(list(fresh.values()))}")
    parameters = "".join(f", {q.name}: Any" for q in system.multiplier_reads())
    parameters += "".join(f", pullback_{target.name}: Any" for target in system.calls)
    doc = "Right-hand sides of the multipliers' equations: the transposed linearization, and what later lines send."
    return Function(f"{system.name}_adjoint", f"bar_unknowns: State{parameters}", "State", doc, tuple(body))
