"""The reference evaluator: floats, complex steps against the adjoint, many digits, extreme arguments."""

import mpmath
import numpy as np
import pytest
import sympy
from pairs import random_values
from sympy import Rational, cos, exp, log, pi, sin, sqrt

from derive.errors import UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.functions import elu, logsigmoid, sigmoid, softplus, tanh
from derive.networks import Network
from derive.operators import dot, fill, identity_like, linear_solve, logsumexp, matvec, outer, softmax, total, transpose
from derive.power_series import array_of
from derive.program import Assignment, Builder, Program
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.symbols import constant, parameter, state

SIZES = {"d": 3, "m": 2}
x, y = state("x", "d"), state("y", "d")
W, S, a = parameter("W", ("m", "d")), parameter("S", ("d", "d")), parameter("a")

SMOOTH = {
    "gates": total(sigmoid(x) * tanh(y) * softplus(a * x) + logsigmoid(y) * elu(x)),
    "matrices": dot(matvec(W, tanh(x)), matvec(W, y)) + total(matvec(transpose(W), matvec(W, x))),
    "reductions": logsumexp(a * x) * dot(softmax(y), x),
    "solve": dot(linear_solve(4 * identity_like(S) - S, x), matvec(outer(x, y), y)),
    "powers": total((2 + sin(x)) ** Rational(1, 3) * exp(cos(y)) / (1 + x**2) + log(3 + x * sin(y))),
    "exponents": total((2 + sin(x)) ** a + 2**y + fill(a**3, x) * (1 + x**2) ** y),
}


def program_of(expression):
    builder = Builder()
    value = builder.let("value", expression)
    return builder.build((value,))


@pytest.mark.parametrize("case", SMOOTH)
def test_complex_step_derivative_equals_the_adjoint(case):
    """d value / d q along w is Im value(q + i eps w)/eps, without cancellation: two routes that share nothing."""
    program = program_of(SMOOTH[case])
    values = random_values(program.inputs, SIZES, 1)
    adjoint = reverse_sweep(program)
    (seed,) = adjoint.seeds.values()
    bars = evaluate(adjoint.program, {**values, **evaluate(program, values), seed: 1.0})
    draw = np.random.default_rng(2)
    for quantity in program.inputs:
        direction = draw.standard_normal(np.shape(values[quantity]))
        stepped = evaluate(program, {**values, quantity: values[quantity] + 1e-30j * direction})
        slope = stepped[program.outputs[0]].imag / 1e-30
        found = np.sum(bars[adjoint.cotangents[quantity]] * direction)
        assert slope == pytest.approx(found, rel=1e-12, abs=1e-12), quantity


@pytest.mark.parametrize("case", SMOOTH)
def test_forty_digits_agree_with_floats_and_with_fifty(case):
    program = program_of(SMOOTH[case])
    results = {}
    for digits in (40, 50):
        with mpmath.workdps(digits):
            values = Sampler(program.inputs).values()
            results[digits] = evaluate(program, values)[program.outputs[0]]
    floats = {q: np.vectorize(float)(v) if np.ndim(v) else float(v) for q, v in values.items()}
    assert isinstance(results[40], mpmath.mpf)
    assert abs(results[40] - results[50]) < mpmath.mpf("1e-37") * max(1, abs(results[50]))
    single = evaluate(program, floats)[program.outputs[0]]
    assert float(results[50]) == pytest.approx(float(single), rel=1e-12, abs=1e-13)


def test_numbers_have_the_precision_of_the_values():
    with mpmath.workdps(50):
        found = value_of(a / 3 + pi + sqrt(2), {a: mpmath.mpf(1)})
        assert abs(found - (mpmath.mpf(1) / 3 + mpmath.pi + mpmath.sqrt(2))) < mpmath.mpf("1e-48")
    assert isinstance(value_of(a / 3, {a: 1.0}), float)


def test_matrix_inverse_at_forty_digits():
    with mpmath.workdps(40):
        matrix = array_of([mpmath.mpf(v) for v in ("0", "2", "1", "1", "1", "0", "3", "0", "1")]).reshape(3, 3)
        right = array_of([mpmath.mpf(1), mpmath.mpf(2), mpmath.mpf(3)])
        found = value_of(linear_solve(S, x), {S: matrix, x: right})
        assert max(abs(e) for e in (matrix @ found - right)) < mpmath.mpf("1e-38")


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_logits_do_not_overflow(sign):
    values = {x: sign * np.array([800.0, -800.0, 0.0]), y: np.array([1.0, 2.0, 3.0])}
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert value_of(logsumexp(x), values) == 800.0
        assert value_of(softmax(x), values).tolist() == [float(sign > 0), float(sign < 0), 0.0]
        assert value_of(softplus(x), values).max() == 800.0
        assert set(value_of(sigmoid(x), values).tolist()) == {0.0, 0.5, 1.0}
        program = program_of(logsumexp(x))
        adjoint = reverse_sweep(program)
        (seed,) = adjoint.seeds.values()
        found = evaluate(adjoint.program, {**values, seed: 1.0})
        assert found[adjoint.cotangents[x]].sum() == 1.0


def test_extreme_logits_at_many_digits():
    with mpmath.workdps(30):
        values = {x: array_of([mpmath.mpf(800), mpmath.mpf(-800), mpmath.mpf(0)])}
        assert value_of(logsumexp(x), values) - 800 < mpmath.mpf("1e-28")


def test_a_scalar_stands_in_every_component_of_its_target():
    c = constant("c")
    program = Program((c, x), (Assignment(y, c),), (y,))
    assert evaluate(program, {c: 2.0, x: np.zeros(3)})[y].tolist() == [2.0, 2.0, 2.0]


def test_inputs_are_not_changed():
    values = {S: np.eye(3)[::-1].copy(), x: np.arange(3.0)}
    before = {q: v.copy() for q, v in values.items()}
    evaluate(program_of(linear_solve(S, x)), values)
    assert all((values[q] == before[q]).all() for q in values)


def test_what_has_no_rule_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="gamma"):
        value_of(sympy.gamma(x), {x: 1.0})
    with pytest.raises(UnsupportedError, match="f has no numeric stand-in"):
        value_of(Network("f")(x), {x: np.zeros(3), Network("f").theta: np.zeros(3)})
    with pytest.raises(UnsupportedError, match="plain"):
        value_of(sympy.Symbol("plain"), {})


def test_a_missing_input_is_an_error():
    with pytest.raises(KeyError):
        evaluate(program_of(total(x)), {})


@pytest.mark.parametrize(
    ("exponent", "expected"), [(2.0, 4.0), (np.float64(3.0), -8.0), (np.array(2.0), 4.0), (2 + 0j, 4.0), (0.0, 1.0)]
)
def test_a_whole_power_of_a_negative_number_needs_no_logarithm(exponent, expected):
    b = parameter("b")
    assert value_of(a**b, {a: -2.0, b: exponent}) == expected
