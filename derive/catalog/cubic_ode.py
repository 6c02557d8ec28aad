"""Linear map, bias and a cubic damping: x' = w x + b - gamma x^3 (elementwise cube)."""

from derive import ODE, DeckClaim, Spec, matvec, parameter, state, transpose
from derive.symbols import Role

x = state("x", "d", meaning="state")
w = parameter("w", ("d", "d"), meaning="linear coupling")
b = parameter("b", "d", meaning="bias")
gamma = parameter("gamma", meaning="strength of the cubic damping")
a = x.renamed("a", "a", Role.COTANGENT)

SPEC = Spec(
    id="cubic_ode",
    class_name="CubicODE",
    title="Linear ODE with cubic damping",
    source="Ruseckas, Differential equations and neural networks; deck B, 'Sum of linear and non-linear parts'",
    system=ODE(state=(x,), velocity=(matvec(w, x) + b - gamma * x**3,)),
    scheme="forward_euler",
    defaults={"gamma": 1.0},
    claims=(
        DeckClaim(
            id="adjoint equation",
            deck="deck B, 'Sum of linear and non-linear parts'",
            about="costate_velocity_x",
            says=-(matvec(transpose(w), a) - 3 * gamma * x**2 * a),
            note="correct as printed",
            agrees=True,
        ),
    ),
)
