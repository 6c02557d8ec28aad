"""State, costate, the density of the gradient and H over time, for one random sample of a problem."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sympy import Expr

from derive.control_runs import CLOCK, ControlRun, Values
from derive.control_words import clock_of
from derive.operators import Numeric
from derive.symbols import Quantity
from plots import style
from plots.runs import Array
from plots.subject import Subject

FIRST, LAST, POINTS = 0.0, 1.5, 121
FLAT = 0.1  # the least part of H that its panel shows above and below


@dataclass(frozen=True)
class Costates:
    """What one backward pass meets.

    Attributes:
        times: (times,), increasing; a moment at which a cost arises stands twice, before and after the jump.
        states: (times, components), of all unknowns.
        costates: (times, components), of all of them.
        names: what the components of both are called.
        densities: name of a control (of a parameter where there is none) in LaTeX -> (times, components) of dH/dq.
        energy: (times,), H.
    """

    times: Array
    states: Array
    costates: Array
    names: tuple[list[str], list[str]]
    densities: dict[str, Array]
    energy: Array


def data(subject: Subject) -> Costates:
    """One random sample on a longer interval than that of the checks."""
    assert subject.problem is not None
    problem = subject.problem
    run = ControlRun(problem)
    spread = np.linspace(FIRST, LAST, len(run.moments))
    run.point = replace(run.point, times={m: complex(t) for m, t in zip(run.moments, spread, strict=True)})
    visited = run.passes[0].visited(POINTS)
    read = problem.hamiltonian.energy.atoms(Quantity)
    wanted = [q for q in problem.controls or problem.constants if q in read]
    densities = {q.latex: _rows(run, visited, problem.hamiltonian.gradient_density(q)) for q in wanted}
    names = list(problem.hamiltonian.costates.items())
    sizes = {x: np.size(visited[0][x]) for x, _ in names}
    return Costates(
        np.array([known[CLOCK].real for known in visited]),
        np.array([_flat([known[x] for x, _ in names]) for known in visited]),
        np.array([_flat([known[a] for _, a in names]) for known in visited]),
        (
            [label for x, _ in names for label in style.components(x, sizes[x])],
            [label for x, a in names for label in style.components(a, sizes[x])],
        ),
        densities,
        np.array([np.real(run.value(problem.hamiltonian.energy, known)) for known in visited]),
    )


def _rows(run: ControlRun, visited: list[Values], density: Expr) -> Array:
    return np.array([_flat([run.value(density, known)]) for known in visited])


def _flat(parts: list[Numeric]) -> Array:
    return np.concatenate([np.ravel(np.real(part)) for part in parts])


def draw(subject: Subject, found: Costates) -> Figure:
    """Four panels over one axis of time."""
    figure, axes = style.panels(columns=2, rows=2, width=7.4, height=5.0)
    state, costate, gradient, energy = axes
    assert subject.problem is not None
    clock = clock_of(subject.problem).latex
    _lines(state, found.times, found.states, found.names[0], "state")
    _lines(costate, found.times, found.costates, found.names[1], "costate, from the end backwards")
    for place, (name, rows) in enumerate(found.densities.items()):
        gradient.plot(found.times, np.linalg.norm(rows, axis=1), color=style.colour(place), label=f"in ${name}$")
    gradient.set_title("size of the functional derivative")
    for one in (state, costate, gradient):
        one.legend()
    energy.plot(found.times, found.energy, color=style.INK)
    middle, reach = np.mean(found.energy), max(np.ptp(found.energy), FLAT * np.max(np.abs(found.energy)))
    energy.set_ylim(middle - reach, middle + reach)  # a constant is a line in the middle, whatever its last digits do
    energy.set_title("$H$, which only controls and the clock move")
    for one in axes:
        one.set(xlim=(found.times[0], found.times[-1]), xlabel=f"${clock}$")
    figure.suptitle(subject.title, x=0.01, ha="left", fontsize=11)
    return figure


def _lines(axes: Axes, times: Array, rows: Array, names: list[str], title: str) -> None:
    for place, (name, row) in enumerate(zip(names, rows.T, strict=True)):
        axes.plot(times, row, color=style.colour(place), label=name)
    axes.axhline(0, color=style.GREY, linewidth=0.6, zorder=1)
    axes.set_title(title)
