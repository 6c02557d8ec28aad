"""What a spec is made of: systems, losses, sources and what the lecture decks claim about them.

A spec is data. A catalogue entry and a user's own file are of the same kind, and nothing in the mechanism knows an
entry by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sympy import Expr, Integer, expand

from derive.cell_checks import check_are_stacks, check_layout
from derive.deferred import Deferred
from derive.derivation import Relation
from derive.errors import SpecError, UnknownNameError, shown
from derive.functions import as_expression
from derive.networks import Network
from derive.operators import fill, shape_of, show_shape
from derive.program import Assignment, Program, check_numbers, name_functions, symbols_of, undeclared
from derive.recurrence import Recurrence
from derive.schemes import SCHEMES, MultistepFamily, Scheme
from derive.schemes.substitution import declared, entries, plain_symbols
from derive.spec_parts import (
    DeckClaim,
    Illustration,
    Loss,
    Lyapunov,
    Reading,
    Stack,
    check_may_vary,
    is_real,
    named_losses,
)
from derive.starting_values import checked_values, constants_of
from derive.symbols import RESERVED_FILES, Quantity, Role, by_name, check_name, velocity_of
from derive.system import System
from derive.variants import Option, Options, Variants


@dataclass(frozen=True)
class ODE(System):
    """An ordinary differential equation `d/dt state = velocity`.

    Attributes:
        state: the unknowns.
        velocity: right-hand side of each unknown, in the same order.
        time: the independent variable, where the field depends on it.
        initial: state -> what it starts from, where that is not the module's input itself.
        parts: the velocity as a sum of parts, for additive schemes and splittings: `parts[p]` is the right-hand side
            of each unknown in part p. Unless given, part p is the velocity of the p-th unknown alone.
        moving: parameters that are functions of time; a step reads them at the times of its stages.

    Raises:
        SpecError: undeclared symbols, or a velocity whose shape is not its unknown's.
    """

    varies = True
    state: tuple[Quantity, ...]
    velocity: tuple[Expr, ...]
    time: Quantity | None = None
    initial: Mapping[Quantity, Expr] = field(default_factory=dict, hash=False)
    parts: tuple[tuple[Expr, ...], ...] = ()
    moving: tuple[Quantity, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", tuple(self.state))
        object.__setattr__(self, "velocity", tuple(as_expression(velocity) for velocity in self.velocity))
        if len(self.state) != len(self.velocity):
            raise SpecError(f"{len(self.state)} unknowns but {len(self.velocity)} right-hand sides")
        for unknown, velocity in zip(self.state, self.velocity, strict=True):
            check_numbers(f"the right-hand side of {unknown.name}", velocity)
            plain = undeclared(velocity)
            if plain:
                raise SpecError(
                    f"the right-hand side of {unknown.name} uses {', '.join(plain)}, which nobody declared; "
                    "declare it with state, parameter, constant or time"
                )
            shape = shape_of(velocity)
            if shape not in (unknown.shape, ()):
                raise SpecError(
                    f"{unknown.name} has shape {show_shape(unknown.shape)}, its right-hand side {show_shape(shape)}"
                )
        object.__setattr__(self, "velocity", tuple(map(_spread, self.velocity, self.state)))
        for unknown, start in self.initial.items():
            check_numbers(f"the initial value of {unknown.name}", as_expression(start))
        object.__setattr__(self, "parts", tuple(self._checked_part(part) for part in self.parts))
        self._check_times_and_states()
        if self.parts:
            self._check_sum_of_parts()

    def _checked_part(self, part: tuple[Any, ...]) -> tuple[Expr, ...]:
        if len(part) != len(self.state):
            raise SpecError(f"a part has {len(part)} right-hand sides; {len(self.state)} unknowns need as many")
        values = [as_expression(value) for value in part]
        return tuple(v if v == 0 else _spread(v, x) for v, x in zip(values, self.state, strict=True))

    def _check_sum_of_parts(self) -> None:
        for place, (unknown, velocity) in enumerate(zip(self.state, self.velocity, strict=True)):
            total = sum((part[place] for part in self.parts), Integer(0))
            if expand(total - velocity) != 0:
                raise SpecError(f"the parts for {unknown.name} add up to {total}, its right-hand side is {velocity}")

    def _check_times_and_states(self) -> None:
        for quantity in by_name(self.quantities):
            if quantity.role is Role.TIME and quantity != self.time:
                raise SpecError(
                    f"the field depends on the time {quantity.name}: declare it as ODE(..., time={quantity.name})"
                )
            if quantity.role is Role.STATE and quantity not in self.state:
                raise SpecError(f"{quantity.name} is a state that has no right-hand side")

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the right-hand sides mention."""
        return {quantity for velocity in self.velocity for quantity in symbols_of(velocity)}

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "ode_explanation", "explain_ode"

    @property
    def split(self) -> tuple[tuple[Expr, ...], ...]:
        """The parts as given; else one part for each unknown, which drives that unknown alone."""
        if self.parts:
            return self.parts
        places = range(len(self.state))
        return tuple(tuple(self.velocity[i] if i == part else Integer(0) for i in places) for part in places)

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks in the right-hand sides, by name."""
        found = {network for velocity in self.velocity for network in velocity.atoms(Network)}
        return tuple(sorted(found, key=lambda network: network.name))

    def field_program(self) -> Program:
        """The right-hand side as a program: `F_x = velocity of x` for each unknown x."""
        lines = [
            Assignment(velocity_of(x), velocity, f"velocity of {x.name}")
            for x, velocity in zip(self.state, self.velocity, strict=True)
        ]
        inputs = by_name({*self.quantities, *self.state})
        return name_functions(Program(tuple(inputs), tuple(lines), tuple(line.target for line in lines)))


def _spread(velocity: Expr, unknown: Quantity) -> Expr:
    """A scalar right-hand side of a vector drives every component alike."""
    return fill(velocity, unknown) if unknown.shape and not shape_of(velocity) else velocity


_CLAIMS, _RELATIONS = Deferred(DeckClaim), Deferred(Relation)


@dataclass(frozen=True)
class Spec(Variants):
    """Everything the tool needs to derive, emit and verify one system.

    Attributes:
        id: name of the emitted file; `class_name` of its main class, empty where nothing is emitted.
        title, source: for the derivation's head.
        system: an ODE, a recurrence, a chain of layers, a flow, or a table option -> recurrence or chain for a class
            with variants; options are names or whole numbers. A program (a computational graph) or None where nothing
            is emitted.
        no_module: why nothing is emitted and which module to take instead, for a spec that is a statement: it has a
            derivation, checks and plots.
        scheme: the discretization of an ODE.
        option: name of the constructor's argument that chooses among variants.
        options: names of several arguments that choose together, for cells; the keys of `system` are then tuples.
        values: parameters of a cell or chain -> exact values that they start with: tables of exact numbers, or a rule
            in `ROW`, `COLUMN` (from 1); constants in them become arguments, whose `defaults` are given.
        stacks: how parameters are laid out in tensors; every parameter alone unless given.
        loss: what `loss(output, target)` computes; or several by name, of which a call chooses one.
        claims: what the decks say; like `relations` as they are, or as a function that returns them when they are asked
            for, so that loading the spec stays cheap.
        statements: facts that are quoted from a source and not checked.
        relations: what else holds, as relations of the author's own (`derive.relation`, `derive.identity`).
        invariants: name -> (quantity conserved by the ODE, values of parameters for which it is).
        lyapunov: name -> quantity that never grows along solutions of the ODE.
        defaults: constructor defaults of parameters and constants, by name, and the default variant by the option's.
        beside: steps of other systems that the derivation expands beside the spec's own, by title.
        illustration: which system plots what a statement says.
        readings: how a step with several networks is read as a Runge-Kutta scheme.
        may_vary: parameters of an ODE that may be functions of time, or have a value for each step, held over it.
    """

    id: str
    class_name: str
    title: str
    system: System | Mapping[Options, System] | Mapping[Option, System] | Program | None
    source: str = ""
    scheme: Any = None
    option: str = ""
    stacks: tuple[Stack, ...] = ()
    loss: Loss | Mapping[str, Loss] | None = None
    claims: Deferred[DeckClaim] = _CLAIMS
    statements: tuple[tuple[str, str], ...] = ()
    invariants: Mapping[str, tuple[Expr, Mapping[Quantity, Expr]]] = field(default_factory=dict)
    lyapunov: Mapping[str, Lyapunov] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Recurrence] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    relations: Deferred[Relation] = _RELATIONS
    no_module: str = ""
    illustration: Illustration | None = None
    may_vary: tuple[Quantity, ...] = ()
    options: tuple[str, ...] = ()
    values: Mapping[Quantity, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.id, RESERVED_FILES)
        check_are_stacks(self.id, self.stacks)
        self.check_class_name()
        self._check_system()
        self._check_module()
        if isinstance(self.system, ODE):
            self._check_scheme()
        named_losses(self.id, self.loss)
        self._check_values()
        self._check_defaults()
        cells = [
            (self.stacks_of(name), one.quantities) for name, one in self.variants.items() if isinstance(one, Recurrence)
        ]
        check_layout(self.id, self.stacks, cells)
        check_may_vary(self.id, self.may_vary, self._quantities() if getattr(self.system, "varies", False) else ())

    def _check_system(self) -> None:
        if isinstance(self.system, System):
            return
        if self.no_module and (self.system is None or isinstance(self.system, Program)):
            return
        if not isinstance(self.system, Mapping) or not self.system:
            raise SpecError(
                f"{self.id}: system is {shown(self.system)}; "
                "give an ODE, a Recurrence, a Chain, a Flow, or a table of them"
            )
        self.check_options(self.system)
        cells = (isinstance(system, Recurrence) and not system.in_depth for system in self.system.values())
        if self.options and not all(cells):
            raise SpecError(f"{self.id}: several options are for cells that read a sequence; choose by one option=")
        for option, system in self.variants.items():
            if not isinstance(option, Option) or not isinstance(system, System) or isinstance(system, ODE):
                raise SpecError(
                    f"{self.id}: system[{option!r}] is {shown(system)}; each name stands for a Recurrence or a Chain"
                )
        if len({type(system) for system in self.system.values()}) > 1:
            raise SpecError(f"{self.id}: system mixes kinds of systems; one class is one of them")
        if not self.option_names:
            names = ", ".join(map(str, self.system))
            raise SpecError(
                f"{self.id}: a table of systems ({names}) and no option=; "
                "name the constructor's argument that chooses, as in option='variant'"
            )

    def _check_module(self) -> None:
        kinds = {type(one).__name__ for one in self.variants.values() if isinstance(one, System) and not one.has_module}
        if self.class_name and kinds:
            raise SpecError(
                f"{self.id}: nothing is emitted of an {', '.join(sorted(kinds))}; give class_name='' and "
                "no_module='why, and which module to take instead'"
            )

    def _check_scheme(self) -> None:
        if self.scheme is None:
            raise SpecError(f"{self.id}: an ODE needs a scheme, for example scheme='forward_euler'")
        if isinstance(self.scheme, str):
            if self.scheme not in SCHEMES:
                raise UnknownNameError("scheme", self.scheme, SCHEMES)
        elif not isinstance(self.scheme, Scheme | MultistepFamily):
            raise SpecError(
                f"{self.id}: scheme is {shown(self.scheme)}; give the id of one (`derive list --schemes` lists them), "
                "a ButcherTableau, an AdditiveTableau, a LinearMultistep or a Splitting"
            )
        if plain_symbols(self._table):
            object.__setattr__(self, "scheme", declared(self._table))

    def _check_values(self) -> None:
        if not self.values:
            return
        able = all(isinstance(one, System) and one.has_values for one in self.variants.values())
        if not self.class_name or self.in_steps or not able:
            raise SpecError(f"{self.id}: values are for cells that read a sequence and for chains of layers")
        object.__setattr__(self, "values", checked_values(self.id, self.values, self._quantities(), self.defaults))

    def _check_defaults(self) -> None:
        quantities = self._quantities().union(constants_of(self.values))
        names = sorted(q.name for q in quantities if q.role in _WITH_DEFAULT)
        for name, value in self.defaults.items():
            if name == self.option and value in self.variants:
                continue
            if name not in names:
                raise SpecError(f"{self.id}: defaults: {UnknownNameError('parameter or constant', name, names)}")
            if not is_real(value):
                raise SpecError(f"{self.id}: the default of {name} is {shown(value)}; give a finite real number")

    def _quantities(self) -> set[Quantity]:
        """What the step may read: of the system, and symbols among the weights of the scheme."""
        found: set[Quantity] = set()
        for system in self.variants.values():
            found |= set(system.inputs) if isinstance(system, Program) else system.quantities
        weights = entries(self._table) if isinstance(self.system, ODE) else []
        return found.union(*(symbols_of(weight) for weight in weights))

    @property
    def _table(self) -> Scheme | MultistepFamily:
        return SCHEMES[self.scheme] if isinstance(self.scheme, str) else self.scheme

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Name -> loss; a single one has no name."""
        return named_losses(self.id, self.loss)

    @property
    def in_steps(self) -> bool:
        """Whether it is emitted as a loop over steps or layers; else it is a cell that reads a sequence."""
        steps = [system for system in self.variants.values() if not isinstance(system, ODE)]
        return all(isinstance(system, Recurrence) and system.in_depth for system in steps)


_WITH_DEFAULT = (Role.PARAMETER, Role.LAYER_PARAMETER, Role.CONSTANT, Role.LAYER_CONSTANT)
