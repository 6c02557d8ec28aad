"""Which stochastic differential equation of a subject is shown, in one component."""

from __future__ import annotations

from dataclasses import replace

from sympy import Rational

from derive.errors import UnsupportedError
from derive.networks import Network
from derive.sde import SDE
from derive.sde_moments import component
from plots.subject import Subject

SPREAD = Rational(4, 5)  # of the demonstration that takes the place of networks: a double well


def demonstration(sde: SDE) -> SDE:
    """One component of the equation; networks are replaced by a double well and a constant.

    Raises:
        UnsupportedError: components that see each other.
    """
    x = sde.state
    if sde.drift.atoms(Network) or sde.diffusion.atoms(Network):
        return SDE(x, x - x**3, SPREAD, calculus=sde.calculus, scheme=sde.scheme)
    drift, diffusion = component(sde, sde.drift), component(sde, sde.diffusion)
    return replace(sde, drift=drift, diffusion=diffusion, noise="diagonal")


def equation_of(subject: Subject) -> SDE | None:
    """The first equation of a subject, if its components can be shown alone."""
    found = [one for one in subject.spec.variants.values() if isinstance(one, SDE)]
    try:
        return demonstration(found[0]) if found else None
    except UnsupportedError:
        return None
