"""Multistep schemes of any number of steps: the step, its starts, and the order of both together."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from sympy import Rational, sin

from derive.discretization import discretize
from derive.errors import SpecError
from derive.evaluator import evaluate
from derive.functions import tanh
from derive.networks import Call, Network
from derive.operators import matvec
from derive.program import Program
from derive.schemes import SCHEMES, LinearMultistep, Start
from derive.starts import smallest_start, starts_of
from derive.symbols import parameter, state, time
from derive.systems import ODE
from derive.truncation import local_error_residual, truncation

x, t = state("x", "d"), time("t")
W = parameter("W", ("d", "d"))
TIMED = ODE(state=(x,), velocity=(tanh(matvec(W, x)) + x * sin(t),), time=t)
RANDOM = LinearMultistep(
    alpha=(Rational(1, 2), Rational(1, 3), 0, Rational(1, 6)),
    beta=(0, Rational(3, 4), 0, Rational(-2, 3), Rational(5, 7)),
)
BASHFORTH = {f"AB{steps}": SCHEMES[f"ab{steps}"] for steps in range(1, 6)}
SAMPLES = {**BASHFORTH, "nystrom": SCHEMES["nystrom3"], "random": RANDOM}
FORWARD_EULER, HEUN, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "rk4"))
DRAW = np.random.default_rng(5)
MATRIX, H, T0 = DRAW.standard_normal((3, 3)), 0.3, 0.7


def field(time_, point):
    return np.tanh(MATRIX @ point) + point * np.sin(time_)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_step_is_the_sum_over_past_values_and_slopes(name):
    scheme, recurrence = SAMPLES[name], discretize(TIMED, SAMPLES[name])
    past = [DRAW.standard_normal(3) for _ in scheme.alpha]
    slopes = [field(T0 - lag * H, point) for lag, point in enumerate(past)]
    named = {"x": past[0], "W": MATRIX, "t": T0, "h": H}
    named |= {f"x_prev{lag if lag > 1 else ''}": past[lag] for lag in range(1, len(past))}
    named |= {f"f_prev{lag if lag > 1 else ''}": slopes[lag] for lag in range(1, len(past))}
    found = evaluate(recurrence.step, {q: named[q.name] for q in recurrence.step.inputs})
    expected = sum(float(a) * p for a, p in zip(scheme.alpha, past, strict=True))
    expected = expected + H * sum(float(b) * f for b, f in zip(scheme.beta[1:], slopes, strict=True))
    assert found[recurrence.new[0]] == pytest.approx(expected, rel=1e-13)
    assert recurrence.lags == len(scheme.alpha)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_step_evaluates_the_field_once_and_remembers_it(name):
    f = Network("f", takes_time=True)
    recurrence = discretize(ODE(state=(x,), velocity=(f(t, x),), time=t), SAMPLES[name])
    assert sum(isinstance(line.value, Call) for line in recurrence.step.assignments) == 1
    assert len(recurrence.old) <= 2 * recurrence.lags - 1
    for program in recurrence.starts.values():
        assert [q.shape for q in program.outputs] == [q.shape for q in recurrence.old]
        read = {q for line in program.assignments for q in line.value.free_symbols}
        assert not read & set(recurrence.old[1:])  # what is older than the newest value is moved on unread


def test_only_what_enters_is_remembered():
    names = {name: [q.name for q in discretize(TIMED, scheme).old] for name, scheme in SAMPLES.items()}
    assert names["AB1"] == ["x"]
    assert names["AB4"] == ["x", "f_prev", "f_prev2", "f_prev3"]
    assert names["nystrom"] == ["x", "x_prev", "f_prev", "f_prev2"]
    assert names["random"] == ["x", "x_prev", "x_prev2", "x_prev3", "f_prev", "f_prev2", "f_prev3"]


def test_several_unknowns_travel_together():
    s, v = state("s", ()), state("v", ())
    recurrence = discretize(ODE(state=(s, v), velocity=(v, -s)), BASHFORTH["AB3"])
    assert [q.name for q in recurrence.old] == ["s", "v", "f_prev_s", "f_prev_v", "f_prev2_s", "f_prev2_v"]
    assert [q.name for q in recurrence.new] == ["s_next", "v_next", "f_s", "f_v", "f_prev_s", "f_prev_v"]


def march(scheme, start, steps):
    """x' = -x + sin t from x(0) = 1 to t = 1, by the evaluator alone."""
    u = state("u", ())
    recurrence = discretize(ODE(state=(u,), velocity=(sin(t) - u,), time=t), scheme)
    if start is not None:
        one = discretize(ODE(state=(u,), velocity=(sin(t) - u,), time=t), replace(scheme, start={}))
        low = discretize(ODE(state=(u,), velocity=(sin(t) - u,), time=t), start).step
        program = next(iter(one.starts.values()))
        first = low.value(low.targets[0])
        recurrence = replace(recurrence, starts={"given": _with_start(program, low, first)})
    values = dict.fromkeys(recurrence.old, 1.0)
    for n in range(steps):
        program = recurrence.step if n >= recurrence.lags - 1 else next(iter(recurrence.starts.values()))
        known = {**values, **{q: {"h": 1 / steps, "t": n / steps}[q.name] for q in program.inputs if q.name in "ht"}}
        found = evaluate(program, {q: known[q] for q in program.inputs})
        values = dict(zip(recurrence.old, (found[q] for q in program.outputs), strict=True))
    return values[recurrence.old[0]]


def _with_start(program, low, first):
    outputs = (low.outputs[0], low.targets[0], *program.outputs[2:])
    inputs = tuple({*low.inputs, *(q for q in outputs if q not in low.targets)})
    return Program(inputs, low.assignments, outputs)


@pytest.mark.parametrize(("start", "order"), [("forward_euler", 2.0), ("rk4", 3.0), (None, 3.0)])
def test_the_start_bounds_the_order_of_adams_bashforth_3(start, order):
    exact = 1.5 * math.exp(-1) + (math.sin(1) - math.cos(1)) / 2
    errors = [abs(march(BASHFORTH["AB3"], start, steps) - exact) for steps in (200, 400)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


def test_auto_is_the_smallest_scheme_that_keeps_the_order():
    assert [smallest_start(order) for order in (0, 1, 4)] == [FORWARD_EULER, FORWARD_EULER, RK4]
    assert smallest_start(2).stages == 2 and smallest_start(3).stages == 3
    assert starts_of(BASHFORTH["AB1"]) == {}
    for steps in (2, 3, 5):
        scheme = BASHFORTH[f"AB{steps}"]
        assert starts_of(scheme) == {"auto": Start(smallest_start(steps - 1))}
        assert list(discretize(TIMED, scheme).starts) == ["auto"]


def test_a_start_of_too_low_an_order_is_refused_with_the_order_needed():
    for scheme in (FORWARD_EULER, HEUN):
        given = replace(BASHFORTH["AB4"], start={"mine": Start(scheme)})
        with pytest.raises(SpecError, match=r"start 'mine', .* has order \d: order 3 is needed"):
            discretize(TIMED, given)
    assert list(discretize(TIMED, replace(BASHFORTH["AB4"], start={"mine": Start(RK4)})).starts) == ["mine"]


def test_no_shipped_scheme_of_the_order_is_said():
    with pytest.raises(SpecError, match="no shipped explicit one-step scheme has order 30: give LinearMultistep"):
        smallest_start(30)


@pytest.mark.parametrize("name", [*BASHFORTH, "nystrom"])
def test_the_local_error_holds_with_remembered_slopes(name):
    with mpmath.workdps(60):
        analysis = truncation(TIMED, SAMPLES[name])
        assert local_error_residual(analysis, analysis.coefficients) < 1e-40
        assert local_error_residual(analysis, tuple(c * Rational(1001, 1000) for c in analysis.coefficients)) > 1e-5
