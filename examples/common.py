"""What the examples share: the images, the classifier around a net, training, and what the backward pass keeps."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from generated.resnet import loss

BATCH = 32
RATE = 5e-3
CLASSES = 10
Costs = dict[tuple[str, str], tuple[int, float]]  # (net, memory mode) -> (kept bytes, seconds of a step)
TIMED_STEPS = 15
AUTOGRAD = "autograd"  # stands among the memory modes for the same steps without the derived backward pass


@dataclass(frozen=True)
class Images:
    """Handwritten digits, (n, 8, 8) with values from 0 to 1, and their classes."""

    train: Tensor
    train_classes: Tensor
    test: Tensor
    test_classes: Tensor


def load_images() -> Images:
    """scikit-learn's 1,797 digits in two halves, the same in every run, with equal shares of each class."""
    bunch = load_digits()
    halves = train_test_split(bunch.images / 16, bunch.target, test_size=0.5, stratify=bunch.target, random_state=0)
    train, test, train_classes, test_classes = (torch.as_tensor(half) for half in halves)
    return Images(train.float(), train_classes, test.float(), test_classes)


class Classifier(nn.Module):
    """A body that makes features of images, and a linear read-out; the loss is the generated one."""

    def __init__(self, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body = body
        self.readout = nn.Linear(features, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10) of images (batch, 8, 8)."""
        logits: Tensor = self.readout(self.body(images))
        return logits

    def loss(self, images: Tensor, classes: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return loss(self.body(images), classes, self.readout.weight, self.readout.bias) / len(images)

    def accuracy(self, images: Tensor, classes: Tensor) -> float:
        """Per cent of the images whose class is the largest logit."""
        self.eval()
        with torch.no_grad():
            right = self(images).argmax(-1) == classes
        self.train()
        return 100.0 * right.double().mean().item()


@dataclass
class Run:
    """One trained model: test accuracy after each epoch, and the time that training took, without the tests."""

    model: Classifier
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0


def train(
    build: Callable[[], Classifier], images: Images, epochs: int, seed: int, after_epoch: Callable[[], object]
) -> Run:
    """Train with Adam and a one-cycle learning rate; the seed decides about weights and the order of images."""
    torch.manual_seed(seed)
    run = Run(build())
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(run.model.parameters(), lr=RATE)
    batches = -(-len(images.train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * batches)
    for _ in range(epochs):
        start = time.perf_counter()
        for chosen in torch.randperm(len(images.train), generator=order).split(BATCH):
            optimizer.zero_grad()
            run.model.loss(images.train[chosen], images.train_classes[chosen]).backward()
            optimizer.step()
            schedule.step()
        run.seconds += time.perf_counter() - start
        run.accuracies.append(run.model.accuracy(images.test, images.test_classes))
        after_epoch()
    return run


def train_all(
    builders: dict[str, Callable[[], Classifier]], images: Images, epochs: int, seeds: int
) -> dict[str, list[Run]]:
    """Every model with every seed, model after model within a seed, under one progress bar."""
    runs: dict[str, list[Run]] = {name: [] for name in builders}
    with progress(len(builders) * seeds * epochs) as (describe, advance):
        for seed in range(seeds):
            for name, build in builders.items():
                describe(f"{name}, seed {seed}")
                runs[name].append(train(build, images, epochs, seed, advance))
    return runs


@contextmanager
def progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A bar over epochs on stderr: functions that name what is trained and that advance it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, description=text), lambda: bar.advance(task)


class _Kept:
    """A tensor that autograd holds; it can be referred to weakly, so that what is let go again is not counted."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def kept_bytes(model: Classifier, images: Tensor) -> int:
    """Bytes that the forward pass keeps for the backward pass, besides images, parameters and buffers."""
    given = {value.untyped_storage().data_ptr() for value in (images, *model.parameters(), *model.buffers())}
    alive: weakref.WeakSet[_Kept] = weakref.WeakSet()

    def pack(value: Tensor) -> _Kept:
        kept = _Kept(value.detach())
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        output = model(images)
    storages = {kept.value.untyped_storage().data_ptr(): kept.value.untyped_storage().nbytes() for kept in alive}
    del output
    return sum(size for place, size in storages.items() if place not in given)


def costs_of_modes(
    runs: dict[str, list[Run]], modes: dict[str, Sequence[str]], images: Tensor, classes: Tensor
) -> Costs:
    """Kept bytes and seconds of a training step of trained models in their memory modes.

    Modes are timed in turns and the least time counts: a step takes milliseconds, and what other programs take from it
    is no part of it. The mode "" stands for a net that has none.
    """
    cases = {(name, mode): runs[name][-1].model for name, own in modes.items() for mode in own}
    kept: dict[tuple[str, str], int] = {}
    seconds: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for _ in range(TIMED_STEPS):
        for case, model in cases.items():
            set_mode(model.body.net, case[1])
            kept[case] = kept_bytes(model, images)
            seconds[case].append(seconds_of_step(model, images, classes))
    return {case: (kept[case], min(seconds[case])) for case in cases}


def set_mode(net: nn.Module, mode: str) -> None:
    """Switch a generated net to a memory mode, or to autograd."""
    if mode:
        net.memory, net.gradient = ("store", "autograd") if mode == AUTOGRAD else (mode, "derived")


def seconds_of_step(model: Classifier, images: Tensor, classes: Tensor) -> float:
    """One forward and backward pass."""
    start = time.perf_counter()
    model.loss(images, classes).backward()
    return time.perf_counter() - start


def parameter_count(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def final(runs: Sequence[Run]) -> list[float]:
    """Accuracies after the last epoch; none is chosen by looking at the test images."""
    return [run.accuracies[-1] for run in runs]


def difference(runs: Sequence[Run], others: Sequence[Run]) -> str:
    """Mean difference of accuracies, seed by seed, and its standard error."""
    gaps = [a - b for a, b in zip(final(runs), final(others), strict=True)]
    error = f" ± {statistics.stdev(gaps) / len(gaps) ** 0.5:.2f}" if len(gaps) > 1 else ""
    return f"{statistics.fmean(gaps):+.2f}{error}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, names to the left, numbers to the right; as wide as it needs to be."""
    table = Table(box=SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(title, style="bold", highlight=False)
    console.print(table)
