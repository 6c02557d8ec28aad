r"""The adjoint of a multistep scheme in one formula, as books write it, against that of the program on windows."""

from __future__ import annotations

from functools import partial

import mpmath
import numpy as np
from sympy import Expr, Integer

from derive.checks import ResidualCheck, relative_difference
from derive.derivation import Kind
from derive.discretization import STEP_SIZE, time_at_step
from derive.evaluator import evaluate
from derive.numbering import Author
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Quantity
from derive.systems import ODE

STEPS = 7


def write_adjoint_formula(author: Author, ode: ODE, recurrence: Recurrence) -> None:
    """Relation between the multipliers of consecutive steps."""
    author.relation(
        "the adjoint in one formula",
        Kind.IDENTITY,
        r"\lambda_m = \frac{\partial L}{\partial x_m} + \sum_{k \ge 0} \alpha_k \lambda_{m+k+1} "
        r"+ h\, J_m^{\top} \sum_{k \ge 0} \beta_k \lambda_{m+k+1}, \qquad J_m = f_x(t_m, x_m), "
        r"\qquad \lambda_m = 0\ \text{after the last step}",
        text="lambda_m = d L / d x_m + sum alpha_k lambda_(m+k+1) + h J_m^T sum beta_k lambda_(m+k+1), k from 0 on",
        reason="lambda_m is the newest part of the cotangent of the window of values before step m",
        name="adjoint_formula",
        check=ResidualCheck(
            partial(_residual, ode, recurrence), (Integer(1), Integer(1)), f"{STEPS} steps backwards, random weights"
        ),
    )


def _residual(ode: ODE, recurrence: Recurrence, factors: tuple[Expr, ...]) -> float:
    """Largest relative difference of the two sides over the steps, each sum times its factor."""
    sampler = Sampler({*recurrence.step.inputs, *recurrence.old}, ode.networks)
    values = sampler.values()
    visited = _visited(ode, recurrence, values, sampler)
    multipliers = _multipliers(recurrence, visited, sampler)
    alpha, beta = (next(v for q, v in values.items() if q.name == name) for name in ("alpha", "beta"))
    one, other = (mpmath.mpf(str(factor.evalf(60))) for factor in factors)
    worst = 0.0
    for m, known in enumerate(visited):
        later = multipliers[m + 1 : m + 1 + len(alpha)]
        past = sum(a * bar for a, bar in zip(alpha, later, strict=False))
        slope = known[STEP_SIZE] * sum(b * bar for b, bar in zip(beta, later, strict=False))
        expected = one * past + other * _pulled(ode, known, slope, sampler)
        worst = max(worst, relative_difference(multipliers[m], expected))
    return worst


def _visited(
    ode: ODE, recurrence: Recurrence, values: dict[Quantity, Numeric], sampler: Sampler
) -> list[dict[Quantity, Numeric]]:
    """All quantities of every step, from a random state on."""
    now, state = time_at_step(ode), [values[q] for q in recurrence.old]
    visited = []
    for n in range(STEPS):
        given = {**values, **dict(zip(recurrence.old, state, strict=True))}
        if now is not None:
            given[now] = values[now] + n * values[STEP_SIZE]
        found = evaluate(recurrence.step, given, sampler.networks)
        visited.append({**given, **found})
        state = [found[q] for q in recurrence.new]
    return visited


def _multipliers(recurrence: Recurrence, visited: list[dict[Quantity, Numeric]], sampler: Sampler) -> list[Numeric]:
    """lambda_0, …, lambda_N by the adjoint of the program, for a random functional of the last value."""
    adjoint = reverse_sweep(recurrence.step)
    bars = [0 * visited[-1][q] for q in recurrence.old]
    bars[0][0] = bars[0][0] + sampler.value(recurrence.old[0])[0]
    found = [bars[0][0]]
    for known in reversed(visited):
        seeds = dict(zip((adjoint.seeds[q] for q in recurrence.new), bars, strict=True))
        every = {**seeds, **evaluate(adjoint.program, {**known, **seeds}, sampler.networks)}
        bars = [every[adjoint.cotangents[q]] for q in recurrence.old]
        found.append(bars[0][0])
    return found[::-1]


def _pulled(ode: ODE, known: dict[Quantity, Numeric], covector: Numeric, sampler: Sampler) -> Numeric:
    """J^T times a covector at the newest value, by the sweep over the field alone."""
    (x,), field, now = ode.state, ode.field_program(), time_at_step(ode)
    given = {**known, x: next(v for q, v in known.items() if q.name == x.name and np.ndim(v) == len(x.shape))}
    if now is not None and ode.time is not None:
        given[ode.time] = known[now]
    sweep = reverse_sweep(field, ode.state)
    primal = {**given, **evaluate(field, given, sampler.networks)}
    seeds = {sweep.seeds[q]: covector for q in field.outputs}
    return {**seeds, **evaluate(sweep.program, {**primal, **seeds}, sampler.networks)}[sweep.cotangents[x]]
