"""Catalogue systems with known solutions, stepped by the reference evaluator."""

import math

import numpy as np
import pytest

from derive import load
from derive.discretization import discretize
from derive.evaluator import evaluate
from derive.reverse_sweep import reverse_sweep
from derive.systems import ODE


def march(recurrence, values, steps):
    """The state after some steps; a time among the inputs advances by h."""
    values = dict(values)
    for count in range(steps):
        given = {
            q: values["t"] + count * values["h"] if q.name == "t" else values[q.name] for q in recurrence.step.inputs
        }
        found = evaluate(recurrence.step, given)
        values |= {old.name: found[new] for old, new in zip(recurrence.old, recurrence.new, strict=True)}
    return values


OSCILLATOR = {"s": 0.8, "v": -0.3, "m": 1.3, "k": 2.1, "A": 0.7, "t": 0.0}


def oscillation(t, s, v, m, k, A):
    """Catalogue, `driven_oscillator`, with a mass: m s'' = -k s + A cos t."""
    omega = math.sqrt(k / m)
    if k == m:
        return s * math.cos(t) + v * math.sin(t) + A / (2 * m) * t * math.sin(t)
    forced = A / (k - m)
    return (s - forced) * math.cos(omega * t) + v / omega * math.sin(omega * t) + forced * math.cos(t)


@pytest.mark.parametrize(("scheme", "order"), [("forward_euler", 1), ("heun", 2), ("rk4", 4)])
@pytest.mark.parametrize("stiffness", [2.1, 1.3], ids=["off resonance", "resonance"])
def test_driven_oscillator_converges_to_the_exact_solution(scheme, order, stiffness):
    recurrence = discretize(load("driven_oscillator").system, scheme)
    given = {**OSCILLATOR, "k": stiffness}
    exact = oscillation(2.0, given["s"], given["v"], given["m"], given["k"], given["A"])
    errors = []
    for steps in (128, 256):
        errors.append(abs(march(recurrence, {**given, "h": 2.0 / steps}, steps)["s"] - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_energy_of_the_undriven_oscillator_grows_by_exactly_the_derived_factor(steps):
    recurrence = discretize(load("driven_oscillator").system, "forward_euler")
    given = {**OSCILLATOR, "A": 0.0, "h": 0.11}
    after = march(recurrence, given, steps)

    def energy(values):
        return (values["m"] * values["v"] ** 2 + values["k"] * values["s"] ** 2) / 2

    ratio = 1 + given["h"] ** 2 * given["k"] / given["m"]
    assert energy(after) / energy(given) == pytest.approx(ratio**steps, rel=1e-13)


def cubic(t, x, w, gamma):
    """Catalogue, `cubic_ode`, scalar and b = 0."""
    if w == 0:
        return x / np.sqrt(1 + 2 * gamma * x**2 * t)
    return x * np.exp(w * t) / np.sqrt(1 + gamma / w * x**2 * (np.exp(2 * w * t) - 1))


@pytest.mark.parametrize("w", [0.0, 0.8, -0.5])
@pytest.mark.parametrize(("scheme", "order"), [("forward_euler", 1), ("rk4", 4)])
def test_cubic_ode_converges_to_the_closed_form(scheme, order, w):
    recurrence = discretize(load("cubic_ode").system, scheme)
    given = {"x": np.array([0.6]), "w": np.array([[w]]), "b": np.zeros(1), "gamma": 0.3}
    exact = cubic(1.0, 0.6, w, 0.3)
    errors = [abs(march(recurrence, {**given, "h": 1.0 / n}, n)["x"][0] - exact) for n in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_cubic_ode_gradient_of_the_start_converges_to_the_closed_form():
    """w = 0: dx(T)/dx_0 = (1 + 2 gamma x_0^2 T)^(-3/2), by the derived adjoint over 400 steps of RK4."""
    recurrence = discretize(load("cubic_ode").system, "rk4")
    adjoint = reverse_sweep(recurrence.step)
    (old,), (new,) = recurrence.old, recurrence.new
    steps, gamma = 50, 0.9
    fixed = {"w": np.zeros((1, 1)), "b": np.zeros(1), "gamma": gamma, "h": 1.0 / steps}
    x, trace = np.array([1.1]), []
    for _ in range(steps):
        known = evaluate(recurrence.step, {q: x if q == old else fixed[q.name] for q in recurrence.step.inputs})
        trace.append(known)
        x = known[new]
    bar = np.ones(1)
    for known in reversed(trace):
        bar = evaluate(adjoint.program, {**known, adjoint.seeds[new]: bar})[adjoint.cotangents[old]]
    assert bar[0] == pytest.approx((1 + 2 * gamma * 1.1**2) ** -1.5, rel=1e-7)


def test_lm_resnet_follows_the_effective_field():
    """x' = -x with k = 0.5: the net follows exp(-t/1.5), not exp(-t) (E12), with either start; order 1."""
    spec = load("lm_resnet")
    x = spec.system.state[0]
    recurrence = discretize(ODE(state=(x,), velocity=(-x,)), spec.scheme)
    for start in ("plain", "matched"):
        errors = []
        for steps in (64, 128):
            values = {"x": np.array([1.0]), "k": 0.5, "h": 1.0 / steps}
            first = recurrence.starts[start]
            found = evaluate(first, {q: values[q.name] for q in first.inputs})
            values |= {"x": found[first.outputs[0]], "x_prev": found[first.outputs[1]]}
            errors.append(abs(march(recurrence, values, steps - 1)["x"][0] - math.exp(-1 / 1.5)))
        assert errors[0] < 0.02
        assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("start", "order"), [("plain", 1), ("matched", 2)])
def test_at_k_one_the_start_decides_about_the_order(start, order):
    spec = load("lm_resnet")
    x = spec.system.state[0]
    recurrence = discretize(ODE(state=(x,), velocity=(x - x**3,)), spec.scheme)
    exact = 1 / math.sqrt(1 + (1 / 0.3**2 - 1) * math.exp(-1.0))  # x' = (x - x^3)/2 to t = 1
    errors = []
    for steps in (64, 128):
        values = {"x": np.array([0.3]), "k": 1.0, "h": 1.0 / steps}
        first = recurrence.starts[start]
        found = evaluate(first, {q: values[q.name] for q in first.inputs})
        values |= {"x": found[first.outputs[0]], "x_prev": found[first.outputs[1]]}
        errors.append(abs(march(recurrence, values, steps - 1)["x"][0] - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)
