"""A ResNet with Gaussian noise added after every block."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Draw,
    Integer,
    Interval,
    Network,
    Normal,
    RandomRecurrence,
    Spec,
    constant,
    draw,
    state,
)
from derive.losses import SOFTMAX_CROSS_ENTROPY

x = state("x", "d", latex="x_n", meaning="features")
f = Network("f", per_layer=True)
sigma = constant("sigma", per_layer=True, latex=r"\sigma_n", meaning="standard deviation of the noise")
z = draw("z", "d", latex="z_n", meaning="standard normal noise, one number for each component")

step = Builder()
value = step.let("value", f(x), latex="f_n", meaning="value of the block")
x_next = step.let("x_next", x + value + sigma * z, latex="x_{n+1}", meaning="features")

SPEC = Spec(
    id="gaussian_noise_injection",
    class_name="GaussianNoiseNet",
    title="Gaussian noise injection",
    source="Liu et al., Neural SDE, 2019; deck A, 'Neural SDE'",
    system=RandomRecurrence(
        step.build((x_next,)),
        old=(x,),
        new=(x_next,),
        draws=(Draw(z, Normal(0, 1)),),
        ranges={sigma: Interval(0, float("inf"))},
    ),
    loss=SOFTMAX_CROSS_ENTROPY,
    claims=(
        DeckClaim(
            id="step",
            deck="deck A, 'Neural SDE': h_{n+1} = h_n + f(h_n; w_n) + Sigma_n z_n, Sigma_n = sigma_n I",
            about="x_next",
            says=x + f(x) + sigma * z,
            agrees=True,
        ),
        DeckClaim(
            id="E17",
            deck="deck A, 'Neural SDE': z_n ~ N(0, 1), one number",
            about="brownian_motions",
            says=Integer(1),
            agrees=False,
            note="N(0, I): one for each component, so that Sigma_n z_n has covariance sigma^2 I",
        ),
        DeckClaim(
            id="E17, diffusion",
            deck="deck A, 'Neural SDE': the SDE with G = sigma(t) I",
            about="diffusion",
            says=sigma,
            agrees=True,
            note="as the limit of steps whose noise is scaled by sqrt(dt)",
        ),
    ),
)
