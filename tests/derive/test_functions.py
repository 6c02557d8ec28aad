"""Elementwise functions: value and slope against mpmath, kinks, and arguments at which the naive form overflows."""

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Symbol

from derive.evaluator import value_of
from derive.functions import ELEMENTWISE, elu, logabs, logsigmoid, relu, sigmoid, softplus, step, tanh, xlogx
from derive.latex import latex
from derive.reverse_sweep import elementwise_partials
from derive.symbols import state

x = state("x", ())
TRUTH = {
    sigmoid: lambda z: 1 / (1 + mpmath.exp(-z)),
    tanh: mpmath.tanh,
    relu: lambda z: z if z > 0 else mpmath.mpf(0),
    step: lambda z: mpmath.mpf(1) if z > 0 else mpmath.mpf(0),
    softplus: lambda z: mpmath.log(1 + mpmath.exp(z)),
    logsigmoid: lambda z: -mpmath.log(1 + mpmath.exp(-z)),
    xlogx: lambda z: z * mpmath.log(z),
    elu: lambda z: z if z > 0 else mpmath.exp(z) - 1,
    logabs: lambda z: mpmath.log(abs(z)),
    sympy.exp: mpmath.exp,
    sympy.sin: mpmath.sin,
    sympy.cos: mpmath.cos,
    sympy.Abs: abs,
    sympy.sign: mpmath.sign,
}
POINTS = ("-7.5", "-1.25", "-0.001", "0.001", "0.3", "2.75", "9")


def at(expression, point):
    return value_of(expression, {x: point})


@pytest.mark.parametrize("function", TRUTH, ids=lambda f: f.__name__)
@pytest.mark.parametrize("point", POINTS)
def test_value_and_slope(function, point):
    with mpmath.workdps(40):
        z = abs(mpmath.mpf(point)) if function is xlogx else mpmath.mpf(point)
        truth = TRUTH[function]
        assert abs(at(function(x), z) - truth(z)) < mpmath.mpf("1e-37")
        ((_, slope),) = elementwise_partials(function(x))
        assert abs(at(slope, z) - mpmath.diff(truth, z)) < mpmath.mpf("1e-16")


def test_every_declared_function_is_covered():
    assert set(ELEMENTWISE) <= set(TRUTH)


@pytest.mark.parametrize("point", ["0.2", "1", "30"])
def test_logarithm(point):
    with mpmath.workdps(40):
        z = mpmath.mpf(point)
        assert abs(at(sympy.log(x), z) - mpmath.log(z)) < mpmath.mpf("1e-37")
        assert abs(at(sympy.diff(sympy.log(x), x), z) - 1 / z) < mpmath.mpf("1e-37")


def test_nothing_is_added_by_an_impossible_event():
    assert at(xlogx(x), 0.0) == 0 and at(xlogx(x), 1.0) == 0


def test_kinks():
    assert at(relu(x), 0.0) == 0 and at(sympy.diff(relu(x), x), 0.0) == 0
    assert at(step(x), 0.0) == 0 and sympy.diff(step(x), x) == 0
    assert at(elu(x), 0.0) == 0 and at(sympy.diff(elu(x), x), 0.0) == 1
    assert at(sympy.sign(x), 0.0) == 0
    assert at(sympy.diff(sympy.Abs(x), x), 0.0) == 0


def test_kinks_entry_by_entry():
    v = state("v", 3)
    values = {v: np.array([-2.0, 0.0, 3.0])}
    assert value_of(sympy.diff(relu(v), v), values).tolist() == [0.0, 0.0, 1.0]
    assert value_of(relu(v), values).tolist() == [0.0, 0.0, 3.0]


def test_slopes_are_written_in_the_function_itself():
    assert sympy.diff(sigmoid(x), x) == sigmoid(x) * (1 - sigmoid(x))
    assert sympy.diff(tanh(x), x) == 1 - tanh(x) ** 2
    assert sympy.diff(softplus(x), x) == sigmoid(x)


def test_chain_rule():
    assert sympy.diff(sigmoid(3 * x), x) == 3 * sigmoid(3 * x) * (1 - sigmoid(3 * x))


@pytest.mark.parametrize(
    ("function", "point", "expected"),
    [
        (sigmoid, 800.0, 1.0),
        (sigmoid, -800.0, 0.0),
        (softplus, 800.0, 800.0),
        (softplus, -800.0, 0.0),
        (logsigmoid, 800.0, 0.0),
        (logsigmoid, -800.0, -800.0),
        (tanh, 800.0, 1.0),
        (tanh, -800.0, -1.0),
        (elu, 800.0, 800.0),
        (elu, -800.0, -1.0),
    ],
)
def test_extreme_arguments_do_not_overflow(function, point, expected):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert at(function(x), np.float64(point)) == expected
        assert np.isfinite(at(sympy.diff(function(x), x), np.float64(point)))


def test_small_arguments_of_logsigmoid_and_softplus_keep_their_digits():
    """log(1 + e^z) for z = -40: 4e-18 is below the rounding of 1."""
    assert at(softplus(x), np.float64(-40.0)) == pytest.approx(float(mpmath.exp(-40)), rel=1e-12, abs=0)
    assert at(logsigmoid(x), np.float64(40.0)) == pytest.approx(-float(mpmath.exp(-40)), rel=1e-12, abs=0)


def test_tanh_of_a_small_argument_keeps_its_digits():
    assert at(tanh(x), np.float64(1e-9)) == pytest.approx(1e-9, rel=1e-12, abs=0)


def test_elu_of_a_small_negative_argument_keeps_its_digits():
    assert at(elu(x), np.float64(-1e-9)) == pytest.approx(float(mpmath.expm1(mpmath.mpf(-1e-9))), rel=1e-12, abs=0)


@pytest.mark.parametrize("function", ELEMENTWISE, ids=lambda f: f.__name__)
def test_latex_names_the_argument(function):
    text = latex(function(state("x", latex="x_n")))
    assert "x_n" in text and text.count(r"\left(") == text.count(r"\right)")
    assert latex(function(x) ** 2).count("^") >= 1


def test_a_function_of_a_plain_symbol_stays_unevaluated():
    assert sigmoid(Symbol("q")).args == (Symbol("q"),)
