"""Statements in place: each computes its expression, in as few operations as are meant."""

from __future__ import annotations

import pytest
import torch
from sympy import Rational, exp, sin

from codegen.cells.lowering_statements import Statements, Sum, interpolation
from codegen.printer import TorchPrinter
from codegen.runtime.matrix_products import add_product, set_product
from codegen.runtime.slopes import sigmoid_slope, tanh_slope
from derive import parameter, relu, softplus, state, tanh

a, b, c = (state(name, "H") for name in "abc")
p, r = parameter("p", "H"), parameter("r", ())

EXPRESSIONS = (
    (a * b + c * p, 2),
    (c + a * b, 1),
    (a - b * c / 2, 1),
    ((1 - a) * b + a * c, 1),
    (-a * b - c, 2),
    (tanh(a) + b * r - 3 * c, 3),
    (b * a * (1 - a), 1),
    (c * (1 - a**2) + b * p, 2),
    (b * a**2 * (1 - a), 1),
    (1 - a, 1),
    (a + b, 1),
    (-p * (1 - a**2), 1),
    (p * r, 1),
    (relu(a), 1),
    (softplus(a) / (1 + b**2) + exp(-c) * sin(a), 1),
    (a * Rational(1, 3) + b, 1),
    (a + 2, 1),
)


def tensors():
    torch.manual_seed(0)
    values = {name: torch.rand(3, 4, dtype=torch.float64) for name in "abc"}
    return values | {"p": torch.rand(4, dtype=torch.float64), "r": torch.rand((), dtype=torch.float64)}


def run(lines, **more):
    helpers = (sigmoid_slope, tanh_slope, add_product, set_product)
    known = {"torch": torch, **{helper.__name__: helper for helper in helpers}, **tensors(), **more}
    for line in lines:
        exec(line, known)
    return known


@pytest.mark.parametrize(("value", "count"), EXPRESSIONS, ids=str)
def test_an_expression_is_written_added_and_made(value, count):
    expected = eval(TorchPrinter()(value), {"torch": torch, **tensors()}).expand(3, 4)
    start = torch.rand(3, 4, dtype=torch.float64)
    into, fresh, add = (Statements().into("t", value), Statements().fresh("t", value), Statements().add("t", value))
    assert len(into) == count
    assert torch.allclose(run(into, t=torch.full_like(start, torch.nan))["t"], expected, rtol=1e-14)
    assert torch.allclose(run(fresh)["t"].expand(3, 4), expected, rtol=1e-14)
    assert torch.allclose(run(add, t=start.clone())["t"], start + expected, rtol=1e-14)


def test_interpolation_is_recognised_in_either_order_and_not_with_a_parameter():
    assert interpolation((1 - a) * b + a * c) == (b, c, a)
    assert interpolation(a * b + (1 - a) * c) == (c, b, a)
    assert interpolation((1 - p) * b + p * c) is None
    assert interpolation(a * b + c) is None


@pytest.mark.parametrize(
    ("total", "value", "count"),
    (
        (Sum((("1", "t"), ("-1", "a")), (), ()), lambda t, v: t - v["a"], 1),
        (Sum((("2", "t"),), (("1", "a", "b"),), ()), lambda t, v: 2 * t + v["a"] * v["b"], 2),
        (Sum((("-1", "t"), ("1", "a")), (), ()), lambda t, v: v["a"] - t, 2),
        (Sum((("1", "a"),), (("-1", "b", "c"), ("3", "t", "b")), ()), None, 2),
        (Sum((), (("2", "t", "b"), ("1", "a", "b")), ()), lambda t, v: 2 * t * v["b"] + v["a"] * v["b"], 3),
        (Sum((("-1", "a"),), (), ()), lambda t, v: -v["a"], 1),
        (Sum((("1", "a"), ("1", "b"), ("2", "c")), (), ()), lambda t, v: v["a"] + v["b"] + 2 * v["c"], 2),
        (Sum((("1", "a"),), (), (("b", "w"),)), lambda t, v: v["a"] + v["b"] @ v["w"], 1),
        (Sum((), (), (("b", "w"), ("c", "w"))), lambda t, v: (v["b"] + v["c"]) @ v["w"], 2),
        (Sum((), (), ()), lambda t, v: 0 * t, 1),
    ),
)
def test_a_sum_may_read_the_tensor_that_it_writes(total, value, count):
    start, weight = torch.rand(3, 4, dtype=torch.float64), torch.rand(4, 4, dtype=torch.float64)
    values = tensors() | {"w": weight}
    wanted = value(start, values) if value else values["a"] - values["b"] * values["c"] + 3 * start * values["b"]
    lines = total.into("t")
    assert len(lines) == count
    assert torch.allclose(run(lines, t=start.clone(), w=weight)["t"], wanted, rtol=1e-14)
