"""Neural stochastic differential equation: drift and diffusion are networks."""

from derive import DeckClaim, Network, Spec, matvec, of_every_noise, state, step_size, stochastic_step, time

DECK = "deck A, 'Neural SDE'"

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
variants = of_every_noise(x, f(t, x), t)
step = stochastic_step(variants["general"], "euler_maruyama").step
q = {quantity.name: quantity for quantity in (*step.inputs, *step.targets)}

SPEC = Spec(
    id="neural_sde",
    class_name="NeuralSDE",
    title="Neural stochastic differential equation",
    source=f"{DECK}; Liu et al. 2019, arXiv 1906.02355; Kidger et al. 2021",
    option="noise",
    system=variants,
    claims=(
        DeckClaim(
            id="Euler-Maruyama",
            deck=f"{DECK}: h_(n+1) = h_n + f dt + sum of G_j dB^j",
            about="euler_maruyama_ito.x_next",
            says=q["x"] + step_size() * q["f"] + matvec(q["g"], q["dW"]),
            option="general",
            agrees=True,
        ),
    ),
)
