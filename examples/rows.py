"""Read handwritten digits row by row, 8 steps of 8 features, with the peephole LSTM.

    python examples/rows.py [--quick] [--seeds 5] [--epochs 40] [--hidden 32]

The class is read from the last output. `torch.nn.LSTM` is the baseline: "none" is the same cell with the same weights
at the start, "diagonal" and "full" start there too, because peepholes are zero at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import torch
from common import (
    AUTOGRAD,
    BATCH,
    Classifier,
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
from torch import Tensor, nn

from generated.lstm_peephole import LSTMPeephole

ROWS = 8
BASELINE = "torch.nn.LSTM"
QUICK = (1, 10)  # seeds, epochs
MEMORIES = ("store", "chunk")
MODES = (AUTOGRAD, *MEMORIES)


class Body(nn.Module):
    """Images (batch, 8, 8) -> the last output of a recurrent net, (batch, hidden)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Rows are steps."""
        output: Tensor = self.net(images.transpose(0, 1))[0]
        return output[-1]


def build(peephole: str | None, hidden: int, memory: str = "store") -> Classifier:
    """A classifier around the derived cell, or around torch's where `peephole` is None."""
    net = nn.LSTM(ROWS, hidden) if peephole is None else LSTMPeephole(ROWS, hidden, peephole=peephole, memory=memory)
    return Classifier(Body(net), hidden)


def builders(hidden: int, memory: str) -> dict[str, Callable[[], Classifier]]:
    """The nets to train."""
    own = {f"LSTMPeephole, {kind}": partial(build, kind, hidden, memory) for kind in ("none", "diagonal", "full")}
    return {BASELINE: partial(build, None, hidden), **own}


def main_table(runs: dict[str, list[Run]], batch: Tensor) -> None:
    """What was reached, and at which price."""
    rows = []
    for name, found in runs.items():
        model = found[0].model
        seconds = spread([run.seconds for run in found], 1)
        kept = f"{kept_bytes(model, batch) / 2**10:.0f}"
        against = "" if name == BASELINE else difference(found, runs[BASELINE])
        rows.append([name, spread(final(found)), against, f"{parameter_count(model):,}", seconds, kept])
    columns = ("net", "test accuracy, %", "minus baseline", "parameters", "training, s", f"kept at batch {BATCH}, KiB")
    print_table(
        "After the last epoch, mean ± standard deviation over seeds (of the difference: ± standard error)",
        columns,
        rows,
    )


def learned_peepholes(runs: dict[str, list[Run]]) -> None:
    """How large the peepholes have become."""
    rows = []
    for name, found in runs.items():
        weights = [run.model.body.net.weight_ch_l0.detach() for run in found if has_peepholes(run)]
        if weights:
            gates = torch.stack(weights).transpose(0, 1).flatten(1)
            rows.append([name, *(f"{size:.3f}" for size in gates.square().mean(1).sqrt().tolist())])
    print_table("Learned peepholes, root mean square (0 at the start)", ("net", "input", "forget", "output"), rows)


def has_peepholes(run: Run) -> bool:
    """Whether the trained cell sees its cell state."""
    return hasattr(run.model.body.net, "weight_ch_l0")


def memory_table(runs: dict[str, list[Run]], images: Tensor, classes: Tensor) -> None:
    """What each memory mode keeps and what it costs."""
    modes = {name: ("",) if name == BASELINE else MODES for name in runs}
    costs = costs_of_modes(runs, modes, images, classes)
    rows = [
        [name, mode, f"{kept / 2**10:.0f}", f"{1e3 * seconds:.2f}"] for (name, mode), (kept, seconds) in costs.items()
    ]
    print_table("Memory modes", ("net", "memory", f"kept at batch {BATCH}, KiB", "least time of a step, ms"), rows)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=5, help="Trainings of each net.")
@click.option("--epochs", type=click.IntRange(1), default=40, help="Passes over the training images.")
@click.option("--hidden", type=click.IntRange(1), default=32, help="Size of the hidden state.")
@click.option("--memory", type=click.Choice(MEMORIES), default="store", help="What training keeps for backward.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads of torch; more may change the last digits.")
@click.option("--quick", is_flag=True, help="One seed and 10 epochs, whatever else is asked for.")
def main(seeds: int, epochs: int, hidden: int, memory: str, threads: int, quick: bool) -> None:
    """Read handwritten digits row by row with the peephole LSTM."""
    if quick:
        seeds, epochs = QUICK
    torch.set_num_threads(threads)
    images = load_images()
    click.echo(
        f"{len(images.train)} training and {len(images.test)} test images, row by row; hidden size {hidden}, {epochs} "
        f"epochs, seeds 0 to {seeds - 1}, memory={memory}, torch {torch.__version__}, threads: {threads}"
    )
    runs = train_all(builders(hidden, memory), images, epochs, seeds)
    main_table(runs, images.train[:BATCH])
    learned_peepholes(runs)
    memory_table(runs, images.train[:BATCH], images.train_classes[:BATCH])


if __name__ == "__main__":
    main()
