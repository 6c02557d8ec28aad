"""Backward Euler for a field that is passed in: the simplest implicit step, stable for every stiff decay."""

from derive import ODE, DeckClaim, Integer, Network, Spec, at_step, state, step_size, time

x = state("x", "d", meaning="state")
t = time("t")
f = Network("f", takes_time=True)
h = step_size("h")
x_n, x_next = at_step(x, 0), at_step(x, -1)
t_n = time("t", latex="t_{n}")

SPEC = Spec(
    id="backward_euler",
    class_name="BackwardEuler",
    title="Backward Euler",
    source="deck A, 'Formula'",
    system=ODE(state=(x,), velocity=(f(t, x),), time=t),
    scheme="backward_euler",
    claims=(
        DeckClaim(
            id="step of backward Euler",
            deck="deck A, 'Formula': x_{n+1} = x_n + h f(x_{n+1}, t_{n+1})",
            about="x_next",
            says=x_n + h * f(t_n + h, x_next),
            note="correct as printed; the deck writes f(x, t)",
            agrees=True,
        ),
        DeckClaim(
            id="E04",
            deck="deck A, 'Formula', orders: O(h^2)",
            about="local_error_power",
            says=Integer(2),
            note="right as the error of one step",
            agrees=True,
        ),
    ),
)
