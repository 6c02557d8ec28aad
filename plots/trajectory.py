"""The components of a solution over time, and the steps of a scheme."""

from __future__ import annotations

from matplotlib.figure import Figure

from plots import style
from plots.convergence import equation
from plots.motion import Motion, motion
from plots.subject import Subject


def data(subject: Subject) -> Motion:
    """The solution and the steps."""
    return motion(subject)


def draw(subject: Subject, found: Motion) -> Figure:
    """The solution as lines, the steps as points."""
    figure, (axes,) = style.panels(width=6.0, height=3.7)
    for colour, place in zip(style.COLOURS, found.problem.plane[: found.problem.size], strict=False):
        name = found.problem.names[place]
        axes.plot(found.exact_t, found.exact[:, place], color=colour, alpha=0.8, label=f"${name}$, solution")
        axes.plot(found.t, found.states[:, place], "o", color=colour, markersize=3.2, label=f"${name}$, steps")
    axes.axhline(0, color=style.GREY, linewidth=0.6, zorder=1)
    axes.set(xlabel="$t$", ylabel="state", xlim=(0, found.exact_t[-1]))
    style.title(axes, f"{subject.title}, $h = {found.h:g}$", equation(subject))
    style.legend_below(figure, [axes], 4)
    return figure
