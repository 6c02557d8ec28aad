"""Which steps the module of a stochastic differential equation has: by scheme, and by what the integral means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from derive.lagrangian import StepNames
from derive.networks import Call
from derive.program import Program
from derive.schemes.stochastic import CALCULI, STOCHASTIC_SCHEMES, StochasticRungeKutta
from derive.sde import SDE
from derive.stochastic_steps import stochastic_step
from derive.systems import Recurrence


class SchemeStep(NamedTuple):
    """One step of an equation.

    Attributes:
        calculus: what the equation's integral is taken to be.
        scheme: id of the scheme.
        recurrence: the step.
    """

    calculus: str
    scheme: str
    recurrence: Recurrence

    @property
    def label(self) -> str:
        """Name of the step in equation numbers and functions."""
        return f"{self.scheme}_{self.calculus}"

    @property
    def names(self) -> StepNames:
        """How its relations are named."""
        return StepNames(self.label)


def schemes_of(sde: SDE) -> Mapping[str, StochasticRungeKutta]:
    """The shipped schemes, and the equation's own table where it has one."""
    found = dict(STOCHASTIC_SCHEMES)
    if not isinstance(sde.scheme, str):
        found[scheme_id(sde)] = sde.scheme
    return found


def scheme_id(sde: SDE) -> str:
    """Id of the equation's own scheme; of a table that is not shipped, made of its title."""
    if isinstance(sde.scheme, str):
        return sde.scheme
    return re.sub(r"\W+", "_", sde.scheme.title.lower()).strip("_")


def calculi_of(sde: SDE) -> tuple[str, ...]:
    """Its own calculus first; an equation that is written out has no other, networks may be meant in both."""
    if not sde.networks:
        return (sde.calculus,)
    return (sde.calculus, *(other for other in CALCULI if other != sde.calculus))


def scheme_steps(sde: SDE) -> Iterator[SchemeStep]:
    """All steps, of the equation's own scheme first."""
    own = scheme_id(sde)
    schemes = {own: schemes_of(sde)[own], **schemes_of(sde)}
    for calculus in calculi_of(sde):
        for name, scheme in schemes.items():
            yield SchemeStep(calculus, name, stochastic_step(sde, scheme, calculus))


def by_graphs(step: Program) -> bool:
    """Whether a step has derivatives of networks in it: its reverse sweep is then autograd's, of one step at a time."""
    return any(call.directions for line in step.assignments for call in line.value.atoms(Call))
