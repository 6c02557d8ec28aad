"""The shipped tables: that they are all there, and orders claimed exactly; Runge-Kutta tables against other sources."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy.integrate import DOP853, RK23, RK45
from sympy import Eq, Rational, Symbol, binomial, cancel, factorial, limit, sqrt
from torchdiffeq._impl.bosh3 import _BOGACKI_SHAMPINE_TABLEAU
from torchdiffeq._impl.dopri5 import _DORMAND_PRINCE_SHAMPINE_TABLEAU

from derive.embedded import embedded_pair, embedded_pairs
from derive.linear_stability import stability_function
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting
from derive.series.rk import conditions, dense_order, embedded_order, order
from derive.series.trees import density, trees_up_to
from derive.series.weights import Stages

R = Rational
z = Symbol("z")
IDS = (
    "forward_euler backward_euler symplectic_euler midpoint implicit_midpoint heun heun3 ralston2 ralston3 kutta3 rk4 "
    "rk38 ssp33 bs32 rkf45 cash_karp dopri5 tsit5 dop853 gauss2 gauss4 gauss6 radau2a_3 radau2a_5 lobatto3a_s2 "
    "lobatto3a_s3 lobatto3b_s2 lobatto3b_s3 lobatto3c_s2 lobatto3c_s3 sdirk2 trbdf2 stormer_verlet ruth3 ruth4 "
    "trapezoid theta ab1 ab2 ab3 ab4 ab5 am1 am2 am3 am4 bdf1 bdf2 bdf3 bdf4 bdf5 bdf6 leapfrog milne_simpson "
    "nystrom3 unstable_explicit_2step lie_trotter strang yoshida4"
).split()
RUNGE_KUTTA = [name for name in IDS if isinstance(SCHEMES[name], ButcherTableau)]
PARTITIONED = [name for name in IDS if isinstance(SCHEMES[name], AdditiveTableau)]
DENSE = {"bs32": 3, "dopri5": 4, "tsit5": 4, "dop853": 7}


def numbers(entries):
    return np.array([[float(entry) for entry in row] for row in entries])


def floats(row):
    return np.array([float(entry) for entry in row])


def test_every_scheme_is_shipped_once_and_built_once():
    assert sorted(SCHEMES) == sorted(IDS) and len(SCHEMES) == len(set(IDS))
    assert all(SCHEMES[name] is SCHEMES[name] for name in IDS)
    assert not [
        name for name in IDS if isinstance(SCHEMES[name], LinearMultistep | Splitting) and not SCHEMES[name].order
    ]


def test_tables_are_built_when_asked_for():
    text = (
        "import sys; from derive.schemes import SCHEMES; assert 'rk4' in SCHEMES and len(SCHEMES) > 50;"
        "print([name for name in sys.modules if 'dop853' in name or 'collocation' in name])"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", RUNGE_KUTTA + PARTITIONED)
def test_claimed_orders_are_reached_and_not_exceeded(name):
    scheme = SCHEMES[name]
    assert order(scheme) == scheme.order
    if isinstance(scheme, ButcherTableau):
        assert embedded_order(scheme) == scheme.embedded_order
        assert dense_order(scheme) == scheme.dense_order == DENSE.get(name)


def order_conditions(A, b):
    """Residuals of the 17 conditions up to order 5 (Solving ODEs I, table II.2.2), by order."""
    c = A @ np.ones(len(b))
    Ac, Ac2, AAc = A @ c, A @ c**2, A @ A @ c
    return [
        [b.sum() - 1],
        [b @ c - 1 / 2],
        [b @ c**2 - 1 / 3, b @ Ac - 1 / 6],
        [b @ c**3 - 1 / 4, b @ (c * Ac) - 1 / 8, b @ Ac2 - 1 / 12, b @ AAc - 1 / 24],
        [
            b @ c**4 - 1 / 5,
            b @ (c**2 * Ac) - 1 / 10,
            b @ (c * Ac2) - 1 / 15,
            b @ (c * AAc) - 1 / 30,
            b @ Ac**2 - 1 / 20,
            b @ A @ c**3 - 1 / 20,
            b @ A @ (c * Ac) - 1 / 40,
            b @ A @ Ac2 - 1 / 60,
            b @ A @ AAc - 1 / 120,
        ],
    ]


@pytest.mark.parametrize("name", [name for name in RUNGE_KUTTA if name != "theta"])
@pytest.mark.parametrize(("weights", "claim"), [("b", "order"), ("b_error", "embedded_order")])
def test_orders_by_the_conditions_written_out(name, weights, claim):
    scheme = SCHEMES[name]
    if getattr(scheme, weights) is None:
        return
    residuals = order_conditions(numbers(scheme.A), floats(getattr(scheme, weights)))
    worst = [max(map(abs, of_order)) for of_order in residuals]
    claimed = min(getattr(scheme, claim), 5)
    assert max(worst[:claimed]) < 1e-13
    assert claimed == 5 or worst[claimed] > 1e-4


@pytest.mark.parametrize("name", DENSE)
def test_dense_output_has_its_order_at_every_theta_and_not_the_next(name):
    """At random rational theta, sum_i b_i(theta) g_i(tree) = theta^|tree| / gamma."""
    stages, theta = Stages(SCHEMES[name].dense_tableau), R(3, 7)
    powers = [stages.arithmetic.rational(theta**j) for j in range(1, len(stages.dense) + 1)]

    def misses(tau):
        value = sum(stages.weight(tau, w) * power for w, power in zip(stages.dense, powers, strict=True))
        return abs(float(value) - float(theta**tau.order / density(tau))) > 1e-14

    failing = [tau.order for tau in trees_up_to(DENSE[name] + 1) if misses(tau)]
    assert failing and min(failing) == DENSE[name] + 1


@pytest.mark.parametrize(("name", "solver"), [("bs32", RK23), ("dopri5", RK45)])
def test_pairs_are_scipys(name, solver):
    scheme, s = SCHEMES[name], solver.n_stages
    np.testing.assert_allclose(numbers(scheme.A)[:s, : solver.A.shape[1]], solver.A, rtol=0, atol=2e-15)
    np.testing.assert_allclose(floats(scheme.b)[:s], solver.B, rtol=0, atol=2e-16)
    np.testing.assert_allclose(floats(scheme.c)[:s], solver.C, rtol=0, atol=2e-16)
    np.testing.assert_allclose(np.abs(floats(scheme.b) - floats(scheme.b_error)), np.abs(solver.E), rtol=0, atol=2e-16)
    np.testing.assert_allclose(numbers(scheme.dense), solver.P, rtol=0, atol=2e-15)


def test_dop853_is_scipys():
    scheme = SCHEMES["dop853"]
    np.testing.assert_allclose(numbers(scheme.A), DOP853.A[:12, :12], rtol=0, atol=1e-14)
    np.testing.assert_allclose(floats(scheme.b), DOP853.B, rtol=0, atol=1e-15)
    np.testing.assert_allclose(floats(scheme.c), DOP853.C[:12], rtol=0, atol=1e-15)
    np.testing.assert_allclose(floats(scheme.b) - floats(scheme.b_error), DOP853.E5[:12], rtol=0, atol=1e-15)
    np.testing.assert_allclose(numbers(scheme.dense_stages)[1:], DOP853.A_EXTRA, rtol=0, atol=1e-14)
    np.testing.assert_allclose(floats(scheme.dense_tableau.c)[13:], DOP853.C_EXTRA, rtol=0, atol=1e-15)


def test_dense_output_of_dop853_is_scipys():
    """One step of a problem in two unknowns, at three places: the coefficients by our table, the slopes in NumPy."""
    table, start, h = SCHEMES["dop853"].dense_tableau, np.array([1.0, 0.5]), 0.125

    def slope(t, x):
        return np.array([x[1] * np.cos(t), t - x[0] * x[1]])

    solver = DOP853(slope, 0.0, start, 1.0, first_step=h, rtol=1e-3, atol=1e-3)
    solver.step()
    A, c, dense = numbers(table.A), floats(table.c), numbers(table.dense)
    slopes = np.zeros((len(c), 2))
    for stage, row in enumerate(A):
        slopes[stage] = slope(h * c[stage], start + h * row @ slopes)
    for theta in (0.1, 0.37, 0.9):
        found = start + h * (dense @ theta ** np.arange(1, 8)) @ slopes
        np.testing.assert_allclose(found, solver.dense_output()(theta * h), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "table", "share"),
    [("bs32", _BOGACKI_SHAMPINE_TABLEAU, 1), ("dopri5", _DORMAND_PRINCE_SHAMPINE_TABLEAU, 2 / 3)],
)
def test_pairs_are_torchdiffeqs(name, table, share):
    """Its dopri5 is Shampine's variant, whose embedded scheme lies at two thirds of the way to Dormand and Prince's."""
    scheme = SCHEMES[name]
    np.testing.assert_allclose(floats(scheme.c)[1:], table.alpha.numpy(), rtol=0, atol=2e-16)
    for row, theirs in zip(scheme.A[1:], table.beta, strict=True):
        np.testing.assert_allclose(floats(row)[: len(theirs)], theirs.numpy(), rtol=0, atol=5e-15)
    np.testing.assert_allclose(floats(scheme.b), table.c_sol.numpy(), rtol=0, atol=2e-16)
    gap = floats(scheme.b) - floats(scheme.b_error)
    np.testing.assert_allclose(share * gap, table.c_error.numpy(), rtol=0, atol=2e-15)


def test_tsit5_is_the_papers_interpolant():
    """b_i(theta) in the paper's factors, evaluated in floating point."""
    scheme, t = SCHEMES["tsit5"], 0.37
    paper = [
        -1.0530884977290216 * t * (t - 1.3299890189751412) * (t**2 - 1.4364028541716351 * t + 0.7139816917074209),
        0.1017 * t**2 * (t**2 - 2.1966568338249754 * t + 1.2949852507374631),
        2.490627285651252793 * t**2 * (t**2 - 2.38535645472061657 * t + 1.57803468208092486),
        -16.54810288924490272 * (t - 1.21712927295533244) * (t - 0.61620406037800089) * t**2,
        47.37952196281928122 * (t - 1.203071208372362603) * (t - 0.658047292653547382) * t**2,
        -34.87065786149660974 * (t - 1.2) * (t - 0.666666666666666667) * t**2,
        2.5 * (t - 1) * (t - 0.6) * t**2,
    ]
    found = numbers(scheme.dense) @ [t, t**2, t**3, t**4]
    np.testing.assert_allclose(found, paper, rtol=0, atol=1e-14)


NODES = {  # coefficients of Legendre polynomials; the nodes are the zeros of the sum, on [-1, 1]
    "gauss2": [0, 1],
    "gauss4": [0, 0, 1],
    "gauss6": [0, 0, 0, 1],
    "radau2a_3": [0, -1, 1],
    "radau2a_5": [0, 0, -1, 1],
    "lobatto3a_s2": [1, 0, -1],
    "lobatto3a_s3": [0, 1, 0, -1],
}


@pytest.mark.parametrize("name", NODES)
def test_nodes_weights_and_matrix_of_collocation(name):
    """Nodes as zeros of Legendre polynomials in 40 digits; weights and matrix by numerical quadrature."""
    scheme = SCHEMES[name]
    with mpmath.workdps(40):
        coefficients = [mpmath.mpf(float(c)) for c in legendre.leg2poly(NODES[name])]
        zeros = sorted(mpmath.polyroots(coefficients[::-1], maxsteps=200, extraprec=200))
        nodes = [(1 + zero) / 2 for zero in zeros]
        assert all(abs(mpmath.mpf(str(c.evalf(40))) - node) < 1e-30 for c, node in zip(scheme.c, nodes, strict=True))

        def lagrange(j, at):
            return mpmath.fprod((at - nodes[k]) / (nodes[j] - nodes[k]) for k in range(len(nodes)) if k != j)

        for end, row in [*zip(nodes, scheme.A, strict=True), (mpmath.mpf(1), scheme.b)]:
            for j, entry in enumerate(row):
                integral = mpmath.quad(lambda at, j=j: lagrange(j, at), [0, end]) if end else mpmath.mpf(0)
                assert abs(integral - mpmath.mpf(str(entry.evalf(40)))) < 1e-30


def pade(k, j):
    top = sum(factorial(k + j - i) * binomial(k, i) * z**i for i in range(k + 1))
    bottom = sum(factorial(k + j - i) * binomial(j, i) * (-z) ** i for i in range(j + 1))
    return cancel(top / bottom)


@pytest.mark.parametrize(
    ("name", "k", "j"),
    [
        ("backward_euler", 0, 1), ("implicit_midpoint", 1, 1), ("trapezoid", 1, 1),
        ("gauss2", 1, 1), ("gauss4", 2, 2), ("gauss6", 3, 3), ("radau2a_3", 1, 2), ("radau2a_5", 2, 3),
        ("lobatto3a_s2", 1, 1), ("lobatto3a_s3", 2, 2), ("lobatto3b_s2", 1, 1), ("lobatto3b_s3", 2, 2),
        ("lobatto3c_s2", 0, 2), ("lobatto3c_s3", 1, 3),
    ],
)  # fmt: skip
def test_stability_functions_are_pade_approximants(name, k, j):
    """Solving ODEs II, IV.5, table 5.13."""
    assert cancel(stability_function(SCHEMES[name], z) - pade(k, j)) == 0


@pytest.mark.parametrize("name", ["sdirk2", "trbdf2"])
def test_diagonally_implicit_schemes_are_l_stable_at_infinity(name):
    assert limit(stability_function(SCHEMES[name], -1 / z), z, 0, "+") == 0


def test_radau_5_is_the_table_of_the_book():
    """Solving ODEs II, IV.5, table 5.6."""
    s = sqrt(6)
    book = [
        [(88 - 7 * s) / 360, (296 - 169 * s) / 1800, (-2 + 3 * s) / 225],
        [(296 + 169 * s) / 1800, (88 + 7 * s) / 360, (-2 - 3 * s) / 225],
        [(16 - s) / 36, (16 + s) / 36, R(1, 9)],
    ]
    assert all(
        (a - b).expand() == 0
        for mine, theirs in zip(SCHEMES["radau2a_5"].A, book, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )


def test_lobatto_c_is_the_table_of_the_book():
    """Solving ODEs II, IV.5, table 5.11."""
    sixth, third = R(1, 6), R(1, 3)
    assert ((sixth, -third, sixth), (sixth, R(5, 12), R(-1, 12)), (sixth, R(2, 3), sixth)) == SCHEMES["lobatto3c_s3"].A
    assert ((sixth, -sixth, 0), (sixth, third, 0), (sixth, R(5, 6), 0)) == SCHEMES["lobatto3b_s3"].A


def test_theta_holds_euler_trapezoid_and_both_orders():
    theta = Symbol("theta")
    scheme = SCHEMES["theta"]
    at = {value: tuple(entry.subs(theta, value) for entry in scheme.b) for value in (0, R(1, 2), 1)}
    assert at == {0: (1, 0), R(1, 2): SCHEMES["trapezoid"].b, 1: (0, 1)}
    assert conditions(scheme, 2) == Eq(theta, R(1, 2))


def test_adaptive_steps_read_a_cubic_only_where_a_pair_has_no_dense_output():
    pairs = {name: embedded_pair(name) for name in embedded_pairs()}
    assert all(len(pair.dense) == pair.tableau.stages for pair in pairs.values())
    assert [name for name, pair in pairs.items() if pair.is_crude] == ["rkf45", "cash_karp"]
    assert {len(row) for row in pairs["dop853"].dense} == {7} and {len(row) for row in pairs["rkf45"].dense} == {3}
