"""Pathwise gradient: the derivative of a path in the parameters, along the same Brownian motion."""

from collections.abc import Callable
from typing import Any

import mpmath
from sympy import Expr, exp

from derive import (
    SDE,
    DeckClaim,
    IdentityCheck,
    Illustration,
    Network,
    Relation,
    Spec,
    constant,
    dot,
    relation,
    state,
    time,
)
from derive.checks import central_difference
from derive.latex import latex
from derive.sampling import Sampler
from derive.symbols import Quantity

DECK = "deck A, 'Neural SDE', theorem 3.1"
THEOREM, CLOSED = "The theorem", "Geometric Brownian motion: everything in closed form"

x, t = state("x", "d", meaning="state"), time("t")
f, g = Network("f", takes_time=True), Network("g", takes_time=True)

start, horizon, motion = constant("x_start"), constant("T"), constant("B", meaning="Brownian motion at T")
w, sigma = constant("w", meaning="rate"), constant("sigma", meaning="noise")
end = start * exp((w - sigma**2 / 2) * horizon + sigma * motion)

slope = state("l_1", "d", meaning="gradient of the loss at the state of t1")
earlier = state("l_t", "d", meaning="gradient of the loss at the state of t")
beta = state("beta", "d", meaning="derivative of the state at t1 in a parameter")


def mean_over_paths(value: Callable[[dict[Quantity, Any]], Any]) -> Callable[[dict[Quantity, Any], Any], Any]:
    """The mean over B = sqrt(T) xi by the trapezoid rule, which is exact to 60 digits for such integrands."""

    def measure(values: dict[Quantity, Any], _: Any) -> Any:
        total = mpmath.mpf(0)
        for node in range(-18 * 8, 18 * 8 + 1):
            xi = mpmath.mpf(node) / 8
            known = {**values, motion: mpmath.sqrt(values[horizon]) * xi}
            density = mpmath.exp(-xi * xi / 2) / mpmath.sqrt(2 * mpmath.pi)
            total += density * value(known) / 8
        return total

    return measure


def squared_slope(known: dict[Quantity, Any]) -> Any:
    """2 x dx/dw at the end."""
    last = known[start] * mpmath.exp((known[w] - known[sigma] ** 2 / 2) * known[horizon] + known[sigma] * known[motion])
    return 2 * last**2 * known[horizon]


def sensitivity(title: str, about: Quantity, value: Expr, reason: str) -> Relation:
    """The derivative of the end of the path in a parameter."""

    def measure(values: dict[Quantity, Any], sampler: Sampler) -> Any:
        return central_difference(end, values, {about: mpmath.mpf(1)}, sampler)

    return relation(
        title,
        "identity",
        rf"\partial_{{{about.latex}}} x_T = {latex(value)}",
        text=f"d x_T / d {about} = {value}",
        reason=reason,
        name=f"beta_{about}",
        value=value,
        check=IdentityCheck(measure, value, (start, horizon, motion, w, sigma)),
        section=CLOSED,
    )


expected = 2 * horizon * start**2 * exp((2 * w + sigma**2) * horizon)

SPEC = Spec(
    id="pathwise_gradient",
    class_name="",
    no_module="neural_sde has the reverse sweep, which computes these gradients for all parameters at once",
    title="Pathwise gradient of a stochastic differential equation",
    source=f"{DECK}; Yang, Kushner 1991; Liu et al. 2019",
    system=SDE(x, f(t, x), g(t, x), t),
    illustration=Illustration("langevin_flow", ("paths",)),
    relations=(
        relation(
            "the estimate of the gradient",
            "definition",
            r"\nabla_w \ell(x_{t_1}) = \frac{\partial \ell(x_{t_1})}{\partial x_{t_1}}\, \beta_{t_1}, \qquad "
            r"\beta_{t_0} = 0",
            text="gradient of the loss = dl/dx at t1 . beta at t1, beta = 0 at t0",
            reason="the chain rule at the end of the path; beta is the sensitivity above",
            name="gradient",
            value=dot(slope, beta),
            section=THEOREM,
        ),
        relation(
            "its mean is the gradient of the mean",
            "statement",
            r"\mathbb E\, \nabla_w \ell(x_{t_1}) = \nabla_w \mathbb E\, \ell(x_{t_1})",
            text="E[gradient of the loss] = gradient of E[loss]",
            reason="drift and diffusion with bounded derivatives, a loss of polynomial growth: mean and derivative may "
            "be exchanged; continuous differentiability of the loss alone is not enough",
            source="Kunita, Stochastic Flows and Stochastic Differential Equations, 1990",
            section=THEOREM,
        ),
        sensitivity("derivative of the end in the rate", w, horizon * end, "beta of dx = w x dt + sigma x dW"),
        sensitivity(
            "derivative of the end in the noise", sigma, end * (motion - sigma * horizon), "the same path of B"
        ),
        relation(
            "mean of the estimate for the loss x^2",
            "identity",
            r"\mathbb E\left[2 x_T \beta_T\right] = 2 T x_0^2 e^{(2 w + \sigma^2) T}",
            text=f"E[2 x_T beta_T] = {expected}",
            reason="quadrature over the Brownian motion against the derivative of E x_T^2",
            name="mean_gradient",
            value=expected,
            check=IdentityCheck(mean_over_paths(squared_slope), expected, (start, horizon, w, sigma)),
            section=CLOSED,
        ),
    ),
    claims=(
        DeckClaim(
            id="E19",
            deck=f"{DECK}: dl/dh_t . beta at t1",
            about="gradient",
            says=dot(earlier, beta),
            note="the loss is differentiated at the state of t1, the deck writes h_t",
            agrees=False,
        ),
    ),
)
