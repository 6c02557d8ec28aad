"""Continuous-time recurrent network: tau x' = -x + w^T sigma(x - theta) + I, one time constant per unit."""

from derive import (
    ODE,
    DeckClaim,
    Lyapunov,
    Spec,
    at_step,
    dot,
    log,
    matvec,
    parameter,
    sigmoid,
    state,
    total,
    transpose,
    velocity_of,
)

x = state("x", "n", meaning="potentials of the units")
tau = parameter("tau", "n", meaning="time constants, above zero")
w = parameter("w", ("n", "n"), meaning="weights, w_ji from unit j to unit i")
theta = parameter("theta", "n", meaning="thresholds")
I = parameter("I", "n", meaning="external input")
x_n = at_step(x, 0)
V = sigmoid(x - theta)

SPEC = Spec(
    id="ctrnn_hopfield",
    class_name="CTRNN",
    title="Continuous-time recurrent network of Hopfield",
    source="Hopfield, Graded response, PNAS 81, 1984; deck B, 'Continuous time recurrent neural networks'",
    system=ODE(state=(x,), velocity=((-x + matvec(transpose(w), sigmoid(x - theta)) + I) / tau,)),
    scheme="forward_euler",
    may_vary=(w, I),
    lyapunov={
        "energy": Lyapunov(
            value=total(V * log(V) + (1 - V) * log(1 - V) + theta * V) - dot(V, matvec(w, V)) / 2 - dot(I, V),
            rate=-total(tau * V * (1 - V) * velocity_of(x) ** 2),
            where={w: (w + transpose(w)) / 2},
            positive=(tau,),
        )
    },
    statements=(
        (
            r"h = \tau:\quad x_{n+1} = w^{\top} \sigma\left(x_n - \theta\right) + I",
            "forward Euler with the step of one time constant is the discrete recurrent network",
        ),
    ),
    claims=(
        DeckClaim(
            id="E37",
            deck="deck B, 'Continuous time recurrent neural networks'",
            about="f",
            says=(-x_n + matvec(transpose(w), sigmoid(x_n - theta)) + I) / tau,
            note="correct as printed, with w_ji from j to i: the transpose acts. The energy needs symmetric w and "
            "constant I, which the deck does not say",
            agrees=True,
        ),
    ),
)
