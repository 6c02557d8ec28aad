"""Exact verdicts against dense floats: roots by numpy along the axes, on rays, and the parts of the machine alone."""

import random
from itertools import pairwise

import numpy as np
import pytest
from stability_schemes import EXPLICIT, FIXED, IMPLICIT, MULTISTEP, TWO_PARTS, bdf, tableau
from sympy import QQ, Poly, Rational, Symbol, oo, pi, sqrt

from derive.errors import UnsupportedError
from derive.linear_stability import alpha_stability, imaginary_interval, real_interval, zero_stability
from derive.linear_stability.fields import RealField, common_domain, field_of
from derive.linear_stability.numeric_checks import (
    interval_disagreements,
    root_condition_disagreements,
    sector_disagreements,
)
from derive.linear_stability.polynomials import gcd, multiply, odd_part, trim
from derive.linear_stability.real_roots import RealRoot, between, compare, isolate
from derive.linear_stability.region import boundary_locus, contains
from derive.linear_stability.root_condition import is_hurwitz, root_condition
from derive.schemes import LinearMultistep

R = Rational
RATIONALS = RealField()
SCALAR = {**EXPLICIT, **IMPLICIT, **MULTISTEP}
x = Symbol("x")


def factors(scheme, points):
    """Largest factor of one step at many z, from the table itself."""
    if isinstance(scheme, LinearMultistep):
        alphas, betas = ([float(a) for a in side] for side in (scheme.alpha, scheme.beta))
        rows = [[1 - z * betas[0], *(-(a + z * b) for a, b in zip(alphas, betas[1:], strict=True))] for z in points]
        return np.array([max(abs(np.roots(row)), default=0) for row in rows])
    A, b = np.array(scheme.A, dtype=float), np.array(scheme.b, dtype=float)
    ones = np.ones(len(b))
    return np.array([abs(1 + z * b @ np.linalg.solve(np.eye(len(b)) - z * A, ones)) for z in points])


@pytest.mark.parametrize("name", [name for name in SCALAR if name not in ("bdf7", "unstable")])
def test_intervals_on_a_dense_sample(name):
    """Inside no sample exceeds 1; just outside all do (the direction of the exit)."""
    scheme = SCALAR[name]
    for direction, end in ((-1, -real_interval(scheme).value[0]), (1j, imaginary_interval(scheme).value[1])):
        size = 50.0 if end == oo else float(end)
        inside = factors(scheme, direction * np.linspace(0, size, 302)[1:-1]) if size else np.zeros(1)
        assert inside.max() <= 1 + 1e-9
        if end != oo:
            outside = factors(scheme, direction * (size + np.array([0.03, 0.05])))
            assert outside.min() > 1


@pytest.mark.parametrize("name", ["kutta3", "rk4", "radau3", "trbdf2", "ab3", "bdf2", "leapfrog", "milne_simpson"])
def test_the_numeric_checks_agree_and_see_a_wrong_end(name):
    scheme = SCALAR[name]
    left, up = -real_interval(scheme).value[0], imaginary_interval(scheme).value[1]
    assert interval_disagreements(scheme, -1, left) == 0 and interval_disagreements(scheme, 1j, up) == 0
    for direction, end in ((-1, left), (1j, up)):
        wrong = [R(1, 3)] if end in (0, oo) else [end * R(999, 1000), end * R(1001, 1000), oo, R(0)]
        assert all(interval_disagreements(scheme, direction, other) for other in wrong)


@pytest.mark.parametrize("name", TWO_PARTS)
def test_the_numeric_check_on_the_oscillator(name):
    up = imaginary_interval(TWO_PARTS[name]).value[1]
    assert interval_disagreements(TWO_PARTS[name], 1j, up) == 0
    assert interval_disagreements(TWO_PARTS[name], 1j, R(1) if up == oo else up * R(1001, 1000))


@pytest.mark.parametrize(
    ("name", "wrong"), [("bdf3", pi / 2), ("trapezoid", R(14, 10)), ("leapfrog", R(1, 2)), ("rk4", pi / 2)]
)
def test_the_numeric_check_of_sectors(name, wrong):
    scheme = SCALAR[name]
    assert sector_disagreements(scheme, alpha_stability(scheme).value) == 0
    assert sector_disagreements(scheme, wrong)


@pytest.mark.parametrize("name", MULTISTEP)
def test_the_numeric_check_of_the_root_condition(name):
    stable = bool(zero_stability(MULTISTEP[name]).value)
    assert root_condition_disagreements(MULTISTEP[name], stable) == 0
    assert root_condition_disagreements(MULTISTEP[name], not stable) == 1


@pytest.mark.parametrize("name", ["rk4", "radau3", "bdf3", "ab3", "leapfrog"])
def test_the_plotted_region(name):
    scheme = SCALAR[name]
    locus = boundary_locus(scheme, 64)
    assert locus.shape == (64, locus.shape[1])
    finite = locus[np.isfinite(locus)]
    on_edge = np.where(abs(finite) < 1e6, finite, 0)
    step = factors(scheme, [z for z in on_edge if abs(z) < 50])
    assert step.min() > 1 - 1e-6
    grid = np.linspace(-4, 2, 13)[:, None] + 1j * np.linspace(-3.03, 3.1, 9)[None, :]
    expected = factors(scheme, grid.ravel()).reshape(grid.shape)
    clear = abs(expected - 1) > 1e-6
    assert (contains(scheme, grid) == (expected <= 1))[clear].all() and contains(scheme, -0.1) == (name != "leapfrog")


def test_regions_that_do_not_exist():
    with pytest.raises(UnsupportedError, match="several parts"):
        boundary_locus(TWO_PARTS["verlet"])
    with pytest.raises(UnsupportedError, match="give values to k"):
        contains(LinearMultistep(alpha=(1 - Symbol("k"), Symbol("k")), beta=(0, 1, 0)), 0)


def random_polynomial(draw, degree):
    return [QQ(draw.randint(-9, 9), draw.randint(1, 4)) for _ in range(degree)] + [QQ(draw.randint(1, 5))]


@pytest.mark.parametrize("seed", range(60))
def test_root_condition_and_routh_against_computed_roots(seed):
    draw = random.Random(seed)
    p = random_polynomial(draw, draw.randint(1, 6))
    p[-1] *= draw.choice([1, 5, 20])
    roots = np.roots([float(a) for a in reversed(p)])
    largest = max(abs(roots), default=0.0)
    if abs(largest - 1) > 1e-6:
        assert root_condition(RATIONALS, p) is bool(largest < 1) is root_condition(RATIONALS, p, strict=True)
    reflected = [a * QQ(3) ** j for j, a in enumerate(p)]
    if len(roots) and min(abs(roots.real)) > 1e-6:
        assert is_hurwitz(RATIONALS, reflected) is bool(max(roots.real) < 0)


@pytest.mark.parametrize(
    ("text", "closed", "opened"),
    [
        ("x - 1", True, False),
        ("(x - 1)**2", False, False),
        ("x**2 + 1", True, False),
        ("(x**2 + 1)**2", False, False),
        ("(x**2 + 1)*(2*x - 1)**2", True, False),
        ("(x**2 - x/2 + 1)*(x + 1)*(3*x - 1)", True, False),
        ("(x**2 - x/2 + 1)*(x + 2)", False, False),
        ("(x - 2)*(2*x - 1)", False, False),
        ("(2*x - 1)**3*x", True, True),
        ("x**4 + x**3 + x**2 + x + 1", True, False),
        ("x**4 - 2*x**2 + 1", False, False),
    ],
)
def test_root_condition_on_the_circle(text, closed, opened):
    p = list(reversed(Poly(text, x, domain=QQ).rep.to_list()))
    assert root_condition(RATIONALS, p) is closed and root_condition(RATIONALS, p, strict=True) is opened
    assert not root_condition(RATIONALS, [*p, QQ(0)])  # a root at infinity


@pytest.mark.parametrize("seed", range(40))
def test_isolation_against_sympy(seed):
    draw = random.Random(seed)
    p = [QQ(1)]
    for _ in range(draw.randint(1, 4)):
        p = multiply(p, random_polynomial(draw, draw.randint(1, 3)))
    p = multiply(p, p) if seed % 3 == 0 else p
    expected = sorted({root for root in Poly([QQ.to_sympy(a) for a in reversed(p)], x).real_roots() if root > 0})
    found = isolate(RATIONALS, p)
    assert [root.expression() for root in found] == expected
    assert all(abs((a.negative().expression() + b).evalf(30)) < 1e-25 for a, b in zip(found, expected, strict=True))
    assert all(compare(a, b) == -1 == -compare(b, a) for a, b in pairwise(found))
    assert all(compare(a, RealRoot(RATIONALS, a.polynomial, a.low, a.high)) == 0 for a in found)


def test_isolation_over_an_algebraic_field():
    domain, (a, one) = common_domain([sqrt(2) + sqrt(3), 1])
    field = field_of(domain)
    p = multiply(multiply([-a, one], [-a * a, one]), [a, one])  # roots a, a^2, -a
    found = isolate(field, p)
    assert [
        abs(root.expression().evalf(30) - value.evalf(30)) < 1e-25
        for root, value in zip(found, (sqrt(2) + sqrt(3), (sqrt(2) + sqrt(3)) ** 2), strict=True)
    ] == [True] * 2
    assert found[0].sign_of([-a * a + a, one]) != 0 and found[1].sign_of([-a * a, one]) == 0
    assert field.sign(a - one * R(314626436994, 10**11).p / R(314626436994, 10**11).q) == 1
    assert field.sign(a - a) == 0 and field.sign(-a) == -1


def test_odd_part_keeps_the_changes_of_sign():
    p = list(reversed(Poly("(x - 1)**3*(x - 2)**2*(x - 3)*(x**2 + 1)**2", x, domain=QQ).rep.to_list()))
    assert [root.expression() for root in isolate(RATIONALS, odd_part(RATIONALS, p))] == [1, 3]
    assert len(gcd(RATIONALS, p, trim(p))) == len(p)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (QQ(0), None, 1),
        (QQ(1, 3), QQ(1, 2), QQ(2, 5)),
        (QQ(-2), QQ(5), 0),
        (QQ(-7, 2), QQ(-10, 3), QQ(-17, 5)),
        (None, QQ(-1), -2),
    ],
)
def test_simplest_numbers(low, high, expected):
    assert between(low, high) == expected


def test_a_typed_table_changes_its_verdict():
    """RK4 with one digit wrong: an interval that the numbers confirm, and not that of RK4."""
    bent = tableau(
        [[0, 0, 0, 0], [R(1, 2), 0, 0, 0], [0, R(1, 2), 0, 0], [0, 0, R(9, 10), 0]],
        [R(1, 6), R(1, 3), R(1, 3), R(1, 6)],
    )
    left = real_interval(bent).value[0]
    assert left != real_interval(FIXED["rk4"]).value[0] and interval_disagreements(bent, -1, -left) == 0
    assert root_condition_disagreements(bdf(7), False) == 0
