"""Euler's method on any field that depends on the time: what one step does, and which time it has to be given."""

from functools import cache

import mpmath
from sympy import Integer, Rational

from derive import (
    ODE,
    DeckClaim,
    IdentityCheck,
    Network,
    OrderCheck,
    Spec,
    at_step,
    constant,
    cos,
    discretize,
    distance,
    forward_run,
    pushforward,
    relation,
    sin,
    solution,
    state,
    step_size,
    time,
)
from derive.convergence import Values
from derive.elementary import taylor
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.sampling import Sampler

s, t, h = state("s", "d", meaning="state"), time("t"), step_size("h")
n = constant("n", meaning="number of the step")
t_0 = constant("t_0", meaning="initial time")
v = s.renamed("v", "v", meaning="a direction of the state")
g = Network("g", takes_time=True)
ode = ODE(state=(s,), velocity=(g(t, s),), time=t)
euler = discretize(ode, "forward_euler")
s_n, s_next, t_n = at_step(s, 0), at_step(s, -1), time("t", latex="t_{n}")
jacobian = v + h * pushforward(g(t_n, s_n), {s_n: v})
acceleration = pushforward(g(t, s), {t: Integer(1), s: g(t, s)})
in_numbers = s_n + h * g(t_0 + n * h, s_n)

u = state("u", ())
drive = ODE(state=(u,), velocity=(cos(t),), time=t)
driven = discretize(drive, "forward_euler")
u_n, u_next = at_step(u, 0), at_step(u, -1)
STEPS = 20
stopped = u_n + h * cos(Rational(STEPS - 1, 2)) * sin(Rational(STEPS, 2)) / sin(Rational(1, 2))


def step_at(known: Values, sampler: Sampler) -> Numeric:
    """One step by the program, at the time of step n."""
    given = {**known, t_n: known[t_0] + known[n] * known[h]}
    return evaluate(euler.step, {q: given[q] for q in euler.step.inputs}, sampler.networks)[s_next]


def along(known: Values, sampler: Sampler) -> Numeric:
    """Difference quotient of the step along v."""
    e = mpmath.mpf("1e-20")
    sides = [{**known, s_n: known[s_n] + sign * e * known[v]} for sign in (1, -1)]
    up, down = (
        evaluate(euler.step, {q: side[q] for q in euler.step.inputs}, sampler.networks)[s_next] for side in sides
    )
    return (up - down) / (2 * e)


@cache
def reference() -> tuple[Sampler, Values, Numeric]:
    """A sampled field with its solution at the time 1."""
    sampler = Sampler({s, t, g.theta}, (g,))
    values = sampler.values()
    times = [mpmath.mpf(j) / 8 for j in range(9)]
    *_, end = solution(ode, values, times, sampler)
    return sampler, values, end[s]


def global_error(steps: int) -> Numeric:
    """Distance of s_N from s(1)."""
    sampler, values, end = reference()
    size = 1 / mpmath.mpf(steps)
    *_, last = forward_run(euler, {**values, s_n: values[s], h: size}, steps, lambda k: {t_n: k * size}, sampler)
    return distance(last[s_next], end)


def by_numbers(known: Values, sampler: Sampler) -> Numeric:
    """STEPS steps on s' = cos t with the number of the step in the place of the time."""
    *_, last = forward_run(driven, known, STEPS, lambda k: {t_n: mpmath.mpf(k)}, sampler)
    return last[u_next]


WHICH_TIME = "Which time"
SPEC = Spec(
    id="dyn_euler",
    class_name="",
    title="Euler's method on a dynamical system",
    source="lecture October 16, 'Define a dynamical system', 'Euler's method': s(t+1) = s(t) + h g(s(t), t)",
    system=ode,
    scheme="forward_euler",
    no_module="`derive generate forward_euler` emits it for a field that is passed in; a field of your own goes into a "
    "spec with scheme='forward_euler' (`derive new`)",
    relations=(
        relation(
            "local truncation error in the field's own derivatives",
            "identity",
            r"\tau_n = \tfrac{h^2}{2} \ddot s(t_n) + O(h^3), \qquad \ddot s = g_t + g_s\, g",
            text=f"tau_n = h^2/2 s'' + O(h^3), s'' = {acceleration}",
            reason="the step keeps s + h s' of the Taylor expansion; the time is one more unknown, t' = 1",
            name="acceleration",
            value=acceleration,
            check=IdentityCheck(
                lambda known, sampler: 2 * taylor(ode, ode.velocity, known, sampler, 2)[0][2],
                acceleration,
                (s, t, g.theta),
                (g,),
            ),
            section="One step and many",
        ),
        relation(
            "Jacobian of the step",
            "identity",
            r"\frac{\partial s_{n+1}}{\partial s_n} v = (I + h\, g_s)\, v",
            text=f"d s_(n+1) / d s_n along v = {jacobian}",
            reason="the forward sweep; its transpose carries the discrete adjoint",
            name="jacobian",
            value=jacobian,
            check=IdentityCheck(along, jacobian, (*euler.step.inputs, v), (g,)),
            section="One step and many",
        ),
        relation(
            "global error",
            "asymptotic",
            r"\left|s_N - s(T)\right| = O(h), \qquad h = T/N",
            text="|s_N - s(T)| = O(h), h = T/N",
            reason="1/h steps, each with a local error of h^2/2 s''",
            check=OrderCheck(global_error, Integer(1)),
            section="One step and many",
        ),
        relation(
            "the time of step n",
            "identity",
            r"s_{n+1} = s_n + h\, g(s_n, t_n), \qquad t_n = t_0 + n h",
            text=f"s_(n+1) = {in_numbers}",
            reason="the field is evaluated at the time that has passed",
            name="step_n",
            value=in_numbers,
            check=IdentityCheck(step_at, in_numbers, (s_n, h, n, t_0, g.theta), (g,)),
            section=WHICH_TIME,
        ),
        relation(
            "the number of the step as the time, on s' = cos t",
            "identity",
            r"s_N = s_0 + h \sum_{n < N} \cos n = s_0 + h\, \frac{\cos\frac{N - 1}{2}\, \sin\frac{N}{2}}"
            r"{\sin\frac{1}{2}} \to s_0, \qquad s(T) = s_0 + \sin T",
            text="s_N = s_0 + h sum cos(n) = s_0 + h cos((N - 1)/2) sin(N/2) / sin(1/2) -> s_0, but s(T) = s_0 + sin T",
            reason=f"a bounded sum times h: at T = 1 the error tends to sin 1 = 0.841; checked at N = {STEPS}",
            check=IdentityCheck(by_numbers, stopped, (u_n, h)),
            section=WHICH_TIME,
        ),
    ),
    claims=(
        DeckClaim(
            id="E002-1",
            deck="lecture October 16, line 15: s(t+1) = s(t) + h g(s(t), t), t the number of the step",
            about="step_n",
            says=s_n + h * g(n, s_n),
            agrees=False,
            note="the time is t_0 + n h; with n itself s' = cos t does not converge, its error at T = 1 tends to 0.841",
        ),
    ),
)
