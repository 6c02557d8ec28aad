"""Neural ODEs as Hamiltonian systems: one Lagrangian, linear in the velocity, and what its Hamiltonian keeps."""

from derive import ODE, DeckClaim, Integer, OptimalControl, Spec, dot, matvec, parameter, state, target
from derive.control_checks import velocity
from derive.symbols import Role

DECK = "deck B, 'Forward and backward equations can be written in the form of the Euler-Lagrange equations'"
x, y = state("x", "d", meaning="state"), target("y", "d", meaning="target")
w = parameter("w", ("d", "d"), meaning="linear coupling")
b = parameter("b", "d", meaning="bias")
gamma = parameter("gamma", meaning="strength of the cubic damping")
F = matvec(w, x) + b - gamma * x**3
a = x.renamed("a", "a", Role.COTANGENT)
problem = OptimalControl(ODE((x,), (F,)), terminal=dot(x - y, x - y) / 2, controls=(w, b))

SPEC = Spec(
    id="hamiltonian_view",
    class_name="",
    title="Training as a Hamiltonian system",
    source="Ruseckas, Differential equations and neural networks; " + DECK,
    system=problem,
    no_module="`derive generate cubic_ode` emits the steps; their discrete Hamiltonian is in its derivation",
    claims=(
        DeckClaim(
            id="E32",
            deck=DECK + ": the Lagrangian L = a x' - a F beside S = L(x(T)) + integral of a (F - x')",
            about="integrand",
            says=dot(a, velocity(x)) - dot(a, F),
            note="S = L(x(T)) - integral of L: the deck's Lagrangian has the other sign than its functional, and the "
            "letter of its loss; the equations are the same",
            agrees=False,
        ),
        DeckClaim(
            id="momentum",
            deck="deck B, 'Generalized momentum': dL/dx' = a",
            about="momentum_x",
            says=a,
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="E33",
            deck="deck B, 'The Hamiltonian': H = a x' - L = a F",
            about="hamiltonian",
            says=dot(a, F),
            note="correct as the first-order form; no Legendre transform: L is linear in x', d^2L/dx'^2 = 0, and the "
            "momentum does not determine the velocity",
            agrees=True,
        ),
        DeckClaim(
            id="E38",
            deck="deck B, 'If the parameters q do not depend on t then a F(x, q) = const'",
            about="hamiltonian_rate",
            says=Integer(0),
            note="zero where w' = b' = 0, as the deck demands, and along optimal w(t), b(t), where dH/dq = 0; in "
            "continuous time only: the steps of a net keep lambda . v, and H to O(h) (see cubic_ode)",
            agrees=False,
        ),
    ),
)
