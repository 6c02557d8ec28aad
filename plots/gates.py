"""The gates of a cell that has learned to predict the next yearly number of sunspots, over all years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from codegen.cells.readout import split_readout
from codegen.verification.recurrent_cases import lines_over
from derive.recurrence import Recurrence
from derive.symbols import Quantity
from derive.systems import Spec
from plots import style
from plots.cell_gates import candidates_of, gates_of
from plots.modules import recurrent_module
from plots.runs import Array
from plots.subject import Subject
from plots.sunspots import UNIT, sunspots

HIDDEN, EPOCHS, RATE = 8, 200, 0.02


@dataclass(frozen=True)
class Gates:
    """A trained cell over a series.

    Attributes:
        option: which variant of the cell.
        years: (T,).
        numbers: (T,), what was counted.
        predicted: (T,): of each year by the years before it; the first one is missing.
        gates: gate -> (T, units), in the step that reads the year.
        candidates: what the gates let into the state -> (T, units), in that step.
        states: state -> (T, units), after that step.
    """

    option: str
    years: Array
    numbers: Array
    predicted: Array
    gates: Mapping[Quantity, Array]
    candidates: Mapping[Quantity, Array]
    states: Mapping[Quantity, Array]


class Forecast(nn.Module):
    """A recurrent net with a linear read-out, at every step, of the change to the next: x (T, B, 1) -> (T, B, 1)."""

    def __init__(self, net: nn.Module, hidden: int) -> None:
        super().__init__()
        self.net = net
        self.readout = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One step ahead of every step."""
        ahead: Tensor = x + self.readout(self.net(x)[0])
        return ahead


def data(subject: Subject) -> Gates:
    """The default variant, trained on all years."""
    spec = subject.spec
    option = str(next(iter(spec.variants)))
    cell = spec.variants[option]
    assert isinstance(cell, Recurrence)
    readout = split_readout(cell, spec.stacks_of(option))[1]
    torch.manual_seed(0)
    net = recurrent_module(spec, option, 1, HIDDEN, **({} if readout is None else {"output": HIDDEN}))
    model = Forecast(net, HIDDEN).double()
    fit(model, series(), EPOCHS)
    return watched(spec, option, model)


def series() -> Tensor:
    """The numbers of all years in units of UNIT, (T, 1, 1)."""
    return torch.from_numpy(sunspots()[1] / UNIT).view(-1, 1, 1)


def watched(spec: Spec, option: str, model: Forecast) -> Gates:
    """What a trained model predicts, and what its cell, a variant of a spec, computes over all years."""
    cell, (years, numbers) = spec.variants[option], sunspots()
    assert isinstance(cell, Recurrence)
    x = series().to(next(model.parameters()).dtype)
    with torch.no_grad():
        predicted = np.concatenate([[np.nan], UNIT * model(x)[:-1].flatten().numpy()])
    known = lines_over(model.net, spec, option, x.flatten(1))
    rows = [{q: known[q] for q in each} for each in (gates_of(cell.step), candidates_of(cell), cell.new)]
    return Gates(option, years, numbers, predicted, *rows)


def fit(model: Forecast, x: Tensor, epochs: int) -> None:
    """Mean squared error one step ahead, by Adam over the whole series; gradients are cut to length 1."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(epochs):
        optimizer.zero_grad()
        (model(x)[:-1] - x[1:]).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def draw(subject: Subject, found: Gates) -> Figure:
    """The series above, then each gate, each candidate and each state over the years, a row for each unit.

    A row is the same unit in all panels of one size, which are ordered by the mean of the first of them.
    """
    return drawn(found, f"{subject.title}{f' ({found.option})' if found.option else ''}")


def drawn(found: Gates, name: str) -> Figure:
    """See `draw`."""
    count = 1 + len(found.gates) + len(found.candidates) + len(found.states)
    figure, axes = style.panels(rows=count, width=8.4, height=1.9 + 1.05 * (count - 1))
    first, *others = axes
    error = np.sqrt(np.nanmean((found.predicted - found.numbers)[1:] ** 2))
    label = f"predicted by the years before, root mean square error {error:.1f}"
    first.plot(found.years, found.numbers, color=style.INK, linewidth=1.0, label="sunspots in the year")
    first.plot(found.years, found.predicted, color=style.RED, linewidth=0.9, label=label)
    first.set(xlim=(found.years[0] - 0.5, found.years[-1] + 0.5), xticklabels=[])
    style.title(first, name)
    rows = [*((q, v, (0.0, 1.0), "viridis") for q, v in found.gates.items())]
    reaches = {q: (v, max(1.0, _reach(v))) for q, v in found.candidates.items()}  # 1 is that of tanh
    reaches |= {q: (v, _reach(v)) for q, v in found.states.items()}
    rows += [(q, v, (-reach, reach), "RdBu_r") for q, (v, reach) in reaches.items()]
    ordering = {q.shape: (q, values) for q, values, *_ in reversed(rows)}
    for one, (quantity, values, limits, colours) in zip(others, rows, strict=True):
        order = np.argsort(ordering[quantity.shape][1].mean(axis=0))
        extent = (found.years[0] - 0.5, found.years[-1] + 0.5, 0.0, float(len(order)))
        image = one.imshow(values[:, order].T, aspect="auto", origin="lower", extent=extent, cmap=colours,
                           vmin=limits[0], vmax=limits[1], interpolation="nearest")  # fmt: skip
        one.set(yticks=[], ylabel=f"${quantity.latex}$")
        one.tick_params(labelbottom=one is others[-1])
        figure.colorbar(image, ax=one, pad=0.01, aspect=8)
    firsts = " and ".join(f"${q.latex}$" for q, _ in reversed(ordering.values()))
    panels = "all panels" if len(ordering) == 1 else "panels of one size"
    others[-1].set_xlabel(f"year; a row is the same unit in {panels}, in the order of the mean of {firsts}")
    style.legend_below(figure, [first], 2)
    return figure


def _reach(values: Array) -> float:
    return float(np.abs(values).max())
