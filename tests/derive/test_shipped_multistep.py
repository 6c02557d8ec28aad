"""Shipped multistep schemes and those of several parts: weights of the literature, error constants, what they do."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from sympy import Rational, Symbol, exp, series

from derive.schemes import SCHEMES
from derive.schemes.tables.partitioned import drift_kick
from derive.series.rk import order
from derive.series.weights import Stages

R = Rational
# Weights times a common denominator (Solving ODEs I, III.1): x_n, x_{n-1}, ...; f_{n+1}, f_n, ...; then C_(p+1).
WEIGHTS = {
    "ab1": (1, [1], [0, 1], R(1, 2)),
    "ab2": (2, [2, 0], [0, 3, -1], R(5, 12)),
    "ab3": (12, [12, 0, 0], [0, 23, -16, 5], R(3, 8)),
    "ab4": (24, [24, 0, 0, 0], [0, 55, -59, 37, -9], R(251, 720)),
    "ab5": (720, [720, 0, 0, 0, 0], [0, 1901, -2774, 2616, -1274, 251], R(95, 288)),
    "am1": (1, [1], [1, 0], R(-1, 2)),
    "am2": (2, [2], [1, 1], R(-1, 12)),
    "am3": (12, [12, 0], [5, 8, -1], R(-1, 24)),
    "am4": (24, [24, 0, 0], [9, 19, -5, 1], R(-19, 720)),
    "bdf1": (1, [1], [1, 0], R(-1, 2)),
    "bdf2": (3, [4, -1], [2, 0, 0], R(-2, 9)),
    "bdf3": (11, [18, -9, 2], [6, 0, 0, 0], R(-3, 22)),
    "bdf4": (25, [48, -36, 16, -3], [12, 0, 0, 0, 0], R(-12, 125)),
    "bdf5": (137, [300, -300, 200, -75, 12], [60, 0, 0, 0, 0, 0], R(-10, 137)),
    "bdf6": (147, [360, -450, 400, -225, 72, -10], [60, 0, 0, 0, 0, 0, 0], R(-20, 343)),
    "leapfrog": (1, [0, 1], [0, 2, 0], R(1, 3)),
    "nystrom3": (3, [0, 3, 0], [0, 7, -2, 1], R(1, 3)),
    "milne_simpson": (3, [0, 3], [1, 4, 1], R(-1, 90)),
    "unstable_explicit_2step": (1, [-4, 5], [0, 4, 2], R(1, 6)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_and_error_constants_of_the_literature(name):
    scale, alpha, beta, constant = WEIGHTS[name]
    scheme = SCHEMES[name]
    assert [scale * weight for weight in scheme.alpha] == alpha and [scale * weight for weight in scheme.beta] == beta
    assert scheme.error_constant(scheme.order + 1) == constant


@pytest.mark.parametrize("name", WEIGHTS)
def test_claimed_orders_by_the_step_on_the_exponential(name):
    """exp(h) - sum alpha_j exp(-jh) - h sum beta_j exp(-jh) begins with h^(p+1)."""
    scheme, h = SCHEMES[name], Symbol("h")
    residual = exp(h) - sum(a * exp(-j * h) for j, a in enumerate(scheme.alpha))
    residual -= h * sum(b * exp((1 - j) * h) for j, b in enumerate(scheme.beta))
    leading = series(residual, h, 0, scheme.order + 2).removeO().expand()
    assert leading == WEIGHTS[name][3] * h ** (scheme.order + 1)


def test_only_one_is_not_zero_stable():
    roots = {name: np.roots([1, *(-float(a) for a in SCHEMES[name].alpha)]) for name in WEIGHTS}
    assert [name for name in WEIGHTS if max(abs(roots[name])) > 1 + 1e-9] == ["unstable_explicit_2step"]


DRIFTS_KICKS = {
    "symplectic_euler": ([1], [1]),
    "stormer_verlet": ([0, 1], [0.5, 0.5]),
    "ruth3": ([1, -2 / 3, 2 / 3], [-1 / 24, 3 / 4, 7 / 24]),
    "ruth4": ([0.6756035959798289, -0.1756035959798288, -0.1756035959798288, 0.6756035959798289],
              [1.3512071919596578, -1.7024143839193153, 1.3512071919596578]),
}  # fmt: skip


def additive_step(scheme, f, g, x, y, h):
    """One step of x' = f(y), y' = g(x) by the tableaus, stage values by iteration: exact after two rounds a stage."""
    A, B = (np.array([[float(a) for a in row] for row in part.A]) for part in scheme.parts)
    b, c = (np.array([float(w) for w in part.b]) for part in scheme.parts)
    X, Y = np.full(scheme.stages, x), np.full(scheme.stages, y)
    for _ in range(2 * scheme.stages):
        X, Y = x + h * A @ f(Y), y + h * B @ g(X)
    return x + h * b @ f(Y), y + h * c @ g(X)


@pytest.mark.parametrize("name", DRIFTS_KICKS)
def test_partitioned_tableaus_alternate_drifts_and_kicks(name):
    def f(y):
        return y + y**3 / 5

    x, y, h = 0.4, -0.7, 0.3
    found = additive_step(SCHEMES[name], f, lambda x: -np.sin(x), x, y, h)
    drifts, kicks = DRIFTS_KICKS[name]
    for place, drift in enumerate(drifts):
        x = x + drift * h * f(y)
        y = y - kicks[place] * h * math.sin(x) if place < len(kicks) else y
    assert found == pytest.approx((x, y), rel=1e-14)


def test_symplectic_euler_is_a_reversible_block():
    """x + h f(y), then y + h g of the new x (RevNet)."""
    f, g = np.tanh, np.cos
    x, y = additive_step(SCHEMES["symplectic_euler"], f, g, 0.4, -0.7, 0.5)
    assert x == pytest.approx(0.4 + 0.5 * math.tanh(-0.7), rel=1e-15)
    assert y == pytest.approx(-0.7 + 0.5 * math.cos(x), rel=1e-15)


@pytest.mark.parametrize("name", DRIFTS_KICKS)
def test_partitioned_schemes_are_symplectic(name):
    """b = b' and b_i a'_ij + b'_j a_ji = b_i b'_j (Geometric Numerical Integration, VI.4.1)."""
    drift, kick = SCHEMES[name].parts
    assert drift.b == kick.b
    stages = range(len(drift.b))
    gaps = [
        drift.b[i] * kick.A[i][j] + kick.b[j] * drift.A[j][i] - drift.b[i] * kick.b[j] for i in stages for j in stages
    ]
    assert all(gap.expand() == 0 for gap in gaps)


def test_stormer_verlet_is_the_pair_of_lobatto():
    first, second = SCHEMES["stormer_verlet"].parts
    assert (first.A, second.A) == (SCHEMES["lobatto3a_s2"].A, SCHEMES["lobatto3b_s2"].A)


def test_drifts_and_kicks_that_are_not_consistent_have_order_one():
    """The order of Störmer-Verlet is lost by any other share of the first drift."""
    assert order(drift_kick((R(1, 4), R(3, 4)), (R(1, 2), R(1, 2)), order=1, title="")) == 1
    assert Stages(SCHEMES["stormer_verlet"]).colours == 2


@pytest.mark.parametrize("name", ["lie_trotter", "strang", "yoshida4"])
def test_splittings_have_their_order_and_not_the_next(name):
    """Local error of products of exponentials of random matrices, in 50 digits: halving h divides it by 2^(p+1)."""
    scheme = SCHEMES[name]
    generator = np.random.default_rng(3)
    parts = [mpmath.matrix(generator.integers(-3, 4, (3, 3)).tolist()) for _ in range(2)]

    def error(h):
        map_ = mpmath.eye(3)
        for part, fraction in scheme.stages:
            map_ = mpmath.expm(parts[part] * (h * mpmath.mpf(str(fraction.evalf(50))))) * map_
        return mpmath.mnorm(map_ - mpmath.expm((parts[0] + parts[1]) * h))

    with mpmath.workdps(50):
        h = mpmath.mpf(2) ** -12
        slope = mpmath.log(error(h) / error(h / 2), 2) - 1
    assert float(slope) == pytest.approx(scheme.order, abs=0.02)


def test_yoshidas_fractions():
    fractions = [float(fraction) for _, fraction in SCHEMES["yoshida4"].stages]
    outer = 1 / (2 - 2 ** (1 / 3))
    inner = 1 - 2 * outer
    expected = [outer / 2, outer, (outer + inner) / 2, inner, (outer + inner) / 2, outer, outer / 2]
    assert fractions == pytest.approx(expected, rel=1e-15)
    assert Fraction(sum(fractions[::2])).limit_denominator(10**9) == 1
