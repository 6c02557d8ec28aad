"""The phase portrait: the field, a solution, and the steps of a scheme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.convergence import equation
from plots.motion import Motion, motion
from plots.runs import Array
from plots.subject import Subject

CELLS = 24
ROOM = 0.2


@dataclass(frozen=True)
class Portrait:
    """A motion and the field around it.

    Attributes:
        motion: the solution and the steps; the components of its problem's `plane` are shown.
        x: (cells,) and `y`: the grid.
        y: see above.
        arrows: (cells, cells, 2), rows along y; None where the field has more components or depends on time.
    """

    motion: Motion
    x: Array
    y: Array
    arrows: Array | None


def data(subject: Subject) -> Portrait:
    """The motion, and the field over its surroundings."""
    found = motion(subject)
    problem = found.problem
    both = np.concatenate([found.exact, found.states])[:, problem.plane]
    low, high = both.min(axis=0), both.max(axis=0)
    room = ROOM * float((high - low).max())
    x, y = (np.linspace(low[i] - room, high[i] + room, CELLS) for i in (0, 1))
    if problem.size > 2 or problem.ode.time is not None:
        return Portrait(found, x, y, None)
    return Portrait(found, x, y, np.array([[problem.field(np.array([a, b])) for a in x] for b in y]))


def draw(subject: Subject, found: Portrait) -> Figure:
    """Streamlines in grey, the solution as a line, the steps as joined points."""
    figure, (axes,) = style.panels(width=5.2, height=4.6)
    if found.arrows is not None:
        u, v = found.arrows[..., 0], found.arrows[..., 1]
        axes.streamplot(found.x, found.y, u, v, color="#C9C9C9", linewidth=0.6, arrowsize=0.6, density=1.1)
    plane, h = found.motion.problem.plane, found.motion.h
    exact, steps = found.motion.exact[:, plane], found.motion.states[:, plane]
    axes.plot(exact[:, 0], exact[:, 1], color=style.BLUE, linewidth=1.8, label="solution")
    axes.plot(steps[:, 0], steps[:, 1], "o-", color=style.RED, markersize=3, linewidth=0.8, label=f"$h = {h:g}$")
    axes.plot(exact[0, 0], exact[0, 1], "o", color=style.INK, markersize=5, zorder=5, label="start")
    first, second = (found.motion.problem.names[place] for place in plane)
    axes.set(xlabel=f"${first}$", ylabel=f"${second}$", xlim=(found.x[0], found.x[-1]), ylim=(found.y[0], found.y[-1]))
    style.title(axes, f"{subject.title}: phase portrait", equation(subject))
    style.legend_below(figure, [axes], 3)
    return figure
