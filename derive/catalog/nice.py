"""NICE: additive coupling, which keeps volumes."""

from derive import Builder, DeckClaim, Flow, Network, Spec, constant, state

DECK = "deck A, 'Normalizing Flows' (NICE)"

x_1 = state("x_1", "p", meaning="part that stays")
x_2 = state("x_2", "q", meaning="part that is shifted")
shift = Network("shift", latex="m", maps=("p", "q"))

graph = Builder()
y_1 = graph.let("y_1", x_1, meaning="first part of the image")
m = graph.let("m", shift(x_1), meaning="shift")
y_2 = graph.let("y_2", x_2 + m, meaning="second part of the image")

SPEC = Spec(
    id="nice",
    class_name="NICE",
    title="Additive coupling (NICE)",
    source=f"{DECK}; Dinh, Krueger and Bengio, NICE, 2015",
    system=Flow(graph.build([y_1, y_2])),
    claims=(
        DeckClaim(
            id="E25",
            deck=f"{DECK}: h_2 = s(x_1) x_2 + m(x_1)",
            about="y_2",
            says=constant("s_0") * x_2 + m,
            agrees=False,
            note="NICE uses additive coupling, s = 1, with the log-determinant 0; the affine one is Real NVP",
        ),
    ),
)
