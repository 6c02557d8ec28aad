"""RevNet with 1000 layers: streams rebuilt by the inverse against plain autograd, in time, kept bytes and accuracy.

    python -m benchmarks.revnet [--depth 1000] [--rounds 5] [--seconds 120] [--threads 2]

Width 64, batch 256, float32, tanh blocks, h = 1/depth. A step is forward and backward with all gradients, those of
both inputs included; the modes are interleaved and the median counts. Kept bytes are those that the
forward leaves allocated, its outputs included; they are also given for a tenth of the depth. The reconstruction
error is that of the initial streams, run forward and back by `inverse`, relative to their norm. A figure is met when it
is at most 1.1 times its target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.memory_modes import (
    block,
    interleaved,
    judge,
    kept_bytes,
    largest_difference,
    options,
    progress,
    show,
    training_step,
)
from generated.revnet import RevNet

PLAIN = "autograd"
MODES = (PLAIN, "store", "recompute", "checkpoint", "invert")
WIDTH, BATCH = 64, 256
TIME_TARGET, RECONSTRUCTION_TARGET, GROWTH_TARGET = 1.25, 1e-6, 1.0


def net(mode: str, depth: int) -> RevNet:
    """The net of one memory mode, or the plain form that autograd differentiates; all have the same parameters."""
    torch.manual_seed(0)
    options = {"gradient": "autograd"} if mode == PLAIN else {"memory": mode}
    return RevNet([(block(WIDTH), block(WIDTH)) for _ in range(depth)], step_size=1.0 / depth, **options)


def streams(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, WIDTH, generator=generator, dtype=dtype).requires_grad_() for _ in range(2)]


def gradients(mode: str, depth: int, dtype: torch.dtype) -> list[Tensor]:
    """Of the inputs and all parameters, in float64."""
    module = net(mode, depth).to(dtype)
    inputs = [x.detach().to(dtype).requires_grad_() for x in streams()]
    sum(output.sin().sum() for output in module(*inputs)).backward()
    return [x.grad.double() for x in (*inputs, *module.parameters())]


def reconstruction_error(depth: int) -> float:
    """Largest norm-relative difference of the initial streams and what `inverse` makes of the last ones."""
    module, inputs = net("invert", depth), [x.detach() for x in streams()]
    with torch.no_grad():
        return largest_difference(module.inverse(*module(*inputs)), inputs)


def measure(depth: int, rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds of every mode."""
    nets = {mode: net(mode, depth) for mode in MODES}
    inputs, cotangents = streams(), [torch.randn(BATCH, WIDTH) for _ in range(2)]
    steps = {mode: lambda module=module: training_step(module, inputs, cotangents) for mode, module in nets.items()}
    return interleaved(steps, rounds, seconds)


def main() -> None:
    given = options(__doc__)
    seconds = measure(given.depth, given.rounds, given.seconds)
    show(f"{'memory':10} {'MiB':>7} {'MiB at a tenth':>14} {'ms':>7} {'of autograd':>11}")
    growth = 1.0
    for mode, value in seconds.items():
        kept, shallow = (kept_bytes(net(mode, depth), streams()) for depth in (given.depth, given.depth // 10))
        growth = kept / shallow
        shown = f"{kept / 2**20:7.1f} {shallow / 2**20:14.1f}"
        show(f"{mode:10} {shown} {1e3 * value:7.0f} {value / seconds[PLAIN]:11.2f}")
    judge("invert, time of autograd", seconds["invert"] / seconds[PLAIN], TIME_TARGET)
    judge("invert, kept bytes at full depth of those at a tenth", growth, GROWTH_TARGET)
    judge("reconstruction, float32", reconstruction_error(given.depth), RECONSTRUCTION_TARGET)
    progress("gradients in float64")
    expected = gradients(PLAIN, given.depth, torch.float64)
    exact, single = (
        largest_difference(gradients("invert", given.depth, dtype), expected)
        for dtype in (torch.float64, torch.float32)
    )
    show(f"invert, gradients against autograd in float64: {exact:.1e} (float64), {single:.1e} (float32)")


if __name__ == "__main__":
    main()
