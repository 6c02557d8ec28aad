"""Two real sequences, read by cells with a derived backward pass: an LSTM, one with peepholes, and a GRU.

Many to one: an image of scikit-learn's handwritten digits is a sequence of 8 rows of 8 numbers, and its class is asked
for after the last. Many to many: the yearly mean sunspot numbers from 1700 on, and the next one is asked for in every
year; learned on the years up to 1879, kept as it was when the years up to 1919 came out best, tested on those after.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from common import (
    BATCH,
    CLASSES,
    Classifier,
    Images,
    Run,
    difference,
    final,
    load_images,
    parameter_count,
    print_table,
    progress,
    spread,
    train_all,
)
from rows import ROWS, Body
from torch import Tensor, nn

from codegen.diagnostics import gradient_profile
from derive.loading import load
from generated.gru import GRU
from generated.lstm import LSTM
from generated.lstm_peephole import LSTMPeephole
from plots import style
from plots.gates import Forecast, drawn, series, watched
from plots.sunspots import UNIT, sunspots

CELLS: dict[str, Callable[..., nn.Module]] = {"LSTM": LSTM, "LSTMPeephole": LSTMPeephole, "GRU": GRU}
SPECS = {"LSTM": "lstm", "LSTMPeephole": "lstm_peephole", "GRU": "gru"}
BASELINE = "LSTM"
LAST_LEARNED, LAST_KNOWN = 1879, 1919
YEARS_BACK = 9  # of the linear prediction
RATE = 1e-2
QUICK = (1, 5, 100)  # seeds, epochs of the digits, epochs of the sunspots


def build_classifier(name: str, hidden: int) -> Classifier:
    """A cell over the rows of an image, and a read-out of its last state."""
    return Classifier(Body(CELLS[name](ROWS, hidden)), hidden)


def digits(images: Images, hidden: int, epochs: int, seeds: int) -> None:
    """Train on the rows of images and print what was reached."""
    runs = train_all({name: partial(build_classifier, name, hidden) for name in CELLS}, images, epochs, seeds)
    frequent = images.train_classes.bincount(minlength=CLASSES).argmax()
    naive = 100 * (images.test_classes == frequent).double().mean().item()
    rows = [["always the most frequent class", f"{naive:.2f}", "", "0", "", ""]]
    for name, found in runs.items():
        seconds, against = spread([run.seconds for run in found], 1), difference(found, runs[BASELINE])
        kept = spread([kept_gradient(run, images) for run in found])
        count = f"{parameter_count(found[0].model):,}"
        rows.append([name, spread(final(found)), "" if name == BASELINE else against, count, seconds, kept])
    columns = ("net", "test accuracy, %", "minus LSTM", "parameters", "training, s", "gradient, first over last")
    print_table("Many to one. After the last epoch, mean ± standard deviation over seeds", columns, rows)


def kept_gradient(run: Run, images: Images) -> float:
    """How long the loss's gradient in the hidden state after the first row is, beside that after the last one."""
    model, classes = run.model, images.test_classes[:BATCH]

    def loss(output: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model.readout(output[-1]), classes, reduction="sum")

    hidden = gradient_profile(model.body.net, images.test[:BATCH].transpose(0, 1), loss).norms[0]
    return (hidden[1].norm() / hidden[-1].norm()).item()


@dataclass
class Fit:
    """A trained predictor, its root mean square errors in sunspots on both parts, and the time that training took."""

    model: Forecast
    learned: float
    tested: float
    seconds: float


def forecast(name: str, hidden: int, epochs: int, seed: int, after_epoch: Callable[[], object]) -> Fit:
    """Train by Adam over the years up to LAST_LEARNED, gradients cut to length 1, and stop where LAST_KNOWN says."""
    torch.manual_seed(seed)
    model = Forecast(CELLS[name](1, hidden), hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    x, cut = series().float(), place(LAST_LEARNED)
    known = x[: place(LAST_KNOWN) + 1]
    best, kept = float("inf"), model.state_dict()
    start = time.perf_counter()
    for _ in range(epochs):
        optimizer.zero_grad()
        wrong = (model(known)[:-1] - known[1:]).square()  # one pass serves both: no year sees those after it
        if wrong[cut:].mean().item() < best:
            best, kept = wrong[cut:].mean().item(), copy.deepcopy(model.state_dict())
        wrong[:cut].mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        after_epoch()
    seconds = time.perf_counter() - start
    model.load_state_dict(kept)
    with torch.no_grad():
        predicted = UNIT * model(x)[:-1].flatten().double().numpy()
    return Fit(model, *errors(predicted), seconds)


def place(year: int) -> int:
    """Of a year in the series."""
    return int(np.flatnonzero(sunspots()[0] == year)[0])


def errors(predicted: np.ndarray) -> tuple[float, float]:
    """Root mean square errors up to LAST_KNOWN and after it, of predictions for all years but the first."""
    wrong, cut = (predicted - sunspots()[1][1:]) ** 2, place(LAST_KNOWN)
    return float(np.sqrt(np.nanmean(wrong[:cut]))), float(np.sqrt(wrong[cut:].mean()))


def baselines() -> dict[str, tuple[float, float]]:
    """Errors of two predictions without a net: last year's number, and least squares on the nine years before."""
    numbers, cut = sunspots()[1], place(LAST_KNOWN)
    windows = np.lib.stride_tricks.sliding_window_view(numbers[:-1], YEARS_BACK)
    table = np.column_stack([windows, np.ones(len(windows))])
    known = cut - YEARS_BACK + 1
    weights = np.linalg.lstsq(table[:known], numbers[YEARS_BACK : cut + 1], rcond=None)[0]
    linear = np.concatenate([np.full(YEARS_BACK - 1, np.nan), table @ weights])
    return {"as in the year before": errors(numbers[:-1]), f"linear in {YEARS_BACK} years": errors(linear)}


def sunspot_runs(hidden: int, epochs: int, seeds: int) -> dict[str, list[Fit]]:
    """Train every cell with every seed under one progress bar, and print what was reached."""
    runs: dict[str, list[Fit]] = {name: [] for name in CELLS}
    with progress(len(CELLS) * seeds * epochs) as (describe, advance):
        for seed in range(seeds):
            for name, found in runs.items():
                describe(f"sunspots, {name}, seed {seed}")
                found.append(forecast(name, hidden, epochs, seed, advance))
    rows = [[name, *(f"{error:.1f}" for error in found), "", ""] for name, found in baselines().items()]
    for name, found in runs.items():
        parts = [[fit.learned for fit in found], [fit.tested for fit in found], [fit.seconds for fit in found]]
        count = f"{parameter_count(found[0].model):,}"
        rows.append([name, spread(parts[0], 1), spread(parts[1], 1), count, spread(parts[2], 1)])
    columns = ("prediction", f"error to {LAST_KNOWN}", "error after", "parameters", "training, s")
    print_table("Many to many. Root mean square error one year ahead, in sunspots; over seeds", columns, rows)
    return runs


def draw_gates(name: str, model: Forecast, path: Path) -> None:
    """The gates of a trained cell over all years."""
    spec = load(SPECS[name])
    found = watched(spec, str(next(iter(spec.variants))), model)
    with style.styled():
        style.save(drawn(found, f"{name}, trained on the years up to {LAST_KNOWN}"), path)
    click.echo(f"gates: {path}")


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1), default=3, help="Trainings of each net.")
@click.option("--epochs", type=click.IntRange(1), default=40, help="Passes over the training images.")
@click.option("--years", type=click.IntRange(1), default=300, help="Passes over the years.")
@click.option(
    "--hidden", type=click.IntRange(1), default=32, help="Size of the state for images; a quarter of it for sunspots."
)
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads of torch; more may change the last digits.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the gates over the sunspots, .png or .svg.")
@click.option("--cell", type=click.Choice(list(CELLS)), default="LSTMPeephole", help="Whose gates are drawn.")
@click.option("--quick", is_flag=True, help="One seed, 5 and 100 epochs, whatever else is asked for.")
def main(
    seeds: int, epochs: int, years: int, hidden: int, threads: int, picture: Path | None, cell: str, quick: bool
) -> None:
    """Read digits row by row, and predict sunspots one year ahead."""
    if quick:
        seeds, epochs, years = QUICK
    if picture is not None:
        style.format_of(picture)
    torch.set_num_threads(threads)
    images = load_images()
    click.echo(
        f"{len(images.train)} training and {len(images.test)} test images, row by row; {len(sunspots()[0])} years; "
        f"hidden size {hidden}, {epochs} epochs, seeds 0 to {seeds - 1}, torch {torch.__version__}, threads: {threads}"
    )
    digits(images, hidden, epochs, seeds)
    runs = sunspot_runs(-(-hidden // 4), years, seeds)
    if picture is not None:
        draw_gates(cell, runs[cell][0].model, picture)


if __name__ == "__main__":
    main()
