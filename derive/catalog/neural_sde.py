"""Neural stochastic differential equation: drift and diffusion are networks."""

from derive import Network, Spec, of_every_noise, state, time

DECK = "deck A, 'Neural SDE'"

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)

SPEC = Spec(
    id="neural_sde",
    class_name="NeuralSDE",
    title="Neural stochastic differential equation",
    source=f"{DECK}; Liu et al. 2019, arXiv 1906.02355; Kidger et al. 2021",
    option="noise",
    system=of_every_noise(x, f(t, x), t),
)
