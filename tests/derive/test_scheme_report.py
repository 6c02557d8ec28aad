"""Derivations of schemes: what they hold, that every check passes, and that none is blind to what it checks."""

from functools import cache

import pytest
from sympy import Integer, Rational, Symbol, oo

from derive import ButcherTableau, LinearMultistep, explain, load
from derive.derivation import Kind
from derive.explanation import explain_system
from derive.scheme_report.explanation import explain_scheme
from derive.schemes import SCHEMES, Splitting
from derive.showing import explained
from derive.spec_schemes import with_scheme

QUICK = ("forward_euler", "rk4", "bs32", "theta", "gauss4", "bdf2", "leapfrog", "stormer_verlet", "strang")
R = Rational


@cache
def derivation(name):
    return explain_scheme(SCHEMES[name], name)


def relation(name, title):
    (found,) = [item for item in derivation(name).relations if item.name == title]
    return found


def assert_checks_see(found, every_term):
    for item in found.relations:
        assert (item.check is not None) is (item.kind in (Kind.IDENTITY, Kind.ASYMPTOTIC, Kind.INEQUALITY)), item.title
        if item.check is None:
            continue
        assert item.check.run().holds, item.title
        for term in range(item.check.terms if every_term else min(1, item.check.terms)):
            assert not item.check.perturbed(term).run().holds, (item.title, term)


@pytest.mark.parametrize("name", ["forward_euler", "theta", "bdf2", "strang"])
def test_every_coefficient_of_every_relation_counts(name):
    assert_checks_see(derivation(name), every_term=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
def test_every_relation_of_every_shipped_scheme_is_checked(name):
    assert_checks_see(derivation(name), every_term=False)


@pytest.mark.parametrize("name", QUICK)
def test_relations_are_numbered_and_have_a_reason(name):
    found = derivation(name)
    assert [int(item.number) for item in found.relations] == list(range(1, len(list(found.relations)) + 1))
    assert all(item.reason and item.latex and item.text for item in found.relations)
    assert all(bool(item.source) is (item.kind is Kind.STATEMENT) for item in found.relations)
    titles = [section.title for section in found.sections]
    wanted = "Order and error terms, Modified equation, Linear stability, Geometry"
    assert titles[1:5] == [f"{title} of the scheme" for title in wanted.split(", ")]


def test_formulas_of_the_books():
    formulas = {name: "".join(item.latex for item in derivation(name).relations) for name in ("rk4", "strang")}
    assert r"R(z) = 1 + z + \frac{z^{2}}{2} + \frac{z^{3}}{6} + \frac{z^{4}}{24}" in formulas["rk4"]
    assert r"\approx \left[-2.78529, 0\right]" in formulas["rk4"]
    assert r"- \frac{1}{24}\, [f,[f,g]] + \frac{1}{12}\, [[f,g],g]" in formulas["strang"]
    assert derivation("dopri5").facts["embedded order"] == "4"
    theta = {item.title for item in derivation("theta").relations}
    assert {"order 2 iff theta = 1/2", "A-stable iff theta >= 1/2", "L-stable iff theta = 1"} <= theta
    assert relation("gauss4", "scheme.adjoint_gap").title == "discretizing and optimizing commute"
    assert relation("rk4", "scheme.adjoint_gap").title == "discretizing and optimizing differ by O(h^4)"
    assert len(relation("rk4", "scheme.local_error").steps) == 9


def test_an_unstable_scheme_is_warned_of():
    facts = derivation("unstable_explicit_2step").facts
    assert next(iter(facts)) == "warning" and facts["warning"].startswith("not zero-stable")
    assert facts["zero-stable"] == "no"
    spec = load("lm_resnet")
    assert "warning" not in explain_system(spec).facts


def test_sections_on_the_scheme_stand_behind_all_that_code_refers_to():
    spec = load("lm_resnet")
    short, whole = explain_system(spec), explain(spec)
    assert len(whole.sections) > len(short.sections)
    first = [item.latex for item in short.relations]
    assert [item.latex for item in whole.relations][: len(first)] == first
    assert short.facts == whole.facts
    assert "A-stable" not in " ".join(item.title for item in short.relations)


@pytest.mark.parametrize("name", ["rk4", "heun", "gauss4"])
def test_error_terms_stand_once_and_are_referred_to(name):
    """They are spelled out in the sections on the scheme; the section on the system names them."""
    found = explain(with_scheme(load("rk4"), name))
    p = SCHEMES[name].order
    spelled = [item.title for item in found.relations if item.latex.count("f'") > 1]
    assert spelled[:2] == [f"local error, exact minus numerical: order {p}", "modified equation"]
    (own,) = (section for section in found.sections if section.title == "Order, local error and modified equation")
    (there,) = (section for section in found.sections if section.title == "Order and error terms of the scheme")
    for item in own.relations:
        assert rf"\tau_{{{p + 1}}}[" in item.latex and there.title in item.reason
        assert item.check.run().holds and not item.check.perturbed(1).run().holds


def test_schemes_with_several_symbols_say_what_is_not_decided():
    a, b = Symbol("a"), Symbol("b")
    scheme = ButcherTableau(A=[[0, 0, 0], [a, 0, 0], [0, b, 0]], b=[0, 0, 1], c=[0, a, b], title="of three stages")
    found = explain(scheme)
    titles = {item.title: item for item in found.relations}
    assert titles["order 2 iff b = 1/2"].check.run().holds
    assert "one symbol is decided" in titles["real interval: not decided"].source
    assert "not decided" in found.facts["real interval"]
    assert {"not A-stable", "stable in no sector", "not symplectic", "not symmetric"} <= set(titles)


def test_families_of_two_symbols_are_decided_and_checked():
    a, b = Symbol("a"), Symbol("b")
    explicit = ButcherTableau(A=[[0, 0], [a, 0]], b=[1 - b, b], c=[0, a], title="all of two stages")
    implicit = ButcherTableau(A=[[a, 0], [b, a]], b=[R(1, 2), R(1, 2)], c=[a, a + b], title="diagonally implicit")
    for scheme in (explicit, implicit):
        assert_checks_see(explain(scheme), every_term=False)
    titles = {item.title for item in explain(implicit).relations}
    assert "symplectic iff (a = 1/4 and b = 1/2) or (a = 1/2 and b = 0)" in titles


def test_published_decimals_are_shown_as_decimals():
    third = 0.3333333333
    scheme = ButcherTableau(
        A=[[0, 0], [1 - third, 0]], b=[0.2500000001, 0.7499999999], c=[0, 1 - third], digits=10, title="rounded"
    )
    found = explain(scheme)
    titles = {item.title: item.latex for item in found.relations}
    assert "not A-stable (to 10 digits)" in titles and "not symmetric (to 10 digits)" in titles
    assert r"\left[-2.0, 0\right]" in titles["real interval (to 10 digits)"]
    assert found.facts["real interval"] == "[-2.00000, 0] (to 10 digits)"
    assert found.facts["A-stable"] == "no (to 10 digits)" and found.facts["order"] == "2"


def test_ends_with_a_double_root_are_remarked_on():
    """At h lambda = i leapfrog's roots meet at i, at h omega = 2 Verlet's eigenvalues at -1."""
    for name, wanted in (("leapfrog", True), ("stormer_verlet", True), ("rk4", False)):
        reasons = [item.reason for item in derivation(name).relations if item.title == "imaginary interval"]
        assert [("errors grow linearly" in reason) for reason in reasons] == [wanted]


def test_the_error_constant_stands_in_the_report():
    titles = {item.title: item.latex for item in derivation("forward_euler").relations}
    assert titles["error constant"] == r"C_{2} = \frac{1}{2}"
    assert "error constant" not in {item.title for item in derivation("rk4").relations}


def test_schemes_and_systems_by_reference(tmp_path):
    assert explained("dopri5").title == SCHEMES["dopri5"].title
    assert explained("lm_resnet").title == load("lm_resnet").title
    path = tmp_path / "mine.py"
    path.write_text("from derive import ButcherTableau\nMINE = ButcherTableau(A=[[0]], b=[1], c=[0], title='mine')\n")
    assert explained(str(path)).id == "mine" and explained(f"{path}:MINE").facts["order"] == "1"


def test_a_wrong_verdict_does_not_pass():
    """Checks are of the scheme they stand at: those of one scheme refuse another one's."""
    found = relation("rk4", "scheme.local_error").check
    other = relation("rk4", "scheme.modified_equation").check
    assert not type(found)(found.residual, tuple(-c for c in found.coefficients)).run().holds
    assert not type(other)(other.residual, tuple(2 * c for c in other.coefficients)).run().holds
    symplectic = relation("gauss4", "scheme.symplectic").check
    assert symplectic.region == oo and symplectic.disagreements(Integer(4)) > 0


@pytest.mark.parametrize(
    "scheme",
    [
        Splitting(((0, R(1, 3)), (1, 1), (0, R(2, 3))), title="lopsided"),
        Splitting(((0, 1), (1, 1)), substep=SCHEMES["forward_euler"], title="Euler steps"),
        LinearMultistep(alpha=[0, 1], beta=[R(1, 3), R(4, 3), R(1, 3)], title="Milne"),
    ],
    ids=["splitting", "splitting of steps", "multistep"],
)
def test_own_schemes_get_the_same(scheme):
    assert_checks_see(explain_scheme(scheme, "mine"), every_term=False)
