"""FractalNet of two levels, written with weights on its joins: a Runge-Kutta scheme for special weights only."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Expr,
    Network,
    Rational,
    Reading,
    Recurrence,
    Spec,
    constant,
    parameter,
    state,
    step_size,
)

x = state("x", "d", latex="x_n", meaning="features")
f1 = Network("f1", per_layer=True, latex="f_1")
f2 = Network("f2", per_layer=True, latex="f_2")
k1 = parameter("k1", per_layer=True, latex="k_1", meaning="weight of the state in the join")
k2 = parameter("k2", per_layer=True, latex="k_2", meaning="weight of the first column in the join")
k3 = parameter("k3", per_layer=True, latex="k_3", meaning="weight of the state in the first column")
h = step_size("h")
alpha = constant("alpha", meaning="f1 = alpha f")
beta = constant("beta", meaning="f2 = beta f")
half = Rational(1, 2)

step = Builder()
y = step.let("y", k3 * x + h * f1(x), latex="y_n", meaning="after the first column")
x_next = step.let("x_next", k1 * x + k2 * y + h * f2(y), latex="x_{n+1}", meaning="features")


def reading(title: str, first: Expr, second: Expr, **weights: Expr) -> Reading:
    """f1 = first * f and f2 = second * f with one field f, and values of the joins' weights."""
    known = {"k1": k1, "k2": k2, "k3": k3}
    return Reading(title, {f1: first, f2: second}, {known[name]: value for name, value in weights.items()})


SPEC = Spec(
    id="fractalnet",
    class_name="FractalNet",
    title="FractalNet: two columns joined",
    source="Larsson et al., FractalNet, ICLR 2017; deck A, 'FractalNet(@ICLR2017)'",
    system=Recurrence(step.build((x_next,)), old=(x,), new=(x_next,)),
    readings=(
        reading("family", alpha, beta, k3=1),
        reading("heun", 1, half, k1=half, k2=half, k3=1),
        reading("midpoint", half, 1, k1=1, k2=0, k3=1),
        # The mean of conv(conv(x)) and conv(x) with conv = Id + (2/3) h f, which makes the step h.
        reading("mean_join", Rational(2, 3), Rational(1, 3), k1=0, k2=1, k3=1),
    ),
    claims=(
        DeckClaim(
            id="E10",
            deck="deck A, 'FractalNet(@ICLR2017)', as a Runge-Kutta scheme (the slide has no formula)",
            about="mean_join.order",
            says=2,
            agrees=False,
            note="the plain mean of both columns is of order 1; order 2 needs alpha beta = 1/2, as in Heun's scheme, "
            "which the mean is where the short column is the identity",
        ),
        DeckClaim(
            id="E10, special weights",
            deck="the same with conv = identity in the short column: Heun's scheme",
            about="heun.order",
            says=2,
            agrees=True,
            note="special weights",
        ),
    ),
)
