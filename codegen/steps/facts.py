"""What an emitted loop over steps is made of, read once from its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from codegen.steps.amplification import by_lines, by_polynomial, by_roots
from codegen.steps.field_plan import FieldPlan, plan_field
from codegen.steps.rules import Layout, layout_of
from derive.backward_growth import backward_polynomial
from derive.derivation import Derivation
from derive.discretization import LEADING
from derive.equations import systems
from derive.error_growth import LIPSCHITZ, field_slope, line_growth
from derive.errors import SpecError
from derive.exact_reversal import SplitStep, split_off_oldest
from derive.inversion import Inverse, replayed
from derive.operators import fill
from derive.random_recurrence import RandomRecurrence
from derive.recurrence import Recurrence
from derive.reversibility import inverse_amplification
from derive.schemes import ButcherTableau, LinearMultistep, MultistepFamily, Scheme
from derive.step_quantities import StageValue
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import ODE, Spec
from derive.time_dependence import OF_TIME
from derive.windows import LAGS

BY_AUTOGRAD = {
    "The discrete adjoint": "what autograd computes from the lines of one step, "
    "which call the network several times; no line of this file has these numbers.",
    "Gradients": "computed by autograd of one step, too.",
}


class DelayArgument(NamedTuple):
    """How a module is told a delay: the name of the argument, or of a fixed delay that number; default; what it is."""

    name: str
    value: str
    default: str
    doc: str


class Facts:
    """Everything the parts of the writer ask about.

    Args:
        spec: what is emitted.
        scheme: the discretization; None where the spec's system is a recurrence.
        recurrence: one step.
        derivation: for the equation numbers.
        option: the variant of the spec that this step belongs to; empty where there are none.
        ahead: the implicit form of the step, where the weights of a family of schemes decide between two.
        of_time: the step that reads functions of time at its stages, where that is another one.
        stages: what it reads of them; functions of time are parameters like others where that is nothing.
    """

    def __init__(
        self,
        spec: Spec,
        scheme: Scheme | MultistepFamily | None,
        recurrence: Recurrence,
        derivation: Derivation,
        option: str = "",
        ahead: Facts | None = None,
        of_time: Facts | None = None,
        stages: tuple[StageValue, ...] = (),
    ) -> None:
        self.spec, self.scheme, self.recurrence, self.derivation = spec, scheme, recurrence, derivation
        self.option = option
        system = spec.system
        self.initial = system.initial if isinstance(system, ODE) else {}
        self.ahead, self.of_time, self.stages = ahead, of_time, stages
        self.layout: Layout = layout_of(recurrence) if ahead is None else ahead.layout
        self.networks = self.layout.networks
        self.implicit = any(systems(program) for program in (recurrence.step, *recurrence.starts.values()))
        self.inverse: Inverse | None = replayed(recurrence)
        split = len(self.networks) == 1 and not self.implicit and option != OF_TIME
        self.exact: SplitStep | None = split_off_oldest(recurrence) if split else None
        if self.exact is not None and any(q.name == "q" for q in (*self.layout.local, *self.layout.shared)):
            raise SpecError(f"{spec.id}: 'q' is an option of the emitted module; rename the parameter, for example q_0")
        self.field: FieldPlan | None = plan_field(system, scheme) if isinstance(system, ODE) and scheme else None
        # Where a step calls its network several times, one graph for all of them is cheaper than one for each.
        several = isinstance(scheme, ButcherTableau) and scheme.stages > 1 and not self.implicit
        self.whole_graphs = several and len(self.networks) == 1 and self.layout.streams == 1
        self.layer_parameters = [q for q in self.layout.local if q.role is Role.LAYER_PARAMETER]
        self.parameters = [q for q in self.layout.shared if q.role is Role.PARAMETER]
        self.varying = [q for q in self.parameters if q in spec.may_vary]
        self.constants = [q for q in self.layout.shared if q.role is Role.CONSTANT and not q.shape and q != LEADING]
        self.weights = [q for q in self.layout.shared if q.shape == (LAGS,)]  # of a family of schemes
        self.layer_constants = [q for q in self.layout.local if q.role is Role.LAYER_CONSTANT]
        self.delays: tuple[DelayArgument, ...] = ()
        self.draws = recurrence.draws if isinstance(recurrence, RandomRecurrence) else ()
        self.ranges = recurrence.ranges if isinstance(recurrence, RandomRecurrence) else {}
        kinds = {network.per_layer for network in self.networks}
        if len(kinds) > 1:
            names = ", ".join(n.name for n in self.networks)
            raise SpecError(f"{spec.id}: of the networks {names} some are per layer and some are not; make them alike")
        by_layer = option != OF_TIME and bool(self.layer_parameters or self.layer_constants)
        self.layered = kinds == {True} if self.networks else by_layer

    @property
    def notes(self) -> Mapping[str, str]:
        """What the file's docstring says of sections of equations, by the beginning of their titles."""
        return BY_AUTOGRAD if self.whole_graphs else {}

    @property
    def solves(self) -> bool:
        """Whether the module has steps that are equations."""
        return self.implicit or self.ahead is not None

    @property
    def has_step_size(self) -> bool:
        """Whether the step reads a step size."""
        return any(q.role is Role.STEP_SIZE for q in self.layout.shared)

    @property
    def rebuilds(self) -> bool:
        """Whether states may be rebuilt by the inverse: it is explicit, and how it amplifies errors can be told."""
        return bool(self.amplification) or self.measures_growth

    @property
    def measures_growth(self) -> bool:
        """Whether that is measured on the inverse itself: of a step that is written out, which can be run anywhere."""
        return self.inverse is not None and not self.networks and self.field is None

    @property
    def undoes(self) -> bool:
        """Whether the module has a method that runs the steps backwards: the state is no more than the unknowns."""
        return self.inverse is not None and self.layout.lags == 1 and self.layout.streams > 1

    @property
    def tol_name(self) -> str:
        """What the module calls the error that rebuilt states may have: `tol` is of the equations where there are."""
        return "inverse_tol" if self.solves else "tol"

    @property
    def measures_roots(self) -> bool:
        """Whether the amplification is a root that is computed when the module runs."""
        numeric = self.implicit or self.layout.lags > 2
        return bool(self.amplification) and isinstance(self.scheme, LinearMultistep) and numeric

    @cached_property
    def amplification(self) -> tuple[str, ...]:
        """How the inverse amplifies errors, as the body of a rule; empty where it is not known.

        How far rebuilt states are trusted follows from characteristic roots, or from the lines of the inverse, and from
        Jacobians that are measured through the opaque networks.
        """
        if self.inverse is None or not self.networks:
            return ()
        number = self.derivation.number_of("inverse_trust")
        if isinstance(self.scheme, LinearMultistep):
            system = self.spec.system
            slope = field_slope(system) if isinstance(system, ODE) else LIPSCHITZ
            if self.implicit or self.layout.lags > 2:  # roots without a form in square roots, or with a pole
                return by_polynomial(backward_polynomial(self.scheme), self.layout, slope, number)
            return by_roots(inverse_amplification(self.scheme), self.layout, slope, number)
        growth = line_growth(self.inverse, self.recurrence)
        return () if growth is None else by_lines(growth, self.layout, number)

    @property
    def unstable(self) -> str:
        """What to say of a scheme that is zero-stable for no field; empty for others."""
        if self.derivation.facts.get("zero-stable for") != "no field":
            return ""
        title = "" if self.scheme is None else self.scheme.title
        return f"the scheme {title} is not zero-stable; its error grows without bound as the steps get smaller"

    def augmented_sizes(self) -> list[Dimension]:
        """Sizes of what an augmented state is filled up with."""
        held = {node.args[1] for value in self.initial.values() for node in value.atoms(fill)}
        return [q.shape[0] for q in by_name(held)]

    def known_sizes(self, local: Sequence[Quantity] = ()) -> dict[Dimension, str]:
        """Where each named size is read: of the first parameter that has it, or of what is `local` under its name."""
        known: dict[Dimension, str] = {}
        for quantity in [*self.layer_parameters, *self.parameters]:
            owner = "" if quantity in local else "self."
            for place, size in enumerate(quantity.shape):
                known.setdefault(size, f"{owner}{quantity.name}.shape[{place - len(quantity.shape)}]")
        return known
