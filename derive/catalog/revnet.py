"""RevNet: two streams that drive each other, by symplectic Euler."""

from derive import ODE, DeckClaim, Network, Spec, at_step, state, step_size

x = state("x", "d", meaning="first stream")
y = state("y", "d", meaning="second stream")
f = Network("f", per_layer=True)
g = Network("g", per_layer=True)
h = step_size("h")
x_n, y_n = at_step(x, 0), at_step(y, 0)

SPEC = Spec(
    id="revnet",
    class_name="RevNet",
    title="RevNet as symplectic Euler",
    source="Gomez et al., The Reversible Residual Network, NIPS 2017; deck A, 'RevNet(@NIPS2017)'",
    system=ODE(state=(x, y), velocity=(f(y), g(x))),
    scheme="symplectic_euler",
    claims=(
        DeckClaim(
            id="E11",
            deck="deck A, 'RevNet(@NIPS2017)': 'Forward Euler Scheme'",
            about="y_next",
            says=y_n + h * g(x_n),
            agrees=False,
            note="g is evaluated at x_{n+1}: this is symplectic Euler, a composition of two shears. "
            "Forward Euler has no explicit inverse and no determinant 1: on x' = y, y' = -x it has 1 + h^2",
        ),
        DeckClaim(
            id="step of x",
            deck="deck A, 'RevNet(@NIPS2017)'",
            about="x_next",
            says=x_n + h * f(y_n),
            agrees=True,
            note="correct as printed, with h = 1",
        ),
    ),
)
