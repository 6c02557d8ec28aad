"""Neural ODE: a network as the field of an ODE, solved with adaptive steps."""

from derive import ODE, Adaptive, DeckClaim, Network, Spec, dot, state, time

DECK = "deck A, 'Neural ODE', Algorithm 1"

x, t = state("x", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
system = Adaptive(ODE(state=(x,), velocity=(f(t, x),), time=t))
a = system.control.hamiltonian.costates[x]
(g,) = (q for q in system.control.listed if q.name == "g")

SPEC = Spec(
    id="neural_ode",
    class_name="NeuralODE",
    title="Neural ODE",
    source=f"{DECK}; Chen et al., Neural ordinary differential equations, 2018",
    system=system,
    claims=(
        DeckClaim(
            id="a(t_1)",
            deck=f"{DECK}: s(t_1) = [z(t_1), dL/dz(t_1), 0, -dL/dt_1]",
            about="end_t_1_x",
            says=g,
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="dL/dt_1",
            deck=f"{DECK}: dL/dt_1 = dL/dz(t_1) . f(z(t_1), t_1, theta)",
            about="gradient_t_1",
            says=dot(a, f(t, x)),
            note="correct as printed: a(t_1) is dL/dz(t_1)",
            agrees=True,
        ),
        DeckClaim(
            id="E20",
            deck=f"{DECK}: returns dL/dz(t_0), dL/dtheta, dL/dt_0, dL/dt_0",
            about="gradient_t_1",
            says=-dot(a, f(t, x)),
            note="the last output is dL/dt_1; dL/dt_0 = -a(t_0) . f(z(t_0), t_0, theta) is another number",
            agrees=False,
        ),
        DeckClaim(
            id="sign of dL/dt_0",
            deck=f"{DECK}: the fourth component of s(t_0), which starts with -dL/dt_1",
            about="gradient_t_0",
            says=-dot(a, f(t, x)),
            note="d/dt (a . f) = a . f_t: with that start the component is -a . f all the way, and needs no "
            "integration of its own",
            agrees=True,
        ),
    ),
)
