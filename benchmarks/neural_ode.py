"""Training steps of adaptive neural ODEs against torchdiffeq's `odeint` and `odeint_adjoint` with dopri5.

    python -m benchmarks.neural_ode [--rounds 5] [--threads 2] [--t1 1.0] [--rtol 1e-5]

A step is forward and backward with all gradients, that of the initial state included, in float32, with the same
tolerances and the same network: an MLP spelled as matvec and tanh in a spec, and the same one passed in as a module.
All variants run in one process, interleaved; a ratio is that of medians. Memory is the peak of torch's allocations
above the level at entry during one step. Errors of gradients are against dopri8 in float64 with rtol 1e-10. A figure is
met when it is at most 1.1 times its target. `--cpu-time` counts the seconds of the process, where others run beside it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchdiffeq
from torch import Tensor, nn

from benchmarks.integrators import mlp_spec
from benchmarks.memory_modes import peak_bytes
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Adaptive, Spec, load

SLACK = 1.1
MLPS = ((2, 64, 256), (64, 64, 128))  # features, hidden units, batch
TIMES = {"spec": (0.45, 0.17), "module": (0.8, 0.35)}  # against odeint, against odeint_adjoint
MEMORY, ERROR, OUTPUTS, EXACT = 2.0, 0.6, 1.2, 1e-12


class Net(nn.Module):
    """The network as torchdiffeq wants it."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        layers = [nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, features))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """At any time."""
        value: Tensor = self.layers(x)
        return value


@dataclass(frozen=True)
class Runner:
    """A way to the final state: what it learns, in the order of the network's parameters, and how it is called."""

    parameters: Sequence[Tensor]
    run: Callable[[Tensor], Tensor]


def written_module(net: Net, **options: Any) -> nn.Module:
    """The same network as a spec."""
    source = mlp_spec()
    assert isinstance(source.system, ODE)
    spec = Spec(id="mlp", class_name="MLP", title=source.title, system=Adaptive(source.system))
    linear = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    given = {f"W_{n}": one.weight.detach().clone() for n, one in enumerate(linear, 1)}
    given |= {f"b_{n}": one.bias.detach().clone() for n, one in enumerate(linear, 1)}
    module: nn.Module = load_text(emit(spec)).Module(**given, **options)
    return module


def in_order(module: nn.Module) -> list[Tensor]:
    """Parameters of the written field as those of the network."""
    return [module.get_parameter(f"field.{letter}_{n}") for n in (1, 2, 3) for letter in "Wb"]


def runners(net: Net, options: Mapping[str, float], t1: float) -> dict[str, Runner]:
    """All ways, by name."""
    times = torch.tensor([0.0, t1])
    spec = written_module(net, t1=t1, **options)
    module = load_text(emit(load("neural_ode"))).Module(net.layers, t1=t1, **options)
    own = list(net.parameters())
    return {
        "spec": Runner(in_order(spec), spec),
        "module": Runner(own, module),
        "odeint": Runner(own, lambda x: torchdiffeq.odeint(net, x, times, method="dopri5", **options)[-1]),
        "odeint_adjoint": Runner(
            own, lambda x: torchdiffeq.odeint_adjoint(net, x, times, method="dopri5", **options)[-1]
        ),
    }


def step(runner: Runner, x: Tensor) -> list[Tensor]:
    """All gradients of a nonlinear functional of the last state."""
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(runner.run(x).sin().mean(), [x, *runner.parameters]))


def seconds(runner: Runner, x: Tensor, clock: Callable[[], float]) -> float:
    """Of one step."""
    start = clock()
    step(runner, x)
    return clock() - start


def judge(what: str, value: float, target: float) -> None:
    """Print a figure with its target."""
    met = "met" if value <= SLACK * target else "MISSED"
    print(f"  {what:<58} {value:9.3g}   target {target:g}: {met}", flush=True)


def race(features: int, hidden: int, batch: int, given: argparse.Namespace) -> None:
    """One network: times, memory, errors of gradients."""
    torch.manual_seed(0)
    net, x = Net(features, hidden), torch.randn(batch, features)
    options = {"rtol": given.rtol, "atol": given.rtol}
    ways, clock = runners(net, options, given.t1), time.process_time if given.cpu_time else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):
        for name, way in ways.items():
            value = seconds(way, x, clock)
            found[name] += [value] * bool(turn)
    medians = {name: statistics.median(values) for name, values in found.items()}
    memory = {name: peak_bytes(partial(step, way, x)) for name, way in ways.items()}
    double = copy.deepcopy(net).double()
    ends = torch.tensor([0.0, given.t1], dtype=torch.float64)
    tight = {"method": "dopri8", "rtol": 1e-10, "atol": 1e-12}
    exact = Runner(list(double.parameters()), lambda z: torchdiffeq.odeint(double, z, ends, **tight)[-1])
    expected = step(exact, x.double())
    errors = {name: gap(step(way, x), expected) for name, way in ways.items()}
    print(f"MLP {features}-{hidden}-{hidden}-{features}, batch {batch}, rtol {given.rtol:g}", flush=True)
    for name in ways:
        shown = f"{1e3 * medians[name]:8.2f} ms  {memory[name] / 1e6:6.2f} MB  gradient error {errors[name]:.1e}"
        print(f"  {name:<16}{shown}", flush=True)
    for name, (against, adjoint) in TIMES.items():
        judge(f"{name}: time vs odeint", medians[name] / medians["odeint"], against)
        judge(f"{name}: time vs odeint_adjoint", medians[name] / medians["odeint_adjoint"], adjoint)
        judge(f"{name}: memory vs odeint_adjoint", memory[name] / memory["odeint_adjoint"], MEMORY)
        judge(f"{name}: gradient error vs odeint_adjoint", errors[name] / errors["odeint_adjoint"], ERROR)


def gap(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm-relative difference of all gradients together."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    above = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((above / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)


def same_steps() -> None:
    """Discrete adjoint against autograd through the same accepted steps, in float64."""
    torch.manual_seed(0)
    net, x = Net(2, 64).double(), torch.randn(16, 2, dtype=torch.float64)
    kind = load_text(emit(load("neural_ode"))).Module
    own = list(net.parameters())
    found = [step(Runner(own, kind(net, gradient=gradient)), x) for gradient in ("derived", "autograd")]
    judge("discrete adjoint against autograd, float64", gap(*found), EXACT)


def output_peak(module: Any, own: Sequence[Tensor], x: Tensor, count: int) -> int:
    """Peak bytes of a step with so many outputs, less what they and their cotangent take."""
    times, weight = torch.linspace(0.0, 1.0, count), torch.ones(count, *x.shape)

    def one_step() -> Any:
        return torch.autograd.grad(module.trajectory(x.requires_grad_(), times), [x, *own], weight)

    return peak_bytes(one_step) - weight.numel() * 4


def many_outputs() -> None:
    """Peak memory of a step with 1000 output times, less the outputs and their cotangent, over that with 2."""
    torch.manual_seed(0)
    net, x = Net(2, 64), torch.randn(256, 2)
    module = load_text(emit(load("neural_ode"))).Module(net.layers, rtol=1e-5, atol=1e-5)
    own = list(net.parameters())
    peaks = [output_peak(module, own, x, count) for count in (2, 1000)]
    judge("peak memory with 1000 outputs over 2, outputs apart", peaks[1] / peaks[0], OUTPUTS)


def main() -> None:
    """Read the command line and run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each way (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--t1", type=float, default=1.0, help="end of the interval from 0 (default 1)")
    parser.add_argument("--rtol", type=float, default=1e-5, help="both tolerances (default 1e-5)")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of the process, not of the clock")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.threads} threads", flush=True)
    for sizes in MLPS:
        race(*sizes, given)
    same_steps()
    many_outputs()


if __name__ == "__main__":
    main()
