r"""An ODE solved with steps that an embedded pair chooses, and its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sympy import Expr, Integer

from derive.control import OptimalControl
from derive.embedded import EmbeddedPair, EmbeddedStep, embedded_pair, embedded_step
from derive.errors import SpecError
from derive.operators import dot
from derive.program import Program
from derive.symbols import Quantity, target, time
from derive.system import System
from derive.systems import ODE

OBSERVED = time("t_a", meaning="time of an observation")


@dataclass(frozen=True)
class Adaptive(System):
    r"""An ODE from t_0 to t_1, with steps of the size that an embedded pair's error estimate allows.

    Attributes:
        ode: x' = F.
        scheme: the pair: an explicit Butcher tableau with `b_error`, or the id of one.

    Raises:
        SpecError: a scheme without an error estimate, or one that is always zero, or initial values, which the module
            is given instead.
    """

    varies = True
    ode: ODE
    scheme: Any = "dopri5"

    def __post_init__(self) -> None:
        embedded_pair(self.scheme)
        if self.ode.initial:
            raise SpecError("the initial value is an argument of the module; leave ODE(..., initial=...) out")

    @cached_property
    def pair(self) -> EmbeddedPair:
        """The table with all that is read of it."""
        return embedded_pair(self.scheme)

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the field reads."""
        return self.ode.quantities

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "adaptive_explanation", "explain_adaptive"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The field."""
        return (self.ode.field_program(),)

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What field, costs and steps read, and the times."""
        return (*self.control.listed, *self.step.program.inputs, *self.step.program.outputs)

    @cached_property
    def step(self) -> EmbeddedStep:
        """One step of the pair."""
        return embedded_step(self.ode, self.pair)

    @cached_property
    def control(self) -> OptimalControl:
        """A loss of the outputs is, to first order, linear in them: the weights are what arrives at the outputs."""
        ode = self.ode
        alone = len(ode.state) == 1
        last = [_arriving(x, "g", alone) for x in ode.state]
        seen = [_arriving(x, "g_a", alone) for x in ode.state]
        return OptimalControl(ode, terminal=_paired(last, ode.state), observations={OBSERVED: _paired(seen, ode.state)})


def _arriving(unknown: Quantity, letter: str, alone: bool) -> Quantity:
    name = letter if alone else f"{letter}_{unknown.name}"
    return target(name, unknown.shape, meaning=f"derivative of the loss in {unknown.name} then")


def _paired(weights: list[Quantity], states: tuple[Quantity, ...]) -> Expr:
    pairs = zip(weights, states, strict=True)
    return sum((dot(g, x) if x.shape else g * x for g, x in pairs), Integer(0))
