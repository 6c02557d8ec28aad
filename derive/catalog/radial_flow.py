"""Radial flow: space is pulled towards a point or pushed away from it."""

from derive import Builder, DeckClaim, Flow, Spec, norm, parameter, softplus, state
from derive.norms import components

DECK = "deck A, 'Normalizing Flows'"

x = state("x", "d", meaning="data")
z0 = parameter("z0", "d", latex="z_0", meaning="centre")
alpha = parameter("alpha", meaning="width, above 0")
beta = parameter("beta", meaning="strength, above -alpha")

graph = Builder()
v = graph.let("v", x - z0, meaning="seen from the centre")
r = graph.let("r", norm(v), meaning="distance from the centre")
y = graph.let("y", x + beta / (alpha + r) * v, meaning="image")
h = 1 / (alpha + r)

SPEC = Spec(
    id="radial_flow",
    class_name="RadialFlow",
    title="Radial flow",
    source=f"{DECK}; Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015",
    system=Flow(
        graph.build([y]),
        constrained={alpha: softplus(alpha), beta: softplus(beta) - softplus(alpha)},
    ),
    defaults={"alpha": 1.0},
    claims=(
        DeckClaim(
            id="E26",
            deck=f"{DECK}: [1 + beta h]^(d-1) [1 + beta h + h' r], h not defined",
            about="det",
            says=(1 + beta * h) ** (components(x) - 1) * (1 + beta * h - h**2 * r),
            agrees=False,
            note="beta is missing before h' r; h = 1/(alpha + r), h' = -h^2",
        ),
        DeckClaim(
            id="E26 with beta",
            deck="Rezende and Mohamed 2015, equation (14) with beta before h' r",
            about="det",
            says=(1 + beta * h) ** (components(x) - 1) * (1 + beta * h - beta * h**2 * r),
            agrees=True,
        ),
    ),
)
