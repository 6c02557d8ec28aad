"""Recurrent network from a delay equation: its linearly implicit step, with the matrices that this gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath
from sympy import Integer

from derive import (
    ODE,
    DeckClaim,
    DelayODE,
    IdentityCheck,
    Quantity,
    Spec,
    Stack,
    constant,
    delay_cell,
    delay_terms,
    fill,
    identity,
    identity_like,
    input_,
    lag,
    linear_solve,
    matmul,
    matvec,
    parameter,
    quantities,
    relation,
    state,
    step_size,
    tanh,
)
from derive.convergence import OrderCheck, distance, forward_run, solution
from derive.evaluator import evaluate, value_of
from derive.sampling import Sampler

h = step_size()
s = state("s", "H", meaning="state")
r = state("r", "H", meaning="readout")
x = input_("x", "I", meaning="input")
A = parameter("A", ("H", "H"), meaning="state to its velocity")
B = parameter("B", ("H", "H"), meaning="delayed readout to the velocity")
C = parameter("C", ("H", "I"), meaning="input to the velocity")
phi = parameter("phi", "H", meaning="constant velocity")
tau = constant("tau_0", latex=r"\tau_0", meaning="delay of the readout")

memory, past = delay_terms(s, [(B, tau)], through=tanh)
(s_tau,) = past
velocity = matvec(A, s) + memory + matvec(C, x) + phi
EQUATION = DelayODE((s,), (velocity,), past, inputs=(x,), scheme="linearly_implicit_euler")
CELL = delay_cell(EQUATION, (r, tanh(s)), lags={tau: lag("delay", latex="m")})
q = quantities(CELL)
s_old = CELL.old[0]
(r_ago,), (x_now,) = CELL.past, CELL.inputs
W, M = q["W_s"], q["M"]

# The family whose limit has no memory of its own: everything in the equation times a large number.
large = constant("kappa", latex=r"\kappa", meaning="a large number")
A_1 = parameter("A_1", ("H", "H"), latex=r"\tilde A", meaning="A = -kappa A_1")
B_1 = parameter("B_1", ("H", "H"), latex=r"\tilde B", meaning="B = kappa B_1")
C_1 = parameter("C_1", ("H", "I"), latex=r"\tilde C", meaning="C = kappa C_1")
phi_1 = parameter("phi_1", "H", latex=r"\tilde\phi", meaning="phi = kappa phi_1")
plain_step = linear_solve(A_1, matvec(B_1, r_ago) + matvec(C_1, x_now) + phi_1)
stiff = identity_like(A_1) + h * large * A_1
SCALED = {A: -large * A_1, B: large * B_1, C: large * C_1, phi: large * phi_1}


@cache
def sample() -> dict[Quantity, Any]:
    """Random values of the family."""
    return Sampler((s_old, r_ago, x_now, h, A_1, B_1, C_1, phi_1)).values()


def distance_from_the_limit(size: int) -> Any:
    """How far the step with everything times a number is from the plain recurrent network's."""
    values = {**sample(), large: mpmath.mpf(size)}
    given = {q: value_of(SCALED.get(q, q), values, {}) for q in CELL.step.inputs}
    return distance(evaluate(CELL.step, given, {})[q["s_next"]], value_of(plain_step, values, {}))


# A delay of one step, where the time of a step goes to zero.
NEXT = delay_cell(EQUATION, (r, tanh(s)), lags={tau: 1})
DURATION = mpmath.mpf(1) / 4
without_delay = matvec(A, s) + matvec(B, tanh(s)) + matvec(C, x) + phi


@cache
def run_sample() -> tuple[Sampler, dict[Quantity, Any], Any]:
    """Random values, and where they lead the equation without a delay; the input is constant."""
    sampler = Sampler((A, B, C, phi, s, x))
    values = sampler.values()
    times = [DURATION * k / 8 for k in range(9)]
    *_, last = solution(ODE((s,), (without_delay,)), values, times, sampler)
    return sampler, values, last[s]


def distance_from_the_ode(steps: int) -> Any:
    """How far so many steps, each of which reads the one before it, end from the solution without a delay."""
    sampler, values, end = run_sample()
    s_before, r_before = NEXT.old
    start = value_of(tanh(s), values, {})
    given = {**values, s_before: values[s], r_before: start, NEXT.inputs[0]: values[x], h: DURATION / steps}
    *_, last = forward_run(NEXT, given, steps, lambda n: {}, sampler)
    return distance(last[NEXT.new[0]], end)


LETTERS = "the page has lost the first letters of its commands: au_s is tau_s, ec{s} vec{s}, anh tanh (E000-5)"
LIMIT = "The plain recurrent network as a limit"
ODE_PAGE, DISCRETE = "RNN and LSTM, 'Starting with a ODE'", "RNN and LSTM, 'Discretize'"
DISCRETIZED = {
    "s_next": matvec(W, s_old) + matvec(q["W_r"], r_ago) + matvec(q["W_x"], x_now) + q["theta_s"],
    "W_s": linear_solve(identity_like(A) - h * A, identity_like(A)),
    "W_r": h * matmul(W, B),
    "W_x": h * matmul(W, C),
    "theta_s": h * matvec(W, phi),
}
terms = matvec(A, q["s_next"]) + matvec(B, r_ago) + matvec(C, x_now) + phi

SPEC = Spec(
    id="delay_rnn",
    class_name="DelayRNN",
    title="Recurrent network from a delay equation",
    source="Sherstinsky 2020; RNN and LSTM, 'Starting with a ODE'",
    system=CELL,
    stacks=(Stack(A.name, (A,), initial="zeros"),),  # W_s = I at the start: with A at random the step is unstable
    claims=(
        DeckClaim("velocity", ODE_PAGE, "F_s", velocity, note=LETTERS, agrees=True),
        DeckClaim(
            "E000-2",
            f"{ODE_PAGE}, line 462",
            "F_s",
            matvec(A, s) + matvec(B, tanh(s)) + matvec(C, x) + phi,
            note="tau_r(0) = 0 stands there a second time; tau_x(0) = 0 is meant, and C_0 = C is missing",
            agrees=False,
        ),
        DeckClaim(
            "E000-1",
            f"{DISCRETE}, line 470",
            "increment",
            terms,
            note="the right-hand side lacks the step size, which the four matrices have",
            agrees=False,
        ),
        DeckClaim("E000-1, step size 1", DISCRETE, "increment", terms, where={h: Integer(1)}, agrees=True),
        *(DeckClaim(name, DISCRETE, name, says, agrees=True) for name, says in DISCRETIZED.items()),
        DeckClaim(
            "E000-3",
            f"{DISCRETE}, line 483",
            "W_s",
            fill(Integer(0), A),
            note="'RNN if W_s = 0': an inverse is never 0; it is a limit, in which A, B, C and phi grow together",
            agrees=False,
        ),
    ),
    relations=(
        relation(
            "a delay of one step",
            "asymptotic",
            r"\tau_0 = h \to 0: \quad s_N - s(t_N) = O(h), \qquad \dot s = A s + B \tanh(s) + C x + \phi",
            text="tau_0 = h to 0: s_N - s(t_N) = O(h) with ds/dt = A s + B tanh(s) + C x + phi",
            reason="the delay goes to zero with the step: another equation than with a delay that is held",
            name="short_delay",
            check=OrderCheck(distance_from_the_ode, Integer(1)),
            section="A delay of one step",
        ),
        identity(
            "W_s has an inverse",
            matmul(W, M),
            identity_like(A),
            reason="no step that can be made has W_s = 0",
            check=IdentityCheck(matmul(W, M), identity_like(A), CELL.step.inputs, given=CELL.step),
            name="inverse",
            section=LIMIT,
        ),
        identity(
            "the step of the stiff family",
            linear_solve(stiff, s_old + h * large * (matvec(B_1, r_ago) + matvec(C_1, x_now) + phi_1)),
            linear_solve(stiff, s_old) + plain_step - linear_solve(stiff, plain_step),
            reason="A = -kappa A_1, B = kappa B_1, C = kappa C_1, phi = kappa phi_1: h kappa W_s = (I - W_s) A_1^(-1)",
            name="stiff",
            section=LIMIT,
        ),
        relation(
            "the limit of the stiff family",
            "asymptotic",
            r"s_n = \tilde A^{-1}\left(\tilde B\, r_{n-1} + \tilde C\, x_n + \tilde\phi\right) + O(\kappa^{-1})",
            text="s_n = A_1^(-1) (B_1 r + C_1 x + phi_1) + O(1/kappa)",
            reason="W_s = O(1/kappa): with A_1 = I this is the plain recurrent network, whatever the step size",
            name="plain_limit",
            value=plain_step,
            check=OrderCheck(distance_from_the_limit, Integer(1), coarsest=2**16),
            section=LIMIT,
        ),
    ),
)
