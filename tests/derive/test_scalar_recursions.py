"""Recursions of one number: fixed points, cycles, multipliers; against iteration, SciPy and Lambert's function."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw
from sympy import LambertW, exp

from derive import ScalarRecursion, branch, parameter, relu, sigmoid, state, tanh
from derive.errors import SpecError, UnsupportedError

h, u, w, b = state("h", ()), state("u", ()), parameter("w"), parameter("b")
L = float(lambertw(np.exp(-1)).real)


@pytest.mark.parametrize(("weight", "value"), [(0.5, None), (1, 0.6590460684074067), (4, None), (-3, None)])
def test_the_sigmoid_has_one_fixed_point(weight, value):
    (found,) = ScalarRecursion(sigmoid(w * h), h).fixed_points({w: mpmath.mpf(weight)})
    expected = brentq(lambda x: 1 / (1 + np.exp(-weight * x)) - x, 0, 1, xtol=1e-15)
    assert float(found.points[0]) == pytest.approx(expected, abs=1e-13)
    assert value is None or expected == pytest.approx(value, abs=1e-13)
    assert found.stable and float(found.multiplier) == pytest.approx(weight * expected * (1 - expected), abs=1e-12)


def test_the_tanh_has_three_fixed_points_above_one():
    recursion = ScalarRecursion(tanh(w * h), h)
    low, middle, high = recursion.fixed_points({w: mpmath.mpf(2)})
    assert float(high.points[0]) == pytest.approx(0.9575040240772687, abs=1e-14)
    assert low.points[0] == pytest.approx(-high.points[0]) and middle.points == (0,)
    assert (low.stable, middle.stable, high.stable) == (True, False, True)
    assert [o.points for o in recursion.fixed_points({w: mpmath.mpf("0.9")})] == [(0,)]


def test_the_cycle_of_two_below_the_onset():
    recursion = ScalarRecursion(sigmoid(w * h), h)
    (found,) = recursion.cycles(2, {w: mpmath.mpf(-7)})
    assert [float(p) for p in found.points] == pytest.approx([0.0562998413, 0.4027309672], abs=1e-10)
    assert found.stable
    late = [float(value) for value in recursion.run(mpmath.mpf(1), 400, {w: mpmath.mpf(-7)})[-2:]]
    assert sorted(late) == pytest.approx([float(p) for p in found.points], abs=1e-12)
    assert recursion.cycles(2, {w: mpmath.mpf("-5.8")}) == ()


@pytest.mark.parametrize("digits", (15, 60))
def test_the_fixed_point_still_attracts_at_the_onset(digits):
    with mpmath.workdps(digits):
        L = mpmath.lambertw(mpmath.exp(-1))
        weight, recursion = -((1 + L) ** 2) / L, ScalarRecursion(sigmoid(w * h), h)
        (found,) = recursion.fixed_points({w: weight}, (-1, 2))
        assert abs(found.multiplier + 1) < 1e-12 and found.stable
        assert recursion.cycles(2, {w: weight}, (-1, 2)) == ()
        (beyond,) = recursion.fixed_points({w: weight * mpmath.mpf("1.00001")}, (-1, 2))
        (cycle,) = recursion.cycles(2, {w: weight * mpmath.mpf("1.00001")}, (-1, 2))
        assert not beyond.stable and cycle.stable
    state, steps = 1.0, 100_000
    for _ in range(steps):
        state = 1 / (1 + np.exp(-float(weight) * state))
    assert abs(state - float(L / (1 + L))) * steps**0.5 == pytest.approx(6**0.5 / abs(float(weight)), rel=2e-3)


@pytest.mark.parametrize(
    ("step", "value", "point", "stable"),
    (
        (tanh(w * h), 1, 0, True),
        (tanh(w * h), -1, 0, True),
        (w * h, -1, 0, False),
        (w * h + h**2, 1, 0, False),
        (w * h - h**3, 1, 0, True),
        (w * h + h**3, 1, 0, False),
        (w * h + h**3, -1, 0, True),
        (w * h - h**3, -1, 0, False),
        (w * h + h**2 - h**3 / 2, -1, 0, True),
        (w * h + h**2 - h**3 * 2, -1, 0, False),
        (w * h - h**5, 1, 0, True),
        (w * h - h**5, -1, 0, False),
        (w * h * (1 - h), 3, 2 / 3, True),
    ),
)
def test_where_the_multiplier_has_the_size_one_the_next_order_decides(step, value, point, stable):
    """Beside two hundred steps from both sides, which come closer or do not."""
    recursion, values = ScalarRecursion(step, h), {w: mpmath.mpf(value)}
    around = (0.5, 0.9) if point else (-0.5, 0.5)
    found = next(o for o in recursion.fixed_points(values, around) if abs(o.points[0] - point) < 1e-9)
    assert abs(abs(found.multiplier) - 1) < 1e-12 and found.stable is stable
    with mpmath.workdps(30):
        at = mpmath.mpf(2) / 3 if point else 0
        starts = [at + sign * mpmath.mpf("0.05") for sign in (1, -1)]
        ends = [recursion.run(start, 200, values)[-1] for start in starts]
        assert all(abs(end - at) < abs(start - at) for start, end in zip(starts, ends, strict=True)) is stable


@pytest.mark.parametrize(("period", "cycles"), ((1, 2), (2, 1), (3, 2), (4, 3), (5, 6)))
def test_cycles_do_not_count_shorter_ones(period, cycles):
    """The logistic map with w = 4: as many as there are necklaces of two colours without a period."""
    recursion = ScalarRecursion(w * h * (1 - h), h)
    found = recursion.cycles(period, {w: mpmath.mpf(4)}, (0, 1))
    assert len(found) == cycles and not any(orbit.stable for orbit in found)


def test_the_onset_is_lambert_s():
    (onset,) = branch(sigmoid, u).where(-1)
    assert onset["weight"] == -((1 + LambertW(exp(-1))) ** 2) / LambertW(exp(-1))
    assert float(onset["weight"]) == pytest.approx(-((1 + L) ** 2) / L, rel=1e-15)
    assert float(onset["weight"]) == pytest.approx(-5.86958601943, abs=1e-11)
    assert onset["multiplier"] == -1
    (steepest,) = branch(sigmoid, u).extremes()
    assert steepest["multiplier"] == LambertW(exp(-1))


def test_a_bias_moves_the_branch():
    found = branch(sigmoid, u, b)
    point = {u: mpmath.mpf("0.3"), b: mpmath.mpf("-0.4")}
    weight = float(
        found.weight.subs({q: float(v) for q, v in point.items()}).replace(sigmoid, lambda z: 1 / (1 + exp(-z)))
    )
    recursion = ScalarRecursion(sigmoid(w * h + b), h)
    fixed = [float(o.points[0]) for o in recursion.fixed_points({w: mpmath.mpf(weight), b: point[b]})]
    assert 1 / (1 + np.exp(-0.3)) == pytest.approx(fixed[0], abs=1e-12)


def test_the_multiplier_is_the_derivative():
    recursion = ScalarRecursion(relu(w * h), h)
    assert recursion.run(mpmath.mpf(1), 3, {w: mpmath.mpf(2)}) == [1, 2, 4, 8]
    assert recursion.run(mpmath.mpf(-1), 3, {w: mpmath.mpf(-2)}) == [-1, 2, 0, 0]


def test_what_is_refused():
    with pytest.raises(SpecError, match="h does not occur"):
        ScalarRecursion(tanh(w), h)
    with pytest.raises(SpecError, match="v: a scalar recursion has no vectors"):
        ScalarRecursion(h + state("v", "d"), h)
    with pytest.raises(UnsupportedError, match="no closed form"):
        branch(tanh, u).where(-1)
