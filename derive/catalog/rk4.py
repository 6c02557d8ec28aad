"""The classical Runge-Kutta scheme on a field that is passed in."""

from derive import ODE, DeckClaim, Network, Spec, discretize, quantities, state, time

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
ODE_OF_F = ODE(state=(x,), velocity=(f(t, x),), time=t)
step = quantities(discretize(ODE_OF_F, "rk4"))
x_n, t_n, h, k_1, k_2, k_3, k_4 = (step[name] for name in ("x", "t", "h", "f_1", "f_2", "f_3", "f_4"))

SPEC = Spec(
    id="rk4",
    class_name="RK4",
    title="x' = f(t, x) by classical Runge-Kutta",
    source="deck 'LSTM: theory and workflows', 'Runge Kutta'",
    system=ODE_OF_F,
    scheme="rk4",
    claims=(
        DeckClaim(
            id="step",
            deck="deck 'LSTM: theory and workflows', 'Runge Kutta', line 111",
            about="x_next",
            says=x_n + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4),
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="k_3",
            deck="deck 'LSTM: theory and workflows', 'Runge Kutta', line 121",
            about="f_3",
            says=f(t_n + h / 2, x_n + h * k_2 / 2),
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="E004-1",
            deck="deck 'LSTM: theory and workflows', 'Runge Kutta', after line 121: no line for k_4",
            about="f_4",
            says=f(t_n + h / 2, x_n + h * k_3 / 2),
            note="the line is missing; continued in the pattern of the two before it, k_4 stands half a step too early "
            "and the order falls to 1",
            agrees=False,
        ),
    ),
)
