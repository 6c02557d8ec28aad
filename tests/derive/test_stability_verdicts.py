"""Verdicts of linear stability against the literature."""

import math

import numpy as np
import pytest
from stability_schemes import EXPLICIT, FIXED, HALF, IMPLICIT, MULTISTEP, TWO_PARTS, VERLET, bdf, tableau
from sympy import (
    QQ,
    CRootOf,
    I,
    Matrix,
    Rational,
    atan,
    cancel,
    deg,
    expand,
    eye,
    false,
    oo,
    pi,
    sqrt,
    symbols,
    true,
)

from derive.errors import UnsupportedError
from derive.linear_stability import (
    a_stability,
    alpha_stability,
    imaginary_interval,
    l_stability,
    real_interval,
    stability_function,
    stability_polynomial,
    zero_stability,
)
from derive.linear_stability import runge_kutta as rules
from derive.linear_stability.fields import RealField
from derive.linear_stability.functions import RationalFunction
from derive.schemes import AdditiveTableau, LinearMultistep, Splitting

R = Rational
z, zeta = symbols("z zeta")
A_STABLE = {*IMPLICIT, "am1", "am2", "bdf1", "bdf2"}
L_STABLE = {"backward_euler", "radau3", "radau5", "lobatto3c", "sdirk2", "trbdf2", "am1", "bdf1", "bdf2"}
WEAK = {"leapfrog", "milne_simpson", "nystrom3"}
NOT_ZERO_STABLE = {"bdf7", "unstable"}


@pytest.mark.parametrize("name", [*EXPLICIT, *IMPLICIT])
def test_stability_function_is_the_step_on_the_linear_equation(name):
    """I - zA inverted by SymPy's matrices; in lowest terms."""
    scheme = FIXED[name]
    size = scheme.stages
    step = 1 + z * (Matrix([scheme.b]) * (eye(size) - z * Matrix(scheme.A)).inv(method="ADJ") * Matrix([1] * size))[0]
    found = stability_function(scheme, z)
    assert all(abs((found - step).subs(z, value).evalf(30)) < 1e-25 for value in (R(1, 3), -2, I / 5 - 1))
    assert expand(stability_polynomial(scheme, found, z) * 1).subs(z, R(1, 7)).evalf(30) == pytest.approx(0, abs=1e-25)


def test_stability_functions_in_closed_form():
    assert stability_function(FIXED["rk4"], z) == 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    assert cancel(stability_function(FIXED["gauss4"], z) - (12 + 6 * z + z**2) / (12 - 6 * z + z**2)) == 0
    assert (
        cancel(stability_function(FIXED["radau5"], z) * (60 - 36 * z + 9 * z**2 - z**3) - 60 - 24 * z - 3 * z**2) == 0
    )
    assert stability_function(MULTISTEP["ab2"], z) is None
    assert expand(stability_polynomial(MULTISTEP["leapfrog"], zeta, z) - (zeta**2 - 1 - 2 * z * zeta)) == 0


def test_common_factors_are_cancelled():
    """A stage that nothing uses does not change R."""
    padded = tableau([[1, 0], [0, 3]], [1, 0])
    assert cancel(stability_function(padded, z) - 1 / (1 - z)) == 0
    assert l_stability(padded).value == true
    assert a_stability(tableau([[1, 0], [0, -3]], [1, 0])).value == true


@pytest.mark.parametrize("name", TWO_PARTS)
def test_propagation_matrices(name):
    """Symplectic pairs have determinant 1; every first-order pair agrees with the rotation to first order."""
    matrix = stability_function(FIXED[name], z)
    assert matrix.subs(z, 0) == eye(2) and matrix.diff(z).subs(z, 0) == Matrix([[0, 1], [-1, 0]])
    if name != "rk4_pair":
        assert abs((matrix.det() - 1).subs(z, R(3, 7)).evalf(30)) < 1e-25
    own = stability_polynomial(FIXED[name], zeta, z).subs(z, R(3, 7))
    expected = (zeta * eye(2) - matrix.subs(z, R(3, 7))).det()
    ratio = (own / expected).subs(zeta, 2)
    assert abs((own - ratio * expected).subs(zeta, R(-5, 3)).evalf(30)) < 1e-20


@pytest.mark.parametrize("name", FIXED)
def test_a_and_l_stability(name):
    if name in TWO_PARTS:
        assert a_stability(FIXED[name]).value is None and l_stability(FIXED[name]).value is None
        assert alpha_stability(FIXED[name]).value is None and real_interval(FIXED[name]).value is None
        return
    assert a_stability(FIXED[name]).value == (true if name in A_STABLE else false)
    assert l_stability(FIXED[name]).value == (true if name in L_STABLE else false)
    assert (alpha_stability(FIXED[name]).value == pi / 2) is (name in A_STABLE)


@pytest.mark.parametrize("name", FIXED)
def test_zero_stability(name):
    found = zero_stability(FIXED[name])
    assert found.value == (false if name in NOT_ZERO_STABLE else true)
    assert found.strong == (false if name in NOT_ZERO_STABLE | WEAK else true)


@pytest.mark.parametrize(
    ("steps", "degrees"), [(3, "86.03236686"), (4, "73.35167047"), (5, "51.83975583"), (6, "17.83977779")]
)
def test_angles_of_bdf(steps, degrees):
    """Akrivis and Katsoprinakis (2020) give them in closed form."""
    found = alpha_stability(bdf(steps)).value
    assert isinstance(found, atan) and abs(deg(found).evalf(20) - R(degrees)) < 1e-8


def test_angles_in_closed_form():
    assert alpha_stability(bdf(3)).value == atan(329 * sqrt(35) / 135)
    assert alpha_stability(bdf(4)).value == atan(699 * sqrt(6) / 512)
    assert alpha_stability(bdf(6)).value == atan(45503 * sqrt(195) / 1974375)


def test_angles_that_peers_round():
    assert alpha_stability(MULTISTEP["am2"]).value == pi / 2
    assert alpha_stability(MULTISTEP["leapfrog"]).value == 0
    assert alpha_stability(MULTISTEP["milne_simpson"]).value == 0
    assert alpha_stability(MULTISTEP["am3"]).value == 0


@pytest.mark.parametrize("highest", [3, 4])
def test_angle_of_a_pade_approximation(highest):
    """1/(1 - z + z^2/2 - ...), against the least angle of 20000 points with |Q| = 1; (0, 3) has 88.23 degrees."""
    q = [R((-1) ** j, math.factorial(j)) for j in range(highest + 1)]
    function = RationalFunction(QQ, ([QQ(1)], [QQ.from_sympy(a) for a in q]))
    assert not rules.is_a_stable(RealField(), function, [])
    end = rules.sector(RealField(), function).end([])
    found = float(deg(atan(sqrt(end.expression()))))
    lead = [float(a) for a in reversed(q)]
    points = np.concatenate(
        [np.roots([*lead[:-1], lead[-1] - np.exp(1j * t)]) for t in np.linspace(0, 2 * np.pi, 20000)]
    )
    left = points[points.real < -1e-6]
    sampled = np.degrees(np.arctan2(abs(left.imag), -left.real).min())
    assert found <= sampled + 1e-9 and sampled - found < 1e-4
    assert highest == 4 or abs(found - 88.23) < 0.005


INTERVALS = {
    "forward_euler": (-2, 0),
    "heun": (-2, 0),
    "midpoint": (-2, 0),
    "kutta3": ("-2.5127453266183286", sqrt(3)),
    "rk4": ("-2.78529356340528", 2 * sqrt(2)),
    "backward_euler": (-oo, oo),
    "trapezoid": (-oo, oo),
    "gauss6": (-oo, oo),
    "radau5": (-oo, oo),
    "sdirk2": (-oo, oo),
    "ab1": (-2, 0),
    "ab2": (-1, 0),
    "ab3": (R(-6, 11), 12 * sqrt(11) / 55),
    "ab4": (R(-3, 10), 4 * sqrt(65) / 75),
    "ab5": (R(-90, 551), 0),
    "am3": (-6, 0),
    "am4": (-3, 0),
    "am5": (R(-90, 49), 240 * sqrt(3) / 343),
    "bdf2": (-oo, oo),
    "bdf3": (-oo, 0),
    "bdf4": (-oo, 0),
    "bdf6": (-oo, "0.84313816"),
    "leapfrog": (0, 1),
    "milne_simpson": (0, sqrt(3)),
    "nystrom3": (0, 0),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_intervals(name):
    left, up = INTERVALS[name]
    found_left, right = real_interval(FIXED[name]).value
    down, found_up = imaginary_interval(FIXED[name]).value
    assert right == 0 and down == -found_up
    for found, expected in ((found_left, left), (found_up, up)):
        if isinstance(expected, str):
            assert abs(found.evalf(20) - R(expected)) < R(10) ** (3 - len(expected)) and found.is_algebraic
        else:
            assert found == expected


def test_an_algebraic_end_satisfies_its_equation():
    left = real_interval(FIXED["rk4"]).value[0]
    assert left.has(CRootOf) and abs((1 + left / 2 + left**2 / 6 + left**3 / 24).evalf(40)) < 1e-35


@pytest.mark.parametrize("name", sorted(NOT_ZERO_STABLE))
def test_no_interval_without_zero_stability(name):
    assert real_interval(FIXED[name]).value is None and imaginary_interval(FIXED[name]).value is None


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("symplectic_euler", 2),
        ("euler_pair", 2),
        ("verlet", 2),
        ("lobatto_pair", 2),
        ("rk4_pair", 2 * sqrt(2)),
        ("implicit_midpoint_pair", oo),
        ("yoshida4", "1.5734019474"),
        ("ruth3", "2.5074811709"),
    ],
)
def test_limits_on_the_oscillator(name, limit):
    down, up = imaginary_interval(FIXED[name]).value
    assert down == -up
    assert abs(up.evalf(20) - R(limit)) < 1e-9 if isinstance(limit, str) else up == limit


def test_the_component_goes_on_where_the_matrix_is_plus_or_minus_one():
    """Four Verlet steps of h/4: M = -I at h omega = 4 sqrt 2 is no end, the limit is 8."""
    quarter = [(part, fraction / 4) for _ in range(4) for part, fraction in VERLET.stages]
    assert imaginary_interval(Splitting(tuple(quarter))).value == (-8, 8)


def test_three_parts_have_no_standard_problem():
    three = Splitting(((0, 1), (1, 1), (2, 1)))
    assert stability_function(three, z) is None and stability_polynomial(three, zeta, z) is None
    assert imaginary_interval(three).value is None and zero_stability(three).value == true
    tableaus = AdditiveTableau(parts=(FIXED["forward_euler"],) * 3)
    assert stability_function(tableaus, z) is None and imaginary_interval(tableaus).value is None


def test_complex_coefficients_are_refused():
    """A table would be refused where it is made; the fractions of a splitting may be complex."""
    complex_one = Splitting(((0, (1 + I) / 2), (1, 1), (0, (1 - I) / 2)))
    with pytest.raises(UnsupportedError, match="real schemes"):
        imaginary_interval(complex_one)


@pytest.mark.parametrize("name", ["rk4", "gauss4", "bdf3", "leapfrog", "verlet", "trbdf2"])
def test_proofs_have_words_and_formulas(name):
    scheme = FIXED[name]
    for verdict in (imaginary_interval(scheme), a_stability(scheme), zero_stability(scheme)):
        assert verdict.proof and all(step.words for step in verdict.proof)
    assert any(step.formula for step in imaginary_interval(scheme).proof)


def test_the_proof_of_a_stability_shows_its_polynomials():
    words = [(step.words, step.formula) for step in a_stability(FIXED["gauss4"]).proof]
    text = " ".join(part for step in words for part in step)
    assert "E-polynomial" in text and "Routh" in text and "A-stable (maximum principle)" in text
    text = " ".join(step.words for step in a_stability(bdf(3)).proof)
    assert "Sturm" in text and "not A-stable" in text


def test_digits():
    """The 3/8 rule in eight decimals: the noise of rounding does not end the imaginary interval at 0."""
    for third, last in ((R("0.33333333"), R("1e-8")), (R("0.33333334"), R("-1e-8"))):
        check_rounded(third, last)
    gamma, near = R("0.2928932188134525"), R("0.2928932188134524")
    decimal = tableau([[gamma, 0], [1 - gamma, gamma]], [1 - near, near], digits=16)
    assert l_stability(decimal).value == true
    assert l_stability(tableau(decimal.A, decimal.b)).value == false


def check_rounded(third, last):
    rounded = tableau(
        [[0, 0, 0, 0], [third, 0, 0, 0], [-third, 1, 0, 0], [1, -1, 1, 0]],
        [R(1, 8), R(3, 8) + last, R(3, 8) - last, R(1, 8)],
        digits=8,
    )
    assert abs(imaginary_interval(rounded).value[1].evalf() - 2 * sqrt(2).evalf()) < 1e-6
    assert abs(real_interval(rounded).value[0].evalf() - real_interval(FIXED["rk4"]).value[0].evalf()) < 1e-6
    assert "published decimals" in imaginary_interval(rounded).proof[0].words


def test_a_pole_in_the_left_half_plane():
    """1/((1 + z)(1 - 2z)) is bounded by 1 on the imaginary axis, and yet not A-stable."""
    function = RationalFunction(QQ, ([QQ(1)], [QQ(1), QQ(-1), QQ(-2)]))
    proof = []
    assert not rules.is_a_stable(RealField(), function, proof)
    assert "root with Re z <= 0" in proof[-1].words


def test_one_digit_decides():
    """Mutated tables change verdicts."""
    for gamma, stable in ((R(1, 4), true), (R(249, 1000), false), (R(251, 1000), true)):
        assert a_stability(tableau([[gamma, 0], [1 - 2 * gamma, gamma]], [R(1, 2), R(1, 2)])).value == stable
    bdf2 = MULTISTEP["bdf2"]
    for nudge, stable in ((R(0), true), (R(1, 100), false)):
        bent = LinearMultistep(alpha=(bdf2.alpha[0], bdf2.alpha[1]), beta=(bdf2.beta[0] - nudge, nudge, 0))
        assert a_stability(bent).value == stable
    assert zero_stability(LinearMultistep(alpha=(R(-1, 100), R(101, 100)), beta=(0, 2, 0))).value == false
    assert imaginary_interval(tableau([[0, 0, 0], [HALF, 0, 0], [0, 1, 0]], [R(1, 6), R(2, 3), R(1, 6)])).value == (
        0,
        0,
    )


def test_common_factors_do_not_hide_l_stability():
    """Backward Euler with rho and sigma times zeta - 1/2."""
    padded = LinearMultistep(alpha=(R(3, 2), R(-1, 2)), beta=(1, R(-1, 2), 0))
    assert a_stability(padded).value == l_stability(padded).value == true
    trapezoid = LinearMultistep(alpha=(R(3, 2), R(-1, 2)), beta=(HALF, R(1, 4), R(-1, 4)))
    assert a_stability(trapezoid).value == true and l_stability(trapezoid).value == false
