"""What the benchmarks of memory modes share: interleaved steps within a time budget, and the bytes that are kept."""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

SLACK = 1.1  # a figure is met when it is at most this much above its target


def options(description: str | None) -> argparse.Namespace:
    """Read the command line, set the threads and print what is measured where."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=1000, help="layers (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each mode (default 5)")
    parser.add_argument("--seconds", type=float, default=120, help="no new round after these (default 120)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    show(f"torch {torch.__version__}, {found.threads} threads, depth {found.depth}")
    return found


def show(line: str) -> None:
    """Print at once: a run that is stopped has shown what it found."""
    print(line, flush=True)


def progress(line: str) -> None:
    """Say on the error stream what goes on."""
    print(f"  [{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def block(width: int) -> nn.Module:
    """One tanh layer."""
    return nn.Sequential(nn.Linear(width, width), nn.Tanh())


def training_step(module: nn.Module, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> float:
    """Seconds of forward and backward with all gradients."""
    for x in inputs:
        x.grad = None
    module.zero_grad()
    start = time.perf_counter()
    output = module(*inputs)
    torch.autograd.backward(output if isinstance(output, tuple) else (output,), list(cotangents))
    return time.perf_counter() - start


def interleaved(modes: Mapping[str, Callable[[], float]], rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds of every mode, after a round that does not count; fewer rounds where the time is used up."""
    found: dict[str, list[float]] = {mode: [] for mode in modes}
    start = time.perf_counter()
    for turn in range(rounds + 1):
        if turn > 1 and time.perf_counter() - start > seconds:
            break
        progress(f"round {turn} of {rounds}")
        for mode, step in modes.items():
            value = step()
            if turn:
                found[mode].append(value)
    show(f"median of {len(next(iter(found.values())))} interleaved rounds")
    return {mode: statistics.median(values) for mode, values in found.items()}


def kept_bytes(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Bytes that the forward leaves allocated for the backward, its output included."""
    module(*inputs)  # what is made once and stays
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        output: Any = module(*inputs)
    del output
    return sum(event.self_cpu_memory_usage for event in profiler.events())


def peak_bytes(action: Callable[[], Any]) -> int:
    """Largest sum of torch's allocations above the level at entry."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = action()
    del kept
    level = peak = 0
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak


def largest_difference(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Largest norm-relative difference of pairs of tensors."""
    pairs = zip(found, expected, strict=True)
    return max(float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)) for a, b in pairs)


def judge(what: str, value: float, target: float) -> None:
    """Print a figure with its target."""
    show(f"{what}: {value:.3g}, target {target:g}: {'met' if value <= SLACK * target else 'MISSED'}")
