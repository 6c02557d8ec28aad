"""A cell of a delay equation with one component: its steps beside those of small steps, and where its memory decays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sympy import Rational

from derive.delay_cells import DelayCell
from derive.evaluator import evaluate
from derive.past_values import Lag, Memory
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role
from plots import style
from plots.runs import Array
from plots.subject import Subject

STEPS = (1, 2, 5, 40)  # on a delay
DELAYS = 8  # of time
NUMBERS = (Rational(-1), Rational(-5, 2), Rational(1), Rational(1, 4))  # for what is learnt, in turn


@dataclass(frozen=True)
class Delays:
    """Runs of one cell with an input that is 1 from time 0 on, and nothing before.

    Attributes:
        numbers: what is learnt, in LaTeX, with its value.
        times: of each run, in delays.
        states: of each run.
        multiplier: eigenvalue of the linear part.
    """

    numbers: str
    times: tuple[Array, ...]
    states: tuple[Array, ...]
    multiplier: float


def cell_of(system: object) -> DelayCell | None:
    """A cell whose delays are one number of steps that its constructor is told; None of anything else."""
    if not isinstance(system, DelayCell) or system.equation is None:
        return None
    lags = {value.lag for value in system.past}
    return system if len(lags) == 1 and isinstance(lags.pop(), Lag) else None


def data(subject: Subject) -> Delays:
    """Runs with several numbers of steps on the delay."""
    cell = cell_of(next(iter(subject.spec.variants.values())))
    assert cell is not None
    learnt = [q for q in cell.step.inputs if q.role is Role.PARAMETER]
    values = {q: float(NUMBERS[place % len(NUMBERS)]) for place, q in enumerate(learnt)}
    runs = [_run(cell, {q: np.full((1,) * len(q.shape), v) for q, v in values.items()}, m) for m in STEPS]
    shown = ", ".join(f"{q.latex} = {value:g}" for q, value in values.items())
    times = tuple(np.arange(m * DELAYS + 1) / m for m in STEPS)
    return Delays(shown, times, tuple(runs), float(NUMBERS[0]))


def _run(cell: DelayCell, values: dict[Quantity, Array], steps: int) -> Array:
    """The first state of a run with so many steps on a delay, whose time is 1."""
    (lag,) = {value.lag for value in cell.past}
    assert isinstance(lag, Lag)
    zero, one = np.zeros(1), np.ones(1)
    state = dict.fromkeys(cell.old, zero)
    memories = {
        source: Memory([zero] * steps, [value for value in cell.past if value.source == source], {lag.name: steps})
        for source in (*cell.old, *cell.inputs)
    }
    found = [0.0]
    for _ in range(DELAYS * steps):
        known = {**values, **state, **dict.fromkeys(cell.inputs, one), STEP_SIZE: 1 / steps}
        known |= {q: value for memory in memories.values() for q, value in memory.known().items()}
        made = evaluate(cell.step, {q: known[q] for q in cell.step.inputs}, {})
        state = {old: made[new] for old, new in zip(cell.old, cell.new, strict=True)}
        for source, memory in memories.items():
            memory.append(state.get(source, one))
        found.append(float(made[cell.new[0]][0]))
    return np.array(found)


def draw(subject: Subject, found: Delays) -> Figure:
    """The runs to the left, the plane of h lambda to the right."""
    figure, (runs, plane) = style.panels(2, width=8.6, height=3.5)
    for steps, times, states, colour in zip(STEPS, found.times, found.states, style.shades(len(STEPS)), strict=True):
        marks = "o-" if steps <= 5 else "-"
        label = rf"$\tau = {steps}\, h$" if steps > 1 else r"$\tau = h$"
        runs.plot(times, states, marks, color=colour, markersize=3, linewidth=1.1, label=label)
    runs.set(xlabel=r"$t / \tau$", ylabel="state", xlim=(0, DELAYS))
    style.title(runs, f"${found.numbers}$")
    _decay(plane, found)
    figure.suptitle(f"{subject.title}: steps on a delay", x=0.01, ha="left", fontsize=10.5)
    style.legend_below(figure, (runs, plane), len(STEPS) + 1)
    return figure


def _decay(axes: style.Axes, found: Delays) -> None:
    """Where powers of W grow: |1 - h lambda| < 1."""
    angles = np.linspace(0, 2 * np.pi, 241)
    axes.fill(1 + np.cos(angles), np.sin(angles), color=style.PALE, label="powers of $W$ grow")
    style.cross(axes)
    for steps, colour in zip(STEPS, style.shades(len(STEPS)), strict=True):
        axes.plot(found.multiplier / steps, 0, "o", color=colour, markersize=5)
    axes.set(xlim=(-1.6, 2.6), ylim=(-1.6, 1.6), aspect="equal")
    axes.set(xlabel=r"$\operatorname{Re} h \lambda$", ylabel=r"$\operatorname{Im} h \lambda$")
    style.title(axes, r"$W = (1 - h \lambda)^{-1}$")
