"""The affine subspace a = P x + s, moved by the phase flow for a short time: the Riccati equation without an ansatz."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np

from derive.checks import NUDGE
from derive.control_feedback import Feedback, Pair
from derive.control_runs import Values
from derive.evaluator import value_of
from derive.numeric import solve_linear
from derive.operators import Numeric
from derive.power_series import array_of
from derive.sampling import Sampler
from derive.symbols import Quantity

Measure = Callable[[Values, Sampler], Numeric]


class Transport:
    """Rates of P and s by central differences of the moved subspace."""

    def __init__(self, found: Feedback) -> None:
        self.found = found

    def rate_of(self, pair: Pair) -> Measure:
        """P_ij' x_j, or P_ij' where x_j is a number."""

        def measured(values: Values, sampler: Sampler) -> Numeric:
            rate, _ = self._rates(values, sampler)
            (row, column), places = pair, self._places(values)
            block, x = rate[places[row], places[column]], values[column]
            found = block @ x if np.ndim(x) else block[:, 0]
            return found if row.shape else found[0]

        return measured

    def offset_rate_of(self, unknown: Quantity) -> Measure:
        """s_i'."""

        def measured(values: Values, sampler: Sampler) -> Numeric:
            found = self._rates(values, sampler)[1][self._places(values)[unknown]]
            return found if unknown.shape else found[0]

        return measured

    def _places(self, values: Values) -> dict[Quantity, slice]:
        """Where each unknown stands in the vector of all."""
        places, start = {}, 0
        for unknown in self.found.costates:
            size = max(1, np.size(values[unknown]))
            places[unknown] = slice(start, start + size)
            start += size
        return places

    def _rates(self, values: Values, sampler: Sampler) -> tuple[Numeric, Numeric]:
        ahead, behind = (self._subspace(values, sampler, sign * mpmath.mpf(NUDGE)) for sign in (1, -1))
        matrix, offset = ((a - b) / (2 * mpmath.mpf(NUDGE)) for a, b in zip(ahead, behind, strict=True))
        return matrix, offset

    def _subspace(self, values: Values, sampler: Sampler, nudge: Numeric) -> tuple[Numeric, Numeric]:
        """P and s after a short time: from the images of x = 0 and of the unit vectors."""
        size = sum(max(1, np.size(values[x])) for x in self.found.costates)
        state, costate = self._moved(values, sampler, nudge, array_of([mpmath.mpf(0)] * size))
        units = [array_of([mpmath.mpf(int(i == j)) for i in range(size)]) for j in range(size)]
        images = [self._moved(values, sampler, nudge, unit) for unit in units]
        moved = np.stack([x - state for x, _ in images])  # a row for each unit vector
        rows = [solve_linear(moved.copy(), array_of([a[i] - costate[i] for _, a in images])) for i in range(size)]
        matrix = np.stack(rows)
        return matrix, costate - matrix @ state

    def _moved(self, values: Values, sampler: Sampler, nudge: Numeric, x: Numeric) -> tuple[Numeric, Numeric]:
        """State and costate after a short time, from (x, P x + s)."""
        found, places = self.found, self._places(values)
        there = {**values, **{q: x[place] if q.shape else x[place][0] for q, place in places.items()}}
        pairs = found.costates.items()
        there |= {a: value_of(found.ansatz[a], there) + 0 * values[unknown] for unknown, a in pairs}
        ends = {q: there[q] + nudge * value_of(v, there, sampler.networks) for q, v in found.velocities.items()}
        states, costates = (_flat([ends[q] for q in side]) for side in (found.costates, found.costates.values()))
        return states, costates


def _flat(parts: list[Numeric]) -> Numeric:
    return array_of([entry for part in parts for entry in np.ravel(np.asarray(part, dtype=object))])
