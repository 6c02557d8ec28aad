"""A disc and a ring through the layers of a trained net, and through the flow of the same layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from plots import style
from plots.modules import module_class
from plots.runs import Array
from plots.subject import Subject

LAYERS, HIDDEN = 6, 8
FINE = 32  # steps of the flow in each layer
POINTS = 240  # of each class
RADII = ((0.0, 0.55), (0.95, 1.4))  # of the disc and of the ring
EPOCHS, RATE, SEED = 300, 0.03, 2
SHOWN = (0, 2, 4, 6)


@dataclass(frozen=True)
class Layers:
    """Points of two classes after each layer.

    Attributes:
        classes: (points,), 0 of the disc and 1 of the ring.
        net: (layers + 1, points, 2): the states of the net.
        flow: the same for small steps with the same networks.
        line: (a, b, c) of the read-out's boundary a x + b y + c = 0 after the last layer.
        accuracy: of the read-out after the net, and after the flow.
    """

    classes: Array
    net: Array
    flow: Array
    line: tuple[float, float, float]
    accuracy: tuple[float, float]


def data(subject: Subject) -> Layers:
    """Train a net of six layers, and follow the points through it and through its flow."""
    kind = module_class(subject.spec)
    points, classes = _points()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        blocks = [nn.Sequential(nn.Linear(2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2)).double() for _ in range(LAYERS)]
        readout = nn.Linear(2, 1).double()
        net: Any = kind(blocks, step_size=1.0).double()
        _train(net, readout, points, classes)
    slow: Any = kind([block for block in blocks for _ in range(FINE)], step_size=1 / FINE).double()
    with torch.no_grad():
        states = [net.trajectory(points), slow.trajectory(points)[::FINE]]
        hits = [((readout(one[-1]).squeeze(-1) > 0) == classes.bool()).double().mean().item() for one in states]
    (a, b), c = readout.weight[0].tolist(), readout.bias.item()
    return Layers(classes.numpy(), states[0].numpy(), states[1].numpy(), (a, b, c), (hits[0], hits[1]))


def _points() -> tuple[Tensor, Tensor]:
    """Spirals of points that fill the disc and the ring evenly."""
    found = []
    for low, high in RADII:
        place = (np.arange(POINTS) + 0.5) / POINTS
        radius, angle = np.sqrt(low**2 + place * (high**2 - low**2)), np.arange(POINTS) * np.pi * (3 - np.sqrt(5))
        found.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    classes = np.repeat([0.0, 1.0], POINTS)
    return torch.from_numpy(np.concatenate(found)), torch.from_numpy(classes)


def _train(net: nn.Module, readout: nn.Module, points: Tensor, classes: Tensor) -> None:
    optimizer = torch.optim.Adam([*net.parameters(), *readout.parameters()], lr=RATE)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        error = nn.functional.binary_cross_entropy_with_logits(readout(net(points)).squeeze(-1), classes)
        error.backward()
        optimizer.step()


def draw(subject: Subject, found: Layers) -> Figure:
    """Two rows of panels, the net above the flow, each panel with the limits of its points."""
    figure, axes = style.panels(len(SHOWN), rows=2, width=2.2 * len(SHOWN), height=5.0)
    names = (f"{LAYERS} steps, $h = 1$", f"{LAYERS * FINE} steps, $h = 1/{FINE}$")
    for row, (states, name, accuracy) in enumerate(zip((found.net, found.flow), names, found.accuracy, strict=True)):
        for column, layer in enumerate(SHOWN):
            one = axes[row * len(SHOWN) + column]
            for which, colour in ((1, style.ORANGE), (0, style.BLUE)):
                own = states[layer][found.classes == which]
                one.plot(own[:, 0], own[:, 1], ".", color=colour, markersize=2.2, label=("disc", "ring")[which])
            _frame(one, states[layer])
            if layer == SHOWN[-1]:
                _boundary(one, found.line)
            verdict = f": {100 * accuracy:.0f} % correct" if layer == SHOWN[-1] else ""
            style.title(one, "data" if layer == 0 else f"$t = {layer}${verdict}")
        axes[row * len(SHOWN)].set_ylabel(name)
    text = f"{subject.title}: a net trained at $h = 1$, and the same networks followed in small steps"
    figure.suptitle(text, x=0.01, ha="left", fontsize=10.5)
    style.legend_below(figure, axes[:1], 2)
    return figure


def _frame(axes: style.Axes, states: Array) -> None:
    middle = (states.max(axis=0) + states.min(axis=0)) / 2
    reach = 0.55 * float(np.ptp(states, axis=0).max())
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal")
    axes.tick_params(labelsize=7)


def _boundary(axes: style.Axes, line: tuple[float, float, float]) -> None:
    """Where the read-out changes sides."""
    a, b, c = line
    x, y = np.meshgrid(np.linspace(*axes.get_xlim(), 60), np.linspace(*axes.get_ylim(), 60))
    axes.contour(x, y, a * x + b * y + c, levels=[0], colors=[style.INK], linewidths=0.9)
