"""A flow in the plane: the base density with a grid, and what the inverse makes of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from derive.flow import ContinuousFlow, Flow
from plots import style
from plots.modules import module_class
from plots.runs import Array
from plots.subject import Subject

REACH, POINTS = 4.0, 161
LINES, FINE = 13, 161  # of the grid in each direction, and points on each
SIZE, SEED, HIDDEN = 2.0, 6, 8


@dataclass(frozen=True)
class Densities:
    """Base and data density in the plane.

    Attributes:
        side: coordinates of both axes.
        base: density of the base at (y_1, y_2), rows along y_1; `data` that of the data.
        grid: (lines, points, 2) of the base; `pulled` what the inverse makes of them.
        mass: integral of the data density over the square that is shown.
    """

    side: Array
    base: Array
    data: Array
    grid: Array
    pulled: Array
    mass: float


class _Bounded(nn.Module):
    """A network with values between 1/e and e: what must not vanish does not."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """exp(tanh(net(x)))."""
        return torch.exp(self.net(x))


def data(subject: Subject) -> Densities:
    """Densities and grids of the flow with seeded parameters."""
    side = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    plane = torch.cartesian_prod(side, side)
    ticks, fine = (torch.linspace(-REACH, REACH, n, dtype=torch.float64) for n in (LINES, FINE))
    across = torch.cartesian_prod(ticks, fine).reshape(LINES, FINE, 2)
    grid = torch.cat((across, across.flip(-1)))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(SEED)
        flow = _flow(subject)
        found = flow.log_prob(plane).exp().reshape(POINTS, POINTS)
        pulled = flow.inverse(grid)[0]
    base = torch.exp(-0.5 * (plane**2).sum(-1)).reshape(POINTS, POINTS) / (2 * torch.pi)
    mass = float(found.sum() * (side[1] - side[0]) ** 2)
    return Densities(side.numpy(), base.numpy(), found.numpy(), grid.numpy(), pulled.numpy(), mass)


def _flow(subject: Subject) -> Any:
    """The flow in the plane: its own parameters are large, its networks small."""
    system, kind = subject.spec.system, module_class(subject.spec)
    if isinstance(system, ContinuousFlow):
        field = nn.Sequential(nn.Linear(2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2)).double()
        for parameter in field.parameters():
            nn.init.uniform_(parameter, -0.8, 0.8)
        return kind(2, field).double()
    assert isinstance(system, Flow)
    flow = kind(2, *(_Bounded() for _ in system.map.networks())).double()
    for parameter in flow.parameters():
        nn.init.uniform_(parameter, -SIZE, SIZE)
    return flow


def draw(subject: Subject, found: Densities) -> Figure:
    """Two panels, the base and the data."""
    figure, axes = style.panels(2, width=8.2, height=4.9)
    within = f"data: {100 * found.mass:.1f} % of it within the square"
    panels = (("y", found.base, found.grid, "base, $N(0, I)$"), ("x", found.data, found.pulled, within))
    for one, (letter, density, lines, name) in zip(axes, panels, strict=True):
        one.pcolormesh(found.side, found.side, density.T, cmap="Blues", shading="gouraud", rasterized=True)
        for line in lines:
            one.plot(line[:, 0], line[:, 1], color=style.INK, linewidth=0.5, alpha=0.7)
        limits = (-REACH, REACH)
        one.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"${letter}_1$", ylabel=f"${letter}_2$")
        style.title(one, name)
    figure.suptitle(f"{subject.title}: the inverse carries the grid and its density from base to data",
                    x=0.01, ha="left", fontsize=10.5)  # fmt: skip
    return figure
