"""Forward Euler on a field that is passed in."""

from derive import ODE, DeckClaim, Integer, Network, Spec, discretize, quantities, state, time

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
ODE_OF_F = ODE(state=(x,), velocity=(f(t, x),), time=t)
step = quantities(discretize(ODE_OF_F, "forward_euler"))
x_n, t_n, h = (step[name] for name in ("x", "t", "h"))

SPEC = Spec(
    id="forward_euler",
    class_name="ForwardEuler",
    title="x' = f(t, x) by forward Euler",
    source="deck A, 'Forward Euler Scheme', 'Formula'",
    system=ODE_OF_F,
    scheme="forward_euler",
    claims=(
        DeckClaim(
            id="step",
            deck="deck A, 'Formula', line 1",
            about="x_next",
            says=x_n + h * f(t_n, x_n),
            note="correct as printed, with the state first; the slide before writes f(t, x) (E01)",
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
