"""Training steps of derived integrators against torchdiffeq's `rk4`, which is the 3/8 rule: `rk38` here.

    python -m benchmarks.integrators [--rounds 5] [--threads 2] [--only mlp|module|system]

A step is forward and backward with all gradients, that of the initial state included, in float32. All variants run in
one process, interleaved; a ratio is that of medians. Memory is the peak of torch's allocations above the level at entry
during one step. Three groups: an MLP spelled as matvec and tanh in a spec, the same MLP passed in as an nn.Module, and
systems with 1000 steps. A figure is met when it is at most 1.1 times its target.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torchdiffeq
from torch import Tensor, nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Network, Spec, load, matvec, parameter, state, tanh

SLACK = 1.1
GRADIENT_TARGET = 1e-12
MLP_STEPS, SYSTEM_STEPS = 40, 1000
MLPS = ((2, 64, 256), (64, 64, 128))  # features, hidden units, batch


@dataclass(frozen=True)
class Contestant:
    """One way to the final state, and its parameters."""

    run: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...]


@dataclass(frozen=True)
class Race:
    """A derived module beside torchdiffeq, and the targets of time and memory (0: not measured)."""

    name: str
    derived: Contestant
    other: Contestant
    x: Tensor
    targets: tuple[float, float]


def emitted(spec: Spec, scheme: str) -> Any:
    return load_text(emit(spec, scheme)).Module


def mlp_spec() -> Spec:
    x = state("x", "d")
    weights = [parameter(f"W_{n}", shape) for n, shape in enumerate((("p", "d"), ("q", "p"), ("d", "q")), 1)]
    biases = [parameter(f"b_{n}", size) for n, size in enumerate("pqd", 1)]
    hidden = tanh(matvec(weights[0], x) + biases[0])
    hidden = tanh(matvec(weights[1], hidden) + biases[1])
    field = matvec(weights[2], hidden) + biases[2]
    return Spec(id="mlp", class_name="MLP", title="two hidden layers", system=ODE((x,), (field,)), scheme="rk4")


def network_spec() -> Spec:
    x = state("x", "d")
    system = ODE((x,), (Network("f")(x),))
    return Spec(id="integrator", class_name="Integrator", title="any field", system=system, scheme="rk4")


def lorenz_spec() -> Spec:
    x, y, z = (state(name, ()) for name in "xyz")
    sigma, rho, beta = (parameter(name) for name in ("sigma", "rho", "beta"))
    system = ODE((x, y, z), (sigma * (y - x), x * (rho - z) - y, x * y - beta * z))
    defaults = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}
    return Spec(id="lorenz", class_name="Lorenz", title="Lorenz", system=system, scheme="rk4", defaults=defaults)


class Timeless(nn.Module):
    """A field of the state as torchdiffeq calls it."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        value: Tensor = self.field(x)
        return value


class LorenzField(nn.Module):
    """As one writes it by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.tensor([10.0, 28.0, 8 / 3]))

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        sigma, rho, beta = self.rates.unbind()
        return torch.stack((sigma * (y - x), x * (rho - z) - y, x * y - beta * z), -1)


class HopfieldField(nn.Module):
    """As one writes it by hand."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size, size) / size**0.5)
        self.theta, self.inputs = nn.Parameter(torch.randn(size)), nn.Parameter(torch.randn(size))
        self.tau = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return (torch.sigmoid(x - self.theta) @ self.w + self.inputs - x) / self.tau


def by_torchdiffeq(field: nn.Module, steps: int, t1: float) -> Contestant:
    times, options = torch.tensor([0.0, t1]), {"step_size": t1 / steps}

    def run(x: Tensor) -> Tensor:
        path: Tensor = torchdiffeq.odeint(field, x, times, method="rk4", options=options)
        return path[-1]

    return Contestant(run, tuple(field.parameters()))


def mlp(features: int, hidden: int) -> nn.Sequential:
    torch.manual_seed(0)
    sizes = ((features, hidden), (hidden, hidden), (hidden, features))
    first, second, third = (nn.Linear(*size) for size in sizes)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third)


def spelled(kind: Any, network: nn.Sequential, **options: Any) -> nn.Module:
    """The written-out MLP with the numbers of a network."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    named = {f"W_{n}": layer.weight.detach() for n, layer in enumerate(layers, 1)}
    named |= {f"b_{n}": layer.bias.detach() for n, layer in enumerate(layers, 1)}
    module: nn.Module = kind(**named, steps=MLP_STEPS, **options)
    return module


def of_module(module: nn.Module) -> Contestant:
    return Contestant(module, tuple(module.parameters()))


def mlp_races() -> Iterator[Race]:
    kind = emitted(mlp_spec(), "rk38")
    for features, hidden, batch in MLPS:
        network = mlp(features, hidden)
        other = by_torchdiffeq(Timeless(network), MLP_STEPS, 1.0)
        x = torch.randn(batch, features).requires_grad_()
        name = f"field in the spec, {features}-{hidden}-{hidden}-{features}, batch {batch}"
        yield Race(name, of_module(spelled(kind, network)), other, x, (0.6, 0.15))


def module_races() -> Iterator[Race]:
    kind = emitted(network_spec(), "rk38")
    for features, hidden, batch in MLPS:
        network = mlp(features, hidden)
        other = by_torchdiffeq(Timeless(network), MLP_STEPS, 1.0)
        x = torch.randn(batch, features).requires_grad_()
        for memory, targets in (("store", (0.85, 1.0)), ("recompute", (1.3, 0.15))):
            module = kind(network, steps=MLP_STEPS, memory=memory)
            name = f"nn.Module, {features}-{hidden}-{hidden}-{features}, batch {batch}, {memory}"
            yield Race(name, of_module(module), other, x, targets)


def system_races() -> Iterator[Race]:
    lorenz, hopfield = emitted(lorenz_spec(), "rk38"), emitted(load("ctrnn_hopfield"), "rk38")
    for batch in (1, 1024):
        x = torch.randn(batch, 3).requires_grad_()
        other = by_torchdiffeq(LorenzField(), SYSTEM_STEPS, 1.0)
        yield Race(f"Lorenz, batch {batch}", of_module(lorenz(steps=SYSTEM_STEPS)), other, x, (0.45, 0.0))
    for batch in (1, 1024):
        field = HopfieldField(50)
        numbers = {"w": field.w, "theta": field.theta, "I": field.inputs, "tau": field.tau}
        module = hopfield(**{name: value.detach() for name, value in numbers.items()}, steps=SYSTEM_STEPS, t1=10.0)
        x = torch.randn(batch, 50).requires_grad_()
        yield Race(
            f"CTRNN, 50 units, batch {batch}", of_module(module), by_torchdiffeq(field, SYSTEM_STEPS, 10.0), x,
            (0.45, 0.0),
        )  # fmt: skip


def step(contestant: Contestant, x: Tensor) -> float:
    """Seconds of one training step."""
    for tensor in (x, *contestant.parameters):
        tensor.grad = None
    start = time.perf_counter()
    contestant.run(x).sin().sum().backward()
    return time.perf_counter() - start


def peak(contestant: Contestant, x: Tensor) -> int:
    """Largest sum of torch's allocations during one step, above that at its begin."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step(contestant, x)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        highest = max(highest, level)
    return highest


def judged(value: float, target: float) -> str:
    return f"{value:6.2f} (target {target:g}: {'met' if value <= SLACK * target else 'MISSED'})"


def report(race: Race, rounds: int) -> None:
    """One line: the ratio of times, and that of memory where there is a target."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for contestant, found in zip((race.derived, race.other), seconds, strict=True):
            value = step(contestant, race.x)
            if turn:
                found.append(value)
    own, other = map(statistics.median, seconds)
    time_target, memory_target = race.targets
    print(f"{race.name:52} {1e3 * own:8.1f} {1e3 * other:8.1f}  time {judged(own / other, time_target)}", end="")
    if memory_target:
        memory = peak(race.derived, race.x) / peak(race.other, race.x)
        print(f"  memory {judged(memory, memory_target)}", end="")
    print(flush=True)


def gradient_error() -> float:
    """Largest norm-relative difference between derived gradients and autograd through the same steps, in float64."""
    kind, worst = emitted(mlp_spec(), "rk38"), 0.0
    for features, hidden, batch in MLPS:
        found = []
        for gradient in ("derived", "autograd"):
            module = spelled(kind, mlp(features, hidden), gradient=gradient).double()
            x = torch.randn(batch, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            x.requires_grad_()
            module(x).sin().sum().backward()
            found.append([x.grad, *(parameter.grad for parameter in module.parameters())])
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True)]
        worst = max(worst, *errors)
    return worst


RACES: dict[str, Callable[[], Iterator[Race]]] = {"mlp": mlp_races, "module": module_races, "system": system_races}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each variant (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--only", choices=RACES, help="one group of the three")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, median of {options.rounds}; ms derived, torchdiffeq")
    for name, races in RACES.items():
        if options.only in (None, name):
            for race in races():
                report(race, options.rounds)
    error = gradient_error()
    print(f"derived gradient against autograd of the same steps, float64: {error:.1e}, ", end="")
    print(f"target {GRADIENT_TARGET:g}: {'met' if error <= GRADIENT_TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
