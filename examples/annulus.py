"""A disc and the ring around it, told apart by the emitted neural ODE with a linear read-out, and by an augmented one.

    python examples/annulus.py [--quick] [--seeds 5] [--steps 400] [--picture annulus.png]

No flow of the plane can tell them apart: the image of the ring's inner circle encloses that of the disc, and a
half-plane that holds the one holds the other (`derive show topology`). With one more coordinate, which starts at 0, a
flow can. Both are trained alike; the test points are many, so that some are where a flow of the plane has to fail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from common import parameter_count, print_table, progress, spread
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from generated.neural_ode import NeuralODE

DISC, RING = (0.0, 1.0), (1.5, 2.5)  # radii
POINTS, TEST_POINTS, CIRCLE, BATCH = 1000, 20_000, 2000, 250
HIDDEN, RTOL, ATOL = 32, 1e-5, 1e-6
RATE = 1e-2
QUICK = (1, 100)  # seeds, steps
KINDS = {"neural ODE": 0, "augmented neural ODE": 1}  # dimensions more than the plane has
SIDE, REACH, DRAWN, MOMENTS = 161, 3.0, 60, 40
BLUE, ORANGE = "#0072B2", "#D55E00"


class FlowClassifier(nn.Module):
    """A neural ODE from the points, followed by zeros, and a linear read-out: above 0 means ring."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more
        size = 2 + more
        layers = nn.Linear(size, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, size)
        self.flow = NeuralODE(nn.Sequential(*layers), rtol=RTOL, atol=ATOL)
        self.readout = nn.Linear(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch) of points (batch, 2)."""
        logits: Tensor = self.readout(self.flow(self.lifted(x))).squeeze(-1)
        return logits

    def lifted(self, x: Tensor) -> Tensor:
        """The state at t = 0."""
        return functional.pad(x, (0, self.more))


@dataclass
class Trained:
    """A trained classifier; its loss and the evaluations of its field in each training step."""

    model: FlowClassifier
    losses: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    seconds: float = 0.0


def drawn(radii: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """Uniform between two circles."""
    inner, outer = (radius**2 for radius in radii)
    radius = (inner + (outer - inner) * torch.rand(count, generator=generator)).sqrt()
    return on_circle(radius, 2 * math.pi * torch.rand(count, generator=generator))


def on_circle(radius: Tensor | float, angle: Tensor) -> Tensor:
    """Points of the plane by radius and angle."""
    return torch.stack((radius * angle.cos(), radius * angle.sin()), -1)


def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points, one half in the disc and one in the ring; and 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    half = count // 2
    points = torch.cat([drawn(radii, half, generator) for radii in (DISC, RING)])
    return points, torch.arange(2.0).repeat_interleave(half)


def train(kind: str, steps: int, seed: int, after_step: Callable[[], object]) -> Trained:
    """Adam with a falling rate; the seed decides about points, weights and batches."""
    points, classes = sample(POINTS, seed)
    torch.manual_seed(seed)
    run = Trained(FlowClassifier(KINDS[kind]))
    optimizer = torch.optim.Adam(run.model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        chosen = torch.randint(len(points), (BATCH,))
        loss = functional.binary_cross_entropy_with_logits(run.model(points[chosen]), classes[chosen])
        loss.backward()
        optimizer.step()
        schedule.step()
        run.losses.append(loss.item())
        run.evaluations.append(run.model.flow.stats.evaluations)
        after_step()
    run.seconds = time.perf_counter() - begin
    return run


@torch.no_grad()
def accuracy(run: Trained) -> float:
    """Per cent of new points on the right side."""
    points, classes = sample(TEST_POINTS, -1)
    return 100.0 * ((run.model(points) > 0) == (classes > 0)).double().mean().item()


@torch.no_grad()
def margin(run: Trained) -> float:
    """Least logit on the ring's inner circle less the greatest on that of the disc: below 0 some are taken for others.

    With a flow of the plane it is below 0, whatever was learned: on the ring's circle the logit goes below all of its
    values inside.
    """
    angle = torch.linspace(0, 2 * math.pi, CIRCLE)
    disc, ring = (run.model(on_circle(radius, angle)) for radius in (DISC[1], RING[0]))
    return float(ring.min() - disc.max())


def row(kind: str, runs: Sequence[Trained]) -> list[str]:
    """Of the table."""
    margins = [margin(run) for run in runs]
    return [
        kind,
        spread([accuracy(run) for run in runs]),
        f"{min(margins):.1f} to {max(margins):.1f}",
        spread([run.losses[-1] for run in runs], 4),
        f"{sum(run.evaluations[0] for run in runs) / len(runs):.0f}",
        spread([float(run.evaluations[-1]) for run in runs], 0),
        f"{parameter_count(runs[0].model):,}",
        spread([run.seconds for run in runs], 1),
    ]


def picture(runs: dict[str, list[Trained]], path: Path) -> None:
    """A row for each kind: regions in the plane, trajectories as the read-out sees them, loss and evaluations."""
    figure = Figure(figsize=(12, 3.6 * len(runs)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(runs), 3, squeeze=False)
    for (left, middle, _), (kind, own) in zip(panels, runs.items(), strict=True):
        draw_regions(left, own[0].model)
        left.set_title(f"{kind}: {accuracy(own[0]):.2f} %")
        draw_trajectories(middle, own[0].model)
        middle.set(title=f"{kind}: from t = 0 to 1", xlabel="along the read-out's hyperplane", ylabel="logit / |w|")
    for axes, name in zip(panels[:, 2], ("losses", "evaluations"), strict=True):
        for (kind, own), color in zip(runs.items(), (BLUE, ORANGE), strict=True):
            for place, run in enumerate(own):
                axes.plot(getattr(run, name), color=color, lw=0.7, label=kind if place == 0 else None)
        axes.set(title=f"{name} of a training step", xlabel="step")
    panels[0, 2].set_yscale("log")
    panels[-1, 2].legend(loc="upper left")
    figure.savefig(path, dpi=110)


@torch.no_grad()
def draw_regions(axes: Any, model: FlowClassifier) -> None:
    """The logit in the plane, its zeros, and some points."""
    ticks = torch.linspace(-REACH, REACH, SIDE)
    logits = model(torch.cartesian_prod(ticks, ticks)).reshape(SIDE, SIDE).T.numpy()
    axes.contourf(ticks, ticks, logits.clip(-6, 6), levels=13, cmap="RdBu_r", alpha=0.6)
    axes.contour(ticks, ticks, logits, levels=[0.0], colors="black", linewidths=1.0)
    points, classes = sample(400, -2)
    axes.scatter(*points.T.numpy(), c=[ORANGE if one else BLUE for one in classes], s=3)
    axes.set(aspect="equal")


@torch.no_grad()
def draw_trajectories(axes: Any, model: FlowClassifier) -> None:
    """Distance from the hyperplane of the read-out against the direction within it in which the ends differ most."""
    points, classes = sample(2 * DRAWN, -3)
    way = model.flow.trajectory(model.lifted(points), torch.linspace(0, 1, MOMENTS))
    normal, offset = model.readout.weight[0], model.readout.bias
    up = normal / normal.norm()
    flat = way - (way @ up).unsqueeze(-1) * up
    across = torch.linalg.svd(flat[-1] - flat[-1].mean(0)).Vh[0]
    heights, places = (way @ normal + offset) / normal.norm(), flat @ across
    colors = [ORANGE if one else BLUE for one in classes]
    for place, height, color in zip(places.T.numpy(), heights.T.numpy(), colors, strict=True):
        axes.plot(place, height, color=color, lw=0.5, alpha=0.6)
    axes.scatter(places[-1], heights[-1], c=colors, s=8, zorder=3)
    axes.axhline(0.0, color="black", lw=1.0)


@click.command()
@click.option("--quick", is_flag=True, help="Some seconds, to see that it runs.")
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=400, show_default=True, type=click.IntRange(1))
@click.option("--picture", "path", type=click.Path(dir_okay=False, path_type=Path), help="Where to draw it.")
def main(quick: bool, seeds: int, steps: int, path: Path | None) -> None:
    """Train a neural ODE and an augmented one to tell a disc from the ring around it."""
    seeds, steps = QUICK if quick else (seeds, steps)
    torch.set_num_threads(1)
    runs: dict[str, list[Trained]] = {kind: [] for kind in KINDS}
    with progress(len(KINDS) * seeds * steps) as (describe, advance):
        for seed in range(seeds):
            for kind, own in runs.items():
                describe(f"{kind}, seed {seed}")
                own.append(train(kind, steps, seed, advance))
    columns = (
        "net", "test accuracy, %", "margin", "last loss", "evaluations at first", "at last", "parameters",
        "training, s",
    )  # fmt: skip
    title = f"Disc and ring: {POINTS} training and {TEST_POINTS} test points, {steps} steps of {BATCH}, seeds 0 to "
    print_table(f"{title}{seeds - 1}, rtol {RTOL:g}", columns, [row(kind, own) for kind, own in runs.items()])
    if path is not None:
        picture(runs, path)
        click.echo(str(path))


if __name__ == "__main__":
    main()
