"""An LSTM in both directions in numbers, for the checks of `lstm_bidirectional`."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath

from derive import forward_and_reverse, load, quantities
from derive.convergence import Values
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.sampling import Sampler

LSTM = load("lstm").system
ALONE = forward_and_reverse(LSTM.step)
cell = quantities(LSTM)
T, WAYS = 3, ("ahead", "back")


class Run:
    """Both directions over one sequence in numbers, and the cotangents of a functional of all outputs."""

    def __init__(self, seed: int) -> None:
        samplers = [Sampler(ALONE.inputs, seed=seed * 100 + place) for place in range(2 + 2 * T)]
        self.own = {way: samplers[place].values() for place, way in enumerate(WAYS)}
        self.x = [samplers[2 + t].values()[LSTM.inputs[0]] for t in range(T)]
        self.w = [samplers[2 + T + t].values() for t in range(T)]

    def places(self, way: str) -> range:
        """Places in time in the order in which a direction reads them."""
        return range(T) if way == "ahead" else range(T - 1, -1, -1)

    def outputs(self, way: str, x: list[Numeric]) -> tuple[list[Numeric], Numeric, list[Values]]:
        """Outputs in the order of time, the final state, and what each place in time began with."""
        found: list[Any] = [None] * T
        begun: list[Any] = [None] * T
        (old_h, old_c), (new_h, new_c) = LSTM.old, LSTM.new
        known = self.own[way]
        for t in self.places(way):
            begun[t] = {**known, LSTM.inputs[0]: x[t]}
            after = evaluate(LSTM.step, begun[t])
            known, found[t] = {**known, old_h: after[new_h], old_c: after[new_c]}, after[new_h]
        return found, known[old_h], begun

    def heard(self, way: str) -> list[Numeric]:
        """Cotangents of the inputs by the sweep of one direction, for the functional sum of <w_t, h_t>."""
        _, _, begun = self.outputs(way, self.x)
        found: list[Any] = [None] * T
        zero = 0 * begun[0][LSTM.old[0]]
        bar_h, bar_c = zero, zero
        for t in reversed(self.places(way)):
            seeds = {cell["bar_h_next"]: bar_h + self.weight(way, t), cell["bar_c_next_out"]: bar_c}
            known = evaluate(ALONE, {**begun[t], **seeds})
            bar_h, bar_c, found[t] = known[cell["bar_h"]], known[cell["bar_c"]], known[cell["bar_x"]]
        return found

    def weight(self, way: str, t: int) -> Numeric:
        """Cotangent of an output."""
        return self.w[t][LSTM.old[0 if way == "ahead" else 1]]

    def functional(self, x: list[Numeric]) -> Any:
        """Of the outputs of both directions."""
        runs = [(way, self.outputs(way, x)[0]) for way in WAYS]
        return sum((self.weight(way, t) * found[t]).sum() for way, found in runs for t in range(T))

    def quotient(self, t: int, along: Numeric) -> Any:
        """Its difference quotient in one input."""
        e = mpmath.mpf("1e-20")
        up, down = ([x + sign * e * along if n == t else x for n, x in enumerate(self.x)] for sign in (1, -1))
        return (self.functional(up) - self.functional(down)) / (2 * e)


@cache
def run() -> Run:
    """At 60 digits, as its first caller, a check, has set them."""
    return Run(1)
