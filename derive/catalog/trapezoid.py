"""The trapezoid rule for a field that is passed in: implicit, second order, its own inverse with -h."""

from sympy import Integer, Rational

from derive import ODE, DeckClaim, Network, Spec, at_step, state, step_size, time

x = state("x", "d", meaning="state")
t = time("t")
f = Network("f", takes_time=True)
h = step_size("h")
x_n, x_next = at_step(x, 0), at_step(x, -1)
t_n = time("t", latex="t_{n}")

SPEC = Spec(
    id="trapezoid",
    class_name="Trapezoid",
    title="Trapezoid rule",
    source="deck A, 'Formula'",
    system=ODE(state=(x,), velocity=(f(t, x),), time=t),
    scheme="trapezoid",
    claims=(
        DeckClaim(
            id="step of the trapezoid rule",
            deck="deck A, 'Formula': x_{n+1} = x_n + h/2 [f_n + f_{n+1}]",
            about="x_next",
            says=x_n + h * Rational(1, 2) * (f(t_n, x_n) + f(t_n + h, x_next)),
            note="correct as printed; the deck writes f(x, t)",
            agrees=True,
        ),
        DeckClaim(
            id="E04",
            deck="deck A, 'Formula', orders: O(h^3)",
            about="local_error_power",
            says=Integer(3),
            note="right as the error of one step: -h^3/12 times the third derivative",
            agrees=True,
        ),
    ),
)
