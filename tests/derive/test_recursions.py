"""Linear recursions: powers, where they go, Jury's conditions, Lyapunov's equation, gains; against numpy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sympy import Integer, Matrix, Rational, Symbol, exp, lambdify, sqrt, symbols, true

from derive import (
    Builder,
    Recurrence,
    companion,
    discrete_lyapunov,
    input_,
    jury,
    long_run,
    matrix_power,
    parameter,
    peak_gain,
    state,
    tanh,
    transition,
)
from derive.errors import SpecError, UnsupportedError
from derive.linear_stability.fields import RealField
from derive.linear_stability.polynomials import Coefficients
from derive.linear_stability.root_condition import is_hurwitz, root_condition

z, t = Symbol("z"), Symbol("t", integer=True, nonnegative=True)
TURN = [[0, -1], [1, 0]]


def characteristic(weights):
    size = len(weights)
    return z**size - sum(w * z ** (size - 1 - d) for d, w in enumerate(weights))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_jury_s_conditions_are_those_on_the_spectral_radius(size):
    weights = symbols(f"w_1:{size + 1}", real=True)
    found = jury(characteristic(weights), z)
    conditions = lambdify(weights, found.conditions)
    random, stable = np.random.default_rng(size), 0
    for _ in range(4000):
        w = random.uniform(-1.6, 1.6, size)
        inside = max(abs(np.roots([1, *-w]))) < 1
        assert inside == all(value > 0 for value in conditions(*w)), w
        stable += inside
    assert 100 < stable < 3900


def test_jury_s_conditions_for_two_and_three_taps():
    a, b, c = symbols("a b c", real=True)
    assert set(jury(characteristic((a, b)), z).conditions) == {1 - a - b, 1 + a - b, 1 + b}
    found = lambdify((a, b, c), jury(characteristic((a, b, c)), z).conditions)
    random = np.random.default_rng(0)
    for x, y, w in random.uniform(-2, 2, (4000, 3)):
        known = 1 - x - y - w > 0 and 1 + x - y + w > 0 and abs(w) < 1 and abs(1 - w**2) > abs(y + x * w)
        assert known == all(value > 0 for value in found(x, y, w))


def exact(weights) -> Coefficients:
    return [*(RealField().convert(-w) for w in reversed(weights)), RealField().convert(1)]


def test_routh_on_the_discrete_polynomial_itself_is_wrong():
    """Hundreds of random polynomials are misjudged; through the bilinear map none is."""
    random, direct = np.random.default_rng(1), 0
    for _ in range(300):
        weights = [Rational(int(n), 100) for n in random.integers(-150, 150, 3)]
        inside = root_condition(RealField(), exact(weights), strict=True)
        assert bool(jury(characteristic(weights), z).value) is inside
        direct += is_hurwitz(RealField(), exact(weights)) != inside
    assert direct > 50


@pytest.mark.parametrize(
    ("polynomial", "inside"),
    [
        (z**2 - z / 2 - Rational(1, 2), False),  # a root at 1
        (z**2 - Rational(1, 4), True),
        (z**3 - sqrt(2) / 2, True),
        (-3 * z + 2, True),
        (2 * z + 3, False),
    ],
)
def test_jury_with_numbers(polynomial, inside):
    assert (jury(polynomial, z).value == true) is inside


def test_jury_refuses_what_is_no_polynomial():
    for wrong in (exp(z), Integer(3), 1 / z):
        with pytest.raises(SpecError, match="is no polynomial in z"):
            jury(wrong, z)


@pytest.mark.parametrize(
    "rows",
    [
        [[Rational(1, 2), 1], [0, Rational(1, 2)]],
        [[1, 2, 0], [0, 1, 0], [0, 0, -2]],
        [[1, 1, 0], [0, 1, 1], [0, 0, 1]],
        TURN,
        [[0, 2], [Rational(1, 2), 0]],
    ],
)
def test_powers_in_closed_form_are_repeated_products(rows):
    found, product = matrix_power(rows, t), Matrix.eye(len(rows))
    for n in range(7):
        assert (found.subs(t, n) - product).expand() == Matrix.zeros(len(rows))
        product = product * Matrix(rows)


def test_powers_need_square_matrices_and_all_eigenvalues():
    with pytest.raises(SpecError, match="a matrix of 1 x 2"):
        matrix_power([[1, 2]], t)
    with pytest.raises(SpecError, match="1 eigenvalues of a matrix of 2 x 2"):
        matrix_power(TURN, t, [1])


@pytest.mark.parametrize(
    ("rows", "vanishes", "bounded", "defective"),
    [
        ([[Rational(1, 2), 0], [0, -2]], False, False, False),
        (TURN, False, True, False),
        ([[1, 1], [0, 1]], False, False, True),
        ([[1, 0], [0, 1]], False, True, False),
        ([[Rational(9, 10), 10], [0, Rational(9, 10)]], True, True, True),
        ([[sqrt(2) / 2, -sqrt(2) / 2], [sqrt(2) / 2, sqrt(2) / 2]], False, True, False),
    ],
)
def test_the_long_run_of_powers(rows, vanishes, bounded, defective):
    found = long_run(rows)
    assert (found.value, found.bounded, found.defective) == (vanishes, bounded, defective)


def test_the_long_run_of_a_step_of_one_s_own():
    a, b, x, h, before = parameter("a"), parameter("b"), input_("x", ()), state("h", ()), state("before", ())
    step = Builder()
    after, past = step.let("after", a * h + b * before + x), step.let("past", h)
    recurrence = Recurrence(step.build([after, past]), old=(h, before), new=(after, past), inputs=(x,))
    assert transition(recurrence) == Matrix(companion((a, b)))
    assert long_run(transition(recurrence)).value == jury(z**2 - a * z - b, z).value


def test_only_linear_steps_of_scalars_have_a_matrix():
    h, v = state("h", ()), state("v", "H")
    for old, value, why in ((h, tanh(h), "not linear"), (v, 2 * v, "a step of scalars")):
        step = Builder()
        after = step.let("after", value)
        with pytest.raises(UnsupportedError, match=why):
            transition(Recurrence(step.build([after]), old=(old,), new=(after,)))


def test_lyapunov_s_equation_is_scipy_s():
    random = np.random.default_rng(3)
    for _ in range(5):
        W = Matrix(3, 3, [Rational(int(n), 20) for n in random.integers(-9, 9, 9)])
        found = np.array(discrete_lyapunov(W, Matrix.eye(3)).tolist(), dtype=float)
        expected = scipy.linalg.solve_discrete_lyapunov(np.array(W.T.tolist(), dtype=float), np.eye(3))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_lyapunov_s_equation_with_symbols_and_without_a_solution():
    a, q = symbols("a q")
    assert (discrete_lyapunov([[a]], [[q]])[0] - q / (1 - a**2)).cancel() == 0
    with pytest.raises(SpecError, match="have the product 1"):
        discrete_lyapunov([[2, 0], [0, Rational(1, 2)]], [[1, 0], [0, 1]])
    with pytest.raises(SpecError, match="give them the same size"):
        discrete_lyapunov([[1]], [[1, 0], [0, 1]])


def test_the_gain_is_the_sum_of_the_impulse_response():
    low, high = peak_gain([[Rational(-1, 2)]], [[3]])
    assert low < 6 - 1e-14 and 6 - 1e-14 < high < 6 + 1e-12
    W, C = np.array([[0.9, 10], [0, 0.9]]), np.array([[0.0], [1]])
    total = sum(np.linalg.norm(np.linalg.matrix_power(W, j) @ C, 2) for j in range(600))
    low, high = peak_gain(W.tolist(), C.tolist())
    assert low - 1e-9 <= total <= high + 1e-9 and high - low < 1e-9
    assert peak_gain([[0, 1], [0, 0]], [[0], [1]]) == (2, 2)
    with pytest.raises(UnsupportedError, match="do not vanish"):
        peak_gain(TURN, [[1], [0]])
