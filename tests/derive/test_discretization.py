"""Steps of every shipped scheme against formulas written out by hand, in NumPy."""

import math

import numpy as np
import pytest
from sympy import Rational, sin

from derive.discretization import STEP_SIZE, at_step, discretize
from derive.errors import SpecError
from derive.evaluator import evaluate
from derive.functions import tanh
from derive.operators import matvec
from derive.schemes import ButcherTableau, LinearMultistep, Start
from derive.symbols import parameter, state, time
from derive.systems import ODE

x, t = state("x", "d"), time("t")
W = parameter("W", ("d", "d"))
TIMED = ODE(state=(x,), velocity=(tanh(matvec(W, x)) + x * sin(t),), time=t)
s, v = state("s", ()), state("v", ())
m, k = parameter("m"), parameter("k")
OSCILLATOR = ODE(state=(s, v), velocity=(v, -k / m * s))
H, T0 = 0.3, 0.7
DRAW = np.random.default_rng(5)
MATRIX, X0, X_OLD = DRAW.standard_normal((3, 3)), DRAW.standard_normal(3), DRAW.standard_normal(3)


def field(time_, point):
    return np.tanh(MATRIX @ point) + point * np.sin(time_)


def stepped(scheme, **past):
    recurrence = discretize(TIMED, scheme)
    named = {"x": X0, "x_prev": X_OLD, "W": MATRIX, "t": T0, "h": H}
    values = {q: named[q.name] for q in recurrence.step.inputs}
    return evaluate(recurrence.step, values)[recurrence.new[0]]


def test_forward_euler():
    assert stepped("forward_euler") == pytest.approx(X0 + H * field(T0, X0), rel=1e-15)


def test_midpoint():
    middle = X0 + H / 2 * field(T0, X0)
    assert stepped("midpoint") == pytest.approx(X0 + H * field(T0 + H / 2, middle), rel=1e-15)


def test_heun():
    first = field(T0, X0)
    assert stepped("heun") == pytest.approx(X0 + H / 2 * (first + field(T0 + H, X0 + H * first)), rel=1e-14)


def test_rk4():
    k1 = field(T0, X0)
    k2 = field(T0 + H / 2, X0 + H / 2 * k1)
    k3 = field(T0 + H / 2, X0 + H / 2 * k2)
    k4 = field(T0 + H, X0 + H * k3)
    assert stepped("rk4") == pytest.approx(X0 + H / 6 * (k1 + 2 * k2 + 2 * k3 + k4), rel=1e-14)


def test_leapfrog():
    assert stepped("leapfrog") == pytest.approx(X_OLD + 2 * H * field(T0, X0), rel=1e-14)


def test_scheme_of_ones_own():
    ralston = ButcherTableau(A=[[0, 0], [Rational(2, 3), 0]], b=[Rational(1, 4), Rational(3, 4)], c=[0, Rational(2, 3)])
    first = field(T0, X0)
    second = field(T0 + 2 * H / 3, X0 + 2 * H / 3 * first)
    assert stepped(ralston) == pytest.approx(X0 + H * (first / 4 + 3 * second / 4), rel=1e-14)


@pytest.mark.parametrize(("start", "effective", "speed"), [("plain", False, 1.0), ("matched", True, 1 / 1.4)])
def test_starts_of_a_two_step_scheme(start, effective, speed):
    k_n = parameter("k_n")
    scheme = LinearMultistep(alpha=(1 - k_n, k_n), beta=(0, 1, 0), start={start: Start(effective=effective)})
    program = discretize(TIMED, scheme).starts[start]
    values = {"x": X0, "W": MATRIX, "t": T0, "h": H, "k_n": 0.4}
    found = evaluate(program, {q: values[q.name] for q in program.inputs})
    first, kept = program.outputs
    assert found[first] == pytest.approx(X0 + H * speed * field(T0, X0), rel=1e-14)
    assert (found[kept] == X0).all()


def test_two_unknowns_read_old_values_only():
    """The second line must not see the first one's new value (that would be the symplectic scheme)."""
    recurrence = discretize(OSCILLATOR, "forward_euler")
    values = {"s": 1.5, "v": -0.4, "m": 2.0, "k": 3.0, "h": H}
    found = evaluate(recurrence.step, {q: values[q.name] for q in recurrence.step.inputs})
    assert found[recurrence.new[0]] == pytest.approx(1.5 - 0.4 * H, rel=1e-15)
    assert found[recurrence.new[1]] == pytest.approx(-0.4 - H * 3.0 / 2.0 * 1.5, rel=1e-15)


def test_two_unknowns_in_rk4_are_the_exponential_s_polynomial():
    recurrence = discretize(OSCILLATOR, "rk4")
    values = {"s": 1.5, "v": -0.4, "m": 2.0, "k": 3.0, "h": H}
    found = evaluate(recurrence.step, {q: values[q.name] for q in recurrence.step.inputs})
    generator = H * np.array([[0.0, 1.0], [-1.5, 0.0]])
    power = sum(np.linalg.matrix_power(generator, j) / math.factorial(j) for j in range(5))
    assert [found[q] for q in recurrence.new] == pytest.approx((power @ [1.5, -0.4]).tolist(), rel=1e-14)


def test_two_unknowns_in_a_two_step_scheme():
    recurrence = discretize(OSCILLATOR, "leapfrog")
    assert [q.name for q in recurrence.old] == ["s", "v", "s_prev", "v_prev"]
    assert [q.name for q in recurrence.new] == ["s_next", "v_next", "s", "v"]
    assert recurrence.lags == 2


def test_lags_count_past_values():
    assert discretize(TIMED, "rk4").lags == 1
    assert discretize(TIMED, "leapfrog").lags == 2


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: ODE(state=(x,), velocity=(x, x)), "1 unknowns but 2"),
        (lambda: ODE(state=(x,), velocity=(x * sin(t),)), r"time=t"),
        (lambda: ODE(state=(x,), velocity=(state("y") + x,)), "y is a state that has no right-hand side"),
        (lambda: ODE(state=(x,), velocity=(matvec(parameter("V", ("m", "d")), x),)), r"x has shape \(d\).*\(m\)"),
        (lambda: ODE(state=(x,), velocity=(x + parameter("b", "n"),)), "different shapes"),
    ],
)
def test_an_ode_that_does_not_fit_is_refused(build, complaint):
    with pytest.raises(SpecError, match=complaint):
        build()


def test_latex_of_unknowns_with_an_index_has_one_subscript():
    first = state("x_1")
    assert at_step(first, 0).latex == "x_{1,n}" and at_step(first, -1).latex == "x_{1,n+1}"
    assert at_step(x, 2).latex == "x_{n-2}" and at_step(x, 2).name == "x_prev2"
    recurrence = discretize(ODE(state=(first,), velocity=(tanh(first),)), "heun")
    stage = next(q for q in recurrence.step.targets if q.name == "x_1_2")
    assert stage.latex == "x_{1}^{(2)}"


def test_the_step_size_is_one_quantity():
    assert STEP_SIZE in discretize(TIMED, "rk4").step.inputs
