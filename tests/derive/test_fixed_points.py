"""Equilibria as data: what is derived of written-out and opaque maps, their modules, and what a spec may not say."""

from __future__ import annotations

import time as clock
from functools import cache

import numpy as np
import pytest
import torch

import codegen
from codegen.emission import emit
from codegen.verification.fixed_point_cases import fixed_point_cases
from codegen.verification.gradient_checks import EXACT, _value, derived_against_autograd
from codegen.verification.loaded import load_text
from derive import (
    Builder,
    FixedPoint,
    Network,
    Spec,
    adjoint,
    constant,
    cos,
    dot,
    explain,
    input_,
    load,
    matvec,
    parameter,
    sigmoid,
    sin,
    state,
    tanh,
    time,
)
from derive.errors import SpecError
from derive.evaluator import value_of
from derive.least_change import least_change
from tests.verification.mutation import applied, functions, mutants

z, x, w = state("z", "n"), input_("x", "m"), input_("w", "n")
W, U, V = parameter("W", ("n", "n")), parameter("U", ("n", "m")), parameter("V", ("n", "k"))
R, b, gain = parameter("R", ("k", "n")), parameter("b", "n"), parameter("gain")
f, pair = Network("f"), Network("pair", beside=("m",))


def equilibrium(value, unknown=z):
    graph = Builder()
    return FixedPoint(graph.build([graph.let("y", value)]), unknown)


def damped():
    graph = Builder()
    inner = graph.let("inner", pair(z, x))
    return FixedPoint(graph.build([graph.let("y", (z + inner) / 2)]), z)


SYSTEMS = {
    "neurons": equilibrium(tanh(matvec(W, z) + matvec(U, x) + b)),
    "two layers, another width": equilibrium(tanh(matvec(V, sigmoid(matvec(R, z) + gain)) + w)),
    "a gated scalar product": equilibrium(w + b * tanh(dot(b, z)) / 4),
    "an opaque map of two vectors": equilibrium(pair(z, x)),
    "an opaque map without input": equilibrium(f(z)),
    "damped": damped(),
    "a network beside a written part": equilibrium(tanh(matvec(W, z)) / 4 + f(z) / 4 + w),
    "no input": equilibrium(tanh(matvec(W, z) + b)),
    "three components": equilibrium(
        tanh(matvec(parameter("A", (3, 3)), state("q", 3))) + input_("p", 3), state("q", 3)
    ),
    "one component": equilibrium(sin(parameter("a", 1) * state("q", 1)) + input_("p", 1), state("q", 1)),
    "a size of another name": equilibrium(cos(parameter("a", "d") * state("q", "d")) / 2, state("q", "d")),
}


QUICK = ("neurons", "no input", "three components", "one component", "a size of another name")
MARKED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS]


def own(name):
    return Spec(id="own_equilibrium", class_name="Own", title=name, system=SYSTEMS[name])


@cache
def module(name):
    return load_text(emit(own(name)))


@pytest.mark.parametrize("name", MARKED)
def test_every_relation_holds_and_every_coefficient_matters(name):
    begin = clock.perf_counter()
    derivation = explain(own(name))
    assert clock.perf_counter() - begin < 10  # a bound against hanging; benchmarks have the figures
    for relation in derivation.relations:
        if relation.check is not None:
            assert relation.check.run().holds, relation.title
            for term in range(relation.check.terms):
                assert not relation.check.perturbed(term).run().holds, (relation.title, term)


@pytest.mark.parametrize("name", MARKED)
def test_modules_of_a_user_s_maps_pass_every_check(name):
    failed = [row for row in codegen.verify(own(name)) if not row.passed]
    assert not failed, [(row.check, row.measured, row.detail) for row in failed]


def test_the_update_is_the_good_one():
    """Against the textbook, at random numbers: B + (s - B y) s^T B / (s^T B y)."""
    update, rng = least_change("n"), np.random.default_rng(0)
    B, s, y = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    known = {update.inverse: B, update.step: s, update.difference: y}
    found = value_of(update.updated_inverse, known)
    assert np.allclose(found, B + np.outer(s - B @ y, s @ B) / (s @ B @ y), rtol=1e-12)
    changed = value_of(update.updated, {**known, update.matrix: np.linalg.inv(B)})
    assert np.allclose(changed @ s, y) and np.allclose(np.linalg.inv(changed), found)
    for _ in range(20):  # every other matrix that satisfies the condition is further away
        other = changed + rng.normal(size=(4, 1)) * (np.eye(4) - np.outer(s, s) / (s @ s))[rng.integers(4)]
        assert np.allclose(other @ s, y)
        assert np.linalg.norm(other - np.linalg.inv(B)) > np.linalg.norm(changed - np.linalg.inv(B))


def test_the_adjoint_is_the_theorem_of_implicit_functions():
    found = {line.target.name: str(line.value) for line in adjoint("deq").program.assignments}
    assert found == {
        "bar_z": "bar_z_out + grad[z]<bar_z, f(z, x; theta_f)>",
        "bar_theta_f": "grad[theta_f]<bar_z, f(z, x; theta_f)>",
        "bar_x": "grad[x]<bar_z, f(z, x; theta_f)>",
    }
    results = explain(load("deq")).results
    assert str(results["partial"]) == "Df(z, x; theta_f)[dot_x] + Df(z, x; theta_f)[dot_theta_f]"


def test_written_out_and_opaque_maps_of_one_function_agree():
    """The derived pullback against torch's own, through everything that is built on it."""
    torch.manual_seed(0)
    written = module("neurons").Own(5, 3, tol=1e-13).double()

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.U, self.b = written.W, written.U, written.b

        def forward(self, z, x):
            return torch.tanh(z @ self.W.mT + x @ self.U.mT + self.b)

    opaque = load_text(emit(load("deq"))).DEQ(Same(), tol=1e-13)
    inputs = torch.randn(2, 4, 3, dtype=torch.float64)
    start = torch.zeros(8, 5, dtype=torch.float64)
    left, right = written(inputs).reshape(8, 5), opaque(inputs.reshape(8, 3), start)
    assert torch.allclose(left, right, rtol=1e-11, atol=1e-12)
    held = (written.W, written.U, written.b)
    pairs = [torch.autograd.grad(out.sin().sum(), held, create_graph=True) for out in (left, right)]
    assert all(torch.allclose(a, c, rtol=1e-10, atol=1e-11) for a, c in zip(*pairs, strict=True))
    twice = [torch.autograd.grad(sum(g.square().sum() for g in found), held) for found in pairs]
    assert all(torch.allclose(a, c, rtol=1e-9, atol=1e-10) for a, c in zip(*twice, strict=True))


@pytest.mark.slow
def test_mutants_of_a_written_map_are_caught():
    text = emit(own("neurons"))
    loaded = load_text(text)
    found = [m for f in functions(text, lambda name: name in ("_forward_map", "_backward_map")) for m in mutants(f)]
    assert len(found) > 15
    case = next(iter(fixed_point_cases(loaded.Own, own("neurons"))))
    for mutant in found:
        with applied(mutant, loaded):
            assert _is_caught(case), mutant.change


def _is_caught(case):
    try:
        return _value(case, "cpu").value > EXACT or derived_against_autograd(case, "store", "cpu").value > EXACT
    except Exception:
        return True


def test_what_the_constructors_take():
    sizes = module("two layers, another width").Own(4, 2)
    assert {name: tuple(p.shape) for name, p in sizes.named_parameters()} == {
        "R": (2, 4), "V": (4, 2), "gain": (),
    }  # fmt: skip
    assert sizes(torch.zeros(3, 4)).shape == (3, 4)
    with pytest.raises(ValueError, match=r"Own: w has shape \(3, 5\); allowed: last axis of size 4"):
        sizes(torch.zeros(3, 5))
    with pytest.raises(TypeError, match=r"Own: z has dtype torch\.float64, and R has"):
        sizes(torch.zeros(3, 4).double())
    with pytest.raises(ValueError, match="Own: n=0; allowed: a whole number, 1 or more"):
        module("neurons").Own(0, 2)
    alone = module("no input").Own(3)
    assert alone(torch.zeros(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match="Own: z0=None; allowed: a Tensor"):
        alone()


REFUSED = {
    "nothing to iterate": (lambda: equilibrium(tanh(w)), "does not read the state z"),
    "another shape": (lambda: equilibrium(matvec(R, z)), r"takes z \(n\) to y \(k\); one vector of the same shape"),
    "one map per layer": (lambda: equilibrium(Network("g", per_layer=True)(z)), "reads theta_g, a layer parameter"),
    "the time": (lambda: equilibrium(z * time("t")), "reads t, a time; allowed: its state, inputs"),
    "a constant": (lambda: equilibrium(z * constant("c")), "reads c, a constant"),
    "a matrix": (lambda: equilibrium(2 * W, W), "one vector of the same shape"),
    "two images": (lambda: FixedPoint(_two_images(), z), r"takes z \(n\) to y \(n\), v \(n\)"),
}


def _two_images():
    graph = Builder()
    y = graph.let("y", tanh(z))
    return graph.build([y, graph.let("v", y + z)])


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_spec_may_not_say(name):
    act, message = REFUSED[name]
    with pytest.raises(SpecError, match=message):
        act()


def test_networks_of_two_vectors():
    with pytest.raises(SpecError, match="takes a second vector: neither the time nor other sizes"):
        Network("g", takes_time=True, beside=("m",))
    with pytest.raises(TypeError, match=r"called as pair\(z, x\); 1 arguments given"):
        pair(z)
    with pytest.raises(SpecError, match=r"pair takes vectors \(m\)"):
        pair(z, w)
