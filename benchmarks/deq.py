"""DEQ: its gradient against a dense solve, Broyden's method on affine maps, and a training step beside plain autograd.

    python -m benchmarks.deq [--rounds 5] [--threads 2]

The gradient (float64, residual 1e-12, 8 samples of 64 components) is compared with a solve with the dense (I - J)^T at
the same state. Affine maps of every dimension to 20 have random matrices of spectral radius 2 or so, 10 of each, with
8 samples each; a step count includes no evaluation of the start. The training step is that of tanh(W z + U x + b),
width 256, batch 128, float32, with all gradients, against autograd through as many plain iterations as reach the same
tolerance; modes are interleaved and the median counts. A figure is met when it is at most 1.1 times its target.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from torch import Tensor, nn

from benchmarks.memory_modes import interleaved, judge, kept_bytes, largest_difference, progress, show, training_step
from generated.deq import DEQ

GRADIENT_TARGET, STEPS_TARGET = 1e-9, 1.0
LARGEST, MAPS, SAMPLES = 20, 10, 8
WIDTH, BATCH = 256, 128
SOLVERS = ("broyden", "anderson", "picard")


class Layer(nn.Module):
    """tanh(W z + U x + b), a contraction by about `reach`."""

    def __init__(self, width: int, reach: float) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        nn.init.normal_(self.W.weight, std=reach / width**0.5)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.W(z) + self.U(x))


class Affine(nn.Module):
    """J z + x."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.J = nn.Parameter(matrix)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return z @ self.J.mT + x


class Unrolled(nn.Module):
    """Plain iterations, differentiated by autograd."""

    def __init__(self, cell: nn.Module, steps: int) -> None:
        super().__init__()
        self.cell, self.steps = cell, steps

    def forward(self, x: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        for _ in range(self.steps):
            z = self.cell(z, x)
        return z


def gradient_error(solver: str) -> float:
    """Norm-relative difference of all gradients from those of a dense solve."""
    torch.manual_seed(0)
    net = DEQ(Layer(64, 0.9), solver=solver, tol=1e-12, max_iter=400).double()
    x = torch.randn(8, 64, dtype=torch.float64, requires_grad=True)
    z = net(x)
    tensors = [x, *net.parameters()]
    found = torch.autograd.grad(z.sin().sum(), tensors)
    at = z.detach()
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda v, n=n: net.cell(v, x[n].detach()), at[n]) for n in range(8)]
    )
    multiplier = torch.linalg.solve(torch.eye(64, dtype=torch.float64) - jacobian.mT, at.cos())
    expected = torch.autograd.grad(net.cell(at, x), tensors, multiplier)
    show(f"  {solver}: {int(net.info.iterations.max())} steps, residual {float(net.info.residual.max()):.1e}")
    return largest_difference(found, expected)


def share_of_steps(scale: float) -> tuple[float, float]:
    """The largest number of steps over 2n of affine maps, and the share of samples that need more than 2n."""
    most, over, count = 0.0, 0, 0
    for size in range(1, LARGEST + 1):
        for seed in range(MAPS):
            torch.manual_seed(seed)
            matrix = scale * torch.randn(size, size, dtype=torch.float64) / size**0.5
            net = DEQ(Affine(matrix), tol=1e-10, max_iter=4 * size + 5)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("error")
                net(torch.randn(SAMPLES, size, dtype=torch.float64))
            steps = net.info.iterations
            most, count = max(most, int(steps.max()) / (2 * size)), count + len(steps)
            over += int((steps > 2 * size).sum())
    return most, over / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each mode (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    show(f"torch {torch.__version__}, {given.threads} threads")
    for solver in SOLVERS:
        judge(f"gradient against a dense solve, {solver}", gradient_error(solver), GRADIENT_TARGET)
    progress("affine maps")
    for scale in (0.5, 2.0):
        most, over = share_of_steps(scale)
        judge(f"steps over 2n on affine maps, spectral radius {scale:g} or so", most, STEPS_TARGET)
        show(f"  {100 * over:.2f} % of the samples need more than 2n")
    x, cotangent = torch.randn(BATCH, WIDTH, requires_grad=True), torch.randn(BATCH, WIDTH)
    cell = Layer(WIDTH, 0.8)
    nets: dict[str, nn.Module] = {solver: DEQ(cell, solver=solver, on_failure="raise") for solver in SOLVERS}
    nets["picard"](x)
    steps = int(nets["picard"].info.iterations.max())
    nets["autograd"] = Unrolled(cell, steps)
    timed = {name: lambda net=net: training_step(net, [x], [cotangent]) for name, net in nets.items()}
    seconds = interleaved(timed, given.rounds, 60)
    show(f"{'':10} {'steps':>6} {'ms':>7} {'of autograd':>12} {'kept MiB':>9}")
    for name, net in nets.items():
        count = int(net.info.iterations.max()) if isinstance(net, DEQ) else steps
        kept = kept_bytes(net, [x]) / 2**20
        show(f"{name:10} {count:6} {1e3 * seconds[name]:7.1f} {seconds[name] / seconds['autograd']:12.2f} {kept:9.2f}")


if __name__ == "__main__":
    main()
