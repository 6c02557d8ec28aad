"""Chains of layers as data, and specs of a user's own that are chains."""

from __future__ import annotations

import pytest
import torch
from sympy import sin

import codegen
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import (
    Builder,
    Chain,
    Recurrence,
    Spec,
    Stack,
    constant,
    explain,
    input_,
    load,
    matvec,
    parameter,
    relu,
    state,
    tanh,
)
from derive.errors import SpecError, UnsupportedError

x = input_("x", "n")
U, c, g = parameter("U", ("m", "n")), parameter("c", "m"), parameter("g")
SQUARE = parameter("S", ("n", "n"))


def layer(value, *more):
    graph = Builder()
    return graph.build([graph.let("y", value), *more])


def own(system, **more):
    return Spec(id="own", class_name="Own", title="a user's net", system=system, **more)


GATED = layer(g * tanh(matvec(U, x) + c) * sin(matvec(U, x)))


def test_a_chain_of_the_user_s_own_is_emitted_and_proved():
    """Layers that no torch.nn module has: a gain for the whole layer, two functions of one product."""
    spec = own(
        Chain(last=layer(matvec(U, x)), hidden=GATED),
        stacks=(Stack("matrix", (U,)), Stack("shift", (c,), initial="zeros")),
    )
    failed = [(row.check, row.measured) for row in codegen.verify(spec) if not row.passed]
    assert not failed
    net = load_text(emit(spec)).Own([3, 4, 2])
    names = ["layers.0.matrix", "layers.0.shift", "layers.0.g", "layers.1.matrix"]
    assert [name for name, _ in net.named_parameters()] == names
    assert net.layers[0].g.shape == () and not net.layers[0].shift.any()
    assert net(torch.ones(5, 3)).shape == (5, 2)


def test_a_single_layer_with_an_option():
    spec = own({"plain": Chain(layer(matvec(U, x))), "kinked": Chain(layer(relu(matvec(U, x) + c)))}, option="kind")
    assert all(row.passed for row in codegen.verify(spec))
    net = load_text(emit(spec)).Own(3, 2, kind="kinked")
    assert repr(net) == "Own(3, 2, kind='kinked')"
    assert [name for name, _ in net.named_parameters()] == ["U", "c"]


def test_a_layer_that_keeps_its_size():
    spec = own(Chain(last=layer(matvec(U, x)), hidden=layer(x + tanh(matvec(SQUARE, x)))))
    with pytest.raises(UnsupportedError, match=r"own: the hidden layer takes and gives vectors of one size n"):
        emit(spec)


def test_derivation_of_a_chain():
    found = explain(load("dnn"))
    assert found.number_of("tanh.hidden.graph.a") == found.number_of("relu.hidden.graph.a") == "1"
    assert found.number_of("between_layers")
    assert str(found.results["tanh.hidden.bar_x"]) == "matvec(transpose(W), bar_a)"
    assert str(found.results["tanh.hidden.bar_a"]) == "bar_y*(1 - y**2)"
    assert "heaviside" in found.facts["activation"]


def test_ffn_is_another_name_of_dnn():
    assert load("ffn") is load("dnn")


def recurrent():
    s = state("s", "n")
    graph = Builder()
    new = graph.let("s_next", tanh(matvec(SQUARE, s) + matvec(SQUARE, x)))
    return Recurrence(graph.build([new]), old=(s,), new=(new,), inputs=(x,))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Chain(layer(c * c)), "the last layer has nothing going in; one vector is needed"),
        (lambda: Chain(layer(matvec(U, x), x)), r"the last layer has y \(m\), x \(n\) going out"),
        (lambda: Chain(layer(matvec(U, x)), layer(constant("k") * matvec(U, x))), "the hidden layer reads k"),
        (lambda: own({"a": Chain(GATED), "b": recurrent()}, option="kind"), "mixes kinds of systems"),
        (lambda: own({"a": 3}), "each name stands for a Recurrence or a Chain"),
    ],
)
def test_what_chains_refuse(make, complaint):
    with pytest.raises(SpecError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (own(Chain(GATED), stacks=(Stack("both", (U, c)),)), "both joins several tensors"),
        (own(Chain(layer(matvec(parameter("P", ("m", "k")), matvec(parameter("R", ("k", "n")), x))))), r"P has shape"),
        (own({"a b": Chain(GATED), "c": Chain(layer(matvec(U, x)))}, option="kind"), "becomes part of a name"),
        (own({"a": Chain(GATED, GATED), "b": Chain(GATED)}, option="kind"), "some options have hidden layers"),
    ],
)
def test_what_no_module_can_be_made_of(spec, complaint):
    with pytest.raises(UnsupportedError, match=complaint):
        emit(spec)
