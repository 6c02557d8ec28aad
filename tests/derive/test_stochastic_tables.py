"""Stochastic tables among the schemes: found by id, analysed, shown, and what they are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sympy import Rational

import derive
from derive.errors import SpecError, UnknownNameError, UnsupportedError
from derive.loading import load, load_any, load_scheme
from derive.schemes import SCHEMES
from derive.schemes.every import EVERY_SCHEME
from derive.schemes.stochastic import STOCHASTIC_SCHEMES, StochasticRungeKutta, stochastic_scheme, stochastic_scheme_id
from derive.sde import SDE
from derive.showing import explain, explained
from derive.spec_schemes import scheme_of, with_scheme
from derive.stochastic.analysis import StochasticAnalysis
from derive.symbols import parameter, state

HALF = Rational(1, 2)
MIDPOINT = StochasticRungeKutta(
    A=[[0, 0], [HALF, 0]], B=[[0, 0], [HALF, 0]], alpha=[0, 1], beta=[0, 1], calculus="stratonovich", title="midpoint"
)


def test_every_scheme_has_an_id_of_its_own() -> None:
    assert len(EVERY_SCHEME) == len(SCHEMES) + 3 == len(set(EVERY_SCHEME)) == 62
    assert EVERY_SCHEME["heun"] is SCHEMES["heun"]
    assert EVERY_SCHEME["stochastic_heun"] is STOCHASTIC_SCHEMES["heun"] is stochastic_scheme("stochastic_heun")
    assert "milstein" in EVERY_SCHEME and "stochastic_milstein" not in EVERY_SCHEME
    assert load_scheme("milstein") == "milstein" and load_any("milstein") is STOCHASTIC_SCHEMES["milstein"]
    with pytest.raises(UnknownNameError, match="milstein"):
        load_scheme("milstien")


def test_the_analysis_of_a_table() -> None:
    found = derive.analyse("milstein")
    assert isinstance(found, StochasticAnalysis)
    assert found.strong_order["general"] == HALF and [*found.strong_order.values()][1:] == [1] * 4
    assert set(found.weak_order.values()) == {1} and found.order_without_noise == 1
    assert derive.analyse("stochastic_heun").order_without_noise == 2
    assert "no strong order 1: coefficient of g_1'g_2" in str(found) and "**Milstein**" in found._repr_markdown_()
    assert derive.analyse("neural_sde").scheme is STOCHASTIC_SCHEMES["euler_maruyama"]
    assert derive.lint(MIDPOINT)[0].message == "has strong order 1/2 for general noise, claims none"


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda: derive.modified_equation("milstein", 2), "a modified equation"),
        (lambda: derive.stability("milstein"), "a stability function"),
        (lambda: derive.discretize("cubic_ode", "milstein"), "derive.stochastic_step makes its step"),
        (lambda: derive.discretize("cubic_ode", MIDPOINT), "midpoint is a scheme for stochastic equations"),
    ],
)
def test_what_only_other_schemes_have(ask, what) -> None:
    with pytest.raises((UnsupportedError, SpecError), match=what):
        ask()


@pytest.mark.parametrize("name", ["euler_maruyama", "milstein", "stochastic_heun"])
def test_the_derivation_of_a_table(name) -> None:
    found = explained(name)
    assert found.id == name and found.facts["strong order"].startswith("1/2 (general")
    checked = [relation for section in found.sections for relation in section.relations if relation.check]
    assert len(checked) == 2 and all(one.check.run().holds for one in checked)
    assert not any(one.check.perturbed(term).run().holds for one in checked for term in range(one.check.terms))
    titles = [section.title for section in found.sections]
    assert titles == ["The table", "One step", "The stochastic Taylor series of a step", "Orders"]
    (lines,) = (s.relations for s in found.sections if s.title.startswith("The stochastic"))
    assert [step.words for step in lines[0].steps] == ["g_1: J_1"]
    if name == "milstein":
        assert found.sections[0].relations[0].text.splitlines() == ["0 | 0", "-----", "1 | 1", "gamma = 1"]
        assert "g_1'g_1: J_11" in [step.words for step in lines[1].steps]


def test_a_table_of_ones_own_has_a_derivation() -> None:
    assert explain(MIDPOINT).title == "midpoint"


@pytest.mark.parametrize("name", ["milstein", "stochastic_heun"])
def test_a_table_alone_is_an_integrator(name) -> None:
    spec = load(name)
    assert spec.option == "noise" and scheme_of(spec) is EVERY_SCHEME[name]
    assert {one.calculus for one in spec.system.values()} == {EVERY_SCHEME[name].calculus}


def test_exchanged_tables() -> None:
    x, a = state("x", "d"), parameter("a")
    spec = replace(load("neural_sde"), option=None, system=SDE(x, -a * x, a), id="ou", class_name="Ou", claims=())
    assert with_scheme(spec, "stochastic_heun").system.scheme == "stochastic_heun"
    assert with_scheme(spec, MIDPOINT).system.scheme is MIDPOINT
    assert with_scheme(load("milstein"), "heun").title.endswith("by stochastic Heun")
    with pytest.raises(SpecError, match="ou: a stochastic equation, and Gauss, order 4 is a scheme for ODEs"):
        with_scheme(spec, SCHEMES["gauss4"])
    with pytest.raises(SpecError, match="the scheme is 3 "):
        with_scheme(spec, 3)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"strong_order": 1}, "claims strong order 1 for general noise; coefficient of g_1'g_2"),
        ({"strong_order": {"additive": Rational(3, 2)}}, "order 3/2 for additive noise; coefficient of f'g_1: 0 in"),
        ({"weak_order": 2}, "claims weak order 2 for general noise; mean coefficient of f'f: 0 in the scheme"),
        ({"strong_order": Rational(1, 3)}, "strong_order is 1/3 for general noise; give a multiple of 1/2"),
        ({"strong_order": {"diagnal": 1}}, "unknown structure of the noise 'diagnal': did you mean diagonal"),
        ({"weak_order": -1}, "weak_order is -1 for general noise"),
    ],
)
def test_claims_that_are_refused(claims, message) -> None:
    with pytest.raises((SpecError, UnknownNameError), match=message):
        replace(STOCHASTIC_SCHEMES["milstein"], **{"strong_order": None, "weak_order": None, **claims})


def test_ids_are_made_of_coefficients_and_titles() -> None:
    heun = STOCHASTIC_SCHEMES["heun"]
    assert stochastic_scheme_id(heun) == stochastic_scheme_id(replace(heun, strong_order=None)) == "heun"
    assert stochastic_scheme_id(MIDPOINT) == "midpoint"
    with pytest.raises(SpecError, match="which a shipped scheme with other coefficients has"):
        stochastic_scheme_id(replace(MIDPOINT, title="Stochastic Heun"))
