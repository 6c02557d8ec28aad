"""Training step of the derived feed-forward net against the same net out of torch.nn's layers.

    python -m benchmarks.dnn [--rounds 21] [--threads 2]

A step is forward and backward with the gradients of all parameters, in float32. All variants run in one process,
interleaved; a ratio is a median over the median of torch.nn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from generated.dnn import DNN

SIZES = (([64, 256, 256, 64], 256), ([8, 32, 32, 8], 64), ([64] * 20, 256))
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
WARM_UP = 3


def torch_net(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers with an activation between them."""
    parts: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        parts += [nn.Linear(size_in, size_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*parts[:-1])


def seconds(net: nn.Module, x: Tensor) -> float:
    """Duration of one training step."""
    net.zero_grad()
    start = time.perf_counter()
    net(x).square().sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Print one line per size and activation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for sizes, batch in SIZES:
        for activation in ACTIVATIONS:
            x = torch.randn(batch, sizes[0])
            forms = [DNN(sizes, activation=activation, gradient=form) for form in ("derived", "autograd")]
            nets: list[nn.Module] = [*forms, torch_net(sizes, activation)]
            runs = [[seconds(net, x) for net in nets] for _ in range(WARM_UP + arguments.rounds)][WARM_UP:]
            derived, plain, usual = (statistics.median(times) for times in zip(*runs, strict=True))
            size = f"{len(sizes) - 1} layers of {max(sizes)}, batch {batch}, {activation}"
            print(f"{size:42} derived {derived / usual:.2f}  autograd {plain / usual:.2f}  of {usual * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
