"""Symplectic and symmetric members of families."""

import re

import pytest
from sympy import And, Eq, Or, Rational, Symbol, false, symbols, true

import derive
from derive.geometry.families import symmetric_condition, symplectic_condition
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting

R = Rational
k, theta, gamma = symbols("k theta gamma")
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


def test_several_symbols_give_equations():
    a, b = symbols("a b")
    scheme = ButcherTableau(A=[[a, 0], [b, a]], b=[R(1, 2), R(1, 2)], c=[a, a + b])
    found = symplectic_condition(scheme)
    assert found.subs({a: R(1, 4), b: R(1, 2)}) == true
    assert found.subs({a: R(1, 4), b: R(1, 3)}) == false
    assert not isinstance(found, And) or found.free_symbols == {a, b}


@pytest.mark.parametrize("name", ["rk4", "gauss4", "trapezoid", "stormer_verlet", "strang", "lobatto3b_s2"])
def test_schemes_without_symbols_keep_their_verdict(name):
    found = derive.analyse(name)
    assert found.is_symplectic == (name not in ("rk4", "trapezoid"))
    assert found.is_symmetric == (name != "rk4")


def test_the_analysis_gives_conditions():
    found = derive.analyse("theta")
    assert found.is_symmetric == Eq(Symbol("theta"), R(1, 2)) or found.is_symmetric.rhs == R(1, 2)
    assert re.search(r"symmetric +theta = 1/2", str(found))
