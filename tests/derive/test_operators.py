"""Every operator: value, pushforward and pullback against torch, shapes that do not fit, LaTeX."""

import pytest
import sympy
import torch
from pairs import pair_of
from sympy import Integer, Rational, cos, exp, log, sin, sqrt

from derive.errors import SpecError
from derive.functions import elu, logabs, logsigmoid, relu, sigmoid, softplus, tanh
from derive.latex import latex
from derive.layer_norms import layer_norm, per_deviation
from derive.norms import components, norm, quadratic_root, unit
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
from derive.past_values import tap_backs, tap_outers, taps
from derive.symbols import input_, parameter, state

W = parameter("W", ("m", "d"))
S = parameter("S", ("d", "d"))
x, y, z = state("x", "d"), state("y", "d"), state("z", "m")
T, X = parameter("T", ("n", "m", "d")), state("X", ("n", "d"))
a, b = parameter("a"), parameter("b")
eye = torch.eye(3, dtype=torch.float64)
F = torch.nn.functional


def normalized(value, epsilon):
    """torch.nn.functional.layer_norm without its kernel, whose second forward derivative is wrong (torch 2.13)."""
    return (value - value.mean()) / torch.sqrt(value.var(correction=0) + epsilon)


OPERATORS = {
    "matvec": (matvec(W, x), lambda W, x: W @ x),
    "matvec of products": (matvec(a * W * W, x * sin(y)), lambda a, W, x, y: (a * W * W) @ (x * torch.sin(y))),
    "matvec of a sum": (
        matvec(transpose(W) + a * outer(x, z), z),
        lambda W, a, x, z: (W.T + a * torch.outer(x, z)) @ z,
    ),
    "transpose": (transpose(W), lambda W: W.T),
    "transpose of a function": (matvec(transpose(tanh(W)), z), lambda W, z: torch.tanh(W).T @ z),
    "outer": (outer(x, z), lambda x, z: x[:, None] * z),
    "outer with itself": (matvec(outer(x, tanh(x)), x), lambda x: torch.outer(x, torch.tanh(x)) @ x),
    "total of a vector": (total(x * y), lambda x, y: (x * y).sum()),
    "total of a matrix": (total(W**2), lambda W: (W**2).sum()),
    "total of a scalar": (total(a) * x, lambda a, x: a * x),
    "dot": (dot(x, y), lambda x, y: x @ y),
    "dot with itself": (dot(x, x) ** 2 * x, lambda x: (x @ x) ** 2 * x),
    "dot of matrices": (dot(W, sin(W)), lambda W: (W * torch.sin(W)).sum()),
    "dot of scalars": (dot(a, b * a), lambda a, b: a * b * a),
    "fill": (fill(dot(x, x), z), lambda x, z: (x @ x) + 0 * z),
    "fill a matrix": (matvec(fill(a, W), x), lambda a, W, x: (a + 0 * W) @ x),
    "softmax": (softmax(x), lambda x: torch.softmax(x, 0)),
    "softmax of a product": (softmax(a * x) * y, lambda a, x, y: torch.softmax(a * x, 0) * y),
    "logsumexp": (logsumexp(x), lambda x: torch.logsumexp(x, 0)),
    "logsumexp of a sum": (logsumexp(x + a) * z, lambda x, a, z: torch.logsumexp(x + a, 0) * z),
    "concat": (concat(z, x), lambda z, x: torch.cat([z, x])),
    "concat with a constant": (concat(z * a, fill(Integer(2), x)), lambda z, a, x: torch.cat([z * a, 2 + 0 * x])),
    "head": (head(concat(z, x), z, x) * z, lambda z, x: z * z),
    "head of a product": (head(concat(z, x) ** 2, z, x), lambda z, x: z**2),
    "tail": (tail(sin(concat(z, x)), z, x) * y, lambda z, x, y: torch.sin(x) * y),
    "linear_solve": (linear_solve(S, x), lambda S, x: torch.linalg.inv(S) @ (x)),
    "implicit step": (
        linear_solve(identity_like(S) - a * S, x + y),
        lambda a, S, x, y: torch.linalg.inv(eye - a * S) @ (x + y),
    ),
    "solve of a transpose": (linear_solve(transpose(S), x * y), lambda S, x, y: torch.linalg.inv(S.T) @ (x * y)),
    "matmul": (matmul(W, a * S), lambda W, a, S: W @ (a * S)),
    "matmul of a product": (matmul(S, matmul(transpose(W), W)), lambda S, W: S @ W.T @ W),
    "solve for a matrix": (
        linear_solve(identity_like(S) - a * S, transpose(W)),
        lambda a, S, W: torch.linalg.inv(eye - a * S) @ W.T,
    ),
    "inverse": (matmul(W, linear_solve(S, identity_like(S))), lambda W, S: W @ torch.linalg.inv(S)),
    "norm": (norm(x) * y, lambda x, y: torch.linalg.vector_norm(x) * y),
    "norm of a sum": (norm(x - a * y) ** 2, lambda x, y, a: ((x - a * y) ** 2).sum()),
    "unit": (unit(x) * y, lambda x, y: x / torch.linalg.vector_norm(x) * y),
    "layer_norm": (layer_norm(x) * y, lambda x, y: normalized(x, 1e-5) * y),
    "layer_norm of a sum": (
        layer_norm(x - a * y, Rational(1, 8)) ** 2,
        lambda x, y, a: normalized(x - a * y, 1 / 8) ** 2,
    ),
    "per_deviation": (per_deviation(x * y) * y, lambda x, y: y / torch.sqrt((x * y).var(correction=0) + 1e-5)),
    "components": (components(x) * sin(x), lambda x: 3 * torch.sin(x)),
    "quadratic_root": (
        quadratic_root(a, exp(b)) * x,
        lambda a, b, x: (torch.sqrt(a**2 + 4 * torch.exp(b)) - a) / 2 * x,
    ),
    "logabs": (logabs(x) * a, lambda x, a: torch.log(torch.abs(x)) * a),
    "taps": (taps(T, sin(X)) * z, lambda T, X, z: torch.einsum("kmd,kd->m", T, torch.sin(X)) * z),
    "tap_backs": (tap_backs(T * a, z) * X, lambda T, a, z, X: torch.einsum("kmd,m->kd", T * a, z) * X),
    "tap_outers": (tap_outers(z**2, X) * T, lambda z, X, T: torch.einsum("m,kd->kmd", z**2, X) * T),
    "identity_like": (matvec(identity_like(S) + S, x), lambda S, x: x + S @ x),
}

ELEMENTWISE = {
    "product and quotient": (x * y / (1 + x**2), lambda x, y: x * y / (1 + x**2)),
    "scalar times vector": (a * x + b, lambda a, b, x: a * x + b),
    "scalar power": (x * exp(a) ** 3 / b, lambda a, b, x: x * torch.exp(a) ** 3 / b),
    "rational power": ((1 + x**2) ** Rational(2, 3), lambda x: (1 + x**2) ** (2 / 3)),
    "root": (sqrt(2 + sin(x)) * y, lambda x, y: torch.sqrt(2 + torch.sin(x)) * y),
    "vector to a scalar's power": ((1 + x**2) ** a, lambda x, a: (1 + x**2) ** a),
    "number to a vector's power": (2**x, lambda x: 2**x),
    "vector to a vector's power": ((1 + x**2) ** y, lambda x, y: (1 + x**2) ** y),
    "logarithm": (log(1 + x**2), lambda x: torch.log(1 + x**2)),
    "sine and cosine": (sin(x) * cos(a * y), lambda x, a, y: torch.sin(x) * torch.cos(a * y)),
    "absolute value": (sympy.Abs(x) * y, lambda x, y: x.abs() * y),
    "gates": (sigmoid(x) * tanh(y), lambda x, y: torch.sigmoid(x) * torch.tanh(y)),
    "rectifiers": (relu(x) + elu(y), lambda x, y: F.relu(x) + F.elu(y)),
    "logarithmic": (softplus(a * x) * logsigmoid(y), lambda a, x, y: F.softplus(a * x) * F.logsigmoid(y)),
    "nested": (tanh(sigmoid(x * tanh(x)) / y), lambda x, y: torch.tanh(torch.sigmoid(x * torch.tanh(x)) / y)),
    "numbers": (x / 3 + sympy.pi * sqrt(2) * y - 1, lambda x, y: x / 3 + torch.pi * 2**0.5 * y - 1),
}
CASES = {**OPERATORS, **ELEMENTWISE}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("word", ["", "F", "R"], ids=["value", "pushforward", "pullback"])
def test_against_torch(case, word):
    pair = pair_of(*CASES[case]).swept(word)
    assert max(pair.largest_difference(seed) for seed in range(2)) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_latex_can_be_written_and_is_balanced(case):
    for word in ("", "R", "F"):
        for line in pair_of(*CASES[case]).swept(word).program.assignments:
            text = latex(line.value)
            assert text.count("{") == text.count("}") and text.count(r"\left") == text.count(r"\right"), text


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (taps, (W, x)),
        (taps, (T, x)),
        (tap_backs, (T, x)),
        (tap_outers, (X, z)),
        (matvec, (W, z)),
        (matvec, (x, W)),
        (matvec, (W, W)),
        (matvec, (W, a)),
        (transpose, (x,)),
        (outer, (W, x)),
        (outer, (a, x)),
        (dot, (x, z)),
        (dot, (a, x)),
        (fill, (x, z)),
        (concat, (W, x)),
        (concat, (a, x)),
        (matmul, (W, W)),
        (matmul, (S, x)),
        (linear_solve, (W, x)),
        (linear_solve, (S, W)),
        (linear_solve, (S, z)),
        (identity_like, (W,)),
        (identity_like, (x,)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused_by_the_operator_s_name(operator, arguments):
    with pytest.raises(SpecError, match=operator.__name__):
        shape_of(operator(*arguments))


def test_elementwise_operations_need_one_shape():
    with pytest.raises(SpecError, match=r"x is \(d\), z is \(m\)|z is \(m\), x is \(d\)"):
        shape_of(x + z)
    with pytest.raises(SpecError, match="matvec"):
        shape_of(W * x)


@pytest.mark.parametrize(
    ("expression", "shape"),
    [
        (matvec(W, x), ("m",)),
        (transpose(W), ("d", "m")),
        (outer(z, x), ("m", "d")),
        (concat(z, x), ("m+d",)),
        (concat(input_("u", 2), input_("v", 3)), (5,)),
        (dot(x, y) * z + a, ("m",)),
        (logsumexp(x), ()),
        (Integer(3), ()),
    ],
)
def test_shapes(expression, shape):
    assert shape_of(expression) == shape


def test_trivial_nodes_are_not_built():
    assert transpose(transpose(W)) == W
    assert dot(Integer(0), x) == 0 and total(Integer(0)) == 0
    assert fill(a, b) == a


def test_a_power_of_a_function_or_an_operator_has_latex():
    assert latex(tanh(x) ** 2) == r"\tanh^{2}\left(x\right)"
    assert latex(softmax(x) ** 2).endswith("^{2}")


def test_matrix_products_are_bracketed():
    assert latex(matvec(W + outer(z, x), x)).startswith(r"\left(")
