"""Optimal control: adjoint equations and gradients against closed forms, SciPy and finite differences of the cost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from sympy import Integer, cos, exp

from derive import (
    ODE,
    Network,
    OptimalControl,
    Spec,
    constant,
    divergence,
    dot,
    explain,
    fill,
    hamiltonian,
    load,
    matvec,
    parameter,
    state,
    tanh,
    target,
    time,
    total,
)
from derive.control import END
from derive.control_checks import runs_of
from derive.control_runs import ControlRun
from derive.derivation import Kind
from derive.errors import SpecError, UnsupportedError
from derive.evaluator import value_of
from derive.trajectories import advanced

x, y, t = state("x", "d"), target("y", "d"), time("t")
w, b, gamma = parameter("w", ("d", "d")), parameter("b", "d"), parameter("gamma")
s, v, k, u = state("s", ()), state("v", ()), parameter("k"), parameter("u")
t_a = time("t_a")
f = Network("f", takes_time=True)

PROBLEMS = {
    "clocked": OptimalControl(
        ODE((x,), (matvec(w, x) + b - gamma * x**3 * cos(t),), time=t),
        terminal=dot(x - y, x - y) / 2 * (1 + t),
        running=gamma * dot(b, b) + dot(x, x) * t / 2,
        controls=(b,),
        observations={t_a: dot(x, y) ** 2},
    ),
    "population": OptimalControl(
        ODE((x,), (tanh(matvec(w, x) + b),)), terminal=dot(x - y, x - y), controls=(b,), population=True
    ),
    "network": OptimalControl(ODE((x,), (f(t, x),), time=t), terminal=dot(x, y), controls=(f.theta,)),
    "oscillator": OptimalControl(
        ODE((s, v), (v, -k * s + u)), terminal=s**2 + s * v, running=u**2 / 2, controls=(u,), free=(END,)
    ),
}


def own(control):
    return Spec(id="own", class_name="", title="own", system=control, no_module="it is a problem, no net")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("clocked", "population", "network")]


@pytest.mark.parametrize("name", ["oscillator", *SLOW])
def test_every_relation_holds_and_every_coefficient_counts(name):
    relations = explain(own(PROBLEMS[name])).relations
    checks = [(r.title, r.check) for r in relations if r.check is not None]
    assert len(checks) > 20
    for title, check in checks:
        outcome = check.run()
        assert outcome.holds, (title, outcome)
        for term in range(check.terms):
            assert not check.perturbed(term).run().holds, (title, term)


def costate_at(control, values, end, begin):
    """The costates at `begin` by SciPy along the derived equation, from transversality at `end`."""
    ode, form = control.ode, control.hamiltonian
    found = explain(own(control)).results
    names = [*ode.state, *form.costates.values()]
    rates = [*ode.velocity, *(form.costate_velocity(q) for q in ode.state)]

    def field(now, packed, which):
        known = {**values, **dict(zip(names[:which], packed, strict=True)), t: now}
        return [float(value_of(rate, known)) for rate in rates[:which]]

    half = len(ode.state)
    options = {"rtol": 1e-12, "atol": 1e-13, "method": "DOP853"}
    start = [values[q] for q in ode.state]
    last = solve_ivp(lambda now, p: field(now, p, half), (begin, end), start, **options).y[:, -1]
    known = {**values, **dict(zip(ode.state, last, strict=True)), t: end}
    seeds = [float(value_of(found[f"end_{control.end.name}_{q.name}"], known)) for q in ode.state]
    back = solve_ivp(lambda now, p: field(now, p, 2 * half), (end, begin), [*last, *seeds], **options).y[:, -1]
    return back[half:]


CLOSED = {
    "linear": (ODE((s,), (k * s,)), lambda s0, k0, T: np.exp(2 * k0 * T) * s0),
    "logistic": (ODE((s,), (k * s * (1 - s),)), None),
    "cubic": (
        ODE((s,), (k * s - s**3,)),
        lambda s0, k0, T: (
            s0
            * np.exp(2 * k0 * T)
            / (1 + s0**2 / k0 * (np.exp(2 * k0 * T) - 1)) ** 0.5
            / (1 + s0**2 / k0 * (np.exp(2 * k0 * T) - 1)) ** 1.5
        ),
    ),
}


def logistic(s0, k0, T):
    """x dx/dx_0 of the logistic equation at T."""
    grown = np.exp(k0 * T)
    below = 1 + s0 * (grown - 1)
    return s0 * grown / below * grown / below**2


@pytest.mark.parametrize("name", CLOSED)
def test_costates_of_scalar_equations_are_their_closed_forms(name):
    """L = x(T)^2 / 2, so that a(0) = x(T) dx(T)/dx_0."""
    ode, closed = CLOSED[name]
    expected = (closed or logistic)(0.3, 0.7, 0.8)
    (found,) = costate_at(OptimalControl(ode, terminal=s**2 / 2), {s: 0.3, k: 0.7}, 0.8, 0.0)
    assert found == pytest.approx(expected, rel=1e-10)


def test_the_costate_of_the_oscillator_rotates():
    control = OptimalControl(ODE((s, v), (v, -k * s)), terminal=s)
    found = costate_at(control, {s: 0.3, v: -0.2, k: 4.0}, 0.9, 0.0)
    assert found == pytest.approx([np.cos(1.8), np.sin(1.8) / 2], rel=1e-10)


def test_the_functional_derivative_of_the_scalar_linear_equation():
    """x' = q(t) x, L = x(T): every value of q is worth x(T), whenever it acts."""
    q = parameter("q")
    control = OptimalControl(ODE((s,), (q * s,)), terminal=s, controls=(q,))
    density = explain(own(control)).results["functional_derivative_q"]
    a = control.hamiltonian.costates[s]
    integral, last = quad(np.sin, 0, 0.6)[0], 0.3 * np.exp(quad(np.sin, 0, 1)[0])
    at_six = {s: 0.3 * np.exp(integral), a: np.exp(quad(np.sin, 0.6, 1)[0]), q: np.sin(0.6)}
    assert float(value_of(density, at_six)) == pytest.approx(last, rel=1e-12)


def test_the_functional_derivative_is_what_a_bump_of_the_control_does():
    """Finite differences by SciPy: a narrow smooth bump of q at time tau moves the cost by dH/dq(tau)."""
    control = PROBLEMS["oscillator"]
    density = explain(own(control)).results["functional_derivative_u"]
    a_s, a_v = control.hamiltonian.costates.values()
    tau, width, small = 0.5, 0.02, 1e-3

    def path(now, size):
        return np.cos(now) + size * np.exp(-(((now - tau) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))

    def cost(size):
        def field(now, p):
            return [p[1], -2.0 * p[0] + path(now, size), path(now, size) ** 2 / 2]

        p = solve_ivp(field, (0, 1), [0.3, -0.2, 0], rtol=1e-12, atol=1e-13, method="DOP853", max_step=0.01).y[:, -1]
        return p[0] ** 2 + p[0] * p[1] + p[2]

    def back(now, p):
        return [p[1], -2.0 * p[0] + np.cos(now), 2.0 * p[3], -p[2]]

    options = {"rtol": 1e-12, "atol": 1e-13, "method": "DOP853"}
    last = solve_ivp(lambda now, p: back(now, [*p, 0, 0])[:2], (0, 1), [0.3, -0.2], **options).y[:, -1]
    then = solve_ivp(back, (1, tau), [*last, 2 * last[0] + last[1], last[0]], **options).y[:, -1]
    found = float(value_of(density, {u: np.cos(tau), a_s: then[2], a_v: then[3]}))
    assert (cost(small) - cost(-small)) / (2 * small) == pytest.approx(found, abs=5e-4)


def test_the_energy_is_constant_to_the_order_of_the_integrator():
    """Constant parameters, no clock: H of the oscillator along the flow of state and costate."""
    run = runs_of(OptimalControl(PROBLEMS["oscillator"].ode, terminal=s**2))(0)
    (one,) = run.passes
    first, last = (one.after[run.moments[0]], one.before[run.moments[-1]])
    energies = [run.value(run.form.energy, known) for known in (first, last)]
    assert abs(energies[0] - energies[1]) < 1e-14


def test_the_run_of_a_population_is_the_mean_of_its_runs():
    run = ControlRun(PROBLEMS["population"])
    alone = [
        run.cost(type(run.point)((one,), run.point.shared, run.point.paths, run.point.times))
        for one in run.point.samples
    ]
    assert run.cost(run.point) == pytest.approx(np.mean(alone), rel=1e-14)


def test_hamiltonians_of_users_own_problems():
    form = hamiltonian(PROBLEMS["oscillator"])
    a_s, a_v = form.costates.values()
    assert form.energy == a_s * v + a_v * (u - k * s) + u**2 / 2
    assert form.costate_velocity(s) == k * a_v and form.gradient_density(u) == a_v + u
    assert hamiltonian(own(PROBLEMS["oscillator"])) is PROBLEMS["oscillator"].hamiltonian
    assert hamiltonian("cubic_ode").energy_rate() != 0
    with pytest.raises(UnsupportedError, match="dnn is no ODE"):
        hamiltonian("dnn")


def test_a_problem_in_ten_lines():
    """The commented example: drive a pendulum to rest with little force, in the mean over what it starts from."""
    angle, speed = state("angle", ()), state("speed", ())  # unknowns: scalars here, "d" for vectors of length d
    force = parameter("force")  # what may be chosen: as a control it is a function of time, else one number
    rho = constant("rho")  # a number that is given
    problem = OptimalControl(
        ODE((angle, speed), (speed, force - angle)),  # x' = F(x, q)
        terminal=angle**2 + speed**2,  # in the final state
        running=rho * force**2 / 2,  # per unit of time
        controls=(force,),  # q(t)
        population=True,  # the mean over initial states; leave it out for one start
    )
    found = explain(own(problem)).results
    a_angle, a_speed = problem.hamiltonian.costates.values()
    assert found["costate_velocity_angle"] == a_speed and found["costate_velocity_speed"] == -a_angle
    assert found["functional_derivative_force"] == a_speed + rho * force
    assert found["end_t_1_speed"] == 2 * speed


def test_what_stands_before_and_after_an_observation():
    found = explain(own(PROBLEMS["clocked"]))
    assert str(found.results["jump_t_a_x"]) == "2*y*dot(x, y)"
    (jump,) = [r for r in found.relations if r.name == "jump_t_a_x"]
    assert jump.text == "a(t_a-) - a(t_a+) = 2*y*dot(x, y) at t_a"


def test_the_rate_of_h_is_derived_not_quoted():
    """Of an ODE: what moves it is named, and nothing where parameters rest."""
    for name in ("cubic_ode", "driven_oscillator", "forward_euler"):
        (rate,) = [r for r in explain(load(name)).relations if r.name == "hamiltonian_rate"]
        assert rate.kind is Kind.IDENTITY and rate.check.run().holds
    assert "rate_gamma*x**3" in str(explain(load("cubic_ode")).results["hamiltonian_rate"])


q = parameter("q", "d")
M = parameter("M", ("m", "d"))
N = parameter("N", ("d", "m"))
o = parameter("o", "m")
DIVERGENCES = {
    "scaled": gamma * x,
    "weighted": q * x**2,
    "matrix": matvec(w, x) - gamma * x**3,
    "two layers": matvec(N, tanh(matvec(M, x) + o)),
    "gated": q * matvec(N, matvec(M, x)) + tanh(matvec(w, q * x)),
    "scaled inside": matvec(w, gamma * x + x**3) * gamma,
    "square inside": matvec(w, gamma * x**2),
    "shift": b,
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_are_traces_of_jacobians(name):
    ode = ODE((x,), (DIVERGENCES[name],))
    random = np.random.default_rng(1)
    sizes = {"d": 4, "m": 3}
    found = divergence(ode)
    mentioned = sorted({*ode.quantities, x}, key=str)
    values = {one: random.standard_normal([sizes[n] for n in one.shape] or None) for one in mentioned}
    nudged = [value_of(ode.velocity[0], {**values, x: values[x] + 1e-30j * unit}) for unit in np.eye(4)]
    trace = sum(np.broadcast_to(row, 4)[place].imag / 1e-30 for place, row in enumerate(nudged))
    assert value_of(found, values) == pytest.approx(trace, rel=1e-13)


def test_opaque_networks_have_no_closed_divergence():
    g = Network("g")
    assert divergence(ODE((x,), (g(x),))) is None


def test_the_divergence_of_an_outer_product_is_an_inner_product():
    weight = exp(dot(x, x))
    assert divergence(ODE((x,), (weight * x,))) == 2 * weight * dot(x, x) + weight * total(fill(Integer(1), x))


def test_nothing_is_emitted_of_a_problem():
    with pytest.raises(SpecError, match="own: nothing is emitted of an OptimalControl; give class_name=''"):
        Spec(id="own", class_name="Own", title="own", system=PROBLEMS["oscillator"])


def test_the_drift_of_h_falls_with_the_order_of_the_integrator():
    """Order 8: twice as many steps, 1/256 of the drift at best, far below 1/100."""
    (one,) = runs_of(OptimalControl(ODE((s,), (k * s - s**3,)), terminal=s**2))(0).passes
    first, _ = one.run.moments
    start = one.packed(one.after[first])

    def drift(steps):
        packed = advanced(one.velocity, start, 0.0, 3.0, steps)
        there = {**one.after[first], **dict(zip(one.names, packed, strict=True))}
        return abs(one.run.value(one.run.form.energy, there) - one.run.value(one.run.form.energy, one.after[first]))

    assert drift(8) / drift(4) < 0.01 and drift(16) / drift(8) < 0.01


def test_what_problems_refuse():
    ode, other = ODE((s,), (k * s + u,)), parameter("other")
    with pytest.raises(SpecError, match="the terminal cost has shape"):
        OptimalControl(ODE((x,), (-x,)), terminal=x)
    with pytest.raises(SpecError, match="reads v, a state that has no right-hand side"):
        OptimalControl(ode, terminal=v)
    with pytest.raises(
        SpecError, match="control other is no parameter of the field or the running cost; these are: k, u"
    ):
        OptimalControl(ode, controls=(other,))
    with pytest.raises(SpecError, match="reads the control u, which one moment cannot move"):
        OptimalControl(ode, terminal=u * s, controls=(u,))
    with pytest.raises(SpecError, match="declare ODE"):
        OptimalControl(ode, running=t * s)
    with pytest.raises(SpecError, match=r"free time t is neither t_0 nor t_1; allowed: .* end=t, free=\(t,\)"):
        OptimalControl(ode, terminal=s, free=(t,))
    with pytest.raises(SpecError, match="need names of their own"):
        OptimalControl(ode, terminal=s, observations={time("t_1"): s})
    with pytest.raises(SpecError, match="is no time"):
        OptimalControl(ode, terminal=s, observations={u: s})
    names = [parameter(name) for name in ("a", "p", "costate")]
    with pytest.raises(SpecError, match="costates are called a or p or costate; leave one of these names free"):
        hamiltonian(OptimalControl(ODE((s,), (names[0] * names[1] * names[2] * s,)), terminal=s))


def test_a_costate_gets_a_name_that_is_free():
    a = parameter("a")
    assert hamiltonian(ODE((s,), (a * s,))).costates[s].name == "p"
    assert hamiltonian(OptimalControl(ODE((s,), (k * s,)), terminal=a * s)).costates[s].name == "p"
