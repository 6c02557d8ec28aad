"""Flows as data: determinants, conditions and inverses of maps of every structure that is read, against numbers."""

from __future__ import annotations

from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from sympy import Integer, exp, sin

import codegen
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import (
    ODE,
    Builder,
    ContinuousFlow,
    Flow,
    Network,
    Spec,
    adjoint,
    constant,
    dot,
    explain,
    inverse,
    load,
    logdet,
    matvec,
    norm,
    parameter,
    sigmoid,
    softplus,
    state,
    tanh,
    time,
    total,
)
from derive.checks import DIGITS
from derive.determinants import determinant, log_determinant
from derive.errors import SpecError, UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.flow_checks import log_det_of
from derive.flow_programs import flow_programs
from derive.functions import logabs
from derive.norms import components
from derive.operators import softmax
from derive.sampling import Sampler

x, x_1, x_2 = state("x", "d"), state("x_1", "p"), state("x_2", "q")
u, v, w, a, c = (parameter(name, "d") for name in "uvwac")
b, k = parameter("b"), parameter("k")
W = parameter("W", ("d", "d"))
m, n = Network("m", maps=("p", "q")), Network("n", maps=("q", "p"))


def flow(value, **more):
    graph = Builder()
    return Flow(graph.build([graph.let("y", value)]), **more)


def two_sided(scale=True):
    """A coupling in which each part is moved by the other, one after the other."""
    graph = Builder()
    y_2 = graph.let("y_2", x_2 * (2 + tanh(m(x_1))) + m(x_1) if scale else x_2 + m(x_1))
    y_1 = graph.let("y_1", x_1 + n(y_2))
    return Flow(graph.build([y_1, y_2]))


def own(system, **more):
    return Spec(id="own", class_name="Own", title="a user's flow", system=system, **more)


MAPS = {
    "sigmoid across a hyperplane": flow(x + u * sigmoid(dot(w, x) + b)),
    "affine by components": flow(a * x + c),
    "monotone by components": flow(x + sigmoid(k) * tanh(a * x) / (1 + a**2)),
    "sinh by components": flow(exp(x) - exp(-x) + c),
    "scaled by a scalar of the data": flow(x * exp(tanh(norm(x - c)))),
    "two hyperplanes": flow(3 * x + u * tanh(dot(w, x)) + v * sigmoid(dot(c, x) + b)),
    "three hyperplanes": flow(exp(a) * x + u * tanh(dot(w, x)) + v * sigmoid(dot(c, x)) + w * sin(total(x))),
    "softmax": flow(2 * x + softmax(x)),
    "coupled both ways": two_sided(),
}


@pytest.mark.parametrize("name", MAPS)
def test_log_determinants_are_those_of_numeric_jacobians(name):
    system = MAPS[name]
    with mpmath.workdps(DIGITS):
        sampler = Sampler(system.map.inputs, system.map.networks(), seed=3)
        values = {**sampler.values()}
        known = evaluate(system.map, values, sampler.networks)
        found = value_of(log_determinant(determinant(system.map, system.parts)), known, sampler.networks)
        expected = log_det_of(system.map, system.parts)(values, sampler)
        assert abs(found - expected) < mpmath.mpf("1e-35")


@pytest.mark.parametrize("name", [name for name in MAPS if "hyperplanes" not in name and "softmax" not in name])
def test_inverses_undo_their_maps(name):
    system = MAPS[name]
    derived = flow_programs(system)
    assert derived.backward is not None and derived.inverse is not None
    sampler = Sampler(system.map.inputs, system.map.networks(), seed=4)
    values = {q: np.asarray(value, dtype=float)[()] for q, value in sampler.values().items()}
    ahead = evaluate(derived.forward, values, sampler.networks)
    back = evaluate(derived.backward, {**values, **ahead}, sampler.networks)
    for part in system.parts:
        assert np.allclose(back[derived.inverse.parts[part]], values[part], rtol=1e-11, atol=1e-12)
    assert np.isclose(back[derived.backward.outputs[-1]], -ahead[derived.forward.outputs[-1]], rtol=1e-10)


def test_what_the_catalogue_s_flows_have():
    assert logdet("planar_flow") == logabs(1 + (1 - state("t", ()) ** 2)) or "dot(u, w)" in str(logdet("planar_flow"))
    assert str(logdet("radial_flow")) == (
        "(components(x) - 1)*logabs(beta/(alpha + r) + 1) + logabs(alpha*beta/(alpha + r)**2 + 1)"
    )
    assert str(logdet("affine_coupling")) == "total(logabs(s))"
    assert logdet("nice") == 0
    titles = {name: flow_programs(load(name).system).inverse.title for name in ("planar_flow", "radial_flow", "nice")}
    assert titles == {
        "planar_flow": "through the root of a scalar equation",
        "radial_flow": "in closed form",
        "nice": "solved line by line",
    }


def test_the_functions_of_a_notebook():
    found = adjoint("planar_flow")
    assert {q.name for q in found.program.outputs} == {"bar_b", "bar_u", "bar_w", "bar_x"}
    assert inverse("radial_flow").title == "in closed form"
    assert logdet(load("radial_flow")) == logdet(load("radial_flow").system)


CONDITIONS = {
    "planar_flow": [("dot(u, w) + 1", True)],
    "radial_flow": [("alpha", True), ("alpha + beta", True)],
    "affine_coupling": [("s", False)],
    "nice": [],
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions(name):
    assert [(str(f.value), f.positive) for f in flow_programs(load(name).system).conditions] == CONDITIONS[name]


def test_conditions_of_a_user_s_maps():
    shown = {
        name: [(str(f.value), f.positive) for f in flow_programs(system).conditions] for name, system in MAPS.items()
    }
    assert shown["sigmoid across a hyperplane"] == [("dot(u, w) + 4", True)]
    assert shown["affine by components"] == [("a", False)]
    assert shown["softmax"][0][1] is False


def test_a_field_s_trace():
    planar = ContinuousFlow(ODE(state=(z,), velocity=(u * tanh(dot(w, z) + b) - a * z,)))
    assert str(logdet(planar)) == "(1 - tanh_a_F_z**2)*dot(u, w) - total(a)"
    mixed = ContinuousFlow(ODE(state=(z,), velocity=(u * tanh(dot(w, z)) + matvec(W, sin(z)),)))
    assert "identity_like(W)" in str(logdet(mixed)) and "dot(u, w)" in str(logdet(mixed))
    with pytest.raises(UnsupportedError, match="not read from its linearization"):
        logdet("continuous_flow")


z, t = state("z", "d"), time("t")
WRITTEN = ODE(state=(z,), velocity=(u * tanh(dot(w, z) + b * t) - a * z,), time=t)
OWN = {
    "continuous": own(ContinuousFlow(WRITTEN, scheme="heun")),
    "continuous, with a matrix": own(ContinuousFlow(ODE((z,), (u * tanh(dot(w, z)) + matvec(W, sin(a * z)),)))),
    "sigmoid": own(flow(x + u * sigmoid(dot(w, x) + b))),
    "affine": own(flow(a * x + c), defaults={}),
    "monotone": own(flow(x + sigmoid(k) * tanh(x + c))),
    "both ways": own(two_sided()),
    "scaled by a number": own(flow(b * x + c)),
    "a slope and more": own(flow(x + u * sigmoid(dot(w, x)) + u * dot(w, x))),
    "a condition for every component": own(flow(x * exp(a) + c + k * tanh(x), constrained={k: softplus(k)})),
    "tied": own(flow(x + u * tanh(dot(w, x)), constrained={u: w})),
    "guarded": own(
        flow(
            x + u * sigmoid(dot(w, x) + b),
            constrained={u: u + (softplus(dot(u, w)) - 4 - dot(u, w)) * w / dot(w, w)},
        )
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_a_spec_of_a_user_s_own_is_derived_emitted_and_proved(name):
    failed = [(row.check, row.measured, row.detail) for row in codegen.verify(OWN[name]) if not row.passed]
    assert not failed


def test_a_field_that_is_written_out_needs_no_products_with_its_jacobian():
    text = emit(OWN["continuous"])
    (line,) = [line for line in text.splitlines() if "(u * w).sum" in line]
    assert "1 - tanh_a_F_z**2" in line and "a.sum" in line
    flow = load_text(text).Own(3)
    assert [name for name, _ in flow.named_parameters()] == [f"field.{name}" for name in "abuw"]
    y, log_det = flow(torch.zeros(2, 3))
    assert y.shape == (2, 3) and log_det.shape == (2,)


def test_a_map_without_a_derived_inverse_says_so():
    net = load_text(emit(own(MAPS["two hyperplanes"]))).Own(3)
    assert net(torch.ones(2, 3))[1].shape == (2,)
    with pytest.raises(NotImplementedError, match="Own: no inverse of this map was derived"):
        net.inverse(torch.ones(2, 3))


def test_a_user_s_condition_names_what_is_violated():
    net = load_text(emit(OWN["sigmoid"])).Own(2)
    with torch.no_grad():
        net.u.copy_(torch.tensor([-3.0, 0.0]))
        net.w.copy_(torch.tensor([2.0, 0.0]))
    with pytest.raises(ValueError, match=r"Own: dot\(u, w\) \+ 4 = -2; allowed: above 0"):
        net(torch.ones(4, 2))


def test_the_guarantee_is_derived():
    found = explain(OWN["guarded"])
    assert "softplus(dot(u, w))" in next(r.text for r in found.relations if r.name == "guarantee_1")
    assert found.facts["invertible for"] == "dot(u, w) + 4 > 0"


def test_the_symbols_are_all_that_the_page_names():
    for name, wanted in (("nice", "m"), ("affine_coupling", "s m"), ("planar_flow", "a t u_hat softplus_a_u_hat a_0")):
        derivation = explain(load(name))
        names = {row[1] for row in derivation.symbols}
        assert names.issuperset(wanted.split())
        assert len({row[0] for row in derivation.symbols}) == len(names)  # no two are written alike


def test_the_softplus_of_a_constraint_is_not_written_as_the_image_is():
    relations = {relation.name: relation for relation in explain(load("planar_flow")).relations}
    assert relations["constraint.softplus_a_u_hat"].latex.startswith(r"\operatorname{softplus}_{\hat{u}} = ")
    assert r"\left(\overline{\hat{u}} \cdot w\right) \, w" in relations["constraint_adjoint.bar_w"].latex


def test_what_is_not_read_names_the_line_of_a_user_s_file(tmp_path):
    file = tmp_path / "own.py"
    text = "from derive import *\nx, W = state('x', 'd'), parameter('W', ('d', 'd'))\ngraph = Builder()\n"
    file.write_text(f"{text}MAP = graph.build([graph.let('y', matvec(W, x))])\nFLOW = Flow(MAP)\n")
    with pytest.raises(SpecError, match=r"own\.py, line 5: the determinant of y in x is not read .*ContinuousFlow"):
        load(file)


def swapped():
    graph = Builder()
    y_1, y_2 = graph.let("y_1", x_1 + n(x_2)), graph.let("y_2", x_2 + m(x_1))
    return Flow(graph.build([y_1, y_2]))


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: flow(x * constant("s_0")), SpecError, "the map reads s_0; a flow reads vectors"),
        (lambda: flow(dot(x, x)), SpecError, r"takes x \(d\) to y \(\); vectors are needed"),
        (lambda: flow(a * c), SpecError, "takes nothing to y"),
        (lambda: flow(x, constrained={u: u}), SpecError, "constrained: u = u uses u; allowed: the parameters"),
        (lambda: flow(u * x, constrained={u: b * Integer(2)}), SpecError, "uses b; allowed"),
        (lambda: flow(u * x + b, constrained={u: b}), SpecError, r"constrained: u has shape \(d\), its value not"),
        (lambda: m(x_2), SpecError, r"network m takes vectors \(p\); x_2 is \(q\)"),
        (lambda: determinant(flow(matvec(W, x)).map, (x,)), UnsupportedError, "is not read from its linearization"),
        (lambda: determinant(flow(u * tanh(dot(w, x))).map, (x,)), UnsupportedError, "no diagonal"),
        (lambda: determinant(swapped().map, swapped().parts), UnsupportedError, "not block triangular"),
        (lambda: ContinuousFlow(ODE((state("s", ()),), (b,))), SpecError, "a continuous flow moves one vector"),
        (
            lambda: emit(own(ContinuousFlow(ODE((z,), (2 * Network("f")(z),))))),
            UnsupportedError,
            "own: the field is .*; allowed: one network",
        ),
        (
            lambda: emit(own(ContinuousFlow(ODE((z,), (matvec(W, z) * constant("s_0"),))))),
            UnsupportedError,
            "own: the field reads s_0; allowed: the state, the time, and parameters",
        ),
        (
            lambda: emit(own(ContinuousFlow(WRITTEN, scheme="ab2"))),
            UnsupportedError,
            "is no Runge-Kutta scheme",
        ),
        (lambda: logdet("rk4"), UnsupportedError, "rk4 is no flow"),
        (lambda: emit(own({"one": flow(a * x), "two": flow(a * x)}, option="which")), UnsupportedError, "no options"),
    ],
)
def test_what_is_refused(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()


def test_components_are_counted():
    values = {x: np.ones(4)}
    assert value_of(components(x), values) == 4
    assert partial(value_of, components(x) * total(x))(values) == 16
