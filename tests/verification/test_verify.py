"""`verify`: the whole catalogue and user's specs are green, in a fixed order, and what is wrong is a failed row."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import codegen
from codegen.emission import emit
from codegen.verification.convergence import expectations
from codegen.verification.loaded import load_text
from codegen.verification.relations import claim_rows, relation_rows
from codegen.verification.report import summary, table
from codegen.verification.verifier import cases_of, module_rows, verify
from derive import (
    ODE,
    DeriveError,
    LinearMultistep,
    Network,
    Rational,
    Spec,
    Splitting,
    Start,
    cos,
    explain,
    load,
    matvec,
    parameter,
    relu,
    sin,
    state,
    tanh,
    time,
)
from derive.catalog import REGISTER
from derive.losses import BINARY_CROSS_ENTROPY, SQUARED_ERROR
from derive.schemes import SCHEMES

MODULES = [listing.id for listing in REGISTER if listing.kind == "module"]
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "specs").glob("*.py"))
ADAMS_BASHFORTH = LinearMultistep(
    alpha=(1, 0),
    beta=(0, Rational(3, 2), -Rational(1, 2)),
    start={"euler": Start(), "heun": Start(scheme=SCHEMES["heun"])},
    title="Adams-Bashforth 2",
)


def failures(rows):
    return [(row.check, row.measured, row.detail) for row in rows if not row.passed]


def kinds(rows):
    """What the checks are, without numbers and options."""
    return {re.sub(r" \[.*|, memory=.*|^\(\d+\) ", "", row.check) for row in rows}


@pytest.mark.parametrize("name", MODULES)
def test_the_catalogue_is_green(name):
    rows = verify(load(name))
    assert not failures(rows)
    assert all(row.spec == name for row in rows) and len({row.check for row in rows}) == len(rows)
    assert len([row for row in rows if re.match(r"\(\d+\) ", row.check)]) >= 5
    wanted = {
        "value against the reference evaluator",
        "derived gradient against autograd",
        "Taylor remainder, rate",
        "gradcheck, first derivatives",
        "dot test <Jv, w> = <v, J^T w>",
        "gradgradcheck along random directions, second derivatives",
    }
    assert wanted <= kinds(rows)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_specs_are_green(path):
    assert not failures(verify(load(path)))


def own(system, scheme, **more):
    return Spec(id="own", class_name="Own", title="a user's spec", system=system, scheme=scheme, **more)


def own_specs():
    x, u, v, t = state("x", "d"), state("u", ()), state("v", ()), time("t")
    field, autonomous, block = Network("g", takes_time=True), Network("g"), Network("g", per_layer=True)
    A, c, m, n = parameter("A", ("d", "d")), parameter("c", "d"), parameter("m"), parameter("n")
    yield "field of time and state", own(ODE((x,), (field(t, x),), time=t), "heun", loss=SQUARED_ERROR)
    yield "autonomous field, two-step", own(ODE((x,), (autonomous(x),)), "leapfrog", loss=BINARY_CROSS_ENTROPY)
    yield "blocks, several stages", own(ODE((x,), (block(x),)), "midpoint")
    yield "two scalars, two starts", own(ODE((u, v), (v - u**3, cos(t) - sin(u)), time=t), ADAMS_BASHFORTH)
    yield "two scalars, implicit, two-step", own(ODE((u, v), (v, -sin(u) - m * v)), "bdf2")
    yield "one scalar", own(ODE((u,), (-(u**3),)), "forward_euler")
    y, W = state("y", "d"), parameter("W", ("d", "d"))
    first, second = Network("f", per_layer=True), Network("e", per_layer=True)
    euler = SCHEMES["forward_euler"]
    strang = Splitting(((0, Rational(1, 2)), (1, 1), (0, Rational(1, 2))), substep=euler)
    yield "two streams, Strang", own(ODE((x, y), (first(y), second(x))), strang)
    drift = Network("e", takes_time=True)
    yield "two streams, two fields of time", own(ODE((x, y), (drift(t, y), autonomous(x)), time=t), "stormer_verlet")
    yield "two streams, one network", own(ODE((x, y), (autonomous(y), -autonomous(x))), "symplectic_euler")
    yield "two streams written out", own(ODE((x, y), (tanh(matvec(W, y)), c - x)), "ruth3")
    lie = Splitting(((0, 1), (1, 1)), substep=euler)
    yield "parts of one field", own(ODE((x,), (block(x) - c * x,), parts=((block(x),), (-c * x,))), lie)
    yield "a matrix and the time, two-step", own(ODE((x,), (matvec(A, tanh(x)) * cos(t),), time=t), "ab2")
    half = (1 + m**2) / 2
    squared = LinearMultistep(alpha=(1 - half, half), beta=(0, 1 + half, 0))
    yield "squared weight, two-step", own(ODE((x,), (autonomous(x),)), squared)
    both = (m + n) / 2
    several = LinearMultistep(alpha=(1 - both, both), beta=(0, 1 + both, 0))
    yield "two weights, two-step", own(ODE((x,), (autonomous(x),)), several)
    yield "a weight of the scheme", own(ODE((u,), (sin(u) - u**3,)), "theta")
    yield "two streams, exact flows", own(ODE((x, y), (first(y), second(x))), "yoshida4")
    yield "a kink", own(ODE((x,), (relu(matvec(A, x) + c) - x,)), "heun")


OWN = list(own_specs())
INVERTED = (
    "autonomous field, two-step",
    "two streams, Strang",
    "two streams, exact flows",
    "two streams, two fields of time",
    "two streams, one network",
    "two streams written out",
    "two scalars, implicit, two-step",
    "squared weight, two-step",
    "two weights, two-step",
)


@pytest.mark.parametrize(("title", "spec"), OWN, ids=[title for title, _ in OWN])
def test_users_specs_of_every_make_are_green(title, spec):
    rows = verify(spec)
    assert not failures(rows)
    found = kinds(rows)
    assert ("observed order" in found) is (title != "a kink")
    assert ("at kinks: derived gradient against autograd" in found) is (title == "a kink")
    assert ("loss_cotangent against autograd of loss" in found) is (spec.loss is not None)
    inverted = "inverse round trip: gradients, invert against recompute" in found
    assert inverted is (title in INVERTED)


def test_rows_are_the_same_every_time():
    first, second = (verify(load("cubic_ode")) for _ in range(2))
    assert first == second
    assert summary(first).endswith("all passed") and "cubic_ode" in table(first)
    found = explain(load("cubic_ode"))
    relations = relation_rows(found)
    assert len(relations) == len([relation for relation in found.relations if relation.check])
    assert first[: len(relations) + len(found.claims)] == [*relations, *claim_rows(found)]


def test_orders_of_lm_resnet_depend_on_k_and_on_the_start():
    spec = load("lm_resnet")
    found = {case.label: case.order for case in expectations(spec.system, spec.scheme)}
    assert found == {
        "start='plain', k=1/2": 1,
        "start='matched', k=1/2": 1,
        "start='plain', k=1": 1,
        "start='matched', k=1": 2,
    }


def broken(name, old, new):
    """Rows of the module of a spec whose text was changed in one place."""
    text = emit(load(name))
    assert text.count(old) == 1
    return list(module_rows(load(name), load_text(text.replace(old, new))))


def test_a_wrong_step_is_told_from_a_wrong_adjoint():
    step = broken("cubic_ode", "x_next = h * f + x  #", "x_next = h * f * 1.001 + x  #")
    failed = {check for check, _, _ in failures(step)}
    assert "value against the reference evaluator" in failed and any("derived gradient" in check for check in failed)
    adjoint = broken("cubic_ode", "bar_x_by_bar_f = -3 *", "bar_x_by_bar_f = -3.00001 *")
    failed = {check for check, _, _ in failures(adjoint)}
    assert "value against the reference evaluator" not in failed
    assert {"gradcheck, first derivatives", "Taylor remainder, rate"} & failed
    assert any("derived gradient against autograd" in check for check in failed)


def test_a_step_of_lower_order_is_found():
    wrong = replace(load("driven_oscillator"), scheme="heun")
    module = load_text(emit(load("driven_oscillator")))
    failed = {check for check, _, _ in failures(module_rows(wrong, module))}
    assert "observed order" in failed and "value against the reference evaluator" in failed


def test_a_module_that_cannot_be_made_gives_failed_rows():
    module = load_text(emit(load("cubic_ode")))
    rows = list(module_rows(load("driven_oscillator"), module))
    assert all(row.measured == "could not run" and row.detail for row in rows) and not any(row.passed for row in rows)


def test_text_that_cannot_be_imported_is_refused():
    with pytest.raises(DeriveError, match="cannot be imported: NameError: name 'nothing' is not defined"):
        load_text("nothing")


def test_devices():
    with pytest.raises(DeriveError, match="unknown device 'tpu'; allowed: cpu, cuda"):
        verify(load("resnet"), device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeriveError, match="finds no CUDA device here; use device 'cpu'"):
            verify(load("resnet"), device="cuda")
    else:
        rows = verify(load("resnet"), device="cuda")
        assert not failures(rows) and any(row.check.startswith("cuda against cpu") for row in rows)


def test_the_stand_in_is_the_same_network_on_both_sides():
    module = load_text(emit(load("resnet")))
    (case,), _ = cases_of(load("resnet"), module.Module)
    built = case.build(case.constructor, "store", "derived")
    assert all(parameter.dtype == torch.float64 for parameter in built.parameters())
    assert codegen.verify is verify
