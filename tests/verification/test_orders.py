"""Observed orders of emitted modules of many schemes, and systems whose fields blow up on ordinary data."""

from __future__ import annotations

import pytest

from codegen.emission import emit
from codegen.verification.convergence import order_rows
from codegen.verification.loaded import load_text
from codegen.verification.samples import sampled
from codegen.verification.verifier import module_rows
from derive import ODE, LinearMultistep, Network, Spec, cos, exp, load, parameter, state, time
from derive.spec_schemes import with_scheme

x, t, c = state("x"), time("t"), parameter("c")
a, b, d = state("a", ()), state("b", ()), state("d", ())
f = Network("f", takes_time=True)
FIELD = ODE(state=(x,), velocity=(f(t, x),), time=t)
UNSTABLE = LinearMultistep(alpha=(-4, 5), beta=(0, 4, 2), title="unstable")
MULTISTEP = {"ab2": 2, "ab3": 3, "ab4": 4, "ab5": 5, "nystrom3": 3}
ONE_STEP = {"ralston2": 2, "kutta3": 3, "rk38": 4, "dopri5": 5, "tsit5": 5}


def spec_of(ode, scheme):
    return Spec(id="sample", class_name="Sample", title="sample", system=ode, scheme=scheme)


def orders(spec):
    module = load_text(emit(spec))
    return [row for one in sampled(spec, module.Module) for row in order_rows(spec.id, one, spec.system)]


@pytest.mark.parametrize(("name", "order"), {**MULTISTEP, **ONE_STEP}.items())
def test_schemes_converge_with_their_order(name, order):
    (row,) = orders(with_scheme(load("rk4"), name))
    assert row.passed and row.expected == str(order) and row.measured != "exact to rounding", row


@pytest.mark.slow
def test_above_order_5_the_reference_evaluator_shows_the_order_at_50_digits():
    (row,) = orders(with_scheme(load("rk4"), "dop853"))
    assert row.passed and row.expected == "8" and abs(float(row.measured) - 8) < 0.1, row


@pytest.mark.parametrize("scheme", ["forward_euler", "midpoint", "heun", "rk4", "leapfrog"])
@pytest.mark.parametrize("name", ["driven_oscillator", "cubic_ode"])
def test_written_out_systems_converge_with_the_order_of_any_scheme(name, scheme):
    assert all(row.passed for row in orders(with_scheme(load(name), scheme)))


@pytest.mark.parametrize("name", ["ab3", "nystrom3"])
def test_several_unknowns_in_schemes_of_several_steps(name):
    spec = with_scheme(load("driven_oscillator"), name)
    rows = list(module_rows(spec, load_text(emit(spec))))
    assert len(rows) > 8 and not [row for row in rows if not row.passed]


WILD = {
    "Lorenz": (ODE(state=(a, b, d), velocity=(10 * (b - a), a * (28 * c - d) - b, a * b - 8 * d / 3)), "rk4"),
    "finite escape": (ODE(state=(x,), velocity=(8 * c * x**3 + x,)), "heun"),
    "exponential": (ODE(state=(x,), velocity=(c * exp(6 * x),)), "midpoint"),
    "Riccati": (ODE(state=(x,), velocity=(x**2 + c * t,), time=t), "ab3"),
    "stiff": (ODE(state=(x,), velocity=(-200 * c * (x - cos(t)),), time=t), "rk4"),
}


@pytest.mark.parametrize("name", [pytest.param("Lorenz", marks=pytest.mark.slow), *(n for n in WILD if n != "Lorenz")])
def test_wild_fields_are_verified_on_tame_data(name):
    spec = spec_of(*WILD[name])
    rows = list(module_rows(spec, load_text(emit(spec))))
    assert not [(row.check, row.measured, row.detail) for row in rows if not row.passed]


def test_a_field_that_no_time_is_short_enough_for_is_said():
    spec = spec_of(ODE(state=(x,), velocity=(c * exp(10**6 * x * x + 10**6),)), "heun")
    (row,) = orders(spec)
    assert not row.passed and row.measured == "could not run" and "grows or varies too fast" in row.detail


def test_a_scheme_that_is_not_zero_stable_warns_in_docstring_and_at_construction():
    module = load_text(emit(spec_of(FIELD, UNSTABLE)))
    assert "Warning: the scheme unstable is not zero-stable" in module.Sample.__doc__
    with pytest.warns(UserWarning, match="Sample: the scheme unstable is not zero-stable"):
        module.Sample(lambda t, x: x, steps=3)
    assert "Warning" not in load_text(emit(spec_of(FIELD, "ab2"))).Sample.__doc__
