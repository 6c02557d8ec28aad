"""A ResNet with dropout of the components of every block's value."""

from __future__ import annotations

from derive import (
    Bernoulli,
    Builder,
    DeckClaim,
    Draw,
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
keep = constant("keep", per_layer=True, latex="p_n", meaning="probability that a component is kept")
gamma = draw("gamma", "d", latex=r"\gamma_n", meaning="whether a component is kept: 1 or 0 for each")

step = Builder()
value = step.let("value", f(x), latex="f_n", meaning="value of the block")
x_next = step.let("x_next", x + value * gamma / keep, latex="x_{n+1}", meaning="features")

SPEC = Spec(
    id="dropout_sde",
    class_name="DropoutSDE",
    title="Dropout of residual blocks",
    source="Liu et al., Neural SDE, 2019; deck A, 'Neural SDE'",
    system=RandomRecurrence(
        step.build((x_next,)),
        old=(x,),
        new=(x_next,),
        draws=(Draw(gamma, Bernoulli(keep)),),
        ranges={keep: Interval.Lopen(0, 1)},
    ),
    loss=SOFTMAX_CROSS_ENTROPY,
    claims=(
        DeckClaim(
            id="E18",
            deck="deck A, 'Neural SDE', dropout: h_{n+1} = h_n + f + f (.) (gamma_n/p - I)",
            about="x_next",
            says=x + f(x) + f(x) * (gamma / keep - 1),
            agrees=True,
            note="with the vector of ones in the place of I, and p the probability of keeping a component",
        ),
        DeckClaim(
            id="E18, draws",
            deck="deck A, 'Neural SDE', dropout: gamma_n ~ B(1, p), one number",
            about="brownian_motions",
            says=Integer(1),
            agrees=False,
            note="one for each component: diagonal noise, unlike that of stochastic depth, which has rank 1",
        ),
        DeckClaim(
            id="E18, diffusion",
            deck="the SDE that the slide leaves out: dh = f dt + sqrt((1-p)/p) f (.) dB",
            about="diffusion",
            says=sqrt((1 - keep) / keep) * f(x),
            agrees=True,
        ),
        DeckClaim(
            id="E15",
            deck="deck A, 'Neural SDE', dropout: an SDE, whatever p is",
            about="weak_order",
            says=Integer(1),
            agrees=False,
            note="the third central moment (1-p)(1-2p)/p^2 leaves order 1/2 unless 1 - 2p = O(sqrt(dt))",
        ),
    ),
)
