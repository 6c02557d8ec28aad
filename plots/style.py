"""How every plot looks and is written: one table of settings, colours for any colour vision, always the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from derive.errors import DeriveError
from derive.files import write_whole
from derive.symbols import Quantity, with_index

# Okabe and Ito's colours, told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
LINES = ("-", "--", ":")
INK, GREY, PALE = "#222222", "#8A8A8A", "#CFE3F1"
FORMATS = ("png", "svg")
DPI = 160

SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "mathtext.fontset": "stix",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlepad": 8,
    "figure.constrained_layout.use": True,
    "figure.dpi": DPI,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "savefig.dpi": DPI,
    "svg.fonttype": "path",
    "svg.hashsalt": "derive",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def styled() -> AbstractContextManager[None]:
    """The settings of this house, for as long as it draws, whatever a user's own are."""
    settings: Any = {**mpl.rcParamsDefault, **SETTINGS, "backend": mpl.rcParams["backend"]}
    return mpl.rc_context(settings)


def panels(columns: int = 1, rows: int = 1, width: float = 5.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    Args:
        columns: panels side by side; `rows` below each other.
        rows: see above.
        width: of the whole figure in inches; `height` likewise.
        height: see above.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int = 3) -> None:
    """One legend for all panels under them, where it covers no data."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(columns, len(found)))


def legend_under(axes: Axes, columns: int = 4) -> None:
    """The legend of one panel under it: what its colours mean is said of it alone."""
    count = len(axes.get_legend_handles_labels()[1])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=min(columns, count), columnspacing=1.2)


def colour(place: int) -> str:
    """The colours in turn."""
    return COLOURS[place % len(COLOURS)]


def line(place: int) -> str:
    """The kinds of lines in turn, another one each time that the colours begin anew."""
    return LINES[place // len(COLOURS) % len(LINES)]


def components(quantity: Quantity, count: int) -> list[str]:
    """What the components of a quantity are called: by their place, where there are several."""
    letter = quantity.latex
    return [f"${letter if count == 1 else with_index(letter, str(place + 1))}$" for place in range(count)]


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """So many colours in an order that is seen as one."""
    return [mpl.colormaps["viridis"](place) for place in np.linspace(0.0, 0.88, count)]


def cross(axes: Axes) -> None:
    """Thin lines through the origin."""
    for line in (axes.axhline, axes.axvline):
        line(0, color=GREY, linewidth=0.6, zorder=1)


def title(axes: Axes, *lines: str) -> None:
    """A title of one or more lines, the empty ones left out."""
    axes.set_title("\n".join(line for line in lines if line))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, by the suffix; the same bytes for the same data, whole or not at all.

    Raises:
        DeriveError: another suffix.
    """
    form = format_of(path)
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, metadata=metadata)
    return write_whole(path, buffer.getvalue())


def format_of(path: Path) -> str:
    """The format that a file's suffix names.

    Raises:
        DeriveError: none or another one.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise DeriveError(f"{path}: a plot is written as {listed([f'.{one}' for one in FORMATS])}; change the suffix")
    return form


def listed(words: Sequence[str]) -> str:
    """Words as in `a, b or c`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
