"""Truncated power series against mpmath.taylor, series in series, and flows of equations with known solutions."""

import mpmath
import numpy as np
import pytest

from derive.evaluator import value_of
from derive.functions import elu, logsigmoid, sigmoid, softplus, tanh
from derive.operators import exponential, logarithm
from derive.power_series import Series, array_of, flow
from derive.symbols import state

ORDER = 7
DIGITS = 40
x = state("x", ())

FUNCTIONS = {
    "exp": (lambda v: v.elementary("exp"), mpmath.exp),
    "log": (lambda v: v.elementary("log"), mpmath.log),
    "sin": (lambda v: v.elementary("sin"), mpmath.sin),
    "cos": (lambda v: v.elementary("cos"), mpmath.cos),
    "expm1": (lambda v: v.elementary("expm1"), mpmath.expm1),
    "log1p": (lambda v: v.elementary("log1p"), mpmath.log1p),
    "rational": (lambda v: (1 - v) / (2 + v * v) - 3 / v, lambda v: (1 - v) / (2 + v * v) - 3 / v),
    "powers": (lambda v: v**5 + v**-2 - v**0, lambda v: v**5 + v**-2 - 1),
    "tanh": (lambda v: value_of(tanh(x), {x: v}), mpmath.tanh),
    "sigmoid": (lambda v: value_of(sigmoid(x), {x: v}), lambda v: 1 / (1 + mpmath.exp(-v))),
    "softplus": (lambda v: value_of(softplus(x), {x: v}), lambda v: mpmath.log(1 + mpmath.exp(v))),
    "logsigmoid": (lambda v: value_of(logsigmoid(-x), {x: v}), lambda v: -mpmath.log(1 + mpmath.exp(v))),
    "elu": (lambda v: value_of(elu(-x), {x: v}), lambda v: mpmath.exp(-v) - 1),
    "composed": (
        lambda v: exponential(v.elementary("sin")) * logarithm(1 + v * v),
        lambda v: mpmath.exp(mpmath.sin(v)) * mpmath.log(1 + v * v),
    ),
}


def close(left, right, tolerance="1e-25"):
    return all(abs(a - b) < mpmath.mpf(tolerance) * (1 + abs(b)) for a, b in zip(left, right, strict=True))


def series_at(point, order=ORDER):
    return Series([mpmath.mpf(point), mpmath.mpf(1), *[mpmath.mpf(0)] * (order - 1)])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("point", ["0.4", "1.3"])
def test_taylor_coefficients(name, point):
    in_series, function = FUNCTIONS[name]
    with mpmath.workdps(DIGITS):
        found = in_series(series_at(point)).coefficients
        with mpmath.workdps(4 * DIGITS):
            expected = mpmath.taylor(function, mpmath.mpf(point), ORDER)
        assert close(found, expected)


def test_two_variables():
    """sin(s h) + s/(1 - h) about s = 0.5 + t, h = 0.2 + h: every mixed coefficient."""
    with mpmath.workdps(DIGITS):
        order = 3
        h = Series([mpmath.mpf("0.2"), mpmath.mpf(1), *[mpmath.mpf(0)] * (order - 1)], "h")
        zero = 0 * h
        s = Series([zero + mpmath.mpf("0.5"), zero + 1, zero, zero], "t")
        found = (s * h).elementary("sin") + s / (1 - h)
        for i in range(order + 1):
            for j in range(order + 1):
                expected = mpmath.diff(
                    lambda u, v: mpmath.sin(u * v) + u / (1 - v), (mpmath.mpf("0.5"), mpmath.mpf("0.2")), (i, j)
                ) / (mpmath.factorial(i) * mpmath.factorial(j))
                assert abs(found.coefficients[i].coefficients[j] - expected) < mpmath.mpf("1e-12")


def table(value):
    """Coefficients of a series in t of series in h; a plain number is a series too."""
    return [c.coefficients if isinstance(c, Series) else [c, 0] for c in value.coefficients]


def test_the_order_of_nesting_does_not_depend_on_the_order_of_factors():
    h = Series([mpmath.mpf(1), mpmath.mpf(2)], "h")
    t = Series([mpmath.mpf(3), mpmath.mpf(4)], "t")
    for found in (h * t, t * h):
        assert found.variable == "t"
        assert table(found) == [[3, 6], [4, 8]]
    assert table(t - h) == [[2, -2], [4, 0]] and table(h - t) == [[-2, 2], [-4, 0]]


def test_arrays_of_series():
    column = array_of([series_at("0.4", 2), series_at("1", 2)])
    found = (2 * column + column * column)[1]
    assert found.coefficients == [3, 4, 1]


def scalar_flow(field, start, order):
    with mpmath.workdps(DIGITS):
        return flow(lambda t, p: [field(t, p[0])], mpmath.mpf(0), [mpmath.mpf(start)], order)[0]


SCALAR_FLOWS = {
    "logistic": (lambda t, u: u * (1 - u), "0.3", lambda t: 1 / (1 + mpmath.exp(-t) * (1 / mpmath.mpf("0.3") - 1))),
    "cubic damping": (lambda t, u: -(u**3), "0.7", lambda t: 1 / mpmath.sqrt(1 / mpmath.mpf("0.7") ** 2 + 2 * t)),
    "with time": (lambda t, u: 2 * t * u, "1.5", lambda t: mpmath.mpf("1.5") * mpmath.exp(t * t)),
    "a constant": (lambda t, u: 1 + 0 * u, "1", lambda t: 1 + t),
}


@pytest.mark.parametrize("name", SCALAR_FLOWS)
def test_flow_of_a_scalar_equation(name):
    field, start, solution = SCALAR_FLOWS[name]
    found = scalar_flow(field, start, ORDER)
    with mpmath.workdps(4 * DIGITS):
        expected = mpmath.taylor(solution, 0, ORDER)
    with mpmath.workdps(DIGITS):
        assert close(found, expected)


def test_flow_of_an_oscillator_in_arrays():
    with mpmath.workdps(DIGITS):
        omega = mpmath.mpf("1.7")
        s, v = array_of([mpmath.mpf(1), mpmath.mpf("0.3")]), array_of([mpmath.mpf("-0.2"), mpmath.mpf(2)])
        found = flow(lambda t, p: [p[1], -(omega**2) * p[0]], mpmath.mpf(0), [s, v], ORDER)[0]
        for entry in range(2):

            def solution(t, entry=entry):
                return s[entry] * mpmath.cos(omega * t) + v[entry] / omega * mpmath.sin(omega * t)

            with mpmath.workdps(4 * DIGITS):
                expected = mpmath.taylor(solution, 0, ORDER)
            assert close([column[entry] for column in found], expected)


def test_flow_starts_at_the_given_time():
    with mpmath.workdps(DIGITS):
        found = flow(lambda t, p: [t * p[0]], mpmath.mpf(2), [mpmath.mpf(1)], 3)[0]
        expected = mpmath.taylor(lambda t: mpmath.exp(((t + 2) ** 2 - 4) / 2), 0, 3)
        assert close(found, expected, "1e-15")


def test_array_of_keeps_objects_whole():
    assert array_of([series_at("1")]).shape == (1,)
    assert np.shape(array_of([])) == (0,)
