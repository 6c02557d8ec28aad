"""Parameters as functions of time: what a step reads of them, the rate of the field, order and local error."""

from __future__ import annotations

import pickle

import pytest
import sympy
from sympy import Rational, expand

from derive import ODE, Adaptive, Spec, explain, load, matvec, parameter, state, time
from derive.discretization import discretize
from derive.schemes import scheme_by_name
from derive.spec_schemes import with_scheme
from derive.symbols import Role
from derive.time_dependence import moving, rate, reads_beginnings_only, smooth, stage_values, step_of_time

x, y, t = state("x", ()), state("y", ()), time("t")
w, b = parameter("w"), parameter("b")
ode = ODE((x,), (w * x + b,))


@pytest.mark.parametrize(
    ("scheme", "nodes"),
    [
        ("forward_euler", {0}),
        ("ab2", {0}),
        ("backward_euler", {1}),
        ("rk4", {0, Rational(1, 2), 1}),
        ("gauss4", {Rational(1, 2) - sympy.sqrt(3) / 6, Rational(1, 2) + sympy.sqrt(3) / 6}),
        ("bdf2", {0, 1}),
    ],
)
def test_a_step_reads_them_at_its_nodes(scheme, nodes):
    values = stage_values(step_of_time(ode, scheme_by_name(scheme), (w,)))
    assert {value.node for value in values} == nodes
    assert {value.parameter for value in values} == {w}
    assert all(value.role is Role.LAYER_PARAMETER and value.name.isidentifier() for value in values)
    assert pickle.loads(pickle.dumps(values)) == values


def test_a_step_that_reads_beginnings_only_is_that_of_values_of_each_step():
    assert reads_beginnings_only(step_of_time(ode, scheme_by_name("forward_euler"), (w, b)))
    assert not reads_beginnings_only(step_of_time(ode, scheme_by_name("midpoint"), (w, b)))
    assert step_of_time(ode, scheme_by_name("rk4"), ()) is None


def test_a_flow_with_a_function_of_time_has_no_closed_form():
    parts = ODE((x, y), (w * y, -x + b))
    assert step_of_time(parts, scheme_by_name("strang"), (w,)) is None
    assert discretize(parts, "strang") and step_of_time(parts, scheme_by_name("stormer_verlet"), (w,))


def test_local_error_of_forward_euler_by_hand():
    """x'' = w x' + w' x + b'; half of it is the error of a step."""
    spec = Spec("own", "Own", "own", ode, scheme="forward_euler", may_vary=(w, b))
    results = explain(spec).results
    exact = (w * (w * x + b) + rate(w) * x + rate(b)) / 2
    assert expand(results["local_error_of_time_x"] - exact) == 0
    assert expand(results["field_rate_x"] - (rate(w) * x + rate(b))) == 0


def test_taylor_polynomials_are_about_the_time_of_the_step():
    driven, here = smooth(ODE((x,), (w * t * x,), time=t), (w,), 2)
    assert driven.time == t and driven.velocity[0].xreplace(here) == w * t * x
    again, here = smooth(ode, (w,), 1)
    assert again.time not in ode.quantities and again.velocity[0].xreplace(here) == w * x + b


@pytest.mark.parametrize("scheme", ["forward_euler", "heun", "rk4", "ab2", "bdf2", "trapezoid"])
def test_the_relations_hold_and_fail_when_a_coefficient_changes(scheme):
    derivation = explain(with_scheme(load("cubic_ode"), scheme))
    section = next(one for one in derivation.sections if one.title == "Parameters that vary in time")
    checked = [relation for relation in section.relations if relation.check is not None]
    assert {relation.name for relation in checked} == {"field_rate.x", "local_error_of_time"}
    for relation in checked:
        assert relation.check.run().holds
        assert relation.check.terms >= 1
        assert not any(relation.check.perturbed(term).run().holds for term in range(relation.check.terms))
    assert derivation.facts["may be functions of time"] == "w, b; read at the times of the stages"


def test_adaptive_steps_and_matrices():
    vector, matrix = state("z", "d"), parameter("M", ("d", "d"))
    adaptive = Adaptive(ODE((vector,), (matvec(matrix, vector),)))
    derivation = explain(Spec("own", "Own", "own", adaptive, may_vary=(matrix,)))
    assert derivation.results["field_rate_z"] == matvec(rate(matrix), vector)
    assert derivation.facts["may be functions of time"] == "M"
    step = discretize(moving(adaptive.ode, (matrix,)), "rk4")
    assert [value.shape for value in stage_values(step)] == [("d", "d")] * 3
