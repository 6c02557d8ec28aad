"""The operators on windows: value, pushforward and pullback against torch to second order, shapes that do not fit."""

import pytest
import torch
from pairs import pair_of
from sympy import sin

from derive.errors import SpecError
from derive.operators import shape_of
from derive.symbols import Quantity, Role, parameter, state
from derive.windows import front, lag_dots, lag_outer, lag_sum, newest, shift, unshift

X, Y = state("X", ("n", "d")), state("Y", ("n", "d"))
w = parameter("w", ("n",))
S = state("S", ("n",))
x, z, s = state("x", "d"), state("z", "m"), state("s", ())


def moved(value, past):
    return torch.cat([value[None], past[:-1]])


OPERATORS = {
    "newest": (newest(X) * x, lambda X, x: X[0] * x),
    "newest of scalars": (newest(S) * s, lambda S, s: S[0] * s),
    "front": (front(sin(x), X) * Y, lambda x, X, Y: moved(torch.sin(x), 0 * X) * Y),
    "shift": (shift(sin(x), X * Y) * X, lambda x, X, Y: moved(torch.sin(x), X * Y) * X),
    "shift of scalars": (shift(s, S) * S, lambda s, S: moved(s, S) * S),
    "shift of a constant window": (shift(x * x, Y), lambda x, Y: moved(x * x, Y)),
    "unshift": (unshift(X * X) * Y, lambda X, Y: torch.cat([(X * X)[1:], 0 * X[:1]]) * Y),
    "lag_sum": (lag_sum(w, X) * x, lambda w, X, x: (w @ X) * x),
    "lag_sum of products": (lag_sum(w * w, X * Y), lambda w, X, Y: (w * w) @ (X * Y)),
    "lag_sum of scalars": (lag_sum(w, S * S), lambda w, S: w @ (S * S)),
    "lag_outer": (lag_outer(w, sin(x)) * X, lambda w, x, X: w[:, None] * torch.sin(x) * X),
    "lag_outer of a scalar": (lag_outer(w, s) * S, lambda w, s, S: w * s * S),
    "lag_dots": (lag_dots(X, x) * w, lambda X, x, w: (X @ x) * w),
    "lag_dots of scalars": (lag_dots(S, s) * w, lambda S, s, w: S * s * w),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("word", ["", "R", "F", "RR", "FR", "RF", "FF"])
def test_values_and_sweeps_are_torch_s(name, word):
    pair = pair_of(*OPERATORS[name]).swept(word)
    assert max(pair.largest_difference(seed) for seed in range(2)) < 1e-12


@pytest.mark.parametrize(
    "build",
    [
        lambda: newest(s),
        lambda: unshift(s),
        lambda: front(z, X),
        lambda: shift(z, X),
        lambda: shift(s, s),
        lambda: lag_sum(x, X),
        lambda: lag_sum(X, X),
        lambda: lag_outer(X, x),
        lambda: lag_dots(X, z),
    ],
)
def test_shapes_that_do_not_fit_are_refused(build):
    with pytest.raises(SpecError, match="needed"):
        shape_of(build())


def test_a_window_of_scalars_is_a_vector():
    assert shape_of(shift(s, Quantity("S", ("n",), Role.STATE))) == ("n",)
