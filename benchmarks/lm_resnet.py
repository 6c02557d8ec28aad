"""LMResNet with 1000 layers: what each memory mode keeps for the backward pass, and what it costs in time.

    python -m benchmarks.lm_resnet [--depth 1000] [--rounds 5] [--seconds 120] [--threads 2]

Width 64, batch 256, float32, tanh blocks without buffers or dropout, h = 1/depth, k = 0.9, and 1/2 for memory="exact"
(other weights p/q of it are in the rows below). A step is forward and backward with all gradients, that of the input
included; the modes are interleaved and the median counts. Kept bytes are those that the forward leaves allocated,
its output included; they are given as a part of the bytes of the N+1 states. A figure is met when
it is at most 1.1 times its target.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.memory_modes import (
    block,
    interleaved,
    judge,
    kept_bytes,
    largest_difference,
    options,
    show,
    training_step,
)
from generated.lm_resnet import LMResNet

PLAIN = "autograd"
EXACT = "exact"
WEIGHTS = dict.fromkeys((PLAIN, "store", "recompute", "checkpoint", "invert"), 0.9)
WEIGHTS |= {EXACT: 0.5, "exact 9/10": 0.9, "exact 7/16": 7 / 16}
WIDTH, BATCH = 64, 256
EXACT_MEMORY_TARGET, EXACT_TIME_TARGET, EXACT_FORWARD_TARGET = 1 / 16, 2.0, 1e-5
MEMORY_TARGET, TIME_TARGET, GRADIENT_TARGET = 0.15, 1.5, 1e-12


def net(mode: str, depth: int, plain: bool = False) -> LMResNet:
    """The net of one memory mode, or its plain form, which autograd differentiates; all have the same blocks."""
    torch.manual_seed(0)
    memory = "store" if mode == PLAIN else EXACT if mode.startswith(EXACT) else mode
    gradient = "autograd" if plain or mode == PLAIN else "derived"
    blocks = [block(WIDTH) for _ in range(depth)]
    return LMResNet(blocks, k=WEIGHTS[mode], step_size=1.0 / depth, memory=memory, gradient=gradient)


def gradients(mode: str, depth: int, plain: bool) -> list[Tensor]:
    """Of the input and all parameters, in float64."""
    module = net(mode, depth, plain).double()
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    module(x).sin().sum().backward()
    return [x.grad, *(parameter.grad for parameter in module.parameters())]


def gradient_error(mode: str, depth: int) -> float:
    """Largest norm-relative difference of derived gradients and those of autograd, in float64."""
    return largest_difference(gradients(mode, depth, plain=False), gradients(mode, depth, plain=True))


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


def measure(depth: int, rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds of every mode."""
    nets = {mode: net(mode, depth) for mode in WEIGHTS}
    inputs, cotangents = [torch.randn(BATCH, WIDTH).requires_grad_()], [torch.randn(BATCH, WIDTH)]
    steps = {mode: lambda module=module: training_step(module, inputs, cotangents) for mode, module in nets.items()}
    return interleaved(steps, rounds, seconds)


def main() -> None:
    given = options(__doc__)
    states = (given.depth + 1) * BATCH * WIDTH * torch.get_default_dtype().itemsize
    show(f"the {given.depth + 1} states: {states / 2**20:.1f} MiB")
    seconds = measure(given.depth, given.rounds, given.seconds)
    show(f"{'memory':10} {'MiB':>7} {'of states':>9} {'ms':>7} {'of store':>8} {'error of gradients':>18}")
    kept = {}
    for mode, value in seconds.items():
        kept[mode] = kept_bytes(net(mode, given.depth), [torch.randn(BATCH, WIDTH).requires_grad_()])
        error = "" if mode == PLAIN else f"{gradient_error(mode, given.depth):18.1e}"
        share, cost = kept[mode] / states, value / seconds["store"]
        show(f"{mode:10} {kept[mode] / 2**20:7.1f} {share:9.3f} {1e3 * value:7.0f} {cost:8.2f} {error}".rstrip())
    judge("invert, kept bytes of the states", kept["invert"] / states, MEMORY_TARGET)
    judge("invert, time of store", seconds["invert"] / seconds["store"], TIME_TARGET)
    judge("exact, kept bytes of the states", kept[EXACT] / states, EXACT_MEMORY_TARGET)
    judge("exact, time of store", seconds[EXACT] / seconds["store"], EXACT_TIME_TARGET)
    judge("exact, output in float32 against float64", forward_error(given.depth), EXACT_FORWARD_TARGET)
    judge("exact, largest difference of a rebuilt state", reconstruction_error(given.depth), 0.0)
    judge("derived gradient against autograd, float64", gradient_error("store", given.depth), GRADIENT_TARGET)


if __name__ == "__main__":
    main()
