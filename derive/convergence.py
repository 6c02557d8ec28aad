"""Do N steps converge, to what, and with which order? Sweeps over recurrences, solutions, ratio tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from sympy import Expr

from derive.checks import PERTURBATION
from derive.derivation import Outcome
from derive.elementary import taylor
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.symbols import Quantity
from derive.systems import ODE

DIGITS = 30
TAYLOR_ORDER = 10
Values = dict[Quantity, Numeric]
Reading = Callable[[int], Mapping[Quantity, Numeric]]


@dataclass(frozen=True)
class OrderCheck:
    """The order with which an error vanishes (or, where it is negative, grows) when N is doubled again and again.

    log2 of the ratio of consecutive errors is p + c/N + ...; the powers of 1/N are eliminated one after the other.

    Attributes:
        error: N -> size of what should vanish like N^(-order).
        order: the claimed order.
        coarsest: the first N.
        doublings: how often it is doubled.
    """

    error: Callable[[int], Any]
    order: Expr
    coarsest: int = 8
    doublings: int = 3
    tolerance: float = 2e-4

    def run(self) -> Outcome:
        """Difference of the extrapolated order and the claimed one."""
        with mpmath.workdps(DIGITS):
            numbers = [self.coarsest * 2**k for k in range(self.doublings + 1)]
            errors = [mpmath.mpf(self.error(number)) for number in numbers]
            orders = [mpmath.log(a / b, 2) for a, b in pairwise(errors)]
            last = float(orders[-1])
            for power in range(1, len(orders)):
                orders = [(2**power * b - a) / (2**power - 1) for a, b in pairwise(orders)]
            measured = float(abs(orders[0] - mpmath.mpf(str(self.order.evalf(DIGITS)))))
        return Outcome(
            measured,
            self.tolerance,
            f"ratio tests N = {numbers[0]} ... {numbers[-1]}: observed order {last:.4f}, in the limit "
            f"{float(orders[0]):.6f}; error at N = {numbers[-1]}: {float(errors[-1]):.3g}",
        )

    @property
    def terms(self) -> int:
        """The order is one number."""
        return 1

    def perturbed(self, term: int = 0) -> OrderCheck:
        """With another order: that of 0 becomes 1/1000, every other one is changed by a thousandth."""
        return replace(self, order=self.order * PERTURBATION if self.order != 0 else PERTURBATION - 1)


def forward_run(
    recurrence: Recurrence, values: Mapping[Quantity, Numeric], steps: int, reads: Reading, sampler: Sampler
) -> Iterator[Values]:
    """Every step of a recurrence, as the values of all its quantities.

    Args:
        recurrence: the step.
        values: the state it begins with, parameters, step size.
        steps: how many.
        reads: number of the step -> what it reads besides (its time, its own parameters, its input).
        sampler: for the stand-ins of its networks.
    """
    known = dict(values)
    for n in range(steps):
        known |= reads(n)
        found = evaluate(recurrence.step, {q: known[q] for q in recurrence.step.inputs}, sampler.networks)
        yield {**known, **found}
        known |= {old: found[new] for old, new in zip(recurrence.old, recurrence.new, strict=True)}


def solution(ode: ODE, values: Mapping[Quantity, Numeric], times: Iterable[Any], sampler: Sampler) -> Iterator[Values]:
    """The state of an ODE at the given times, by Taylor polynomials from each time to the next.

    Args:
        ode: the equation.
        values: the state at the first of the times, and everything the field reads.
        times: where the state is wanted; they may go backwards.
        sampler: for the stand-ins of its networks.
    """
    known, now = dict(values), None
    for time in times:
        step = mpmath.mpf(0) if now is None else time - now
        if ode.time is not None:
            known[ode.time] = time - step
        columns = taylor(ode, ode.velocity, known, sampler, TAYLOR_ORDER if step else 0)
        for unknown, column in zip(ode.state, columns, strict=True):
            known[unknown] = sum((c * step**j for j, c in enumerate(column)), 0 * column[0])
        now = time
        yield {unknown: known[unknown] for unknown in ode.state}


def distance(left: Numeric, right: Numeric) -> Any:
    """Norm of a difference."""
    return mpmath.sqrt(sum(abs(entry) ** 2 for entry in np.ravel(np.asarray(left - right, dtype=object))))
