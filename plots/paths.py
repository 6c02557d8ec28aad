"""A stochastic differential equation in one component: paths with their mean and spread, and where they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sympy import Expr

from derive.errors import UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.latex import latex
from derive.operators import Numeric
from derive.sde import SDE
from derive.sde_calculus import drift_in
from derive.sde_moments import ELAPSED, MomentEquations, component
from derive.stochastic_steps import stochastic_step
from derive.symbols import Quantity, Role, by_name
from plots import style
from plots.equations import equation_of
from plots.runs import Array
from plots.subject import Subject

PATHS, SHOWN, SEED = 20_000, 14, 3
STEP, SETTLED, SHORT = 0.025, 24.0, 1.0  # paths end when they have settled, where there is something to settle to
HEADROOM = 0.35  # for the legends
START, REACH, GRID = 1.5, 6.0, 2001


@dataclass(frozen=True)
class Paths:
    """Samples of a component.

    Attributes:
        equation: what was run, in LaTeX.
        times: (steps + 1,); `shown` some paths, (steps + 1, paths).
        mean, deviation: over all paths, (steps + 1,).
        exact: the mean from the equations of the moments, where they are closed.
        ends: of all paths.
        side, density: a grid, and the stationary density on it; nothing where there is none.
    """

    equation: str
    times: Array
    shown: Array
    mean: Array
    deviation: Array
    exact: Array | None
    ends: Array
    side: Array
    density: Array | None


def data(subject: Subject) -> Paths:
    """Many paths by the equation's scheme, every component one of them."""
    sde = equation_of(subject)
    assert sde is not None
    values = {q: np.float64(subject.spec.defaults.get(q.name, 0.8)) for q in _free(sde)}
    recurrence = stochastic_step(sde, sde.scheme)
    (x,), (after,) = recurrence.old, recurrence.new
    side = np.linspace(-REACH, REACH, GRID)
    density = stationary(sde, values, side)
    end = SHORT if density is None else SETTLED
    steps, h = round(end / STEP), STEP
    generator = np.random.default_rng(SEED)
    state = np.full(PATHS, START)
    means, deviations, shown = [START], [0.0], [state[:SHOWN]]
    for n in range(steps):
        drawn = generator.standard_normal(PATHS) * np.sqrt(h)
        clock = {Role.STEP_SIZE: h, Role.TIME: n * h}
        given: dict[Quantity, Numeric] = {**values, x: state, sde.increment: drawn}
        given |= {q: clock[q.role] for q in recurrence.step.inputs if q.role in clock}
        state = evaluate(recurrence.step, {q: given[q] for q in recurrence.step.inputs})[after]
        means.append(float(state.mean()))
        deviations.append(float(state.std()))
        shown.append(state[:SHOWN])
    times = np.linspace(0, steps * h, steps + 1)
    drift, diffusion = (_bracketed(component(sde, term)) for term in (sde.drift, sde.diffusion))
    shown_text = rf"d{sde.state.latex} = {drift} \, dt + {diffusion} \, dW"
    return Paths(
        shown_text, times, np.array(shown), np.array(means), np.array(deviations),
        _exact_mean(sde, values, times), state, side, density,
    )  # fmt: skip


def _bracketed(value: Expr) -> str:
    return rf"\left({latex(value)}\right)" if value.is_Add else latex(value)


def _free(sde: SDE) -> list[Quantity]:
    return [q for q in by_name(sde.quantities) if q.role in (Role.PARAMETER, Role.CONSTANT)]


def _exact_mean(sde: SDE, values: Mapping[Quantity, Numeric], times: Array) -> Array | None:
    try:
        solution = MomentEquations(sde, 1).solutions[1]
    except UnsupportedError:
        return None
    start = MomentEquations(sde, 1).initial(1)
    return np.array([float(value_of(solution, {**values, start: START, ELAPSED: time})) for time in times])


def stationary(sde: SDE, values: Mapping[Quantity, Numeric], side: Array) -> Array | None:
    """The density that does not change, from (log q)' = (2 F - (G^2)') / G^2; None where it cannot be normalized."""
    drift, diffusion = component(sde, drift_in(sde, "ito")), component(sde, sde.diffusion)
    if sde.time is not None and (drift.has(sde.time) or diffusion.has(sde.time)):
        return None

    def on_grid(value: Expr) -> Array:
        return np.asarray(value_of(value, {**values, sde.state: side}) + 0 * side)

    squared = on_grid(diffusion**2)
    if not np.all(squared > 0):
        return None
    slope = (2 * on_grid(drift) - on_grid((diffusion**2).diff(sde.state))) / squared
    steps = np.diff(side) * (slope[1:] + slope[:-1]) / 2
    logarithm = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(logarithm - logarithm.max())
    if max(weights[0], weights[-1]) > 1e-6:
        return None
    return np.asarray(weights / (weights.sum() * (side[1] - side[0])))


def draw(subject: Subject, found: Paths) -> Figure:
    """Two panels: paths over time, and their ends."""
    figure, (left, right) = style.panels(2, width=8.6, height=3.9)
    early = slice(0, len(found.times) if found.density is None else len(found.times) // 3)
    times, mean, deviation = found.times[early], found.mean[early], found.deviation[early]
    left.plot(times, found.shown[early], color=style.SKY, linewidth=0.6, alpha=0.8)
    left.fill_between(times, mean - deviation, mean + deviation, color=style.GREY, alpha=0.3, linewidth=0,
                      label="mean ± deviation")  # fmt: skip
    left.plot(times, mean, color=style.INK, label=f"mean of {PATHS} paths")
    if found.exact is not None:
        left.plot(times, found.exact[early], color=style.RED, linestyle=(0, (4, 3)), label="derived mean")
    left.set(xlabel="$t$", ylabel="state", xlim=(times[0], times[-1]))
    style.title(left, f"{SHOWN} paths")
    low, high = np.quantile(found.ends, [0.001, 0.995 if found.density is None else 0.999])
    margin = 0.15 * (high - low)
    bins = np.linspace(low - margin, high + margin, 61)
    right.hist(found.ends, bins=bins.tolist(), density=True, color=style.PALE, edgecolor=style.BLUE, linewidth=0.3,
               label=f"ends at $t = {found.times[-1]:g}$")  # fmt: skip
    if found.density is not None:
        right.plot(found.side, found.density, color=style.RED, label="stationary density")
    right.set(xlabel="state", ylabel="density", xlim=(bins[0], bins[-1]))
    style.title(right, "where they end")
    for one in (left, right):
        bottom, top = one.get_ylim()
        one.set_ylim(bottom, top + HEADROOM * (top - bottom))
        one.legend(loc="upper right")
    figure.suptitle(f"{subject.title}: ${found.equation}$", x=0.01, ha="left", fontsize=10.5)
    return figure
