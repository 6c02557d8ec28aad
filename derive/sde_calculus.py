r"""From one calculus to the other: $\int g \circ dW = \int g\,dW + \frac12 \int \sum_j Dg_j[g_j]\,dt$."""

from __future__ import annotations

from functools import cache

from sympy import Expr, Integer, Rational

from derive.errors import UnsupportedError
from derive.jacobians import Form, jacobian
from derive.linearization import pushforward
from derive.networks import Call, Network
from derive.operators import zeros
from derive.program import Assignment, Program, name_functions
from derive.sde import SDE
from derive.symbols import Quantity, Role, by_name

HALF = Rational(1, 2)
CORRECTION = Network("correction", takes_time=True, latex="c")
"""Stands for the correction where the diffusion is an opaque network: a network that is computed from that one."""


@cache
def correction(sde: SDE) -> Expr:
    """c = 1/2 sum of Dg_j[g_j]: Stratonovich's equation with the drift f - c is Ito's with the drift f.

    Zero for a diffusion that does not read the state; where that is an opaque network, a network that stands for c.

    Raises:
        UnsupportedError: no rule reads it, as for a diffusion that is not all of it a network.
    """
    if not reads_state(sde):
        return Integer(0)
    if sde.diffusion.atoms(Network):
        return _opaque(sde)
    if sde.is_matrix:
        raise UnsupportedError(
            "the correction of a matrix that reads the state is not derived; allowed: noise='diagonal' or 'scalar', "
            "or one network for the whole diffusion"
        )
    if sde.noise == "scalar" or not sde.state.shape:
        return HALF * pushforward(sde.diffusion, {sde.state: sde.diffusion})
    return HALF * sde.diffusion * diagonal_of_jacobian(sde)


def _opaque(sde: SDE) -> Expr:
    if not is_network(sde.diffusion, sde):
        raise UnsupportedError(
            f"the diffusion {sde.diffusion} is made of networks; allowed where the calculus is converted: one network "
            "for the whole diffusion, or none"
        )
    moment = sde.diffusion.point[0] if sde.diffusion.network.takes_time else sde.time or Integer(0)
    return CORRECTION(moment, sde.state)


def is_network(value: Expr, sde: SDE) -> bool:
    """Whether an expression is the value of one network at the state, or at zero in its place."""
    return isinstance(value, Call) and not value.directions and value.point[-2] in (sde.state, zeros(sde.state))


def diagonal_of_jacobian(sde: SDE) -> Expr:
    """The derivatives of g_i in x_i, for a diffusion that is written out; a scalar where they are all alike.

    Raises:
        UnsupportedError: the Jacobian of the diffusion is not a diagonal and products of vectors.
    """
    program, form = _jacobian(sde)
    if form.dense:
        raise UnsupportedError(
            f"the diagonal of the Jacobian of {sde.diffusion} is not read; allowed: functions component by component "
            "and products with inner products, or one network for the whole diffusion"
        )
    found = form.diagonal + sum((u * v for u, v in form.terms), Integer(0))
    for line in reversed(program.assignments):
        found = found.xreplace({line.target: line.value})
    return found


def _jacobian(sde: SDE) -> tuple[Program, Form]:
    """The diffusion as a program, and its Jacobian."""
    target = sde.diffusion_name
    program = name_functions(Program(tuple(by_name(sde.quantities)), (Assignment(target, sde.diffusion),), (target,)))
    return program, jacobian(program, (sde.state,))[target][sde.state]


def structure_of(sde: SDE) -> str:
    """What is seen of the noise: additive, scalar, diagonal where every g_i reads x_i alone, or else general."""
    if not reads_state(sde):
        return "additive"
    if sde.noise == "scalar" or not sde.state.shape:
        return "scalar"
    if sde.noise != "diagonal" or sde.diffusion.atoms(Network):
        return "general"
    _, form = _jacobian(sde)
    return "general" if form.terms or form.dense else "diagonal"


def drift_in(sde: SDE, calculus: str) -> Expr:
    """The drift of the same process in a calculus."""
    if sde.calculus == calculus:
        return sde.drift
    sign = -1 if calculus == "stratonovich" else 1
    return sde.drift + sign * correction(sde)


def reads_state(sde: SDE) -> bool:
    """Whether the diffusion changes with the state: where it does not, there is nothing between the calculi."""
    return along(sde, sde.state.renamed("way", role=Role.TANGENT)) != 0


def along(sde: SDE, direction: Quantity) -> Expr:
    """The derivative of the diffusion along a direction."""
    return pushforward(sde.diffusion, {sde.state: direction})
