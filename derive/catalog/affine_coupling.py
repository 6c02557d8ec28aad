"""Affine coupling: one part of a vector is scaled and shifted by what networks read from the other."""

from derive import Builder, DeckClaim, Flow, Network, Spec, state

DECK = "deck A, 'Normalizing Flows' (NICE)"

x_1 = state("x_1", "p", meaning="part that stays")
x_2 = state("x_2", "q", meaning="part that is scaled and shifted")
scale = Network("scale", latex="s", maps=("p", "q"))
shift = Network("shift", latex="m", maps=("p", "q"))

graph = Builder()
y_1 = graph.let("y_1", x_1, meaning="first part of the image")
s = graph.let("s", scale(x_1), meaning="scale")
m = graph.let("m", shift(x_1), meaning="shift")
y_2 = graph.let("y_2", s * x_2 + m, meaning="second part of the image")

SPEC = Spec(
    id="affine_coupling",
    class_name="AffineCoupling",
    title="Affine coupling",
    source=f"{DECK}; Dinh, Sohl-Dickstein and Bengio, Real NVP, 2017",
    system=Flow(graph.build([y_1, y_2])),
    claims=(
        DeckClaim(
            id="E25",
            deck=f"{DECK}: h_2 = s(x_1) x_2 + m(x_1)",
            about="y_2",
            says=s * x_2 + m,
            agrees=True,
            note="this is Real NVP; the log-determinant, which the slide leaves out, is the sum of log |s|, and s != 0",
        ),
    ),
)
