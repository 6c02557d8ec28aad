"""The training problem of a stochastic differential equation: the loss of its end, and what the parameters cost."""

from typing import Any

import mpmath
from sympy import Expr, diff, exp

from derive import (
    SDE,
    DeckClaim,
    IdentityCheck,
    Relation,
    Spec,
    constant,
    generator,
    identity,
    moments,
    relation,
    state,
    step_size,
    stochastic_step,
)
from derive.checks import central_difference
from derive.latex import latex
from derive.sampling import Sampler
from derive.symbols import Quantity

DECK = "deck A, 'min E ...'"
PROBLEM, CLOSED = "The problem", "Geometric Brownian motion: everything in closed form"

x = state("x", (), meaning="state")
theta, sigma = constant("theta", meaning="rate"), constant("sigma", meaning="noise")
rho, start, horizon = constant("rho", meaning="price of the rate"), constant("x_start"), constant("T")
left = constant("tau", meaning="time that is left")

system = SDE(x, theta * x, sigma * x)
price = rho * theta**2
worth = x**2 * exp((2 * theta + sigma**2) * left) + price * left
mean = start**2 * exp((2 * theta + sigma**2) * horizon)
cost = mean + price * horizon
growth = moments(system).after_step(stochastic_step(system, "euler_maruyama"))[2] / moments(system).symbol(2)
step = stochastic_step(system, "euler_maruyama").step
q = {quantity.name: quantity for quantity in (*step.inputs, *step.targets)}
h = step_size()


def slope(title: str, about: Quantity, value: Expr, reason: str) -> Relation:
    """The derivative of the objective in a parameter."""

    def measure(values: dict[Quantity, Any], sampler: Sampler) -> Any:
        return central_difference(cost, values, {about: mpmath.mpf(1)}, sampler)

    return relation(
        title,
        "identity",
        rf"\partial_{{{about.latex}}} \left({latex(cost)}\right) = {latex(value)}",
        text=f"derivative of {cost} in {about} = {value}",
        reason=reason,
        name=f"slope_{about}",
        value=value,
        check=IdentityCheck(measure, value, (theta, sigma, rho, start, horizon)),
        section=CLOSED,
    )


SPEC = Spec(
    id="sde_objective",
    class_name="",
    no_module="neural_sde has the equation; the objective is the mean of a loss over its paths",
    title="Objective of a stochastic differential equation",
    source=f"{DECK}; Kushner, Dupuis 2001",
    system=system,
    relations=(
        relation(
            "the problem",
            "definition",
            r"\min_\theta\; \mathbb E_{X(0)}\, \mathbb E\left[L(X(T)) + \int_0^T R(\theta(t))\, dt\right], \qquad "
            r"dX = F(X, \theta)\, dt + G(X, \theta)\, dW",
            text="min E[L(X(T)) + integral of R(theta) dt] subject to dX = F dt + G dW",
            reason="Ito's equation, with its differentials",
            section=PROBLEM,
        ),
        relation(
            "backward Kolmogorov equation",
            "definition",
            r"\partial_t u + F \cdot \nabla u + \tfrac12 \operatorname{tr}\left(G G^{\top} \nabla^2 u\right) + R = 0, "
            r"\qquad u(T, \cdot) = L",
            text="u_t + F . grad u + 1/2 tr(G G^T hess u) + R = 0, u(T, .) = L",
            reason="u(t, x) is what is to be paid from x at t on; the objective is the mean of u(0, X(0))",
            section=PROBLEM,
        ),
        identity(
            "the generator on u, for L = x^2 and R = rho theta^2",
            generator(system, worth),
            diff(worth, left) - price,
            reason="u solves the backward equation, tau = T - t",
            name="backward_equation",
            section=CLOSED,
        ),
        slope(
            "its derivative in the rate", theta, 2 * horizon * mean + 2 * rho * theta * horizon, "it is u at the start"
        ),
        slope("its derivative in the noise", sigma, 2 * sigma * horizon * mean, "the loss is convex: noise costs"),
        identity(
            "factor of the second moment in a step of Euler-Maruyama",
            growth,
            (1 + theta * h) ** 2 + sigma**2 * h,
            reason="the mean over the increment",
            name="growth",
            section=CLOSED,
        ),
    ),
    claims=(
        DeckClaim(
            id="E16",
            deck=f"{DECK}: dX = f(X, theta) + g(X, theta) dB",
            about="euler_maruyama_ito.x_next",
            says=q["x"] + q["f"] + q["g"] * q["dW"],
            note="the differential dt is missing",
            agrees=False,
        ),
    ),
)
