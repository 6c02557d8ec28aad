"""Symplectic and symmetric members of families."""

import re

import pytest
from sympy import And, Eq, Or, Rational, Symbol, cos, false, symbols, true

import derive
from derive.geometry import is_symmetric, is_symplectic
from derive.geometry.families import symmetric_condition, symplectic_condition
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting
from derive.schemes.substitution import with_values

R = Rational
k, theta, gamma = symbols("k theta gamma")
a, b, c, d = symbols("a b c d")
SDIRK = ButcherTableau(A=[[gamma, 0], [1 - 2 * gamma, gamma]], b=[R(1, 2), R(1, 2)], c=[gamma, 1 - gamma])
# Qin-Zhang, and implicit midpoint with two equal stages.
KNOWN = Or(Eq(gamma, R(1, 4)), Eq(gamma, R(1, 2)))


def test_theta_method():
    assert symmetric_condition(SCHEMES["theta"]).subs(symbols("theta"), R(1, 2)) == true
    thetas = ButcherTableau(A=[[0, 0], [1 - theta, theta]], b=[1 - theta, theta], c=[0, 1])
    assert symmetric_condition(thetas) == Eq(theta, R(1, 2))
    assert symplectic_condition(thetas) == false


def test_values_that_make_stages_equal_are_found():
    assert symplectic_condition(SDIRK) == symmetric_condition(SDIRK) == KNOWN
    both = AdditiveTableau((SDIRK, SDIRK))
    assert symmetric_condition(both) == KNOWN
    assert symplectic_condition(Splitting(((0, R(1, 2)), (1, 1), (0, R(1, 2))), substep=SDIRK)) == KNOWN


def test_one_stage():
    one = ButcherTableau(A=[[k]], b=[1], c=[k])
    assert symplectic_condition(one) == symmetric_condition(one) == Eq(k, R(1, 2))


def test_splittings_and_multistep_schemes():
    assert symmetric_condition(Splitting(((0, k), (1, 1), (0, 1 - k)))) == Eq(k, R(1, 2))
    assert symplectic_condition(Splitting(((0, k), (1, 1), (0, 1 - k)))) == true
    lm = LinearMultistep(alpha=(1 - k, k), beta=(0, 1, 0))
    assert symmetric_condition(lm) == Eq(k, 1)
    assert symplectic_condition(lm) is None
    assert symmetric_condition(SCHEMES["ab2"]) == false


def tableau(A, b):
    return ButcherTableau(A=A, b=b, c=[sum(row) for row in A])


def test_explicit_families_have_no_such_member():
    """Necessary equations such as a b = 1/2 do not suffice: R(z) R(-z) = 1 holds for no polynomial R."""
    scheme = tableau([[0, 0], [a, 0]], [1 - b, b])
    assert derive.analyse(scheme).is_symplectic == derive.analyse(scheme).is_symmetric == false
    # The same in two parts, where no shortcut is taken: the cases are followed to the end.
    both = AdditiveTableau((scheme, scheme))
    assert symmetric_condition(both) == false


def test_a_diagonally_implicit_family_of_two_symbols():
    """By hand: a = 1/4, b = 1/2 is Qin-Zhang; at b = 0 both stages are one, which must be the implicit midpoint."""
    scheme = tableau([[a, 0], [b, a]], [R(1, 2), R(1, 2)])
    known = Or(And(Eq(a, R(1, 4)), Eq(b, R(1, 2))), And(Eq(a, R(1, 2)), Eq(b, 0)))
    assert symplectic_condition(scheme) == symmetric_condition(scheme) == known
    assert derive.analyse(scheme).is_symplectic == known


def test_cases_that_are_lines_and_curves():
    """Members are found by their tableaus alone, and compared with their own verdicts at points on and off them."""
    full = tableau([[a, b], [c, d]], [R(1, 2), R(1, 2)])
    conditions = symplectic_condition(full), symmetric_condition(full)
    quarter, half = R(1, 4), R(1, 2)
    points = [(quarter, x, half - x, quarter) for x in (R(1, 3), -1)]  # b_i a_ij + b_j a_ji = b_i b_j
    points += [(x, half - x, y, half - y) for x in (0, R(1, 5)) for y in (R(2, 7), 1)]  # both stages in the middle
    points += [(x, y, half - y, half - x) for x in (1, R(1, 7)) for y in (quarter, 3)]  # the adjoint, stages exchanged
    points += [(1, 2, 3, 4), (quarter, quarter, quarter, half)]
    for point in points:
        values = dict(zip((a, b, c, d), point, strict=True))
        member = with_values(full, values)
        for condition, verdict in zip(conditions, (is_symplectic, is_symmetric), strict=True):
            assert condition.subs(values) == verdict(member).value
    circle = tableau([[a**2 + b**2]], [1])
    assert symplectic_condition(circle) == symmetric_condition(circle) == Eq(a**2 + b**2, half)


def test_a_pair_is_symplectic_on_a_line():
    pair = AdditiveTableau((tableau([[a]], [1]), tableau([[b]], [1])))
    assert symplectic_condition(pair) == Eq(a + b, 1)
    assert symmetric_condition(pair) == And(Eq(a, R(1, 2)), Eq(b, R(1, 2)))


def test_fractions_of_a_splitting():
    """Half steps around a whole one; with empty stages in between the same."""
    scheme = Splitting(((0, a), (1, b), (0, 1 - a), (1, 1 - b)))
    for values in ({a: R(1, 2), b: 1}, {a: 0, b: R(1, 2)}, {a: R(1, 2), b: R(1, 2)}, {a: 1, b: 1}):
        assert symmetric_condition(scheme).subs(values) == is_symmetric(with_values(scheme, values)).value


def test_what_is_not_decided_says_so():
    root = tableau([[cos(a) * b]], [1])
    found = derive.analyse(root)
    assert found.is_symplectic is None is found.is_symmetric
    assert "no rational functions" in found.symplectic_verdict.undecided
    assert found.symplectic_verdict.undecided.startswith("for which a, b it is symplectic")
    assert re.search("symplectic +not decided: for which a, b", str(found))


@pytest.mark.parametrize("name", ["rk4", "gauss4", "trapezoid", "stormer_verlet", "strang", "lobatto3b_s2"])
def test_schemes_without_symbols_keep_their_verdict(name):
    found = derive.analyse(name)
    assert found.is_symplectic == (name not in ("rk4", "trapezoid"))
    assert found.is_symmetric == (name != "rk4")


def test_the_analysis_gives_conditions():
    found = derive.analyse("theta")
    assert found.is_symmetric == Eq(Symbol("theta"), R(1, 2)) or found.is_symmetric.rhs == R(1, 2)
    assert re.search(r"symmetric +theta = 1/2", str(found))
