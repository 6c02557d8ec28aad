"""What the printer writes for windows, executed on tuples of tensors and compared with the evaluator on arrays."""

from __future__ import annotations

import pytest
import torch

from codegen.printer import WINDOWS, TorchPrinter
from codegen.runtime import windows as runtime
from derive.evaluator import value_of
from derive.symbols import parameter, state
from derive.windows import LAGS, front, lag_outer, lag_sum, newest, shift, unshift, weights

X, Y = state("X", (LAGS, "d")), state("Y", (LAGS, "d"))
w, x, a = weights("w"), state("x", "d"), parameter("a")
EXPRESSIONS = (
    newest(X),
    front(a * x, X),
    shift(x + newest(Y), X),
    unshift(X),
    a * lag_sum(w, X) + lag_sum(w, Y),
    lag_outer(w, a * x + newest(X)),
    front(x, X) + lag_outer(w, x) + unshift(Y) + X,
)


def run(expression, values):
    names = {q.name: v for q, v in values.items()} | vars(runtime)
    return eval(TorchPrinter()(expression), {"torch": torch}, names)  # the text under test


@pytest.mark.parametrize("lags", [1, 4])
@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_tuples_of_tensors_have_the_evaluator_s_values(expression, lags):
    draw = torch.Generator().manual_seed(2)
    stacked = {q: torch.randn(lags, 3, generator=draw, dtype=torch.float64) for q in (X, Y)}
    plain = {x: torch.randn(3, generator=draw, dtype=torch.float64), a: torch.tensor(0.7, dtype=torch.float64)}
    numbers = [0.5, 0.0, -1.5, 2.0][:lags]
    found = run(expression, {**{q: v.unbind(0) for q, v in stacked.items()}, **plain, w: numbers})
    values = {**{q: v.numpy() for q, v in {**stacked, **plain}.items()}, w: torch.tensor(numbers).double().numpy()}
    expected = torch.as_tensor(value_of(expression, values))
    found = torch.stack(found) if isinstance(found, tuple) else found
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_every_row_of_the_table_is_covered():
    assert {node.func for e in EXPRESSIONS for node in e.atoms(*WINDOWS)} == set(WINDOWS)


def test_weights_that_are_all_zero_sum_to_zero():
    past = (torch.ones(2), torch.ones(2))
    assert not runtime.lag_sum((0.0, 0.0), past).any()
