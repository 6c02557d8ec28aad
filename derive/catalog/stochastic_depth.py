"""Stochastic depth: every block of a ResNet is left out at random; both ways to scale what remains."""

from __future__ import annotations

from derive import (
    Bernoulli,
    Builder,
    DeckClaim,
    Draw,
    Expr,
    Integer,
    Interval,
    Network,
    RandomRecurrence,
    Spec,
    constant,
    draw,
    sqrt,
    state,
)
from derive.losses import SOFTMAX_CROSS_ENTROPY

x = state("x", "d", latex="x_n", meaning="features")
f = Network("f", per_layer=True)
survival = constant("survival", per_layer=True, latex="p_n", meaning="probability that a block is kept")
eta = draw("eta", latex=r"\eta_n", meaning="whether the block is kept: 1 or 0")


def net(scaling: Expr) -> RandomRecurrence:
    """The step x + eta * scaling * f(x)."""
    step = Builder()
    value = step.let("value", f(x), latex="f_n", meaning="value of the block")
    after = step.let("x_next", x + eta * scaling * value, latex="x_{n+1}", meaning="features")
    return RandomRecurrence(
        step.build((after,)),
        old=(x,),
        new=(after,),
        draws=(Draw(eta, Bernoulli(survival)),),
        ranges={survival: Interval.Lopen(0, 1)},
    )


SPEC = Spec(
    id="stochastic_depth",
    class_name="StochasticDepth",
    title="Stochastic depth",
    source="Huang et al., Deep Networks with Stochastic Depth, ECCV 2016; deck A, 'Stochastic Path'",
    system={"plain": net(Integer(1)), "inverted": net(1 / survival)},
    option="scaling",
    loss=SOFTMAX_CROSS_ENTROPY,
    claims=(
        DeckClaim(
            id="step",
            deck="deck A, 'Stochastic Path': x_{n+1} = x_n + E eta_n f + (eta_n - E eta_n) f",
            about="x_next",
            option="plain",
            says=x + survival * f(x) + (eta - survival) * f(x),
            agrees=True,
        ),
        DeckClaim(
            id="E13",
            deck="deck A, 'Stochastic Path': dX = sqrt(p(1-p)) f (.) [1, 0] dB, a diffusion term alone",
            about="drift",
            option="plain",
            says=Integer(0),
            agrees=False,
            note="the drift p f is missing; in Ito's sense",
        ),
        DeckClaim(
            id="E13, diffusion",
            deck="deck A, 'Stochastic Path': sqrt(p(1-p)) f (.) [1, 0] dB",
            about="diffusion",
            option="plain",
            says=sqrt(survival * (1 - survival)) * f(x),
            agrees=True,
            note="[1, 0] spreads one scalar Brownian motion over all components: the covariance has rank 1",
        ),
        DeckClaim(
            id="E14",
            deck="deck A, 'Stochastic Path': the SDE as the limit of the recursion as it stands, all of it times dt",
            about="noise_power",
            option="plain",
            says=Integer(1),
            agrees=False,
            note="the noise needs dt to the power 1/2; with the power 1 the limit is x' = p f",
        ),
        DeckClaim(
            id="E15",
            deck="deck A, 'Stochastic Path': an approximation of the SDE, whatever p is",
            about="weak_order",
            option="plain",
            says=Integer(1),
            agrees=False,
            note="the third central moment p(1-p)(1-2p) leaves order 1/2 unless 1 - 2p = O(sqrt(dt))",
        ),
        DeckClaim(
            id="test time",
            deck="Huang et al. 2016: x_{n+1} = x_n + p_n f when testing",
            about="mean_x_next",
            option="plain",
            says=x + survival * f(x),
            agrees=True,
            note="the mean of one step; of the whole net only where the blocks are linear",
        ),
    ),
)
