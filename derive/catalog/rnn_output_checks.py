"""How the relations of `rnn_output` are measured: two steps under targets, and ranks of random products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np

from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.symbols import Quantity

RUNS = 20
NUDGE = mpmath.mpf("1e-20")


def slope_of_both(
    cell: Recurrence, known: Mapping[Quantity, Numeric], weight: Quantity, way: Quantity, later: Quantity
) -> Numeric:
    """Slope of weight * (o_t + o_{t+1}) in x_t along `way`; the second step reads `later` and the new state."""
    (x, *_), (r,), (new,), output = cell.inputs, cell.old, cell.new, cell.output
    assert output is not None

    def value(shift: Any) -> Numeric:
        first = evaluate(cell.step, {**known, x: known[x] + shift * known[way]}, {})
        second = evaluate(cell.step, {**known, x: known[later], r: first[new]}, {})
        return (known[weight] * (first[output] + second[output])).sum()

    return (value(NUDGE) - value(-NUDGE)) / (2 * NUDGE)


def ranks_above(factor: Any) -> int:
    """Random W (H, K) and V (K, H) whose product has a rank above factor * K."""
    wrong = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        inner, outer = 1 + seed % 3, 4 + seed % 4
        product = random.normal(size=(outer, inner)) @ random.normal(size=(inner, outer))
        wrong += bool(np.linalg.matrix_rank(product) > float(factor) * inner)
    return wrong
