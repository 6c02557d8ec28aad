"""LMResNet with 1000 layers: what each memory mode keeps for the backward pass, and what it costs in time.

    python benchmarks/lm_resnet.py [--depth 1000] [--rounds 5] [--threads 2]

Width 64, batch 256, float32, tanh blocks without buffers or dropout, h = 1/depth, k = 0.9, and 1/2 for memory="exact"
(other weights p/q of it are in the rows below). A step is forward and backward with all gradients, that of the input
included; the modes are interleaved and the median counts. Kept bytes are those of all tensors that autograd holds after
the forward, besides parameters and input; they are given as a part of the bytes of the N+1 states. A figure is met when
it is at most 1.1 times its target.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from generated.lm_resnet import LMResNet

PLAIN = "autograd"
EXACT = "exact"
WEIGHTS = dict.fromkeys((PLAIN, "store", "recompute", "checkpoint", "invert"), 0.9)
WEIGHTS |= {EXACT: 0.5, "exact 9/10": 0.9, "exact 7/16": 7 / 16}
WIDTH, BATCH = 64, 256
SLACK = 1.1
EXACT_MEMORY_TARGET, EXACT_TIME_TARGET, EXACT_FORWARD_TARGET = 1 / 16, 2.0, 1e-5
MEMORY_TARGET, TIME_TARGET, GRADIENT_TARGET = 0.15, 1.5, 1e-12


class Kept:
    """A tensor that autograd holds; it can be referred to weakly, so that what is let go again is not counted."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


def net(mode: str, depth: int, plain: bool = False) -> LMResNet:
    """The net of one memory mode, or its plain form, which autograd differentiates; all have the same blocks."""
    torch.manual_seed(0)
    memory = "store" if mode == PLAIN else EXACT if mode.startswith(EXACT) else mode
    gradient = "autograd" if plain or mode == PLAIN else "derived"
    blocks = [block() for _ in range(depth)]
    return LMResNet(blocks, k=WEIGHTS[mode], step_size=1.0 / depth, memory=memory, gradient=gradient)


def step(module: LMResNet, x: Tensor, cotangent: Tensor) -> float:
    """Seconds of one training step."""
    x.grad = None
    module.zero_grad()
    start = time.perf_counter()
    module(x).backward(cotangent)
    return time.perf_counter() - start


def kept_bytes(module: LMResNet, x: Tensor) -> int:
    """Bytes that the forward keeps for the backward, besides the parameters and the input."""
    given = {value.untyped_storage().data_ptr() for value in (x, *module.parameters())}
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(value: Tensor) -> Kept:
        kept = Kept(value.detach())
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        output = module(x)
    storages = {kept.value.untyped_storage().data_ptr(): kept.value.untyped_storage().nbytes() for kept in alive}
    del output
    return sum(size for place, size in storages.items() if place not in given)


def gradient_error(mode: str, depth: int) -> float:
    """Largest norm-relative difference of derived gradients and those of autograd, in float64."""
    found = []
    for plain in (False, True):
        module = net(mode, depth, plain).double()
        x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x.requires_grad_()
        module(x).sin().sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in module.parameters())])
    pairs = zip(*found, strict=True)
    return max(float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)) for a, b in pairs)


def reconstruction_error(depth: int) -> float:
    """Largest difference of a state that memory="exact" has rebuilt and the same state in the forward pass."""
    module, seen, errors = net(EXACT, depth), [], []
    split = module.rules.exact

    def rest(field: Any, state: Any, local: Any, shared: Any) -> Tensor:
        if torch.is_tensor(output):
            errors.append(float((state[0] - seen.pop()).abs().max()))
        else:
            seen.append(state[0])
        return split.rest(field, state, local, shared)

    output: Tensor | None = None
    module.rules = module.rules._replace(exact=split._replace(rest=rest))
    output = module(torch.randn(BATCH, WIDTH))
    output.sum().backward()
    assert len(errors) == depth - 1
    return max(errors)


def forward_error(depth: int) -> float:
    """Largest difference of the outputs of memory="exact" in float32 and of the plain steps in float64, relative."""
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net(EXACT, depth, plain=True).double()(x.double())
    return float((net(EXACT, depth)(x).detach() - expected).abs().max() / expected.abs().max())


def measure(depth: int, rounds: int) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds and kept bytes of every mode."""
    nets = {mode: net(mode, depth) for mode in WEIGHTS}
    x, cotangent = torch.randn(BATCH, WIDTH).requires_grad_(), torch.randn(BATCH, WIDTH)
    kept = {mode: kept_bytes(module, x) for mode, module in nets.items()}
    seconds: dict[str, list[float]] = {mode: [] for mode in nets}
    for turn in range(rounds + 1):
        for mode, module in nets.items():
            value = step(module, x, cotangent)
            if turn:
                seconds[mode].append(value)
    return {mode: statistics.median(values) for mode, values in seconds.items()}, kept


def judged(value: float, target: float) -> str:
    return f"target {target:g}: {'met' if value <= SLACK * target else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=1000, help="layers (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each mode (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds, kept = measure(options.depth, options.rounds)
    states = (options.depth + 1) * BATCH * WIDTH * torch.get_default_dtype().itemsize
    print(f"torch {torch.__version__}, {options.threads} threads, depth {options.depth}, median of {options.rounds}")
    print(f"the {options.depth + 1} states: {states / 2**20:.1f} MiB")
    print(f"{'memory':10} {'MiB':>7} {'of states':>9} {'ms':>7} {'of store':>8} {'error of gradients':>18}")
    for mode, value in seconds.items():
        error = "" if mode == PLAIN else f"{gradient_error(mode, options.depth):18.1e}"
        share, cost = kept[mode] / states, value / seconds["store"]
        print(f"{mode:10} {kept[mode] / 2**20:7.1f} {share:9.3f} {1e3 * value:7.0f} {cost:8.2f} {error}".rstrip())
    memory, cost = kept["invert"] / states, seconds["invert"] / seconds["store"]
    print(f"invert, kept bytes of the states: {memory:.3f}, {judged(memory, MEMORY_TARGET)}")
    print(f"invert, time of store: {cost:.2f}, {judged(cost, TIME_TARGET)}")
    memory, cost = kept[EXACT] / states, seconds[EXACT] / seconds["store"]
    print(f"exact, kept bytes of the states: {memory:.3f}, {judged(memory, EXACT_MEMORY_TARGET)}")
    print(f"exact, time of store: {cost:.2f}, {judged(cost, EXACT_TIME_TARGET)}")
    error = forward_error(options.depth)
    print(f"exact, output in float32 against float64: {error:.1e}, {judged(error, EXACT_FORWARD_TARGET)}")
    error = reconstruction_error(options.depth)
    print(f"exact, largest difference of a rebuilt state: {error:g}, {judged(error, 0.0)}")
    error = gradient_error("store", options.depth)
    print(f"derived gradient against autograd, float64: {error:.1e}, {judged(error, GRADIENT_TARGET)}")


if __name__ == "__main__":
    main()
