"""Train the generated random residual nets, with convolution blocks, on handwritten digits beside a ResNet.

    python examples/random_depth.py [--quick] [--seeds 5] [--epochs 20] [--depth 12] [--channels 4]

Stochastic depth leaves blocks out at random, the later ones more often: once for each image, where every block is
needed by some image, and once for each layer, where a block that is left out is not run at all. Noise and dropout keep
all blocks. Tested is the net without draws. For each seed all nets start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import torch
from common import (
    BATCH,
    Classifier,
    Images,
    Run,
    difference,
    final,
    load_images,
    parameter_count,
    print_table,
    seconds_of_step,
    spread,
    train_all,
)
from digits import Body
from torch import nn

from generated.dropout_sde import DropoutSDE
from generated.gaussian_noise_injection import GaussianNoiseNet
from generated.resnet import ResNet
from generated.stochastic_depth import StochasticDepth

QUICK = (1, 6, 6)  # seeds, epochs, depth
LAST_SURVIVAL, NOISE, KEEP = 0.5, 0.1, 0.9
TIMED_STEPS = 40


def survival(depth: int) -> list[float]:
    """Probabilities that fall linearly from 1 before the first block to the last one's."""
    return [1 - (n + 1) / depth * (1 - LAST_SURVIVAL) for n in range(depth)]


def build(make: Callable[[list[nn.Module]], nn.Module], depth: int, channels: int) -> Classifier:
    """A classifier around a generated net."""
    return Classifier(Body(make, depth, channels), 4 * channels)


def builders(depth: int, channels: int) -> dict[str, Callable[[], Classifier]]:
    """The nets to train, the baseline first."""
    nets: dict[str, Callable[[list[nn.Module]], nn.Module]] = {
        "ResNet": ResNet,
        "StochasticDepth, each image": lambda blocks: StochasticDepth(blocks, survival=survival(depth)),
        "StochasticDepth, each layer": lambda blocks: StochasticDepth(blocks, survival=survival(depth), per="layer"),
        "GaussianNoiseNet": lambda blocks: GaussianNoiseNet(blocks, sigma=NOISE),
        "DropoutSDE": lambda blocks: DropoutSDE(blocks, keep=KEEP),
    }
    return {name: partial(build, make, depth, channels) for name, make in nets.items()}


def seconds_of_steps(models: dict[str, Classifier], images: Images) -> dict[str, float]:
    """Mean time of a training step, in turns: with layers left out some steps are shorter than others."""
    batch, classes = images.train[:BATCH], images.train_classes[:BATCH]
    found = dict.fromkeys(models, 0.0)
    for _ in range(TIMED_STEPS):
        for name, model in models.items():
            found[name] += seconds_of_step(model, batch, classes) / TIMED_STEPS
    return found


def accuracy_table(runs: dict[str, list[Run]], images: Images) -> None:
    """What was reached, beside the baseline and at which price."""
    times = seconds_of_steps({name: found[-1].model for name, found in runs.items()}, images)
    baseline, rows = next(iter(runs)), []
    for name, found in runs.items():
        gap = "" if name == baseline else difference(found, runs[baseline])
        size = f"{parameter_count(found[0].model):,}"
        rows.append([name, spread(final(found)), gap, size, f"{1e3 * times[name]:.1f}"])
    columns = ("net", "test accuracy, %", f"minus {baseline}", "parameters", "mean step, ms")
    print_table("After the last epoch, mean ± deviation over seeds (difference: ± standard error)", columns, rows)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=5, help="Trainings of each net.")
@click.option("--epochs", type=click.IntRange(1), default=20, help="Passes over the training images.")
@click.option("--depth", type=click.IntRange(2), default=12, help="Blocks of every net.")
@click.option("--channels", type=click.IntRange(1), default=4, help="Channels of the maps.")
@click.option("--quick", is_flag=True, help="One seed, 6 epochs, depth 6, whatever else is asked for.")
def main(seeds: int, epochs: int, depth: int, channels: int, quick: bool) -> None:
    """Train the generated random residual nets, with convolution blocks, on handwritten digits beside a ResNet."""
    if quick:
        seeds, epochs, depth = QUICK
    torch.set_num_threads(1)
    images = load_images()
    click.echo(
        f"{len(images.train)} training and {len(images.test)} test images of 8 x 8; {depth} blocks, {channels} "
        f"channels, {epochs} epochs, seeds 0 to {seeds - 1}, torch {torch.__version__}"
    )
    click.echo(f"survival 1 to {LAST_SURVIVAL:g}: {sum(survival(depth)):g} of {depth} blocks on average; ", nl=False)
    click.echo(f"noise {NOISE:g}, keep {KEEP:g}")
    accuracy_table(train_all(builders(depth, channels), images, epochs, seeds), images)


if __name__ == "__main__":
    main()
