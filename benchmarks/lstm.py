"""Training step of the derived peephole LSTM against the best loops that one can write by hand.

    python -m benchmarks.lstm [--rounds 7] [--threads 2] [--size 64]

A step is forward and backward with all gradients, that of the input included, in float32. All variants run in one
process, interleaved; a ratio is the derived median over the better of the two hand-written loops' medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from generated.lstm_peephole import LSTMPeephole

TARGETS = {(100, 64, 512, 512): 0.9, (100, 32, 128, 128): 0.75, (200, 16, 64, 64): 0.5, (50, 1, 64, 64): 0.4}


def hand_written(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> Tensor:
    """The usual good loop: one product for all inputs, `unbind`, four gates in one product."""
    steps = torch.nn.functional.linear(x, weight_ih, bias).unbind(0)
    weight_ci, weight_cf, weight_co = weight_ch.unbind(0)
    weight_hh_t = weight_hh.t()
    output: list[Tensor] = []
    for a in steps:
        i, f, g, o = torch.addmm(a, h, weight_hh_t).chunk(4, 1)
        i = torch.sigmoid(i + weight_ci * c)
        f = torch.sigmoid(f + weight_cf * c)
        c = f * c + i * torch.tanh(g)
        o = torch.sigmoid(o + weight_co * c)
        h = o * torch.tanh(c)
        output.append(h)
    return torch.stack(output)


RUN_SECONDS = 0.1  # one run: consecutive steps of one variant for about so long


@dataclass(frozen=True)
class Contestant:
    """One way to compute the output from x, and its parameters."""

    run: Callable[[Tensor], Tensor]
    parameters: list[Tensor]


def contestants(size: tuple[int, int, int, int]) -> dict[str, Contestant]:
    _, batch, features, hidden = size
    zero = torch.zeros(batch, hidden)
    own = LSTMPeephole(features, hidden)
    modules: dict[str, nn.Module] = {
        "derived": own,
        "chunk": LSTMPeephole(features, hidden, memory="chunk"),
        "nn.LSTM": nn.LSTM(features, hidden),
    }
    found = {}
    for name, module in modules.items():
        found[name] = Contestant(partial(output_of, module), list(module.parameters()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loops: dict[str, Callable[..., Tensor]] = {"hand": hand_written, "script": torch.jit.script(hand_written)}
    weights = [parameter for name, parameter in own.named_parameters() if name != "bias_hh_l0"]
    for name, loop in loops.items():
        values = [weight.detach().clone().requires_grad_() for weight in weights]
        found[name] = Contestant(partial(output_of_loop, loop, zero, values), values)
    return found


def output_of(module: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = module(x)[0]
    return output


def output_of_loop(loop: Callable[..., Tensor], zero: Tensor, values: list[Tensor], x: Tensor) -> Tensor:
    return loop(x, zero, zero, *values)


def run(contestant: Contestant, x: Tensor, cotangent: Tensor, count: int) -> float:
    """Seconds per training step, over consecutive steps of one variant as in training."""
    return sum(step(contestant, x, cotangent) for _ in range(count)) / count


def step(contestant: Contestant, x: Tensor, cotangent: Tensor) -> float:
    """Seconds of one training step."""
    for value in (x, *contestant.parameters):
        value.grad = None
    start = time.perf_counter()
    contestant.run(x).backward(cotangent)
    return time.perf_counter() - start


def saved_bytes(contestant: Contestant, x: Tensor) -> int:
    """Bytes that the forward keeps for the backward, besides the parameters and the input."""
    given = {value.untyped_storage().data_ptr() for value in (x, *contestant.parameters)}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        output = contestant.run(x)
    del output
    return sum(kept.values())


def measure(size: tuple[int, int, int, int], rounds: int) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds and saved bytes of every variant."""
    torch.manual_seed(0)
    steps, batch, features, hidden = size
    x = torch.randn(steps, batch, features).requires_grad_()
    cotangent = torch.randn(steps, batch, hidden)
    field = contestants(size)
    warm = {name: [step(contestant, x, cotangent) for _ in range(3)] for name, contestant in field.items()}
    counts = {name: max(1, round(RUN_SECONDS / min(seconds))) for name, seconds in warm.items()}
    times: dict[str, list[float]] = {name: [] for name in field}
    for _ in range(rounds):
        for name, contestant in field.items():
            times[name].append(run(contestant, x, cotangent, counts[name]))
    memory = {name: saved_bytes(contestant, x) for name, contestant in field.items()}
    return {name: statistics.median(values) for name, values in times.items()}, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved runs of each variant (default 7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--size", type=int, help="only the shapes with this hidden size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} threads, median of {options.rounds} interleaved runs; "
        "ms per step; (T, B, I, H)"
    )
    print(f"{'shape':>20} {'hand':>7} {'script':>7} {'nn.LSTM':>8} {'derived':>8} {'chunk':>7}", end="")
    print(f" {'ratio':>6} {'target':>7} {'':7} {'saved MB: nn.LSTM, store, chunk':>32}")
    for size, target in TARGETS.items():
        if options.size not in (None, size[3]):
            continue
        seconds, memory = measure(size, options.rounds)
        ratio = seconds["derived"] / min(seconds["hand"], seconds["script"])
        verdict = "met" if ratio <= 1.1 * target else "missed"
        shown = {name: f"{1e3 * value:.1f}" for name, value in seconds.items()}
        print(f"{size!s:>20} {shown['hand']:>7} {shown['script']:>7} {shown['nn.LSTM']:>8}", end="")
        print(f" {shown['derived']:>8} {shown['chunk']:>7} {ratio:6.2f} {target:7.2f} {verdict:7}", end="")
        print("".join(f"{memory[name] / 2**20:11.2f}" for name in ("nn.LSTM", "derived", "chunk")))


if __name__ == "__main__":
    main()
