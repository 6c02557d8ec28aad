"""The rule functions of an equation's steps, and the table of rules by what the constructor chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from codegen.printer import TorchPrinter
from codegen.steps.rules import STATE_ARGUMENTS, Layout, RuleWriter
from codegen.steps.source import Function
from derive.derivation import Derivation
from derive.networks import Call, Network, Pullback
from derive.program import Program, symbols_of
from derive.sde import SDE
from derive.sde_calculus import CORRECTION, is_network, reads_state
from derive.sde_schemes import SchemeStep, by_graphs, scheme_steps
from derive.step_quantities import STEP_SIZE
from derive.stochastic_steps import time_of
from derive.symbols import Quantity, Role, by_name

ALONG = Network("along", takes_time=True)
"""How the derivative of the diffusion along a direction is called."""


def layout_of(sde: SDE, derived: bool) -> Layout:
    """Where the quantities of a step travel: the same for all schemes.

    Args:
        sde: the equation.
        derived: whether the steps are given derivatives of the diffusion.
    """
    read = symbols_of(sde.drift) | symbols_of(sde.diffusion)
    thetas = {network.theta for network in sde.networks}
    learned = [q for q in by_name(read - thetas) if q.role in (Role.PARAMETER, Role.CONSTANT)]
    times = [next(iter(symbols_of(time_of(sde, 0))))] if sde.time is not None else []
    networks = (*own_networks(sde), *((CORRECTION, ALONG) if derived else ()))
    return Layout((*times, sde.increment), (*learned, STEP_SIZE), 1, 1, networks=networks)


def own_networks(sde: SDE) -> tuple[Network, ...]:
    """The networks that are given to the constructor: those inside the drift, then those inside the diffusion."""
    found = [sorted(term.atoms(Network), key=lambda network: network.name) for term in (sde.drift, sde.diffusion)]
    return tuple(dict.fromkeys(network for networks in found for network in networks))


def has_derivatives(sde: SDE) -> bool:
    """Whether derivatives of the diffusion are computed from a network."""
    return is_network(sde.diffusion, sde) and reads_state(sde)


class _StepPrinter(TorchPrinter):
    """Prints steps that call networks and their derivatives along a direction."""

    def _network(self, node: Call | Pullback) -> str:
        if not isinstance(node, Call) or not node.directions:
            return super()._network(node)
        ((_, way),) = node.directions
        moment = self(node.point[0]) if node.network.takes_time else "0.0"
        return f"field_{ALONG.name}({moment}, {self(way)}, {self(node.point[-2])})"


class StochasticWriter(RuleWriter):
    """Writes steps that may have derivatives of networks in them."""

    def step(
        self,
        name: str,
        program: Program,
        old: Sequence[Quantity],
        new: Sequence[Quantity],
        doc: str = "One step: the new state.",
    ) -> Function:
        """The rule `step(field, state, local, shared) -> new state`."""
        printer = _StepPrinter(lambda node, arguments: f"{self.callable('field', node)}({', '.join(arguments)})")
        body = [
            *self._unpack_fields(program),
            *self.unpack_state("state", old, program.inputs),
            *self.unpack(program.inputs),
            *(self.line("step", line, printer(line.value)) for line in program.assignments),
            f"return ({new[0].name},)",
        ]
        parameters = f"field: {self.annotation('Field')}, {STATE_ARGUMENTS}"
        return Function(name, parameters, "State", doc, tuple(body))

    def _unpack_fields(self, program: Program) -> list[str]:
        """The networks that a step calls, by name."""
        if by_graphs(program):
            calls = {call for line in program.assignments for call in line.value.atoms(Call)}
            used = {call.network for call in calls if not call.directions} | {ALONG}
            names = [f"field_{n.name}" if n in used else f"_field_{n.name}" for n in self.layout.networks]
            return [f"{', '.join(names)} = field"]
        return self.unpack_networks("field", program)


@dataclass
class RuleTable:
    """Functions and rows of the table; steps of one text are written once.

    Attributes:
        derivation: for the equation numbers.
        derived: whether the steps are given derivatives of the diffusion.
        functions: in order of use.
        rows: source of the rows, the key being what the constructor chooses.
        graphs: whether any step's reverse sweep is autograd's.
    """

    derivation: Derivation
    derived: bool
    functions: list[Function] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    graphs: bool = False
    _known: dict[tuple[tuple[str, ...], ...], str] = field(default_factory=dict)

    def add(self, option: str, sde: SDE) -> None:
        """All steps of one variant."""
        for one in scheme_steps(sde):
            key = (*([option] if option else []), one.calculus, one.scheme)
            self.rows.append(f"({', '.join(map(repr, key))}): {self._rule(option, sde, one)}")

    def _rule(self, option: str, sde: SDE, one: SchemeStep) -> str:
        label = "_".join(part for part in (option, one.label) if part)

        def number(kind: str, quantity: Quantity) -> str:
            words = [option, one.label, kind, quantity.name]
            return self.derivation.number_of(".".join(word for word in words if word))

        writer, step = StochasticWriter(layout_of(sde, self.derived), number), one.recurrence
        title = f"One step by {one.scheme} of the equation in the {one.calculus} calculus"
        title += f", {sde.noise} noise" if option else ""
        name = f"_step_{label}"
        made = [writer.step(name, step.step, step.old, step.new, f"{title}: the new state.")]
        graphs = by_graphs(step.step)
        if not graphs:
            doc = f"Reverse sweep over o{title[1:]}."
            made.append(writer.adjoint(f"{name}_adjoint", step.step, step.old, step.new, doc))
        self.graphs |= graphs
        body = tuple(function.body for function in made)
        if body not in self._known:
            self._known[body] = name
            self.functions += made
        name = self._known[body]
        return f"Rules(step={name}, sweeps=GraphSweeps())" if graphs else f"Rules(step={name}, adjoint={name}_adjoint)"

    @property
    def source(self) -> str:
        """The table."""
        return "_RULES: dict[tuple[str, ...], Rules] = {" + ", ".join(self.rows) + "}"
