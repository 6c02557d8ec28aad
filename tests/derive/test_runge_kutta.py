"""Tableaus: what they are, what they refuse, their stability functions."""

import pytest
from sympy import Rational, Symbol

from derive.errors import SpecError, UnknownNameError
from derive.linear_stability import stability_function
from derive.schemes import SCHEMES, ButcherTableau, scheme_by_name

R = Rational
FORWARD_EULER, HEUN, MIDPOINT, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "midpoint", "rk4"))


@pytest.mark.parametrize(
    ("tableau", "coefficients"),
    [
        (FORWARD_EULER, (1, 1)),
        (HEUN, (1, 1, R(1, 2))),
        (MIDPOINT, (1, 1, R(1, 2))),
        (RK4, (1, 1, R(1, 2), R(1, 6), R(1, 24))),
    ],
)
def test_stability_functions(tableau, coefficients):
    z = Symbol("z")
    assert stability_function(tableau, z) == sum(c * z**k for k, c in enumerate(coefficients))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"A": [[0]], "b": [R(1, 2), R(1, 2)], "c": [0, 1]}, "2 x 2"),
        ({"A": [[0, 0], [1]], "b": [R(1, 2), R(1, 2)], "c": [0, 1]}, "2 x 2"),
        ({"A": [[0, 0], [1, 0]], "b": [R(1, 2), R(1, 2)], "c": [0]}, "c have 2"),
        ({"A": [[0, 0], [1, 0]], "b": [R(1, 2), R(1, 2)], "c": [0, R(1, 2)]}, "row 2 of A sums to 1, c_2 is 1/2"),
        ({"A": [[0, 0], [1, 0]], "b": [R(1, 2), R(1, 3)], "c": [0, 1]}, "b sums to 5/6, not 1"),
    ],
)
def test_a_tableau_that_does_not_fit_is_refused(table, complaint):
    with pytest.raises(SpecError, match=complaint):
        ButcherTableau(**table)


def test_explicit_or_not():
    assert all(tableau.explicit for tableau in (FORWARD_EULER, HEUN, MIDPOINT, RK4))
    assert not ButcherTableau(A=[[R(1, 2)]], b=[1], c=[R(1, 2)]).explicit


def test_an_unknown_scheme_is_answered_with_what_is_close():
    with pytest.raises(UnknownNameError, match="did you mean forward_euler"):
        scheme_by_name("forward_eular")
    assert scheme_by_name("rk4") is RK4 and scheme_by_name(RK4) is RK4
    assert set(SCHEMES) >= {"forward_euler", "midpoint", "heun", "rk4", "leapfrog"}
