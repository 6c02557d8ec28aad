"""Rooted trees, order conditions and stability functions of Runge-Kutta schemes."""

import pytest
from sympy import Rational, Symbol, factorial

from derive.errors import SpecError, UnknownNameError
from derive.schemes import SCHEMES, ButcherTableau, scheme_by_name
from derive.schemes.runge_kutta import FORWARD_EULER, HEUN, MIDPOINT, RK4
from derive.trees import (
    density,
    differential_latex,
    elementary_weight,
    error_coefficient,
    order,
    symmetry,
    trees,
    vertices,
)

R = Rational
DOT = ()
CHAIN = {1: DOT, 2: ((),), 3: (((),),), 4: ((((),),),), 5: (((((),),),),)}
KUTTA3 = ButcherTableau(A=[[0, 0, 0], [R(1, 2), 0, 0], [-1, 2, 0]], b=[R(1, 6), R(2, 3), R(1, 6)], c=[0, R(1, 2), 1])


def bush(leaves):
    return (DOT,) * leaves


def test_how_many_trees_there_are():
    assert [len(trees(n)) for n in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]


def test_trees_are_distinct_sorted_and_of_their_order():
    for n in range(1, 9):
        assert len(set(trees(n))) == len(trees(n))
        assert all(vertices(tree) == n and tree == tuple(sorted(tree)) for tree in trees(n))


@pytest.mark.parametrize(
    ("tree", "gamma", "sigma"),
    [
        (DOT, 1, 1),
        (CHAIN[2], 2, 1),
        (bush(2), 3, 2),
        (CHAIN[3], 6, 1),
        (bush(3), 4, 6),
        ((DOT, CHAIN[2]), 8, 1),
        ((bush(2),), 12, 2),
        (CHAIN[4], 24, 1),
        (bush(4), 5, 24),
        ((DOT, DOT, CHAIN[2]), 10, 2),
        ((DOT, bush(2)), 15, 2),
        ((DOT, CHAIN[3]), 30, 1),
        ((CHAIN[2], CHAIN[2]), 20, 2),
        ((bush(3),), 20, 6),
        (((DOT, CHAIN[2]),), 40, 1),
        (((bush(2),),), 60, 2),
        (CHAIN[5], 120, 1),
        ((bush(2), bush(2)), 63, 8),
    ],
)
def test_density_and_symmetry(tree, gamma, sigma):
    """Hairer, Norsett, Wanner, Solving ODEs I, table II.2.2 (and one tree of order 7)."""
    assert (density(tree), symmetry(tree)) == (gamma, sigma)


@pytest.mark.parametrize("n", range(1, 8))
def test_labellings_of_all_trees_of_an_order(n):
    """The numbers n!/(gamma sigma) of monotonic labellings sum to (n - 1)!."""
    assert sum(factorial(n) / (density(t) * symmetry(t)) for t in trees(n)) == factorial(n - 1)


@pytest.mark.parametrize(
    ("tableau", "p"), [(FORWARD_EULER, 1), (MIDPOINT, 2), (HEUN, 2), (KUTTA3, 3), (RK4, 4)], ids=lambda v: str(v)[:20]
)
def test_orders(tableau, p):
    assert order(tableau) == p


# Tree of f^(k) as branches -> coefficient of the local error of RK4 over h^5 (catalogue, part I).
RK4_ERROR = {
    bush(4): R(-1, 2880),
    (DOT, DOT, CHAIN[2]): R(-1, 480),
    (DOT, bush(2)): R(1, 480),
    (DOT, CHAIN[3]): R(-1, 120),
    (CHAIN[2], CHAIN[2]): R(-1, 160),
    (bush(3),): R(1, 720),
    ((DOT, CHAIN[2]),): R(1, 240),
    ((bush(2),),): R(-1, 480),
    CHAIN[5]: R(1, 120),
}


def test_principal_error_of_rk4():
    assert {tree: error_coefficient(tree, RK4) for tree in trees(5)} == RK4_ERROR


def test_principal_errors_of_order_one_and_two():
    assert {t: error_coefficient(t, FORWARD_EULER) for t in trees(2)} == {CHAIN[2]: R(1, 2)}
    assert {t: error_coefficient(t, HEUN) for t in trees(3)} == {bush(2): R(-1, 12), CHAIN[3]: R(1, 6)}
    assert {t: error_coefficient(t, MIDPOINT) for t in trees(3)} == {bush(2): R(1, 24), CHAIN[3]: R(1, 6)}


def test_a_perturbed_tableau_loses_its_order():
    tiny = R(1, 10**12)
    weights = ButcherTableau(A=RK4.A, b=(R(1, 6) + tiny, R(1, 3) - tiny, R(1, 3), R(1, 6)), c=RK4.c)
    assert order(weights) == 1
    inner = ButcherTableau(
        A=[[0] * 4, [R(1, 2), 0, 0, 0], [tiny, R(1, 2) - tiny, 0, 0], [0, 0, 1, 0]], b=RK4.b, c=RK4.c
    )
    assert order(inner) == 2


def test_order_two_family_with_a_symbol():
    """b_2 c_2 = 1/2 with a symbolic node: order 2 for every value, the error term tells them apart."""
    s = Symbol("s", positive=True)
    family = ButcherTableau(A=[[0, 0], [s, 0]], b=[1 - 1 / (2 * s), 1 / (2 * s)], c=[0, s])
    assert order(family) == 2
    assert (error_coefficient(bush(2), family) - (R(1, 6) - s / 4)).simplify() == 0


def test_order_three_family_with_two_symbols():
    """Weights that are rational in the nodes c_2, c_3 (Kutta 1901): order 3 identically."""
    p, q = Symbol("p"), Symbol("q")
    b2, b3 = (2 - 3 * q) / (6 * p * (p - q)), (2 - 3 * p) / (6 * q * (q - p))
    inner = q * (q - p) / (p * (2 - 3 * p))
    family = ButcherTableau(A=[[0, 0, 0], [p, 0, 0], [q - inner, inner, 0]], b=[1 - b2 - b3, b2, b3], c=[0, p, q])
    assert order(family) == 3


def test_elementary_weights():
    assert elementary_weight(DOT, RK4) == 1
    assert elementary_weight(CHAIN[5], RK4) == 0
    assert elementary_weight((CHAIN[2], CHAIN[2]), HEUN) == 0
    assert elementary_weight(bush(3), HEUN) == R(1, 2)


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
    assert tableau.stability_function(z) == sum(c * z**k for k, c in enumerate(coefficients))


@pytest.mark.parametrize(
    ("tree", "text"), [(DOT, "f"), (CHAIN[3], "f'f'f"), (bush(2), "f''(f,f)"), ((DOT, CHAIN[2]), "f''(f,f'f)")]
)
def test_differentials_as_they_are_written(tree, text):
    assert differential_latex(tree) == text


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
