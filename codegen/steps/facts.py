"""What an emitted loop over steps is made of, read once from its spec."""

from __future__ import annotations

from codegen.steps.rules import Layout, layout_of
from derive.derivation import Derivation
from derive.errors import SpecError
from derive.inversion import Inverse, invert
from derive.operators import fill
from derive.schemes import LinearMultistep, Scheme
from derive.symbols import Dimension, Role, by_name
from derive.systems import ODE, Recurrence, Spec


class Facts:
    """Everything the parts of the writer ask about.

    Args:
        spec: what is emitted; its system is an ODE.
        scheme: the discretization.
        recurrence: one step.
        derivation: for the equation numbers.
    """

    def __init__(self, spec: Spec, scheme: Scheme, recurrence: Recurrence, derivation: Derivation) -> None:
        assert isinstance(spec.system, ODE)
        self.spec, self.scheme, self.recurrence, self.derivation = spec, scheme, recurrence, derivation
        self.ode = spec.system
        self.layout: Layout = layout_of(recurrence)
        networks = recurrence.step.networks()
        # How far rebuilt states are trusted follows from characteristic roots and from a Jacobian that is measured
        # through the opaque network.
        trusted = networks and isinstance(scheme, LinearMultistep)
        self.inverse: Inverse | None = invert(recurrence) if trusted else None
        if len(networks) > 1:
            raise SpecError(f"{spec.id}: {len(networks)} networks; one can be emitted per step")
        self.network = networks[0] if networks else None
        self.layer_parameters = [q for q in self.layout.local if q.role is Role.LAYER_PARAMETER]
        self.parameters = [q for q in self.layout.shared if q.role is Role.PARAMETER]
        self.constants = [q for q in self.layout.shared if q.role is Role.CONSTANT]
        self.layered = bool(self.network.per_layer) if self.network else bool(self.layer_parameters)

    def augmented_sizes(self) -> list[Dimension]:
        """Sizes of what an augmented state is filled up with."""
        held = {node.args[1] for value in self.ode.initial.values() for node in value.atoms(fill)}
        return [q.shape[0] for q in by_name(held)]

    def known_sizes(self) -> dict[Dimension, str]:
        """Where the size of each named dimension is read: the first parameter that has it."""
        known: dict[Dimension, str] = {}
        for quantity in [*self.layer_parameters, *self.parameters]:
            for place, size in enumerate(quantity.shape):
                known.setdefault(size, f"self.{quantity.name}.shape[{place - len(quantity.shape)}]")
        return known
