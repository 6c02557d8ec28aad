"""A cell of the phase plane of state and costate, carried along: its area stays, its width does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from derive.control_optimum import phase_flow
from derive.linear_forms import distributed
from plots import style
from plots.convergence import equation_of
from plots.runs import Array, problem_of
from plots.subject import Subject

TIMES = (0.0, 0.2, 0.4, 0.6)
CENTRE, SIDE = (0.9, 0.5), 0.5
EDGE = 16  # points on a side of the cell
GRID, ROOM, LEVELS = 80, 0.35, 16


@dataclass(frozen=True)
class Cells:
    """One cell at several times over the level lines of H.

    Attributes:
        times: (times,).
        outlines: (times, points, 2): closed polygons in (state, costate).
        areas: (times,), of the polygons.
        widths: (times,), their extent in the state.
        grid: (GRID, GRID, 2), (state, costate), rows along the costate.
        energy: (GRID, GRID), H there.
    """

    times: Array
    outlines: Array
    areas: Array
    widths: Array
    grid: Array
    energy: Array


def data(subject: Subject) -> Cells:
    """The square around CENTRE under the flow of state and costate, controls optimal or constant."""
    assert subject.problem is not None
    flow, energy = phase_flow(subject.problem)
    problem = problem_of(flow, subject.spec.defaults, size=1, beside=energy)
    steps = len(TIMES) - 1
    outlines = np.stack([problem.moved(p).reference(TIMES[-1], steps) for p in _square()], axis=1)
    low, high = outlines.min(axis=(0, 1)), outlines.max(axis=(0, 1))
    x, a = (np.linspace(low[i] - ROOM, high[i] + ROOM, GRID) for i in (0, 1))
    grid = np.stack(np.meshgrid(x, a), axis=-1)
    heights = np.array([[problem.value(energy, point) for point in row] for row in grid])
    widths = np.ptp(outlines[..., 0], axis=1)
    return Cells(np.array(TIMES), outlines, np.array([area(one) for one in outlines]), widths, grid, heights)


def _square() -> Array:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * SIDE / 2 + CENTRE
    ways, following = np.linspace(0, 1, EDGE, endpoint=False)[:, None], np.roll(corners, -1, 0)
    return np.concatenate([here + ways * (there - here) for here, there in zip(corners, following, strict=True)])


def area(outline: Array) -> float:
    """Of a closed polygon (points, 2)."""
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def draw(subject: Subject, found: Cells) -> Figure:
    """Level lines of H in grey, the cells in the order of time."""
    assert subject.problem is not None
    flow, _ = phase_flow(subject.problem)
    state, costate = (q.latex for q in flow.state)
    figure, (axes,) = style.panels(width=5.4, height=4.8)
    levels = np.quantile(found.energy, np.linspace(0.03, 0.97, LEVELS))
    x, a = found.grid[..., 0], found.grid[..., 1]
    axes.contour(x, a, found.energy, levels=np.unique(levels), colors="#C9C9C9", linewidths=0.6, linestyles="solid")
    for colour, time, outline, size, width in zip(
        style.shades(len(found.times)), found.times, found.outlines, found.areas, found.widths, strict=True
    ):
        label = f"$t = {time:g}$: area {size:.3f}, width {width:.2f}"
        axes.fill(*outline.T, color=colour, alpha=0.35, linewidth=0)
        axes.plot(*np.concatenate([outline, outline[:1]]).T, color=colour, linewidth=1.2, label=label)
    axes.set(xlabel=f"${state}$", ylabel=f"${costate}$")
    closed = replace(flow, velocity=tuple(map(distributed, flow.velocity)))
    plane = "one component" if any(q.shape for q in flow.state) else "the phase plane"
    style.title(axes, subject.title, equation_of(closed), f"a cell in {plane}, over the level lines of $H$")
    style.legend_below(figure, [axes], 2)
    return figure
