"""Deep equilibrium model: a layer that is applied until nothing changes."""

from derive import Builder, DeckClaim, FixedPoint, Network, Spec, constant, forward_sweep, input_, matvec, state
from derive.fixed_point_sections import read_by
from derive.least_change import least_change
from derive.symbols import Quantity

DECK = "deck A, 'Deep Equilibrium Models'"

z = state("z", "n", meaning="state, at the end the equilibrium")
x = input_("x", "m", meaning="input, held fixed")
f = Network("f", beside=("m",))

graph = Builder()
y = graph.let("y", f(z, x), meaning="image of the state")
equilibrium = FixedPoint(graph.build([y]), z)

total = forward_sweep(equilibrium.equilibrium, read_by(equilibrium)).program.assignments[-1].value
update = least_change("n")
g = Quantity("g", ("n",), update.step.role, meaning="residual")
alpha = constant("alpha", meaning="length of a step")

SPEC = Spec(
    id="deq",
    class_name="DEQ",
    title="Deep equilibrium model",
    source=f"{DECK}; Bai, Kolter and Koltun, Deep Equilibrium Models, 2019",
    system=equilibrium,
    claims=(
        DeckClaim(
            id="E21",
            deck=f"{DECK}: (I - J) dz*/d(.) = df(z*; x)/d(.)",
            about="partial",
            says=total,
            agrees=False,
            note="the derivative of f with z* held fixed belongs there; the total derivative, printed here, counts the "
            "way through z* twice. The slide's g -> 0 means g(z*) = 0, a root: a limit exists only where the iteration "
            "converges",
        ),
        DeckClaim(
            id="E22",
            deck=f"{DECK}: Broyden's method, no update of B",
            about="inverse_next",
            says=update.inverse,
            agrees=False,
            note="the slide keeps B; the rank-one update of the good method is derived here, from B_0 = -I",
        ),
        DeckClaim(
            id="E22 step",
            deck=f"{DECK}: z[i+1] = z[i] - alpha B g(z[i])",
            about="next",
            says=z - alpha * matvec(update.inverse, g),
            where={alpha: 1},
            agrees=True,
            note="with alpha = 1, a full step",
        ),
    ),
)
