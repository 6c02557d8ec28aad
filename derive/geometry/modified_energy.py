"""The modified Hamiltonian of a symplectic scheme on one system, as a function of its unknowns."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Add, Expr, Integer, expand

from derive.elementary import elementary_differential
from derive.errors import UnsupportedError
from derive.geometry.modified_hamiltonian import POTENTIALS, modified_trees
from derive.linearization import pushforward
from derive.schemes import AdditiveTableau, Splitting
from derive.series.one_step import OneStep
from derive.series.trees import Tree
from derive.symbols import Quantity, Role
from derive.systems import ODE


def modified_energy(scheme: OneStep, ode: ODE, energy: Expr, order: int) -> dict[int, Expr]:
    """Power of h -> its coefficient in the modified Hamiltonian, a function of the unknowns, up to h^order.

    Args:
        scheme: a symplectic scheme; one in two parts needs a field of two unknowns and H = T(y) + U(x).
        ode: the system, x' = dH/dy and y' = -dH/dx.
        energy: H.
        order: last power of h.

    Raises:
        UnsupportedError: the scheme is not symplectic, or the energy is not separable where it must be.
    """
    trees = modified_trees(scheme, order)
    parted = isinstance(scheme, AdditiveTableau | Splitting)
    potentials, fields = (_separated(ode, energy), ode.split) if parted else ((energy,), (ode.velocity,))
    return {
        power: sum((value * _hamiltonian(ode, potentials, fields, tau) for tau, value in terms.items()), Integer(0))
        for power, terms in trees.items()
    }


def _separated(ode: ODE, energy: Expr) -> tuple[Expr, Expr]:
    """T(y) and U(x); what depends on neither belongs to U."""
    if len(ode.state) != len(POTENTIALS):
        raise UnsupportedError(f"a scheme in two parts needs two unknowns; there are {len(ode.state)}")
    x, y = ode.state
    terms = Add.make_args(expand(energy))
    if any(term.has(x) and term.has(y) for term in terms):
        raise UnsupportedError(f"the energy {energy} is no sum T({y.name}) + U({x.name})")
    kinetic = sum((term for term in terms if term.has(y)), Integer(0))
    return kinetic, energy - kinetic


def _hamiltonian(ode: ODE, potentials: Sequence[Expr], fields: Sequence[tuple[Expr, ...]], tau: Tree) -> Expr:
    """H(tau): the potential of the root, differentiated along the elementary differentials of the branches."""
    value, holders = potentials[tau.colour], {}
    for place, branch in enumerate(tau.branches):
        tangents: dict[Quantity, Expr] = {}
        for x, part in zip(ode.state, elementary_differential(ode, branch, fields), strict=True):
            tangents[x] = Quantity(f"branch{place}_{x.name}", x.shape, Role.TANGENT)
            holders[tangents[x]] = part
        value = pushforward(value, tangents)
    return value.xreplace(holders)
