"""Delay equations: steps against closed forms, the adjoint against differences, and what is refused."""

import re
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from sympy import Rational, S

from derive import (
    DelayODE,
    DeriveError,
    Network,
    Spec,
    SpecError,
    UnsupportedError,
    adjoint,
    constant,
    delay_terms,
    delayed,
    explain,
    matvec,
    parameter,
    state,
    tanh,
    time,
)
from derive.delay_adjoint import continuous_adjoint
from derive.delay_checks import run
from derive.delay_steps import delay_step, linear_part
from derive.schemes import SCHEMES, ButcherTableau
from derive.spec_schemes import with_scheme
from derive.step_quantities import STEP_SIZE

x, tau = state("x", ()), constant("tau")
x_tau = delayed(x, tau)
EULER, RK4, IMPLICIT = "forward_euler", "rk4", "linearly_implicit_euler"


def scalar(velocity, scheme=EULER, past=None, **options):
    return DelayODE((x,), (velocity,), past or {x_tau: (x, tau)}, scheme=scheme, **options)


def states(system, h, lag, steps, start=1, values=None, history=None):
    """The states of a scalar run, in the arithmetic of h."""
    made = delay_step(system)
    given = {STEP_SIZE: h, **(values or {})}
    before = history or (lambda n, record: [start])
    lags = dict.fromkeys(system.delays, lag) if isinstance(lag, int) else lag
    return [values[0] for values in run(made, lambda n: given, [start], before, lags, steps, {})]


def by_stretches(t):
    """x' = -x(t - 1), x = 1 before 0: sum of (-1)^k (t - k + 1)^k / k! over k <= t + 1."""
    count = int(mpmath.floor(t)) + 1
    return sum((-1) ** k * (t - k + 1) ** k / mpmath.factorial(k) for k in range(count + 1))


@pytest.mark.parametrize(("scheme", "order"), [(EULER, 1), ("heun", 2), ("kutta3", 3), (RK4, 4)])
def test_steps_converge_to_the_polynomials_of_the_method_of_steps(scheme, order):
    system = scalar(-x_tau, scheme)
    errors = []
    for lag in (8, 16):
        found = states(system, mpmath.mpf(1) / lag, lag, 6 * lag, mpmath.mpf(1))
        grid = [abs(value - by_stretches(mpmath.mpf(n) / lag)) for n, value in enumerate(found)]
        errors.append(max(grid))
    assert delay_step(system).order == order
    # the solution is a polynomial of degree k on the k-th stretch: an order shows where that is beyond its exactness
    assert float(mpmath.log(errors[0] / errors[1], 2)) == pytest.approx(order, abs=0.15)


def test_runge_kutta_is_exact_on_polynomials_of_low_degree():
    """Three stretches of x' = -x(t - 1) have degrees 1, 2 and 3, which Runge's scheme integrates exactly."""
    with mpmath.workdps(30):
        found = states(scalar(-x_tau, RK4), mpmath.mpf(1) / 4, 4, 12, mpmath.mpf(1))
        for n, value in enumerate(found):
            assert abs(value - by_stretches(mpmath.mpf(n) / 4)) < 1e-28


def test_a_history_is_read_at_the_nodes():
    """x' = x(t - 1) with the history t: x = 1/2 t^2 - t up to 1, which Simpson's weights give exactly."""
    h = Rational(1, 2)
    nodes = delay_step(scalar(x_tau, RK4)).nodes
    found = states(scalar(x_tau, RK4), h, 2, 2, S.Zero, history=lambda n, record: [(n + nodes[record]) * h])
    assert found == [0, Rational(1, 8) - h, Rational(1, 2) - 1]


def test_characteristic_root():
    """x' = a x + b x(t - tau): late growth is exp(lambda t), lambda = a + W(b tau exp(-a tau)) / tau."""
    a, b, delay, lag = mpmath.mpf("-0.4"), mpmath.mpf("0.9"), mpmath.mpf("0.7"), 40
    rate = a + mpmath.lambertw(b * delay * mpmath.exp(-a * delay)).real / delay
    first, second = parameter("a"), parameter("b")
    system = scalar(first * x + second * x_tau, RK4)
    found = states(system, delay / lag, lag, 30 * lag, mpmath.mpf(1), {first: a, second: b})
    assert float(mpmath.log(found[-1] / found[-1 - lag]) / delay) == pytest.approx(float(rate), abs=1e-9)


def test_against_scipy():
    """Hutchinson's equation, its first two delays by SciPy with the first one's dense output as history."""
    integrate = pytest.importorskip("scipy.integrate")
    r = constant("r")
    found = states(scalar(r * x * (1 - x_tau), RK4), 1.5 / 64, 64, 128, 0.3, {r: 1.2})
    options = {"rtol": 1e-12, "atol": 1e-13, "dense_output": True}
    one = integrate.solve_ivp(lambda t, y: 1.2 * y * (1 - 0.3), (0, 1.5), [0.3], **options)
    two = integrate.solve_ivp(lambda t, y: 1.2 * y * (1 - one.sol(t - 1.5)), (1.5, 3), one.y[:, -1], **options)
    assert float(found[64]) == pytest.approx(one.y[0, -1], rel=1e-8)
    assert float(found[128]) == pytest.approx(two.y[0, -1], rel=1e-8)


def test_linearly_implicit_step():
    """s_(n+1) = (I - h A)^(-1) (s_n + h (B tanh(s_(n+1-m)) + phi)), against numpy."""
    s, A, B, phi = state("s", "d"), parameter("A", ("d", "d")), parameter("B", ("d", "d")), parameter("phi", "d")
    own, none = delay_terms(s, [(A, 0)])
    coupled, past = delay_terms(s, [(B, tau)], through=tanh)
    assert none == {}
    system = DelayODE((s,), (own + coupled + phi,), past, scheme=IMPLICIT)
    random, h, m = np.random.default_rng(3), 0.3, 2
    values = {A: random.normal(size=(3, 3)) - 2 * np.eye(3), B: random.normal(size=(3, 3)), phi: random.normal(size=3)}
    start = random.normal(size=3)
    made = delay_step(system)
    found = run(made, lambda n: {**values, STEP_SIZE: h}, [start], lambda n, record: [start], {tau: m}, 6, {})
    path = [start] * m
    for _ in range(6):
        rest = path[-1] + h * (values[B] @ np.tanh(path[-m]) + values[phi])
        path.append(np.linalg.solve(np.eye(3) - h * values[A], rest))
    np.testing.assert_allclose([one[0] for one in found], path[m - 1 :], rtol=1e-13)


def test_linear_parts():
    v, A = state("v", "d"), parameter("A", ("d", "d"))
    a, b = parameter("a"), parameter("b", "d")
    assert linear_part(v, 2 * a * matvec(A, v) - v + tanh(v))[1] == tanh(v)
    assert linear_part(x, a * x - x**2) == (a, -(x**2))
    assert linear_part(v, b * v + tanh(v)) == (b, tanh(v))
    with pytest.raises(UnsupportedError, match="as one matrix"):
        linear_part(v, matvec(A, v) + b * v)
    with pytest.raises(SpecError, match="nothing in the right-hand sides is linear in x"):
        delay_step(scalar(-(x**2) * x_tau, IMPLICIT))


def test_delays_of_a_list():
    v = state("v", "d")
    A, B = (parameter(name, ("d", "d")) for name in "AB")
    total, past = delay_terms(v, [(A, 0), (B, tau), (3, 2)])
    later, twice = delayed(v, tau), delayed(v, 2)
    assert total == matvec(A, v) + matvec(B, later) + 3 * twice
    assert past == {later: (v, tau), twice: (v, 2)}
    assert twice.name == "v_lag2"


def test_adjoint_rate_of_a_linear_equation():
    """a' = -a A - b a(t + tau), and for the history b a(t + tau)."""
    first, second = parameter("A"), parameter("B")
    system = scalar(first * x + second * x_tau)
    derived = continuous_adjoint(system)
    (costate,), ahead = derived.costates, derived.ahead[tau]
    assert derived.rates == (-first * costate - second * ahead[costate],)
    assert derived.past == {x_tau: second * ahead[costate]}


def test_closed_form_of_an_adjoint():
    """L = x(T), x' = b x(t - tau): a solves a' = -b a(t + tau), so it is the solution itself run backwards."""
    b, lag, steps = Rational(-3, 5), 4, 10
    system = scalar(parameter("b") * x_tau)
    h = Rational(1, 8)
    values = {parameter("b"): b}
    runs = []
    for place in range(steps):  # the derivative of the last state in each earlier one, by the linear step itself

        def history(n, record):
            return [S.Zero]

        found = states(system, h, lag, steps - place, S.One, values, history)
        runs.append(found[-1])
    forwards = states(system, h, lag, steps, S.One, values, lambda n, record: [S.Zero])
    assert runs == [forwards[steps - place] for place in range(steps)]


@pytest.mark.parametrize("scheme", ["dopri5", "dop853"])
def test_high_orders_are_those_of_the_tableau_on_the_stretches(scheme):
    """A last stage that only estimates errors is left out; every other node is where the past is read."""
    system = scalar(x * (1 - x_tau), scheme)
    named = {relation.name: relation for relation in relations(system)}
    check = named["order"].check
    assert check.run().holds and not any(check.perturbed(term).run().holds for term in range(check.terms))
    assert named["order"].text.startswith(f"x_N - x(t_N) = O(h^{delay_step(system).order})")
    errors = []
    for lag in (8, 16):
        ends = [states(scalar(x * (1 - x_tau), s), 3 / mpmath.mpf(n), n, 2 * n, mpmath.mpf("0.3"))[-1]
                for s, n in ((scheme, lag), (scheme, 6 * lag))]  # fmt: skip
        errors.append(abs(ends[0] - ends[1]))
    assert float(mpmath.log(errors[0] / errors[1], 2)) > delay_step(system).order - 0.6


SPECS = {
    "euler": scalar(-x_tau * x, EULER),
    "rk4": scalar(parameter("r") * x * (1 - x_tau), RK4),
    "implicit": scalar(-2 * x + tanh(x_tau), IMPLICIT),
    "two delays and time": DelayODE(
        (x,),
        (time("t") * x_tau - x * delayed(x, 3),),
        {x_tau: (x, tau), delayed(x, 3): (x, 3)},
        time=time("t"),
        scheme="heun",
    ),
    "two unknowns": DelayODE(
        (x, state("y", ())),
        (state("y", ()) - x_tau, -x * delayed(state("y", ()), tau)),
        {x_tau: (x, tau), delayed(state("y", ()), tau): (state("y", ()), tau)},
        scheme="heun",
    ),
}


def relations(system):
    derivation = explain(Spec(id="delay_under_test", class_name="Tested", title="Tested", system=system))
    return [relation for section in derivation.sections for relation in section.relations]


@pytest.mark.parametrize("name", SPECS)
def test_every_relation_holds_and_fails_when_a_coefficient_is_changed(name):
    checked = [relation for relation in relations(SPECS[name]) if relation.check is not None]
    assert {"order", "adjoint_gradients"} <= {relation.name for relation in checked}
    for relation in checked:
        assert relation.check.run().holds, relation.name
        for term in range(relation.check.terms):
            assert not relation.check.perturbed(term).run().holds, (relation.name, term)


def test_a_network_of_the_past():
    v, t = state("v", "d"), time("t")
    past = delayed(v, tau)
    system = DelayODE((v,), (Network("f", takes_time=True)(t, past) - v,), {past: (v, tau)}, time=t, scheme="heun")
    for relation in relations(system):
        assert relation.check is None or relation.check.run().holds, relation.name


def test_a_delay_of_a_fixed_number_of_steps_is_an_error_of_first_order():
    """x' = x (1 - x(t - 2h)) by a scheme of order 4, against the logistic function."""
    start, errors = mpmath.mpf("0.3"), []
    for steps in (64, 128, 256):
        found = states(scalar(x * (1 - x_tau), RK4), mpmath.mpf(1) / steps, 2, steps, start)
        errors.append(abs(found[-1] - start * mpmath.e / (1 - start + start * mpmath.e)))
    assert float(mpmath.log(errors[1] / errors[2], 2)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DelayODE((x,), (-x_tau,), {}), "no delayed quantity"),
        (lambda: delayed(x, 0), "the delay of x is 0"),
        (lambda: delayed(x, 1.5), "1.5.*a constant such as constant"),
        (lambda: delayed(x, True), "True"),
        (lambda: delayed(x, parameter("theta")), "theta"),
        (lambda: scalar(-x), "no right-hand side reads x_tau"),
        (lambda: scalar(-x_tau - delayed(x, 2)), "read x_lag2"),
        (lambda: scalar(tau * x_tau), "reads the delay tau as a number"),
        (lambda: scalar(-x_tau, past={x_tau: (state("y", ()), tau)}), "which is none of the unknowns"),
        (lambda: scalar(-x_tau, past={state("x_tau", ()): (x, tau)}), "make it with delayed"),
        (lambda: scalar(-x_tau * state("z", ())), "z is a state that has no right-hand side"),
        (lambda: scalar(-x_tau * time("t")), "depends on the time t"),
        (lambda: scalar(-x_tau, "backward_euler"), "an explicit Runge-Kutta scheme"),
        (lambda: scalar(-x_tau, "ab2"), "an explicit Runge-Kutta scheme"),
        (lambda: scalar(-x_tau, "ruk4"), "rk4"),
    ],
)
def test_refused(make, message):
    with pytest.raises(DeriveError, match=re.sub(r"\s+", " ", message)):
        make()


def test_another_scheme_for_a_spec():
    spec = Spec(id="delay_under_test", class_name="Tested", title="Tested", system=scalar(-x_tau))
    other = with_scheme(spec, RK4)
    assert isinstance(other.system, DelayODE) and delay_step(other.system).order == 4
    with pytest.raises(UnsupportedError, match="explicit Runge-Kutta"):
        with_scheme(spec, "leapfrog")
    assert {q.name for q in adjoint(other).seeds} == {"x_next", "x", "x_2", "x_3", "x_4"}


def test_a_scheme_of_ones_own():
    tableau = ButcherTableau(A=[[0, 0], [1, 0]], b=[Rational(1, 2)] * 2, c=[0, 1], title="trapezium, predicted")
    own, shipped = (delay_step(scalar(-x_tau, scheme)) for scheme in (tableau, "heun"))
    assert own.step.assignments[:-1] == shipped.step.assignments[:-1]
    assert delay_step(replace(scalar(-x_tau), scheme=SCHEMES["dopri5"])).order == 5
