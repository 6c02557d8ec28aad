"""Verdicts on tables with symbols: conditions, found by cells and compared with numbers put in."""

import re

import pytest
from stability_schemes import HALF, tableau
from sympy import And, Eq, Or, Piecewise, Rational, S, Symbol, oo, pi, sqrt, symbols, true

import derive
from derive.errors import UnsupportedError
from derive.linear_stability import (
    a_stability,
    alpha_stability,
    imaginary_interval,
    l_stability,
    real_interval,
    zero_stability,
)
from derive.schemes import LinearMultistep, Splitting
from derive.symbols import parameter

R = Rational
theta, gamma, c = symbols("theta gamma c", real=True)
k = parameter("k")
THETA = tableau([[0, 0], [1 - theta, theta]], [1 - theta, theta])
THETA_MULTISTEP = LinearMultistep(alpha=(1,), beta=(theta, 1 - theta))
SDIRK = tableau([[gamma, 0], [1 - 2 * gamma, gamma]], [HALF, HALF])
STIFFLY_ACCURATE = tableau([[gamma, 0], [1 - gamma, gamma]], [1 - gamma, gamma])
LM = LinearMultistep(alpha=(1 - k, k), beta=(0, 1, 0))
CONSISTENT_LM = LinearMultistep(alpha=(1 - k, k), beta=(0, 1 + k, 0))
EXPLICIT = tableau([[0, 0], [c, 0]], [HALF, HALF])


def with_value(scheme, value):
    """The scheme with a number for its symbol."""
    if isinstance(scheme, LinearMultistep):
        sides = (
            [S(a).subs(dict.fromkeys(S(a).free_symbols, value)) for a in side] for side in (scheme.alpha, scheme.beta)
        )
        return LinearMultistep(*sides)
    rows = [[a.subs(dict.fromkeys(a.free_symbols, value)) for a in row] for row in scheme.A]
    return tableau(rows, [b.subs(dict.fromkeys(b.free_symbols, value)) for b in scheme.b])


@pytest.mark.parametrize("scheme", [THETA, THETA_MULTISTEP])
def test_theta_method(scheme):
    assert a_stability(scheme).value == (theta >= HALF)
    assert l_stability(scheme).value == Eq(theta, 1)
    assert alpha_stability(scheme).value == Piecewise((pi / 2, theta >= HALF), (0, True))
    left, right = real_interval(scheme).value
    assert right == 0 and left == Piecewise((2 / (2 * theta - 1), theta < HALF), (-oo, True))
    assert imaginary_interval(scheme).value[1] == Piecewise((0, theta < HALF), (oo, True))
    assert zero_stability(scheme).value == true


def test_diagonally_implicit_families():
    assert a_stability(SDIRK).value == (gamma >= R(1, 4))
    assert l_stability(SDIRK).value == Or(Eq(gamma, 1 - sqrt(2) / 2), Eq(gamma, 1 + sqrt(2) / 2))
    assert l_stability(STIFFLY_ACCURATE).value == And(gamma >= 1 - sqrt(2) / 2, gamma <= 1 + sqrt(2) / 2)


def test_lm_resnet():
    found = zero_stability(LM)
    assert found.value == And(k > -1, k <= 1) and found.strong == And(k > -1, k < 1)
    left, right = real_interval(LM).value
    assert left == Piecewise((2 * (k - 1), And(k > -1, k <= 1))) and right == 0
    assert imaginary_interval(LM).value[1] == Piecewise((0, And(k > -1, k < 1)), (2, Eq(k, 1)))
    assert a_stability(LM).value == S.false and alpha_stability(LM).value == 0
    left, _ = real_interval(CONSISTENT_LM).value
    assert left == Piecewise(((2 * k - 2) / (k + 1), And(k > -1, k <= 1)))


@pytest.mark.parametrize(
    ("alpha", "condition"),
    [
        ((2 + c, -1 - 2 * c, c), S.false),
        ((1 + 2 * c, -2 * c - c**2, c**2), And(c > -1, c < 1)),
        ((1 / (1 + c), c / (1 + c)), c > -HALF),
        ((1, -c, c), And(c > -1, c <= 1)),
        ((1 - c, 0, c), And(c > -HALF, c <= 1)),
        ((1, 0), true),
        ((1 + c**2, -(c**2)), And(c > -1, c < 1)),
    ],
)
def test_root_condition_in_one_symbol(alpha, condition):
    """Double roots, rational and complex ones: no formula for the roots is needed."""
    scheme = LinearMultistep(alpha=alpha, beta=(0, 1 + c, *[0] * (len(alpha) - 1)))
    assert zero_stability(scheme).value == condition


def test_root_condition_of_two_symbols():
    """(zeta - 1)(zeta^2 + p zeta + q) by Jury, against numbers."""
    p, q = symbols("p q", real=True)
    scheme = LinearMultistep(alpha=(1 - p, p - q, q), beta=(0, 1, 0, 0))
    found = zero_stability(scheme)
    for first in (-2, R(-3, 2), -1, 0, 1, R(3, 2), 2):
        for second in (-1, R(-1, 2), 0, HALF, 1, R(5, 4)):
            values = {p: first, q: second}
            special = LinearMultistep(alpha=[S(a).subs(values) for a in scheme.alpha], beta=scheme.beta)
            numbers = zero_stability(special)
            assert found.value.subs(values) == numbers.value and found.strong.subs(values) == numbers.strong
    one = LinearMultistep(alpha=(1 - p * q, p * q), beta=(0, 1, 0))
    assert zero_stability(one).value == And(p * q > -1, p * q <= 1)


@pytest.mark.parametrize("scheme", [THETA, THETA_MULTISTEP, SDIRK, STIFFLY_ACCURATE, LM, CONSISTENT_LM, EXPLICIT])
@pytest.mark.parametrize("value", [R(-3, 2), R(-1, 3), R(1, 8), R(1, 4), R(3, 10), HALF, 1, R(7, 3), sqrt(2) / 2])
def test_numbers_put_in_give_the_same(scheme, value):
    """The condition at a value is the verdict on the table with that value."""
    special = with_value(scheme, value)
    put = dict.fromkeys((theta, gamma, c, k), value)
    for decide in (zero_stability, a_stability, l_stability):
        assert decide(scheme).value.subs(put) == decide(special).value
    for interval in (real_interval, imaginary_interval):
        number = interval(special).value
        ends = [S(end).subs(put) for end in interval(scheme).value]
        if number is None:
            assert S.NaN in ends
        else:
            assert all((a - b).equals(0) if a.is_finite else a == b for a, b in zip(ends, number, strict=True))


def test_a_splitting_with_a_symbol():
    """A conjugate of symplectic Euler for every fraction: the trace does not know it."""
    scheme = Splitting(((0, c), (1, 1), (0, 1 - c)))
    assert imaginary_interval(scheme).value == (-2, 2)
    halves = Splitting(((0, c), (1, HALF), (0, 1 - c), (1, HALF)))
    up = imaginary_interval(halves).value[1]
    for value in (R(1, 10), HALF, R(9, 10)):
        special = Splitting(tuple((part, S(fraction).subs(c, value)) for part, fraction in halves.stages))
        assert (up.subs(c, value) - imaginary_interval(special).value[1]).equals(0)


def test_points_where_a_table_is_undefined_are_left_out():
    """b has a pole at c = 0; every other c gives an explicit scheme of order 2."""
    scheme = tableau([[0, 0], [c, 0]], [1 - 1 / (2 * c), 1 / (2 * c)])
    assert real_interval(scheme).value[0].subs(c, 3) == -2
    unstable = LinearMultistep(alpha=(1 - 1 / c, 1 / c), beta=(0, 1, 0))
    assert zero_stability(unstable).value == Or(c < -1, c >= 1)
    weighted = LinearMultistep(alpha=(1 - c**2 / (c**2 + 1), c**2 / (c**2 + 1)), beta=(0, 1, 0))
    assert zero_stability(weighted).value == true
    singular = LinearMultistep(alpha=(1, 0), beta=(0, 1 / c, 1 - 1 / c))
    assert real_interval(singular).value[0].subs(c, 0) is S.NaN and zero_stability(singular).value == true


def test_more_symbols_are_refused_with_advice():
    first, second = symbols("a b", real=True)
    scheme = tableau([[first, 0], [1, second]], [HALF, HALF])
    for decide in (a_stability, l_stability, alpha_stability, real_interval, imaginary_interval):
        with pytest.raises(UnsupportedError, match="give values"):
            decide(scheme)
    explicit = tableau([[0, 0], [first, 0]], [1 - second, second])
    assert a_stability(explicit).value == S.false and alpha_stability(explicit).value == 0
    analysis = derive.analyse(scheme)
    for name in ("is_a_stable", "is_l_stable", "alpha_stability", "real_interval", "imaginary_interval"):
        assert getattr(analysis, name) is None
        assert "give values" in analysis.stability_verdict(name).undecided
    assert "not decided: stability in a, b" in str(analysis)


def test_explicit_multistep_families_are_decided():
    first, second = symbols("a b", real=True)
    scheme = LinearMultistep(alpha=(1 - first, first), beta=(0, second, 1 + first - second))
    assert a_stability(scheme).value == l_stability(scheme).value == S.false and alpha_stability(scheme).value == 0


def test_several_symbols_that_act_as_one():
    """R = 1 + z + a b z^2, and the theta method with theta = a b: verdicts of one symbol, put in."""
    first, second = symbols("a b", real=True)
    explicit = tableau([[0, 0], [first, 0]], [1 - second, second])
    for value in (R(-1, 2), 0, R(1, 16), R(1, 8), R(1, 3), HALF, 1):
        values = {first: 2, second: value / 2}
        special = tableau([[0, 0], [2, 0]], [1 - value / S(2), value / S(2)])
        for interval in (real_interval, imaginary_interval):
            pairs = zip(interval(explicit).value, interval(special).value, strict=True)
            assert all((end.subs(values) - number).equals(0) for end, number in pairs)
    assert "w = a*b" in " ".join(step.words for step in real_interval(explicit).proof)
    weighted = tableau([[0, 0], [1 - first * second, first * second]], [1 - first * second, first * second])
    assert a_stability(weighted).value == (first * second >= HALF)
    assert l_stability(weighted).value == Eq(first * second, 1)
    assert alpha_stability(weighted).value == Piecewise((pi / 2, first * second >= HALF), (0, True))
    assert a_stability(tableau([[first * Symbol("b")]], [1])).value == (first * Symbol("b") >= HALF)
    # Of two symbols R may know one, or none.
    second_order = tableau([[0, 0], [first, 0]], [1 - 1 / (2 * first), 1 / (2 * first)])
    assert real_interval(second_order).value == (-2, 0)
    one_of_two = tableau([[c, 0], [first, c]], [1, 0])
    assert a_stability(one_of_two).value == (c >= HALF)


def test_the_angle_of_a_family():
    """Two-step schemes between BDF2 and forward differences: alpha moves with the symbol, as numbers put in say."""
    family = LinearMultistep(alpha=(1 + c, -c), beta=(1 - c, 0, 0))
    found = alpha_stability(family).value
    for value in (-2, -1, 0, R(1, 3), HALF, R(9, 10), 2):
        assert (found.subs(c, value) - alpha_stability(with_value(family, value)).value).equals(0)
    assert found.subs(c, R(1, 3)) == pi / 2 and 0 < found.subs(c, HALF) < pi / 2
    assert alpha_stability(SDIRK).value == Piecewise((pi / 2, gamma >= R(1, 4)), (0, True))


def test_the_proof_lists_the_cells():
    text = " ".join(step.words for step in a_stability(THETA).proof)
    assert "At theta = 1/2, exactly: it holds" in text and "For 1/2 < theta < oo" in text


@pytest.fixture
def no_simplification(monkeypatch):
    """`equals` simplifies whatever it cannot decide by numbers, for minutes where the numbers agree."""
    monkeypatch.setattr("sympy.Expr.equals", lambda *_: pytest.fail("simplified"))


@pytest.mark.slow
def test_the_angle_of_a_stiffly_accurate_family(no_simplification):
    """Where its expression has poles and branches meet it is still what the scheme with that number has."""
    found = alpha_stability(STIFFLY_ACCURATE).value
    assert [case.func for case, _ in found.args] == [type(S.Zero), type(found.args[1][0]), type(pi / 2)]
    for value in (R(1, 20), HALF - sqrt(2) / 4, R(1, 4), 1 - sqrt(2) / 2, R(1, 2), R(9, 5), R(2), R(7, 3)):
        own = alpha_stability(with_value(STIFFLY_ACCURATE, value)).value
        assert abs(float(found.subs(gamma, value)) - float(own)) < 1e-12


def test_a_sector_with_critical_values_of_high_degree_is_left_undecided():
    """Alexander's three stages with a free gamma: A-stability is decided, the sector says what stands in the way."""
    middle = (1 + gamma) / 2
    b = [-(6 * gamma**2 - 16 * gamma + 1) / 4, (6 * gamma**2 - 20 * gamma + 5) / 4, gamma]
    family = tableau([[gamma, 0, 0], [middle - gamma, gamma, 0], b], b)
    found = derive.analyse(family)
    assert [bool(found.is_a_stable.subs(gamma, value)) for value in (R(2, 5), R(9, 20), HALF, 3)] == [0, 1, 1, 0]
    assert found.alpha_stability is None
    why = r"near gamma = .* changes at a root of degree 21, beyond 12: give gamma a value"
    assert re.search(why, found.stability_verdict("alpha_stability").undecided)
