"""RevNet with 1000 layers: streams rebuilt by the inverse against plain autograd, in time, kept bytes and accuracy.

    python benchmarks/revnet.py [--depth 1000] [--rounds 5] [--threads 2]

Width 64, batch 256, float32, tanh blocks, h = 1/depth. A step is forward and backward with all gradients, those of
both inputs included; the modes are interleaved and the median counts. Kept bytes are those of all tensors that autograd
holds after the forward, besides parameters and inputs; they are also given for a tenth of the depth. The reconstruction
error is that of the initial streams, run forward and back by `inverse`, relative to their norm. A figure is met when it
is at most 1.1 times its target.
"""

from __future__ import annotations

import argparse
import statistics
import time
import weakref

import torch
from torch import Tensor, nn

from generated.revnet import RevNet

MODES = ("store", "recompute", "checkpoint", "invert")
PLAIN = "autograd"
WIDTH, BATCH = 64, 256
SLACK = 1.1
TIME_TARGET, RECONSTRUCTION_TARGET, GROWTH_TARGET = 1.25, 1e-6, 1.0


class Kept:
    """A tensor that autograd holds; it can be referred to weakly, so that what is let go again is not counted."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


def net(mode: str, depth: int) -> RevNet:
    """The net of one memory mode, or the plain form that autograd differentiates; all have the same parameters."""
    torch.manual_seed(0)
    options = {"gradient": "autograd"} if mode == PLAIN else {"memory": mode}
    return RevNet([(block(), block()) for _ in range(depth)], step_size=1.0 / depth, **options)


def streams(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, WIDTH, generator=generator, dtype=dtype).requires_grad_() for _ in range(2)]


def step(module: RevNet, inputs: list[Tensor], cotangents: list[Tensor]) -> float:
    """Seconds of one training step."""
    for x in inputs:
        x.grad = None
    module.zero_grad()
    start = time.perf_counter()
    torch.autograd.backward(module(*inputs), cotangents)
    return time.perf_counter() - start


def kept_bytes(mode: str, depth: int) -> int:
    """Bytes that the forward keeps for the backward, besides the parameters and the inputs."""
    module, inputs = net(mode, depth), streams()
    given = {value.untyped_storage().data_ptr() for value in (*inputs, *module.parameters())}
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(value: Tensor) -> Kept:
        kept = Kept(value.detach())
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        outputs = module(*inputs)
    storages = {kept.value.untyped_storage().data_ptr(): kept.value.untyped_storage().nbytes() for kept in alive}
    del outputs
    return sum(size for place, size in storages.items() if place not in given)


def gradient_error(mode: str, depth: int, dtype: torch.dtype) -> float:
    """Largest norm-relative difference of derived gradients and those of autograd in float64."""
    found = []
    for one, kind in ((mode, dtype), (PLAIN, torch.float64)):
        module = net(one, depth).to(kind)
        inputs = [x.detach().to(kind).requires_grad_() for x in streams()]
        sum(output.sin().sum() for output in module(*inputs)).backward()
        found.append([x.grad.double() for x in (*inputs, *module.parameters())])
    pairs = zip(*found, strict=True)
    return max(float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)) for a, b in pairs)


def reconstruction_error(depth: int) -> float:
    """Largest norm-relative difference of the initial streams and what `inverse` makes of the last ones."""
    module, inputs = net("invert", depth), [x.detach() for x in streams()]
    with torch.no_grad():
        back = module.inverse(*module(*inputs))
    return max(float((a - b).norm() / b.norm()) for a, b in zip(back, inputs, strict=True))


def measure(depth: int, rounds: int) -> dict[str, float]:
    """Median seconds of every mode."""
    nets = {mode: net(mode, depth) for mode in (PLAIN, *MODES)}
    inputs, cotangents = streams(), [torch.randn(BATCH, WIDTH) for _ in range(2)]
    seconds: dict[str, list[float]] = {mode: [] for mode in nets}
    for turn in range(rounds + 1):
        for mode, module in nets.items():
            value = step(module, inputs, cotangents)
            if turn:
                seconds[mode].append(value)
    return {mode: statistics.median(values) for mode, values in seconds.items()}


def judged(value: float, target: float) -> str:
    return f"target {target:g}: {'met' if value <= SLACK * target else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=1000, help="layers (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each mode (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = measure(options.depth, options.rounds)
    kept = {mode: kept_bytes(mode, options.depth) for mode in seconds}
    shallow = {mode: kept_bytes(mode, options.depth // 10) for mode in seconds}
    print(f"torch {torch.__version__}, {options.threads} threads, depth {options.depth}, median of {options.rounds}")
    print(f"{'memory':10} {'MiB':>7} {'MiB at a tenth':>14} {'ms':>7} {'of autograd':>11}")
    for mode, value in seconds.items():
        shown = f"{kept[mode] / 2**20:7.1f} {shallow[mode] / 2**20:14.1f}"
        print(f"{mode:10} {shown} {1e3 * value:7.0f} {value / seconds[PLAIN]:11.2f}")
    cost, growth = seconds["invert"] / seconds[PLAIN], kept["invert"] / shallow["invert"]
    print(f"invert, time of autograd: {cost:.2f}, {judged(cost, TIME_TARGET)}")
    print(f"invert, kept bytes at full depth of those at a tenth: {growth:.2f}, {judged(growth, GROWTH_TARGET)}")
    error = reconstruction_error(options.depth)
    print(f"reconstruction, float32: {error:.1e}, {judged(error, RECONSTRUCTION_TARGET)}")
    exact, single = (gradient_error("invert", options.depth, dtype) for dtype in (torch.float64, torch.float32))
    print(f"invert, gradients against autograd in float64: {exact:.1e} (float64), {single:.1e} (float32)")


if __name__ == "__main__":
    main()
