"""Leapfrog, the two-step midpoint rule, on a field that is passed in."""

from derive import ODE, DeckClaim, Integer, Network, Spec, discretize, quantities, state, time

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
ODE_OF_F = ODE(state=(x,), velocity=(f(t, x),), time=t)
step = quantities(discretize(ODE_OF_F, "leapfrog"))
x_n, x_prev, t_n, h = (step[name] for name in ("x", "x_prev", "t", "h"))

SPEC = Spec(
    id="leapfrog",
    class_name="Leapfrog",
    title="x' = f(t, x) by leapfrog",
    source="deck A, 'Formula'",
    system=ODE_OF_F,
    scheme="leapfrog",
    claims=(
        DeckClaim(
            id="step",
            deck="deck A, 'Formula', line 3",
            about="x_next",
            says=x_prev + 2 * h * f(t_n, x_n),
            note="correct as printed; the start x_1 is not specified there",
            agrees=True,
        ),
        DeckClaim(
            id="E04",
            deck="deck A, 'Formula', orders: O(h^2) for the third line",
            about="local_error_power",
            says=Integer(2),
            note="h^3/3 times the third derivative; h^2 is right for the error at a fixed time, and by that "
            "measure forward Euler has O(h)",
            agrees=False,
        ),
    ),
)
