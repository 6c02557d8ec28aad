"""Specs that derive and emit nothing, and relations of an author's own."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import pytest
import torch
from sympy import Integer, Symbol, factor

import codegen
from derive import (
    ODE,
    Builder,
    DeckClaim,
    DeriveError,
    Outcome,
    Spec,
    adjoint,
    dot,
    explain,
    gradient,
    hamiltonian,
    identity,
    input_,
    inverse,
    load,
    parameter,
    relation,
    sigmoid,
    state,
    tanh,
    target,
)
from derive.derivation import Kind
from derive.errors import SpecError, UnknownNameError
from derive.slopes import steepest

x, x_n = state("x", "d"), input_("x_n", "n")
WHY = "there is nothing to train"


def statement(system=None, **more):
    return Spec(id="own", class_name="", title="a statement", system=system, no_module=WHY, **more)


def graph():
    program = Builder()
    y = program.let("y", tanh(x) ** 2)
    return program.build([y])


def test_a_graph_gets_its_adjoint_and_shares_what_is_computed():
    found = explain(statement(graph()))
    assert [section.title for section in found.sections] == ["The graph", "Adjoint of the graph"]
    assert str(found.results["bar_x"]) == "bar_tanh_x*(1 - tanh_x**2)"
    assert {row[1] for row in found.symbols} == {"x", "y"}


def test_the_adjoint_of_a_graph_and_of_a_layer():
    assert str(adjoint(statement(graph())).program.assignments[-1].value) == "bar_tanh_x*(1 - tanh_x**2)"
    assert [str(q) for q in adjoint("dnn", "relu").program.outputs] == ["bar_W", "bar_b", "bar_x"]
    with pytest.raises(DeriveError, match="graph_relu has no steps"):
        inverse("graph_relu")
    with pytest.raises(DeriveError, match="dnn is no ODE"):
        hamiltonian("dnn")


def test_an_ode_may_be_a_statement():
    found = explain(statement(ODE((x,), (-(x**3),)), scheme="forward_euler"))
    assert found.facts["order"] == "1"
    assert found.number_of("adjoint.bar_x")


def test_nothing_is_emitted_and_it_is_said_why():
    with pytest.raises(DeriveError, match=f"own: a statement has nothing to emit; {WHY}"):
        codegen.emit(statement(graph()))


@pytest.mark.parametrize(("class_name", "why"), [("", ""), ("Own", WHY)])
def test_either_a_class_or_the_reason_why_there_is_none(class_name, why):
    with pytest.raises(SpecError, match="own: give either class_name="):
        Spec(id="own", class_name=class_name, title="", system=graph(), no_module=why)


@pytest.mark.parametrize("system", [None, graph()])
def test_a_class_needs_a_system_with_steps(system):
    with pytest.raises(SpecError, match="give an ODE, a Recurrence"):
        Spec(id="own", class_name="Own", title="", system=system)


def test_relations_alone_are_a_statement():
    double = identity("double angle", tanh(2 * x), 2 * tanh(x) / (1 + tanh(x) ** 2), reason="addition", name="double")
    quoted = relation("a word", "statement", "x > 0", source="somebody", section="Quoted")
    spec = statement(relations=(double, quoted))
    found = explain(spec)
    assert [(s.title, len(s.relations)) for s in found.sections] == [("What else holds", 1), ("Quoted", 1)]
    assert [r.number for r in found.relations] == ["1", "2"]
    assert found.results["double"] == 2 * tanh(x) / (1 + tanh(x) ** 2)
    (row,) = codegen.verify(spec)
    assert row.passed and row.check == "(1) identity: double angle"
    wrong = replace(spec, relations=(identity("wrong", tanh(2 * x), 2 * tanh(x), reason="guessed"),))
    assert not codegen.verify(wrong)[0].passed


def test_claims_speak_of_named_relations():
    doubled = identity("twice", x + x, 2 * x, reason="addition", name="twice")
    claims = (DeckClaim("right", "deck", "twice", 2 * x), DeckClaim("wrong", "deck", "twice", x))
    found = explain(statement(relations=(doubled,), claims=claims)).claims
    assert [claim.agrees for claim in found] == [True, False]


class Always:
    """A check of the author's own."""

    terms = 1

    def run(self):
        return Outcome(float(mpmath.mpf(0)), 1e-30, "by inspection")

    def perturbed(self, term=0):
        return self


def test_what_relations_refuse():
    with pytest.raises(SpecError, match="needs check="):
        relation("bound", Kind.INEQUALITY, "x < 1")
    with pytest.raises(SpecError, match="nothing to check"):
        relation("name", "definition", "y = x", check=Always())
    with pytest.raises(SpecError, match="has source="):
        relation("quoted", "statement", "x = 1")
    with pytest.raises(UnknownNameError, match="did you mean identity"):
        relation("name", "identiti", "y = x", check=Always())
    with pytest.raises(SpecError, match="give name="):
        relation("value", "identity", "1", check=Always(), value=Integer(1))
    with pytest.raises(SpecError, match="uses q, which nobody declared"):
        identity("plain", Symbol("q"), x, reason="none")


def test_a_gradient_has_no_cotangents_left():
    w, d = parameter("w", "n"), target("d", ())
    graph = Builder()
    value = graph.let("value", (sigmoid(dot(w, x_n)) - d) ** 2 / 2)
    found = gradient("squared distance", graph.build([value]), w, reason="chain rule", name="grad_w")
    s = sigmoid(dot(w, x_n))
    (row,) = codegen.verify(statement(relations=(found,)))
    assert row.passed and found.check is not None and not found.check.perturbed().run().holds
    assert factor(found.value - x_n * (s - d) * s * (1 - s)) == 0


def test_the_cross_entropy_of_a_sigmoid_is_as_simple_as_it_is():
    shown = {r.name: r.text for r in explain(load("perceptron")).relations}
    assert shown["gradient_of_the_entropy"] == "gradient of ell in w = outer(-d + f, x)"


@pytest.mark.parametrize("name", steepest())
def test_largest_slopes_are_those_of_torch_s_functions(name):
    """On a grid of float64, by autograd."""
    functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, **vars(torch.nn.functional)}
    z = torch.linspace(-40, 40, 800_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(functions[name](z).sum(), z)
    assert float(slope.abs().max()) == pytest.approx(float(steepest()[name].slope), rel=1e-8)
