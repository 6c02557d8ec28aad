"""Every function and operator the printer knows, executed in torch and compared with the reference evaluator."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy
import torch
from sympy import Rational, cos, exp, log, pi, sin, sqrt

from codegen.printer import FUNCTIONS, OPERATORS, TorchPrinter
from derive.errors import UnsupportedError
from derive.evaluator import value_of
from derive.functions import elu, logabs, logsigmoid, relu, sigmoid, softplus, step, tanh, xlogx
from derive.operators import (
    concat,
    dot,
    fill,
    head,
    identity_like,
    linear_solve,
    logsumexp,
    matmul,
    matvec,
    outer,
    shape_of,
    softmax,
    tail,
    total,
    transpose,
)
from derive.symbols import parameter, state

x, y = state("x", "d"), state("y", "d")
z = state("z", "e")
W, M = parameter("W", ("e", "d")), parameter("M", ("d", "d"))
s, k = state("s", ()), parameter("k")
SIZES = {"d": 3, "e": 4}

EXPRESSIONS = {
    "sum and difference": x - 2 * y + Rational(1, 3),
    "leading minus": -x - y,
    "product of sums": (x + y) * (1 - x) * k,
    "quotient": x * y / (1 + k**2) - 3 * x / 4,
    "quotient of sums": (x - y) / (2 + x**2),
    "powers": x**3 - x**2 * y,
    "reciprocal": 1 / (2 + x**2),
    "reciprocal square": 1 / (2 + x) ** 2,
    "square root": sqrt(2 + x),
    "one over square root": 1 / sqrt(2 + x),
    "irrational constants": sqrt(2) * x + pi * y - exp(1),
    "rational times irrational": sqrt(2) * x / 3,
    "sigmoid": sigmoid(x),
    "tanh": tanh(x - y),
    "relu": relu(x),
    "step": step(x) * y,
    "softplus": softplus(3 * x),
    "logsigmoid": logsigmoid(x),
    "elu": elu(x),
    "exp and log": exp(x) + log(2 + y),
    "logabs": logabs(2 + x) - logabs(-3 - y),
    "xlogx": xlogx(2 + x) * y,
    "sin and cos": sin(x) * cos(y),
    "erf": sympy.erf(x - y),
    "abs and sign": sympy.Abs(x) + sympy.sign(y),
    "matvec": matvec(W, x),
    "matvec of a sum": matvec(W, x + 2 * y) - z,
    "matvec transposed": matvec(transpose(W), z),
    "vectors times matvec": x * matvec(M, y) * matvec(transpose(M), x) / 3,
    "scalars times matvec": k * cos(k) * matvec(M, y) / (2 + x**2),
    "matrix expression": matvec(M - transpose(M), x),
    "outer": matvec(outer(x, z), z),
    "total": total(x * y) * x,
    "dot": dot(x, y) * y,
    "fill": fill(k, x) * 2,
    "softmax": softmax(x),
    "logsumexp": logsumexp(3 * x) * y,
    "concat": concat(x, z),
    "head": head(concat(x, z), x, z),
    "tail": tail(concat(x, z), x, z),
    "linear solve": linear_solve(3 * identity_like(M) + M, x),
    "matrix product": matvec(k * matmul(matmul(W, M + M), transpose(M)), x),
    "matrix product among factors": matvec(M * matmul(M, M) - matmul(M, M), x),
    "solve for a matrix": matvec(linear_solve(3 * identity_like(M) + M, transpose(W)), z),
    "inverse": matvec(k * matmul(W, linear_solve(3 * identity_like(M) + M, identity_like(M))), x),
    "nested minus": x - (y - (x - 1)),
    "division by a product": x / (k * (2 + k**2)),
}


def sample(expression, dtype=torch.float64):
    """Random values (batch of 2, parameters without batch) as torch tensors, and the reference value per sample."""
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for quantity in sorted(expression.free_symbols, key=lambda q: q.name):
        shape = tuple(SIZES[size] for size in quantity.shape)
        batch = (2,) if quantity.role.batched else ()
        tensors[quantity] = torch.rand(batch + shape, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    return tensors


def reference(expression, tensors):
    rows = []
    for row in range(2):
        values = {q: (t[row] if q.role.batched else t).numpy() for q, t in tensors.items()}
        rows.append(np.asarray(value_of(expression, values), dtype=float))
    return torch.as_tensor(np.stack(rows))


def run(expression, tensors):
    names = {quantity.name: value for quantity, value in tensors.items()}
    return eval(TorchPrinter()(expression), {"torch": torch}, names)  # the text under test


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_printed_text_has_the_reference_value(expression):
    tensors = sample(expression)
    found, expected = run(expression, tensors), reference(expression, tensors)
    assert found.shape == expected.shape
    assert torch.linalg.vector_norm(found - expected) <= 1e-14 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_printed_text_has_gradients_and_keeps_the_dtype(expression):
    tensors = sample(expression)
    leaves = [t.requires_grad_() for t in tensors.values()]
    assert torch.autograd.gradcheck(lambda *v: run(expression, dict(zip(tensors, v, strict=True))), leaves, rtol=1e-6)
    if "linalg" in TorchPrinter()(expression):
        return  # LAPACK has no bfloat16
    low = run(expression, {q: t.detach().bfloat16() for q, t in tensors.items()})
    assert low.dtype == torch.bfloat16


def test_every_row_of_the_tables_is_covered():
    used = {node.func for expression in EXPRESSIONS.values() for node in sympy.preorder_traversal(expression)}
    assert used >= {*FUNCTIONS, *OPERATORS, matvec, matmul, linear_solve}


def test_scalars_of_a_batch_keep_a_last_axis():
    """What is summed over components must still broadcast against vectors."""
    found = run(total(x), sample(total(x)))
    assert found.shape == (2, 1)
    assert shape_of(total(x)) == ()


@pytest.mark.parametrize("expression", [sympy.gamma(x), sympy.Heaviside(x), sympy.Max(x, 0), sympy.atan(y) * x])
def test_unknown_nodes_are_refused_by_name(expression):
    with pytest.raises(UnsupportedError, match=r"does not know (gamma|Heaviside|Max|atan)"):
        TorchPrinter()(expression)


def test_numbers_are_python_literals_with_all_their_digits():
    text = TorchPrinter()(sqrt(2) * x)
    assert repr(float(sqrt(2))) in text and "tensor" not in text


def test_a_published_decimal_is_one_float():
    """Its numerator and denominator are whole numbers that no tensor holds."""
    long = Rational("-0.12345678901234567890123")
    for expression in (long * x, x / 3 + long * x * k, k * long + x):
        assert "1234567890123456789" not in TorchPrinter()(expression)
        tensors = sample(expression)
        assert torch.allclose(run(expression, tensors), reference(expression, tensors), rtol=1e-14)
    assert TorchPrinter()(Rational(1, 3) * x) == "x / 3"


@pytest.mark.parametrize("function", [sigmoid, softplus, logsigmoid, tanh, elu])
def test_extreme_arguments_have_finite_values_and_gradients(function):
    point = torch.tensor([-800.0, -200.0, 0.0, 200.0, 800.0], requires_grad=True)
    value = run(function(x), {x: point})
    (slope,) = torch.autograd.grad(value.sum(), point)
    assert torch.isfinite(value).all() and torch.isfinite(slope).all()


def test_softplus_keeps_its_exponential_beyond_twenty():
    """torch.nn.functional.softplus is linear there."""
    point = torch.tensor([19.0, 21.0, 30.0], dtype=torch.float64)
    exact = [float(mpmath.log1p(mpmath.exp(z)) - z) for z in point.tolist()]
    assert (run(softplus(x), {x: point}) - point).tolist() == pytest.approx(exact, rel=1e-3)


def test_one_convention_at_kinks():
    point = torch.zeros(1, requires_grad=True)
    value = run(relu(x), {x: point})
    assert torch.autograd.grad(value.sum(), point)[0].item() == 0.0
    assert run(step(x), {x: point}).item() == 0.0
    assert relu(x).diff(x) == step(x)
