"""Which maps are one to one and onto: conditions against numbers, maps that are neither, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sympy import Integer, exp, log, sin

import codegen
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import Builder, Flow, Spec, dot, explain, parameter, sigmoid, softplus, state, tanh
from derive.errors import UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.flow_programs import flow_programs
from derive.functions import step
from derive.invertibility import is_positive

x = state("x", "d")
u, w = parameter("u", "d"), parameter("w", "d")
p = parameter("p")


def flow(value, **more):
    graph = Builder()
    return Flow(graph.build([graph.let("y", value)]), **more)


def own(system):
    return Spec(id="own", class_name="Own", title="a flow", system=system)


CONDITIONS = {
    x + u * x**3: ["u >= 0"],
    u * x**3 - x: ["-u >= 0"],
    x + u * x + p * x**5: ["u + 1 > 0", "p >= 0"],
    x + (p + 2) * sin(x): ["-p - 1 > 0", "p + 3 > 0"],
    x * exp(u) + p * tanh(x): ["p + exp(u) > 0"],
    3 * sigmoid(p * x + u): ["p != 0"],
    p * exp(x) + u: ["p != 0"],
    p**2 * x: ["p**2 != 0"],
    x + x**3: [],
    -x - x**3: [],
    exp(x) - exp(-x): [],
    tanh(x): [],
    x**3: ["3*x**2 != 0"],
}


@pytest.mark.parametrize("value", CONDITIONS, ids=str)
def test_conditions_for_a_map_to_be_one_to_one(value):
    assert [condition.text for condition in flow_programs(flow(value)).conditions] == CONDITIONS[value]


@pytest.mark.parametrize("value", [v for v, found in CONDITIONS.items() if ">" in str(found)], ids=str)
def test_conditions_are_those_for_monotone_images(value):
    """Against the images themselves on a fine grid, for random parameters; of which orientation the map says."""
    system = flow(value)
    way = -1 if value == u * x**3 - x else 1
    conditions = flow_programs(system).conditions
    generator, grid, seen = np.random.default_rng(5), np.linspace(-30, 30, 6001), set()
    for _ in range(200):
        values = {q: 4 * generator.uniform(-1, 1, 1 if q.shape else ()) for q in system.parameters}
        rises = np.diff(evaluate(system.map, {**values, x: grid})[system.images[0]])
        monotone = bool(np.all(way * rises > 0))
        claimed = all(np.all(value_of(c.value, values) > 0) for c in conditions)
        assert claimed == monotone, values
        seen.add(claimed)
    assert seen == {True, False}


NOT_ONE_TO_ONE = [
    x**2,
    x + 5 * sin(x),
    x**3 - x / 100,
    x / (1 + x**2),
    x + u * x**2,
    x + 3 * u**2 * sin(x) + 2 * sin(x),
    x - 2 * w * dot(w, x) * (1 + tanh(dot(w, x))) / dot(w, w),
]


@pytest.mark.parametrize("value", NOT_ONE_TO_ONE, ids=str)
def test_maps_that_are_not_one_to_one_are_shown_as_such_and_not_emitted(value):
    derivation = explain(own(flow(value)))
    assert derivation.facts["one to one"] == "no: the determinant takes both signs"
    (said,) = [relation for relation in derivation.relations if relation.name == "not_one_to_one"]
    assert said.check.run().holds and not said.check.perturbed().run().holds
    assert "undoes" not in str([relation.title for relation in derivation.relations])
    for use in (emit, codegen.verify):
        with pytest.raises(
            UnsupportedError, match=r"own: the map is not one to one: det J = .* below 0 at .*constrain"
        ):
            use(own(flow(value)))


def test_a_map_whose_determinant_is_zero_is_not_emitted():
    with pytest.raises(UnsupportedError, match=r"not one to one: det J = \(0\); allowed"):
        emit(own(flow(step(x))))


def test_a_map_that_some_parameters_make_one_to_one_is_emitted_and_checks_them():
    net = load_text(emit(own(flow(x + u * x**3)))).Own(2)
    with torch.no_grad():
        net.u.copy_(torch.tensor([0.0, 1.0]))
    _, log_det = net(torch.ones(3, 2))
    torch.testing.assert_close(log_det, torch.full((3,), 4.0).log())
    with torch.no_grad():
        net.u[0] = -0.5
    with pytest.raises(ValueError, match=r"Own: u = -0\.5; allowed: 0 or more, where the map is invertible"):
        net(torch.ones(3, 2))


def test_constrained_parameters_may_make_a_map_one_to_one():
    free = flow(x + (p + 3) * tanh(x) - 9 * tanh(x))
    kept = flow(x + (p + 3) * tanh(x) - 9 * tanh(x), constrained={p: 6 + softplus(p)})
    assert flow_programs(free).sign_change is None and flow_programs(kept).sign_change is None
    wrong = flow(x + (p + 3) * tanh(x) - 9 * tanh(x), constrained={p: -softplus(p)})
    assert flow_programs(wrong).sign_change is not None


BOUNDS = {
    tanh(x): (Integer(-1), Integer(1)),
    3 * sigmoid(p * x + u): (Integer(0), Integer(3)),
    u + p * exp(x): (u,),
    softplus(x) - 1: (Integer(-1),),
    x + tanh(x): (),
    log(x): (),
    x**3: (),
    x + u * tanh(dot(w, x)): (),
    tanh(x**3): (),
}


@pytest.mark.parametrize("value", BOUNDS, ids=str)
def test_images_of_maps_that_are_not_onto(value):
    assert flow_programs(flow(value)).bounds == BOUNDS[value]
    if BOUNDS[value]:
        (said,) = [relation for relation in explain(own(flow(value))).relations if relation.name == "image"]
        assert said.check.run().holds and not said.check.perturbed().run().holds


@pytest.mark.parametrize("value", [tanh(x), u + exp(p) * exp(x)], ids=str)
def test_maps_that_are_not_onto_are_proved_on_their_image(value):
    rows = codegen.verify(own(flow(value)))
    assert not [(row.check, row.measured, row.detail) for row in rows if not row.passed]
    assert "density adds up to what the base has in the image [d=2]" in [row.check for row in rows]


def test_a_value_beyond_the_image_has_no_inverse():
    net = load_text(emit(own(flow(tanh(x))))).Own(2).double()
    assert "Not onto: y has components between -1 and 1" in net.__doc__
    with pytest.raises(RuntimeError, match=r"no root .*allowed: parameters of an invertible map, and values that it"):
        net.inverse(torch.full((1, 2), 1.5).double())


def test_what_is_positive_by_its_form():
    assert is_positive(1 + x**2) and is_positive(exp(x) + 3 * x**4) and is_positive(1 / x**2)
    assert not is_positive(x**2) and not is_positive(3 * x**2) and not is_positive(x**2 + u**2)
