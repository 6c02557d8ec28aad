"""Train the generated ResNet and LMResNet, with convolution blocks, on handwritten digits.

    python examples/digits.py [--quick] [--seeds 5] [--epochs 20] [--depth 12] [--memory store] [--plot FILE]

Both nets are trained at full and at half depth, from the same weights and on the same batches for each seed. LMResNet
starts with k = 0, which is ResNet, and once more at full depth with k = 0.9, far from it and with steps that can be
undone: at k = 0 there is no inverse, so that memory="invert" has to keep the states. What training makes of k is part
of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import torch
from common import (
    AUTOGRAD,
    BATCH,
    Classifier,
    Costs,
    Run,
    costs_of_modes,
    difference,
    final,
    kept_bytes,
    load_images,
    parameter_count,
    print_table,
    spread,
    train_all,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from generated.lm_resnet import LMResNet
from generated.resnet import ResNet

MEMORIES = ("store", "recompute", "checkpoint", "invert")
MODES = (AUTOGRAD, *MEMORIES)
QUICK = (1, 6, 6)  # seeds, epochs, depth
FAR_START = 0.9


class Body(nn.Module):
    """Images (batch, 8, 8) -> features (batch, 4 channels): a convolution, the net on its maps, means over quarters."""

    def __init__(self, net: Callable[[list[nn.Module]], nn.Module], depth: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.net = net([block(channels) for _ in range(depth)])
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        """The last state goes through the same norm and kink as each block's input does."""
        maps = self.net(self.stem(images.unsqueeze(1)))
        return nn.functional.avg_pool2d(torch.relu(self.norm(maps)), 4).flatten(1)


def block(channels: int) -> nn.Module:
    """One block: (batch, channels, 8, 8) -> the same shape."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False))


def build(kind: type[nn.Module], depth: int, channels: int, **options: str | float) -> Classifier:
    """A classifier around a generated net."""
    return Classifier(Body(lambda blocks: kind(blocks, **options), depth, channels), 4 * channels)


def builders(depth: int, channels: int, memory: str) -> dict[str, Callable[[], Classifier]]:
    """The nets to train; the control for LMResNet at half depth is ResNet at half depth."""
    found: dict[str, Callable[[], Classifier]] = {}
    for layers in (depth, depth // 2):
        # A step without a derived inverse keeps its states instead.
        kept = "recompute" if memory == "invert" else memory
        found[f"ResNet {layers}"] = partial(build, ResNet, layers, channels, memory=kept)
        found[f"LMResNet {layers}"] = partial(build, LMResNet, layers, channels, memory=memory)
    found[far(depth)] = partial(build, LMResNet, depth, channels, memory=memory, k=FAR_START)
    return found


def far(depth: int) -> str:
    """Name of the net that starts far from ResNet."""
    return f"LMResNet {depth}, k from {FAR_START}"


def accuracy_table(runs: dict[str, list[Run]], batch: Tensor) -> None:
    """What was reached, and at which price."""
    rows = []
    for name, found in runs.items():
        model = found[0].model
        seconds = spread([run.seconds for run in found], 1)
        kept = f"{kept_bytes(model, batch) / 2**20:.2f}"
        rows.append([name, spread(final(found)), f"{parameter_count(model):,}", seconds, kept])
    columns = ("net", "test accuracy, %", "parameters", "training, s", f"kept at batch {BATCH}, MiB")
    print_table("After the last epoch, mean ± standard deviation over seeds", columns, rows)


def comparison_table(runs: dict[str, list[Run]], depth: int) -> None:
    """Differences seed by seed: same weights at the start, same batches."""
    half = depth // 2
    pairs = [
        (f"LMResNet {depth}", f"ResNet {depth}"),
        (f"LMResNet {half}", f"ResNet {depth}"),
        (f"LMResNet {half}", f"ResNet {half}"),
        (f"ResNet {half}", f"ResNet {depth}"),
        (far(depth), f"ResNet {depth}"),
    ]
    rows = [[f"{one} minus {other}", difference(runs[one], runs[other])] for one, other in pairs]
    print_table("Difference in accuracy, mean ± standard error", ("nets", "points"), rows)


def learned_k(runs: dict[str, list[Run]]) -> None:
    """The weights of the older state after training."""
    rows = []
    for name, found in runs.items():
        values = [run.model.body.net.k.detach() for run in found if isinstance(run.model.body.net, LMResNet)]
        if values:
            means = torch.stack(values).mean(0).tolist()
            low, high = (f"{limit(torch.stack(values)):+.2f}" for limit in (torch.min, torch.max))
            rows.append([name, low, high, " ".join(f"{mean:+.2f}" for mean in means)])
    print_table("Learned k", ("net", "least", "largest", "mean over seeds, layer by layer"), rows)


def memory_costs(runs: dict[str, list[Run]], depth: int, images: Tensor, classes: Tensor) -> Costs:
    """What the memory modes of the deep nets keep and cost; ResNet has no derived inverse."""
    modes = {f"ResNet {depth}": MODES[:-1], f"LMResNet {depth}": MODES, far(depth): MODES}
    return costs_of_modes(runs, modes, images, classes)


def memory_table(costs: Costs) -> None:
    """What each memory mode keeps and what it costs."""
    rows = []
    for (name, mode), (kept, seconds) in costs.items():
        cost = seconds / costs[name, "store"][1]
        rows.append([name, mode, f"{kept / 2**20:.2f}", f"{1e3 * seconds:.1f}", f"{cost:.2f}"])
    columns = ("net", "memory", f"kept at batch {BATCH}, MiB", "least time of a step, ms", "of store")
    print_table("Memory modes of the trained nets", columns, rows)


def draw(path: Path, runs: dict[str, list[Run]], costs: Costs) -> None:
    """Accuracy over epochs with its spread, and kept bytes over memory modes; a net has one colour in both."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {name: f"C{place}" for place, name in enumerate(runs)}
    for name, found in runs.items():
        draw_accuracy(left, [run.accuracies for run in found], name, colours[name])
    left.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(80, 100))
    left.set_title("Median over seeds; band: quartiles")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend()
    names = list(dict.fromkeys(name for name, _ in costs))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        modes = [mode for net, mode in costs if net == name]
        at = [MODES.index(mode) + (place - (len(names) - 1) / 2) * width for mode in modes]
        kept = [costs[name, mode][0] / 2**20 for mode in modes]
        right.bar_label(right.bar(at, kept, width, label=name, color=colours[name]), fmt="%.2f", fontsize=8)
    right.set_xticks(range(len(MODES)), MODES)
    right.set(ylabel=f"kept for backward at batch {BATCH}, MiB", title="Memory modes of the trained nets")
    right.legend()
    figure.savefig(path, dpi=120)


def draw_accuracy(axes: Axes, curves: Sequence[Sequence[float]], name: str, colour: str) -> None:
    """The median of the curves and, between their quartiles, a band."""
    values = torch.tensor(curves, dtype=torch.float64)
    epochs = range(1, values.shape[1] + 1)
    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype), 0)
    axes.plot(epochs, middle, label=name, color=colour)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=5, help="Trainings of each net.")
@click.option("--epochs", type=click.IntRange(1), default=20, help="Passes over the training images.")
@click.option("--depth", type=click.IntRange(4), default=12, help="Blocks of the deep nets; the others have half.")
@click.option("--channels", type=click.IntRange(1), default=16, help="Channels of the maps.")
@click.option("--memory", type=click.Choice(MEMORIES), default="store", help="What training keeps for backward.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads of torch; more may change the last digits.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw accuracy and kept bytes to a file.")
@click.option("--quick", is_flag=True, help="One seed, 6 epochs, depth 6, whatever else is asked for.")
def main(
    seeds: int, epochs: int, depth: int, channels: int, memory: str, threads: int, plot: Path | None, quick: bool
) -> None:
    """Train the generated ResNet and LMResNet, with convolution blocks, on handwritten digits."""
    if quick:
        seeds, epochs, depth = QUICK
    torch.set_num_threads(threads)
    images = load_images()
    click.echo(
        f"{len(images.train)} training and {len(images.test)} test images of 8 x 8; {channels} channels, {epochs} "
        f"epochs, seeds 0 to {seeds - 1}, memory={memory}, torch {torch.__version__}, threads: {threads}"
    )
    runs = train_all(builders(depth, channels, memory), images, epochs, seeds)
    batch, classes = images.train[:BATCH], images.train_classes[:BATCH]
    accuracy_table(runs, batch)
    comparison_table(runs, depth)
    learned_k(runs)
    costs = memory_costs(runs, depth, batch, classes)
    memory_table(costs)
    if plot is not None:
        draw(plot, runs, costs)
        click.echo(plot)


if __name__ == "__main__":
    main()
