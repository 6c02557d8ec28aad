"""Density of two moons in the plane, by the emitted flows, with a picture.

    python examples/moons.py [--quick] [--seed 0] [--steps 1000] [--picture moons.png]

The measure is the mean logarithm of the density at points that were not trained on; a Gaussian is the baseline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from common import parameter_count, print_table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from torch import Tensor, distributions, nn

from generated.affine_coupling import AffineCoupling
from generated.continuous_flow import ContinuousFlow
from generated.planar_flow import PlanarFlow
from generated.radial_flow import RadialFlow

POINTS, NOISE, BATCH = 2000, 0.07, 250
QUICK_STEPS = 40
SIDE, REACH = 121, 2.6


class Scale(nn.Module):
    """exp(tanh(net)): between 1/e and e, so that no scale is zero."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.net = mlp(1, hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., 1) -> (..., 1)."""
        return torch.exp(torch.tanh(self.net(x)))


class Chain(nn.Module):
    """Flows one after the other; coordinates change places in between, which changes no volume."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-determinants add up; the base is N(0, I)."""
        total = torch.zeros(x.shape[:-1], dtype=x.dtype)
        for layer in self.layers:
            x, log_det = layer(x.flip(-1))
            total = total + log_det
        return total + distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)


def mlp(size_in: int, hidden: int, size_out: int) -> nn.Module:
    """Two layers."""
    return nn.Sequential(nn.Linear(size_in, hidden), nn.Tanh(), nn.Linear(hidden, size_out))


def builders() -> dict[str, Callable[[], Any]]:
    """The densities to train."""
    return {
        "16 planar flows": lambda: Chain([PlanarFlow(2) for _ in range(16)]),
        "16 radial flows": lambda: Chain([RadialFlow(2) for _ in range(16)]),
        "8 affine couplings": lambda: Chain([AffineCoupling(2, Scale(), mlp(1, 32, 1)) for _ in range(8)]),
        "continuous flow": lambda: ContinuousFlow(2, mlp(2, 64, 2), steps=8),
    }


def moons(seed: int) -> tuple[Tensor, Tensor]:
    """Two halves with mean 0 and standard deviation 1."""
    points = torch.as_tensor(make_moons(POINTS, noise=NOISE, random_state=seed)[0], dtype=torch.float32)
    points = (points - points.mean(0)) / points.std(0)
    half = POINTS // 2
    return points[:half], points[half:]


def train(build: Callable[[], Any], data: Tensor, steps: int, seed: int) -> tuple[Any, float]:
    """The density of highest likelihood that Adam finds, and the seconds it took."""
    torch.manual_seed(seed)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        batch = data[torch.randint(len(data), (BATCH,))]
        (-model.log_prob(batch).mean()).backward()
        optimizer.step()
        schedule.step()
    return model, time.perf_counter() - begin


def gaussian(data: Tensor) -> distributions.Distribution:
    """The Gaussian of highest likelihood."""
    return distributions.MultivariateNormal(data.mean(0), data.T.cov())


def picture(models: dict[str, Any], data: Tensor, path: Path) -> None:
    """The densities side by side, with some of the data."""
    ticks = torch.linspace(-REACH, REACH, SIDE)
    plane, side = torch.cartesian_prod(ticks, ticks), ticks.numpy()
    figure = Figure(figsize=(3.1 * len(models), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, model) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
        with torch.no_grad():
            density = model.log_prob(plane).exp().reshape(SIDE, SIDE)
        top = float(density.quantile(0.995))
        axes.pcolormesh(side, side, density.T.numpy(), cmap="Blues", shading="gouraud", vmax=top)
        axes.plot(*data[:150].T.numpy(), ".", color="#D55E00", markersize=1.5)
        axes.set(title=name, aspect="equal", xlim=(-REACH, REACH), ylim=(-REACH, REACH))
    figure.savefig(path, dpi=140)


@click.command()
@click.option("--quick", is_flag=True, help="A minute or less, to see that it runs.")
@click.option("--seed", default=0, show_default=True, type=int)
@click.option("--steps", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--picture", "path", type=click.Path(dir_okay=False, path_type=Path), help="Where to draw the densities.")
def main(quick: bool, seed: int, steps: int, path: Path | None) -> None:
    """Train the emitted flows on two moons and compare their likelihoods with a Gaussian's."""
    steps = QUICK_STEPS if quick else steps
    data, test = moons(seed)
    models: dict[str, Any] = {}
    rows = [["Gaussian", f"{float(gaussian(data).log_prob(test).mean()):.3f}", "5", ""]]
    for name, build in builders().items():
        models[name], seconds = train(build, data, steps, seed)
        with torch.no_grad():
            reached = float(models[name].log_prob(test).mean())
        rows.append([name, f"{reached:.3f}", f"{parameter_count(models[name]):,}", f"{seconds:.1f}"])
    columns = ("density", "mean log-density of the test half", "parameters", "training, s")
    print_table(
        f"Two moons: {POINTS // 2} training and test points, {steps} steps of {BATCH}, seed {seed}", columns, rows
    )
    if path is not None:
        picture(models, data, path)
        click.echo(str(path))


if __name__ == "__main__":
    main()
