r"""Optimal control: an ODE, what drives it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from sympy import Expr, S

from derive.errors import SpecError
from derive.functions import as_expression
from derive.networks import Network
from derive.operators import shape_of, show_shape
from derive.phase_space import LEARNABLE, Hamiltonian, hamiltonian
from derive.program import Program, check_numbers, symbols_of, undeclared
from derive.symbols import Quantity, Role, by_name, time
from derive.system import System
from derive.systems import ODE

BEGIN, END = time("t_0", meaning="initial time"), time("t_1", meaning="final time")


@dataclass(frozen=True)
class OptimalControl(System):
    r"""Minimize $\Phi(x(t_1)) + \sum_i \ell_i(x(t_i)) + \int_{t_0}^{t_1} \ell(x, q, t)\,dt$ along an ODE.

    In every cost the state and the time of the ODE stand for their values where the cost arises. Parameters are
    constant in time unless they are among the `controls`.

    Attributes:
        ode: x' = F.
        terminal: Phi, in the final state, targets and parameters.
        running: cost per unit of time, in what the field may read.
        controls: parameters q(t) of field and running cost.
        observations: time -> cost of the state then; in order of time, between the initial and the final one.
        begin: the initial time.
        end: the final time.
        free: those of the two times that are to be chosen too.
        population: whether the costs are expectations over initial states and targets, whose controls and parameters
            all samples share.

    Raises:
        SpecError: undeclared symbols, a cost that is no scalar, a control that nothing reads, or a free time that is
            neither of the two.
    """

    has_module: ClassVar[bool] = False

    ode: ODE
    terminal: Expr = S.Zero
    running: Expr = S.Zero
    controls: tuple[Quantity, ...] = ()
    observations: Mapping[Quantity, Expr] = field(default_factory=dict)
    begin: Quantity = BEGIN
    end: Quantity = END
    free: tuple[Quantity, ...] = ()
    population: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "controls", tuple(self.controls))
        ends = {moment.name: moment for moment in (self.begin, self.end)}  # a time is known by its name
        object.__setattr__(self, "free", tuple(ends.get(moment.name, moment) for moment in self.free))
        for name in ("terminal", "running"):
            object.__setattr__(self, name, as_expression(getattr(self, name)))
        observed = {moment: as_expression(cost) for moment, cost in self.observations.items()}
        object.__setattr__(self, "observations", observed)
        for title, cost in self.costs.items():
            self._check_cost(title, cost)
        self._check_controls()
        self._check_times()

    def _check_cost(self, title: str, cost: Expr) -> None:
        check_numbers(title, cost)
        if undeclared(cost):
            raise SpecError(
                f"{title} uses {', '.join(undeclared(cost))}, which nobody declared; "
                "declare it with state, parameter, constant, target or time"
            )
        if shape_of(cost) != ():
            raise SpecError(f"{title} has shape {show_shape(shape_of(cost))}; a cost is a scalar: use dot or total")
        for quantity in by_name(symbols_of(cost)):
            if quantity.role is Role.STATE and quantity not in self.ode.state:
                raise SpecError(f"{title} reads {quantity.name}, a state that has no right-hand side")
            if quantity.role is Role.TIME and quantity != self.ode.time:
                raise SpecError(
                    f"{title} reads the time {quantity.name}; in a cost the ODE's own time stands for the moment it "
                    f"arises: declare ODE(..., time={quantity.name})"
                )

    def _check_controls(self) -> None:
        driving = self.ode.quantities | symbols_of(self.running)
        for control in self.controls:
            if control.role not in LEARNABLE or control not in driving:
                names = [q.name for q in by_name(driving) if q.role in LEARNABLE]
                raise SpecError(
                    f"the control {control.name} is no parameter of the field or the running cost; these are: "
                    f"{', '.join(names) or 'none'}"
                )
        for title, cost in self.moments.items():
            read = [q.name for q in self.controls if q in symbols_of(cost)]
            if read:
                raise SpecError(f"the cost at {title.name} reads the control {read[0]}, which one moment cannot move")

    def _check_times(self) -> None:
        for moment in (self.begin, self.end, *self.observations, *self.free):
            if moment.role is not Role.TIME:
                raise SpecError(f"{moment.name} is no time; declare it with time({moment.name!r})")
        if len({moment.name for moment in (self.begin, self.end, *self.observations)}) < 2 + len(self.observations):
            raise SpecError("initial, final and observation times need names of their own")
        for moment in self.free:
            if moment not in (self.begin, self.end):
                raise SpecError(
                    f"the free time {moment.name} is neither {self.begin.name} nor {self.end.name}; allowed: one of "
                    f"these, or a time of your own as in end={moment.name}, free=({moment.name},)"
                )

    @property
    def costs(self) -> dict[str, Expr]:
        """Every cost by what it is."""
        observed = {f"the cost at {moment.name}": cost for moment, cost in self.observations.items()}
        return {"the terminal cost": self.terminal, "the running cost": self.running, **observed}

    @property
    def moments(self) -> dict[Quantity, Expr]:
        """Time -> cost of the state at that time, the terminal one last."""
        return {**self.observations, self.end: self.terminal}

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "control_explanation", "explain_control"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The field with its running cost."""
        return (self.hamiltonian.field,)

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """Everything it reads, costs and times included, and its costates."""
        costates = self.hamiltonian.costates.items()
        named = [a.renamed(a.name, a.latex, meaning=f"costate of {x.name}") for x, a in costates]
        return tuple(by_name([*self.quantities, *named]))

    @property
    def quantities(self) -> set[Quantity]:
        """Everything that field and costs mention, and the times."""
        mentioned = self.ode.quantities.union(self.ode.state, *map(symbols_of, self.costs.values()))
        return mentioned | {self.begin, self.end, *self.observations}

    @property
    def constants(self) -> tuple[Quantity, ...]:
        """Learnable quantities that do not depend on time."""
        found = [q for q in by_name(self.quantities) if q.role in LEARNABLE and q not in self.controls]
        return tuple(found)

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks in field and costs, by name."""
        found = set(self.ode.networks).union(*(cost.atoms(Network) for cost in self.costs.values()))
        return tuple(sorted(found, key=lambda network: network.name))

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        """H = a . F + running cost."""
        return hamiltonian(self.ode, self.running, self.quantities)
