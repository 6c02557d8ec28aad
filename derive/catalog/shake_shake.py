"""Shake-Shake: two branches in random shares, and shares of their own for the reverse sweep."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Draw,
    Integer,
    Network,
    RandomRecurrence,
    Rational,
    Spec,
    Uniform,
    draw,
    sqrt,
    state,
)
from derive.losses import SOFTMAX_CROSS_ENTROPY

x = state("x", "d", latex="x_n", meaning="features")
f1 = Network("f1", per_layer=True, latex="f_1")
f2 = Network("f2", per_layer=True, latex="f_2")
eta = draw("eta", latex=r"\eta_n", meaning="share of the first branch")
beta = draw("beta", latex=r"\beta_n", meaning="its share in the reverse sweep")

half = Rational(1, 2)

step = Builder()
first = step.let("value_1", f1(x), latex="f_{1,n}", meaning="first branch")
second = step.let("value_2", f2(x), latex="f_{2,n}", meaning="second branch")
x_next = step.let("x_next", x + eta * first + (1 - eta) * second, latex="x_{n+1}", meaning="features")

SPEC = Spec(
    id="shake_shake",
    class_name="ShakeShake",
    title="Shake-Shake regularization",
    source="Gastaldi, Shake-Shake regularization, 2017; deck A, 'Shake-Shake'",
    system=RandomRecurrence(
        step.build((x_next,)), old=(x,), new=(x_next,), draws=(Draw(eta, Uniform(0, 1), backward=beta),)
    ),
    loss=SOFTMAX_CROSS_ENTROPY,
    claims=(
        DeckClaim(
            id="step",
            deck="deck A, 'Shake-Shake': x_{n+1} = x_n + f2 + (f1 - f2)/2 + (eta - 1/2)(f1 - f2)",
            about="x_next",
            says=x + f2(x) + half * (f1(x) - f2(x)) + (eta - half) * (f1(x) - f2(x)),
            agrees=True,
        ),
        DeckClaim(
            id="E13",
            deck="deck A, 'Shake-Shake': dX = (f1 - f2)/sqrt(12) (.) [1, 0] dB, a diffusion term alone",
            about="drift",
            says=Integer(0),
            agrees=False,
            note="the drift (f1 + f2)/2 is missing; in Ito's sense",
        ),
        DeckClaim(
            id="E13, diffusion",
            deck="deck A, 'Shake-Shake': (f1 - f2)/sqrt(12) (.) [1, 0] dB",
            about="diffusion",
            says=(f1(x) - f2(x)) / sqrt(12),
            agrees=True,
            note="[1, 0] spreads one scalar Brownian motion over all components: the covariance has rank 1",
        ),
        DeckClaim(
            id="E14",
            deck="deck A, 'Shake-Shake': the SDE as the limit of the recursion as it stands, all of it times dt",
            about="noise_power",
            says=Integer(1),
            agrees=False,
            note="the noise needs dt to the power 1/2; with the power 1 the limit is x' = (f1 + f2)/2",
        ),
        DeckClaim(
            id="test time",
            deck="deck A, 'Shake-Shake', figure: both branches with 1/2 when testing",
            about="mean_x_next",
            says=x + half * f1(x) + half * f2(x),
            agrees=True,
        ),
    ),
)
