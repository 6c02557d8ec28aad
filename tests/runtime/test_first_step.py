"""The first step of adaptive steps: its estimated error is the share of the tolerance that it is chosen for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sympy import Symbol, series
from torch import Tensor

from codegen.runtime.adaptive_pairs import Pair, chosen_pair
from codegen.runtime.adaptive_steps import EARLY_ERROR, Control, Options, PairStages, first_step
from derive.linear_stability import stability_function
from derive.schemes import SCHEMES, ButcherTableau

PAIRS = ("dopri5", "bs32", "rkf45", "cash_karp", "tsit5")


class Growth(PairStages):
    """x' = x."""

    def slope(self, step: int, stage: int, t: float, point: Tensor, row: int) -> None:
        self.rows_of_slopes[row].copy_(point)


def pair_of(name: str) -> Pair:
    table: Any = SCHEMES[name]
    found = {key: getattr(table, key) for key in ("A", "b", "c", "b_error")}
    found = {key: [[float(v) for v in w] if key == "A" else float(w) for w in value] for key, value in found.items()}
    return chosen_pair("test", SimpleNamespace(**found), {})


@pytest.mark.parametrize("name", PAIRS)
def test_the_constant_is_that_of_the_linear_equation_or_of_a_quadrature(name: str) -> None:
    table: Any = SCHEMES[name]
    assert isinstance(table, ButcherTableau)
    pair, z = pair_of(name), Symbol("z")
    other = ButcherTableau(A=table.A, b=table.b_error, c=table.c, digits=table.digits)
    gap = series(stability_function(table, z) - stability_function(other, z), z, 0, pair.power + 1).removeO()
    weights = [b - e for b, e in zip(table.b, table.b_error, strict=True)]
    moment = sum(w * c ** (pair.power - 1) for w, c in zip(weights, table.c, strict=True))
    expected = max(abs(gap.coeff(z, pair.power)), abs(moment) / math.factorial(pair.power - 1))
    assert pair.constant == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("rtol", [1e-5, 1e-9])
def test_the_first_step_errs_by_its_share_of_the_tolerance(name: str, rtol: float) -> None:
    pair, state = pair_of(name), torch.ones(1, dtype=torch.float64)
    options = Options("test", pair, Control(0.9, 0.85, 0.2, 0.2, 10.0), rtol, 0.0, None, 100)
    stages = Growth(pair, state)
    stages.begin(0.0, state)
    h = first_step(stages, options, 0.0, state, 100.0)
    stages.begin(0.0, state)
    error = float(stages.attempt(0, 0.0, h, state)[1].abs()) / rtol
    assert EARLY_ERROR / 30 < error < 3 * EARLY_ERROR
