"""Train the generated DEQ, whose one layer is applied until nothing changes, on handwritten digits.

    python examples/equilibrium.py [--quick] [--seeds 3] [--epochs 8] [--channels 16]

The layer is tanh(W * z + U * relu(x)), with convolutions of 3 x 3. Beside it stand the same layer applied 12 times,
which autograd has to keep 12 times, and a ResNet of 6 blocks with weights of their own. For each seed all start from
the same weights where they have them in common. Counted are the steps of the trained nets on the test images, and those
that have not converged.
"""

from __future__ import annotations

import warnings
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
    kept_bytes,
    load_images,
    parameter_count,
    print_table,
    seconds_of_step,
    spread,
    train_all,
)
from digits import Body
from torch import Tensor, nn

from generated.deq import DEQ, EquilibriumWarning
from generated.resnet import ResNet

QUICK = (1, 3)  # seeds, epochs
TIMES, BLOCKS = 12, 6
TOL, STEPS, TERMS = 1e-3, 30, 3
TIMED_STEPS = 10


class Layer(nn.Module):
    """tanh(W * z + U * relu(x)) on maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.state, self.input = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """The next state."""
        return torch.tanh(self.state(z) + self.input(torch.relu(x)))


class Tied(nn.Module):
    """A layer applied so many times."""

    def __init__(self, layer: nn.Module, times: int) -> None:
        super().__init__()
        self.layer, self.times = layer, times

    def forward(self, x: Tensor) -> Tensor:
        """The last state, from zero."""
        z = torch.zeros_like(x)
        for _ in range(self.times):
            z = self.layer(z, x)
        return z


def builders(channels: int) -> dict[str, Callable[[], Classifier]]:
    """The nets to train, the baseline first."""
    deq = partial(DEQ, tol=TOL, max_iter=STEPS)
    nets: dict[str, Callable[[], nn.Module]] = {
        f"one layer, {TIMES} times": lambda: Tied(Layer(channels), TIMES),
        "DEQ, broyden": lambda: deq(Layer(channels)),
        "DEQ, anderson": lambda: deq(Layer(channels), solver="anderson"),
        f"DEQ, gradient of {TERMS} steps": lambda: deq(Layer(channels), solver="anderson", phantom=TERMS),
    }
    found: dict[str, Callable[[], Classifier]] = {
        name: partial(lambda make: Classifier(Body(lambda _: make(), 0, channels), 4 * channels), make)
        for name, make in nets.items()
    }
    found[f"ResNet {BLOCKS}"] = lambda: Classifier(Body(ResNet, BLOCKS, channels), 4 * channels)
    return found


def steps_of(model: Classifier, images: Tensor) -> tuple[str, str]:
    """Mean steps on the images, and how many of them have not converged."""
    net = model.body.net
    if not isinstance(net, DEQ):
        return "", ""
    model.accuracy(images, torch.zeros(len(images), dtype=torch.int64))
    assert net.info is not None
    return f"{net.info.iterations.double().mean():.1f}", f"{int((~net.info.converged).sum())}"


def accuracy_table(runs: dict[str, list[Run]], images: Images) -> None:
    """What was reached, beside the baseline and at which price."""
    batch, classes = images.train[:BATCH], images.train_classes[:BATCH]
    baseline, rows = next(iter(runs)), []
    for name, found in runs.items():
        model = found[-1].model
        gap = "" if name == baseline else difference(found, runs[baseline])
        seconds = min(seconds_of_step(model, batch, classes) for _ in range(TIMED_STEPS))
        size, kept = f"{parameter_count(model):,}", f"{kept_bytes(model, batch) / 2**20:.2f}"
        rows.append(
            [name, spread(final(found)), gap, size, kept, f"{1e3 * seconds:.1f}", *steps_of(model, images.test)]
        )
    columns = ("net", "test accuracy, %", "minus baseline", "parameters", f"kept at batch {BATCH}, MiB",
               "least step, ms", "steps", "not converged")  # fmt: skip
    print_table("After the last epoch, mean ± deviation over seeds (difference: ± standard error)", columns, rows)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=3, help="Trainings of each net.")
@click.option("--epochs", type=click.IntRange(1), default=8, help="Passes over the training images.")
@click.option("--channels", type=click.IntRange(1), default=16, help="Channels of the maps.")
@click.option("--quick", is_flag=True, help="One seed, 3 epochs, whatever else is asked for.")
def main(seeds: int, epochs: int, channels: int, quick: bool) -> None:
    """Train the generated DEQ, whose one layer is applied until nothing changes, on handwritten digits."""
    if quick:
        seeds, epochs = QUICK
    torch.set_num_threads(1)
    images = load_images()
    click.echo(
        f"{len(images.train)} training and {len(images.test)} test images of 8 x 8; {channels} channels, {epochs} "
        f"epochs, seeds 0 to {seeds - 1}, tol {TOL:g}, max_iter {STEPS}, torch {torch.__version__}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EquilibriumWarning)  # they are counted
        accuracy_table(train_all(builders(channels), images, epochs, seeds), images)


if __name__ == "__main__":
    main()
