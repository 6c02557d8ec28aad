"""Which steps the module of a stochastic differential equation has: by scheme, and by what the integral means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from derive.errors import UnsupportedError
from derive.lagrangian import StepNames
from derive.networks import Call
from derive.program import Program
from derive.recurrence import Recurrence
from derive.schemes.stochastic import (
    CALCULI,
    STOCHASTIC_SCHEMES,
    StochasticRungeKutta,
    stochastic_scheme,
    stochastic_scheme_id,
)
from derive.sde import SDE
from derive.sde_calculus import correction, is_network
from derive.stochastic_steps import stochastic_step


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
    """The schemes that can be used: the equation's own first, then the shipped ones.

    Left out are those whose calculus is not the equation's where the correction is not derived, and those with
    derivatives of a diffusion that is made of several networks.

    Raises:
        UnsupportedError: the equation's own scheme cannot be used.
    """
    own = scheme_id(sde)
    found = {own: stochastic_scheme(sde.scheme)}
    _refuse_unusable(sde, found[own])
    for name, scheme in STOCHASTIC_SCHEMES.items():
        with suppress(UnsupportedError):
            _refuse_unusable(sde, scheme)
            found.setdefault(name, scheme)
    return found


def _refuse_unusable(sde: SDE, scheme: StochasticRungeKutta) -> None:
    for calculus in calculi_of(sde):
        step = stochastic_step(sde, scheme, calculus).step
        if by_graphs(step) and not is_network(sde.diffusion, sde):
            raise UnsupportedError(
                f"{scheme.title} reads derivatives of the diffusion {sde.diffusion}; allowed: one network for all of "
                "it, or none, or scheme='euler_maruyama'"
            )


def scheme_id(sde: SDE) -> str:
    """Id of the equation's own scheme; of a table that is not shipped, made of its title."""
    return stochastic_scheme_id(sde.scheme)


def calculi_of(sde: SDE) -> tuple[str, ...]:
    """Its own calculus first; networks may be meant in both, where the correction is known."""
    if not sde.networks:
        return (sde.calculus,)
    try:
        correction(sde)
    except UnsupportedError:
        return (sde.calculus,)
    return (sde.calculus, *(other for other in CALCULI if other != sde.calculus))


def scheme_steps(sde: SDE) -> Iterator[SchemeStep]:
    """All steps, of the equation's own scheme first."""
    schemes = schemes_of(sde)
    for calculus in calculi_of(sde):
        for name, scheme in schemes.items():
            yield SchemeStep(calculus, name, stochastic_step(sde, scheme, calculus))


def by_graphs(step: Program) -> bool:
    """Whether a step has derivatives of networks in it: its reverse sweep is then autograd's, of one step at a time."""
    return any(call.directions for line in step.assignments for call in line.value.atoms(Call))
