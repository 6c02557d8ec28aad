"""Heun's scheme, improved Euler, on a field that is passed in."""

from derive import ODE, DeckClaim, Integer, Network, Spec, discretize, quantities, state, time

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
ODE_OF_F = ODE(state=(x,), velocity=(f(t, x),), time=t)
step = quantities(discretize(ODE_OF_F, "heun"))
x_n, h, f_1, f_2 = (step[name] for name in ("x", "h", "f_1", "f_2"))

SPEC = Spec(
    id="heun",
    class_name="Heun",
    title="x' = f(t, x) by Heun",
    source="deck A, 'Runga-Kutta Formula(2Order)', 'Formula'",
    system=ODE_OF_F,
    scheme="heun",
    claims=(
        DeckClaim(
            id="predictor",
            deck="deck A, 'Formula', line 6: \\hat{x}_{n+1}",
            about="x_2",
            says=x_n + h * f_1,
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="E02",
            deck="deck A, 'Formula', line 6: h/2 [f(x_n, t_n), f(\\hat{x}_{n+1} t_{n+1})]",
            about="x_next",
            says=x_n + h / 2 * f_1 * f_2,
            note="a comma stands where the plus was lost; without a sign the bracket reads as a product",
            agrees=False,
        ),
        DeckClaim(
            id="E04",
            deck="deck A, 'Formula', orders: O(h^3)",
            about="local_error_power",
            says=Integer(3),
            note="right, with the plus put back",
            agrees=True,
        ),
    ),
)
