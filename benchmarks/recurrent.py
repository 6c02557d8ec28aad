"""Training steps of derived recurrent cells against torch.nn and against the best loops that one can write by hand.

    python -m benchmarks.recurrent [--only lstm gru ...] [--rounds 5] [--threads 2] [--hidden 64 ...]
        [--cpu-time]

A step is forward and backward with all gradients, that of the input included, in float32. All ways run in one process,
interleaved; a ratio is the derived median over that of torch.nn, or over the better of the two hand-written loops:
as it is, and through TorchScript. Memory is the peak of torch's allocations above the level at entry during one step,
the gradients included. A figure is met when it is at most 1.1 times its target. `--cpu-time` counts the seconds of the
process, where others run beside it (one thread only: waiting threads count).
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import hand_written_loops as loops
from benchmarks.memory_modes import judge, peak_bytes, progress, show
from cli import main as derive
from codegen.verification.loaded import load_text
from generated.gru import GRU
from generated.lstm import LSTM
from generated.lstm_peephole import LSTMPeephole
from generated.vanilla_lstm import VanillaLSTM

Shape = tuple[int, int, int, int]
"""T, B, I, H."""

SHAPES: tuple[Shape, ...] = (
    (100, 64, 512, 512),
    (100, 32, 128, 128),
    (200, 16, 64, 64),
    (50, 1, 64, 64),
    (784, 64, 1, 128),
)
RUN_SECONDS = 0.1  # one run: consecutive steps of one way for about so long
MEAN_OF_LSTM, STORE_MEMORY, CHUNK_MEMORY, CHUNK_TIME, GROWTH = 1.8, 0.65, 0.25, 1.35, 1.0
OWN = "derived"


@dataclass(frozen=True)
class Way:
    """One way to compute the output from x, and its parameters."""

    run: Callable[[Tensor], Tensor]
    parameters: list[Tensor]


Maker = Callable[[int, int], Way]
"""(features, hidden units) -> way."""

Shapes = Callable[[int, int], Sequence[tuple[int, ...]]]
"""(features, hidden units) -> shapes of the parameters."""


@dataclass(frozen=True)
class Race:
    """A derived cell against others; `targets` of the five shapes, None where there is only a mean to reach."""

    own: Maker
    rivals: Mapping[str, Maker]
    targets: tuple[float | None, ...]


def module(make: Callable[[int, int], nn.Module]) -> Maker:
    """A module with the call of torch.nn.LSTM."""

    def way(features: int, hidden: int) -> Way:
        net = make(features, hidden)
        return Way(lambda x: net(x)[0], list(net.parameters()))

    return way


def loop(function: Callable[..., Tensor], states: int, shapes: Shapes, scripted: bool) -> Maker:
    """A hand-written loop from states at zero."""

    def way(features: int, hidden: int) -> Way:
        bound = hidden**-0.5
        values = [torch.empty(shape).uniform_(-bound, bound).requires_grad_() for shape in shapes(features, hidden)]
        run = script(function) if scripted else function
        return Way(lambda x: run(x, *(x.new_zeros(x.shape[1], hidden) for _ in range(states)), *values), values)

    return way


@cache
def script(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function through TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found: Callable[..., Tensor] = torch.jit.script(function)
    return found


def hand(function: Callable[..., Tensor], states: int, shapes: Shapes) -> dict[str, Maker]:
    """Both forms of a hand-written loop."""
    return {name: loop(function, states, shapes, name == "script") for name in ("hand", "script")}


@cache
def users_class() -> type[nn.Module]:
    """What a user gets from the spec file beside this one."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(__file__).with_name("coupled_peephole.py")
        with contextlib.redirect_stdout(sys.stderr):
            derive(["generate", str(spec), "-o", folder], standalone_mode=False)
        found: type[nn.Module] = load_text((Path(folder) / spec.name).read_text(encoding="utf-8")).Module
    return found


def coupled_peephole(features: int, hidden: int) -> Way:
    """The user's cell; its module is made when it is first wanted."""
    return module(users_class())(features, hidden)


BY_HAND = (0.9, 0.75, 0.5, 0.4)
RACES: dict[str, Race] = {
    "lstm": Race(module(LSTM), {"nn.LSTM": module(nn.LSTM)}, (1.05, None, None, None, None)),
    "gru": Race(module(partial(GRU, reset="after", blend="torch")), {"nn.GRU": module(nn.GRU)}, (0.8, 0.65, 0.4, 0.35)),
    "peephole": Race(
        module(LSTMPeephole),
        hand(loops.peephole_lstm, 2, lambda i, h: ((4 * h, i), (4 * h, h), (4 * h,), (3, h))),
        BY_HAND,
    ),
    "deck_gru": Race(
        module(GRU), hand(loops.deck_gru, 1, lambda i, h: ((3 * h, i), (2 * h, h), (h, h), (3 * h,))), BY_HAND
    ),
    "vanilla_lstm": Race(
        module(VanillaLSTM),
        hand(loops.vanilla_lstm, 2, lambda i, h: ((4 * h, i), (4 * h, h), (2 * h, h), (h, h), (4 * h,))),
        BY_HAND,
    ),
    "coupled": Race(
        coupled_peephole,
        hand(loops.coupled_peephole, 2, lambda i, h: ((3 * h, i), (3 * h, h), (3 * h,), (2, h))),
        BY_HAND,
    ),
}


@dataclass(frozen=True)
class Clock:
    """How seconds are counted, how many interleaved runs there are, and for which numbers of hidden units."""

    now: Callable[[], float]
    rounds: int
    hidden: frozenset[int]

    def step(self, way: Way, x: Tensor, cotangent: Tensor) -> float:
        """Seconds of one training step."""
        for value in (x, *way.parameters):
            value.grad = None
        start = self.now()
        step(way, x, cotangent)
        return self.now() - start

    def medians(self, shape: Shape, ways: Mapping[str, Way]) -> dict[str, float]:
        """Seconds per step of every way."""
        x, cotangent = data(shape)
        warm = {name: [self.step(way, x, cotangent) for _ in range(2)] for name, way in ways.items()}
        counts = {name: max(1, round(RUN_SECONDS / min(seconds))) for name, seconds in warm.items()}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.rounds):
            for name, way in ways.items():
                times[name].append(sum(self.step(way, x, cotangent) for _ in range(counts[name])) / counts[name])
        return {name: statistics.median(values) for name, values in times.items()}


def step(way: Way, x: Tensor, cotangent: Tensor) -> None:
    """One training step."""
    way.run(x).backward(cotangent)


def data(shape: Shape) -> tuple[Tensor, Tensor]:
    """Input, and cotangent of the output."""
    steps, batch, features, hidden = shape
    return torch.randn(steps, batch, features).requires_grad_(), torch.randn(steps, batch, hidden)


def race(name: str, clock: Clock) -> None:
    """All shapes of one race."""
    chosen, ratios = RACES[name], []
    show(f"{name}: training step over that of {', or of '.join(chosen.rivals)}")
    for shape, target in zip(SHAPES, chosen.targets, strict=False):
        if shape[3] not in clock.hidden:
            continue
        progress(f"{name} {shape}")
        makers = {OWN: chosen.own, **chosen.rivals}
        seconds = clock.medians(shape, {way: make(*shape[2:]) for way, make in makers.items()})
        ratios.append(seconds[OWN] / min(seconds[rival] for rival in chosen.rivals))
        shown = ", ".join(f"{way} {1e3 * value:.2f}" for way, value in seconds.items())
        what = f"  {shape!s:>20}, ms: {shown}; ratio"
        if target is None:
            show(f"{what}: {ratios[-1]:.3g}")
        else:
            judge(what, ratios[-1], target)
    if len(ratios) == len(SHAPES):
        judge("  geometric mean", statistics.geometric_mean(ratios), MEAN_OF_LSTM)


def memory(clock: Clock) -> None:
    """Peaks of the derived LSTM in both modes over that of torch.nn.LSTM, and the time of one mode over the other's."""
    show("memory: peak of a training step over that of nn.LSTM")
    makers = {"nn.LSTM": module(nn.LSTM), "store": module(LSTM), "chunk": module(partial(LSTM, memory="chunk"))}
    for shape in (shape for shape in SHAPES if shape[3] in clock.hidden):
        progress(f"memory {shape}")
        x, cotangent = data(shape)
        ways = {name: make(*shape[2:]) for name, make in makers.items()}
        peaks = {}
        for name, way in ways.items():
            clock.step(way, x, cotangent)
            for value in (x, *way.parameters):
                value.grad = None
            peaks[name] = peak_bytes(partial(step, way, x, cotangent))
        shown = ", ".join(f"{name} {value / 2**20:.2f}" for name, value in peaks.items())
        returned = 4 * sum(value.numel() for value in (x, cotangent, *ways["store"].parameters))
        show(f"  {shape!s:>20}, gradients and output alone: {returned / peaks['nn.LSTM']:.3g}")
        judge(f"  {shape!s:>20}, MiB: {shown}; store", peaks["store"] / peaks["nn.LSTM"], STORE_MEMORY)
        judge(f"  {shape!s:>20}, chunk", peaks["chunk"] / peaks["nn.LSTM"], CHUNK_MEMORY)
        seconds = clock.medians(shape, {name: ways[name] for name in ("store", "chunk")})
        judge(f"  {shape!s:>20}, chunk: time over store's", seconds["chunk"] / seconds["store"], CHUNK_TIME)


def growth(clock: Clock) -> None:
    """Time of one step of the recurrence in a long sequence over that in a short one."""
    show("growth: LSTM, time per step of the sequence at T = 4096 over T = 256")
    for batch, size in ((16, 64), (1, 64)):
        found = {}
        for steps in (256, 4096):
            progress(f"growth T={steps}, B={batch}")
            way = module(LSTM)(size, size)
            found[steps] = clock.medians((steps, batch, size, size), {OWN: way})[OWN] / steps
        judge(f"  B, I, H = {batch}, {size}, {size}", found[4096] / found[256], GROWTH)


PARTS: dict[str, Callable[[Clock], None]] = {
    **{name: partial(race, name) for name in RACES},
    "memory": memory,
    "growth": growth,
}


def main() -> None:
    """Read the command line and run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts (default all)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each way (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    sizes = sorted({shape[3] for shape in SHAPES})
    parser.add_argument(
        "--hidden", nargs="+", type=int, choices=sizes, default=sizes, help="hidden units (default all)"
    )
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of the process, not of the clock")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    show(f"torch {torch.__version__}, {given.threads} threads, median of {given.rounds} interleaved runs; (T, B, I, H)")
    clock = Clock(time.process_time if given.cpu_time else time.perf_counter, given.rounds, frozenset(given.hidden))
    for name in given.only:
        PARTS[name](clock)


if __name__ == "__main__":
    main()
