"""Control of an ODE: a network with parameters that depend on time, a linear regulator, and costs at several times."""

from derive import (
    ODE,
    DeckClaim,
    IdentityCheck,
    Network,
    OptimalControl,
    Spec,
    constant,
    dot,
    exp,
    logsumexp,
    matvec,
    parameter,
    relation,
    softmax,
    state,
    target,
    time,
    transpose,
)
from derive.checks import central_difference

DECK = "deck B, 'How to minimize the loss? Use the method of Lagrange multipliers'"
x, t = state("x", "d", meaning="state"), time("t")
y = target("y", "K", meaning="class of the sample, one-hot")
V, c = parameter("V", ("K", "d"), meaning="read-out"), parameter("c", "K", meaning="read-out bias")
f = Network("f", takes_time=True)
logits = matvec(V, x) + c
a = OptimalControl(ODE((x,), (f(t, x),), time=t), terminal=logsumexp(logits) - dot(y, logits)).hamiltonian.costates[x]

classifier = OptimalControl(
    ODE((x,), (f(t, x),), time=t), terminal=logsumexp(logits) - dot(y, logits), controls=(f.theta,)
)

A, B = parameter("A", ("d", "d")), parameter("B", ("d", "m"))
C, D = (
    parameter("C", ("p", "d"), meaning="what is kept small"),
    parameter("D", ("p", "d"), meaning="the same at the end"),
)
q, rho = parameter("q", "m", meaning="control"), constant("rho", meaning="price of the control")
regulator = OptimalControl(
    ODE((x,), (matvec(A, x) + matvec(B, q),)),
    terminal=dot(matvec(D, x), matvec(D, x)) / 2,
    running=dot(matvec(C, x), matvec(C, x)) / 2 + rho * dot(q, q) / 2,
    controls=(q,),
)

z, theta = state("z", (), meaning="state"), parameter("theta")
seen, goal = target("seen", (), latex="y_a"), target("goal", (), latex="y_1")
t_a, t_0, t_1 = time("t_a", meaning="time of an observation"), classifier.begin, classifier.end
observed = OptimalControl(
    ODE((z,), (theta * z + t,), time=t),
    terminal=(z - goal) ** 2 / 2,
    observations={t_a: (z - seen) ** 2 / 2},
    free=(t_1,),
)
z_0 = state("z_0", (), meaning="initial state")
solution = exp(theta * (t - t_0)) * (z_0 + t_0 / theta + theta**-2) - t / theta - theta**-2

SPEC = Spec(
    id="ode_control",
    class_name="",
    title="Optimal control of an ODE",
    source="Ruseckas, Differential equations and neural networks; " + DECK + "; deck A, Algorithm 1",
    system={"classifier": classifier, "regulator": regulator, "observed": observed},
    option="problem",
    no_module="`derive generate rk4` emits the steps with their discrete adjoint, whose limit these equations are",
    relations=(
        relation(
            "closed solution between observations",
            "identity",
            r"z(t) = e^{\theta (t - t_0)} \left(z_0 + \tfrac{t_0}{\theta} + \tfrac{1}{\theta^2}\right) - "
            r"\tfrac{t}{\theta} - \tfrac{1}{\theta^2}",
            text=f"z(t) = {solution}",
            reason="z' = theta z + t; z(t_0) = z_0",
            name="closed_solution",
            value=solution,
            check=IdentityCheck(
                lambda known, sampler: (central_difference(solution, known, {t: 1}, sampler) - known[t]) / known[theta],
                solution,
                (t, t_0, z_0, theta),
            ),
            section="A scalar test",
        ),
    ),
    claims=(
        DeckClaim(
            id="a(T)",
            deck=DECK + ": a(T) = dL/dx(T), with the linear classifier of the slide before",
            about="end_t_1_x",
            says=matvec(transpose(V), softmax(logits) - y),
            option="classifier",
            note="correct as printed; a is a row there",
            agrees=True,
        ),
        DeckClaim(
            id="functional derivative",
            deck=DECK + ": delta L/delta q(t) = a dF/dq, on the linear field",
            about="functional_derivative_q",
            says=matvec(transpose(B), a) + rho * q,
            option="regulator",
            note="correct as printed; the deck has no running cost, which adds rho q here",
            agrees=True,
        ),
        DeckClaim(
            id="E20",
            deck="deck A, Algorithm 1: returns dL/dz(t_0), dL/dtheta, dL/dt_0, dL/dt_0",
            about="gradient_t_1",
            says=-dot(a, f(t, x)),
            option="classifier",
            note="the last output is dL/dt_1 = a(t_1) . f(z(t_1), t_1); dL/dt_0 = -a(t_0) . f(z(t_0), t_0)",
            agrees=False,
        ),
    ),
)
