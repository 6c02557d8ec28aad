"""Liouville's theorem for state and costate, and what the state alone does to its densities."""

import mpmath

from derive import (
    ODE,
    DeckClaim,
    IdentityCheck,
    Integer,
    OptimalControl,
    Rational,
    Spec,
    constant,
    dot,
    identity,
    logsumexp,
    matvec,
    parameter,
    pushforward,
    relation,
    state,
    target,
)
from derive.control_checks import variation
from derive.gradients import gradient_of
from derive.operators import Numeric
from derive.symbols import Role

DECK = "deck B, 'Liouville's theorem': dP(x, a, t)/dt = 0"
x, y = state("x", "d", meaning="state"), target("y", "d", meaning="class of the sample, one-hot")
w = parameter("w", ("d", "d"), meaning="linear coupling")
b = parameter("b", "d", meaning="bias")
gamma = parameter("gamma", meaning="strength of the cubic damping")
loss = logsumexp(x) - dot(y, x)
problem = OptimalControl(ODE((x,), (matvec(w, x) + b - gamma * x**3,)), terminal=loss)

one = variation(x).renamed("one", r"\delta_1 x")
two = one.renamed("two", r"\delta_2 x", Role.TANGENT)
a_1, a_2 = (pushforward(gradient_of(loss, x), {x: way}) for way in (one, two))

x_0, strength, T = state("x_0", ()), constant("strength", latex=r"\gamma"), constant("T", meaning="final time")
slope = (1 + 2 * strength * x_0**2 * T) ** Rational(-3, 2)


def along_the_solution(known: dict[object, Numeric], sampler: object) -> Numeric:
    """exp of the integral of the divergence of -gamma x^3 along its solution."""
    start, g, end = (known[q] for q in (x_0, strength, T))
    return mpmath.exp(mpmath.quad(lambda now: -3 * g * start**2 / (1 + 2 * g * start**2 * now), [0, end]))


SPEC = Spec(
    id="liouville",
    class_name="",
    title="Liouville's theorem for state and costate",
    source="Ruseckas, Differential equations and neural networks; " + DECK,
    system=problem,
    no_module="`derive generate cubic_ode` emits the steps; the symplecticity of step and adjoint is in its derivation",
    relations=(
        identity(
            "the costates of training lie on a Lagrangian graph",
            dot(one, a_2),
            dot(two, a_1),
            reason="a(T) is the gradient of the loss: the symplectic form vanishes on (x, a(x)), there and, by the "
            "flow, at every time; a law of (x, a) on this graph has no density (E34)",
            name="graph",
            section="Densities in training",
        ),
        relation(
            "cells of the state shrink",
            "identity",
            r"\dot x = -\gamma x^3: \qquad \frac{\partial x(T)}{\partial x_0} = \exp \int_0^T \operatorname{div} F\,"
            r" dt = \left(1 + 2 \gamma x_0^2 T\right)^{-3/2}",
            text=f"x' = -gamma x^3: dx(T)/dx_0 = exp(integral of div F) = {slope}",
            reason="the density of x grows by the inverse; the costates spread by as much",
            name="cell",
            value=slope,
            check=IdentityCheck(along_the_solution, slope, (x_0, strength, T)),
            section="Densities in training",
        ),
    ),
    claims=(
        DeckClaim(
            id="E34",
            deck=DECK + ", read as of the densities that training has",
            about="density_rate",
            says=Integer(0),
            note="true of the flow of (x, a) and of any density that (x, a) has; in training a is a function of x, the "
            "law of (x, a) has no density, and the density of x obeys dP/dt = -P tr F_x",
            agrees=False,
        ),
    ),
)
