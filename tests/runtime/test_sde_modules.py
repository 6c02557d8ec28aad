"""Modules of stochastic differential equations: paths, orders, moments, gradients, and what they refuse."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from torch import nn

from codegen.runtime.stochastic import Correction, Diffusion, brownian_increments
from derive.stochastic.orders import stochastic_orders
from generated.langevin_flow import LangevinFlow
from generated.neural_sde import NeuralSDE

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
NOISES = ("diagonal", "scalar", "additive", "general")
CALCULI = ("ito", "stratonovich")
MODES = ("store", "recompute", "checkpoint")
SCHEMES = ("euler_maruyama", "milstein", "heun")


class Net(nn.Module):
    """A network of time and state, with a value of any shape."""

    def __init__(self, dim, shape, hidden=5, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.shape = shape
        self.lift, self.drop = nn.Linear(dim + 1, hidden), nn.Linear(hidden, math.prod(shape))
        self.double()

    def forward(self, t, x):
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 1)
        return self.drop(torch.tanh(self.lift(torch.cat((x, t), -1)))).unflatten(-1, self.shape)


class Linear(nn.Module):
    """Every component times a number."""

    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, t, x):
        return self.slope * x


class Constant(nn.Module):
    """A number in every component."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, t, x):
        return self.value + torch.zeros_like(x)


def shape_of(noise, dim):
    return {"diagonal": (dim,), "scalar": (dim, 1)}.get(noise, (dim, 2))


class Blind(Net):
    """A network of the time alone."""

    def forward(self, t, x):
        return super().forward(t, torch.zeros_like(x))


def net_pair(noise, dim=3):
    kind = Blind if noise == "additive" else Net
    return Net(dim, (dim,), seed=1), kind(dim, shape_of(noise, dim), seed=2)


def batch(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("noise", NOISES)
def test_one_seed_gives_one_path_however_many_steps(noise):
    x = batch(4, 3)
    paths = []
    for steps in (6, 12, 24, 96):
        net = NeuralSDE(*net_pair(noise), steps=steps, noise=noise, t1=2.0)
        increments = net.draw(x, seeded())
        assert increments.shape == (steps, 4, {"diagonal": 3, "scalar": 1}.get(noise, 2))
        paths.append(increments.reshape(6, steps // 6, *increments.shape[1:]).sum(1))
    for path in paths[1:]:
        torch.testing.assert_close(path, paths[0], rtol=1e-12, atol=1e-12)
    torch.manual_seed(3)
    first = NeuralSDE(*net_pair(noise), steps=2, noise=noise).draw(x).sum(0)
    torch.manual_seed(3)
    torch.testing.assert_close(NeuralSDE(*net_pair(noise), steps=8, noise=noise).draw(x).sum(0), first)


@pytest.mark.parametrize("steps", [1, 3, 8, 12, 20])
def test_increments_are_independent_normal_numbers(steps):
    count = 200_000
    found = brownian_increments(steps, (count,), dtype=torch.float64, generator=seeded())
    covariance = found @ found.mT / count
    wanted = torch.eye(steps, dtype=torch.float64) / steps
    spread = 1 / steps / math.sqrt(count)  # of the products; of squares it is sqrt(2) times that
    assert (covariance - wanted).abs().max() < 5 * math.sqrt(2) * spread
    assert found.mean(1).abs().max() < 5 / math.sqrt(steps * count)


@pytest.mark.parametrize(("scheme", "calculus"), [*product(SCHEMES, CALCULI)])
def test_strong_order_of_a_geometric_brownian_motion(scheme, calculus):
    a, b, count = 0.4, 0.5, 4000
    x = torch.ones(count, 1, dtype=torch.float64)
    rate = a - b * b / 2 if calculus == "ito" else a
    errors = []
    for steps in (32, 64, 128, 256):
        net = NeuralSDE(Linear(a), Linear(b), steps=steps, scheme=scheme, calculus=calculus)
        increments = net.draw(x, seeded(5))
        with torch.no_grad():
            errors.append(float((net(x, increments) - torch.exp(rate + b * increments.sum(0))).square().mean().sqrt()))
    slopes = [math.log2(big / small) for big, small in pairwise(errors)]
    assert sum(slopes) / len(slopes) == pytest.approx(float(stochastic_orders(scheme).strong["diagonal"]), abs=0.1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_additive_noise_has_strong_order_one(scheme):
    """Ornstein-Uhlenbeck against its solution on the same path, whose integral is summed on a much finer grid."""
    rate, sigma, count, finest = 1.0, 0.8, 2000, 2048
    x = torch.ones(count, 1, dtype=torch.float64)
    fine = brownian_increments(finest, (count, 1), dtype=torch.float64, generator=seeded(9))
    times = torch.arange(finest, dtype=torch.float64) / finest
    exact = math.exp(-rate) * x + sigma * (torch.exp(-rate * (1 - times))[:, None, None] * fine).sum(0)
    errors = []
    for steps in (8, 16, 32):
        net = NeuralSDE(Linear(-rate), Constant(sigma), steps=steps, scheme=scheme)
        with torch.no_grad():
            errors.append(float((net(x, generator=seeded(9)) - exact).square().mean().sqrt()))
    slopes = [math.log2(big / small) for big, small in pairwise(errors)]
    assert sum(slopes) / len(slopes) == pytest.approx(1.0, abs=0.1)


def test_moments_of_an_ornstein_uhlenbeck_process():
    """Mean and variance of Euler-Maruyama are known exactly; a sample is within five standard errors."""
    rate, sigma, steps, count = 1.3, 0.7, 10, 40_000
    x = torch.full((count, 1), 0.9, dtype=torch.float64)
    net = LangevinFlow(Linear(-rate), Constant(sigma), steps=steps)
    with torch.no_grad():
        found = net(x, generator=seeded(11))
    factor, h = 1 - rate / steps, 1 / steps
    mean = factor**steps * 0.9
    variance = sigma**2 * h * (1 - factor ** (2 * steps)) / (1 - factor**2)
    assert float(found.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / count))
    assert float(found.var()) == pytest.approx(variance, abs=5 * variance * math.sqrt(2 / count))


def test_langevin_dynamics_keep_their_stationary_density():
    """F = -grad L, G = sqrt(2): a sample of exp(-L) stays one, to the order of the step; L = x^2/2 + x^4/4."""
    grid = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    density = torch.exp(-(grid**2 / 2 + grid**4 / 4))
    cumulative = torch.cumsum(density, 0) / density.sum()
    count = 40_000
    uniform = torch.rand(count, dtype=torch.float64, generator=seeded(13))
    x = grid[torch.searchsorted(cumulative, uniform).clamp(max=len(grid) - 1)][:, None]
    net = LangevinFlow(lambda t, z: -z - z**3, lambda t, z: math.sqrt(2) + 0 * z, steps=200, t1=1.0, scheme="heun")
    with torch.no_grad():
        found = net(x, generator=seeded(17))
    for power in (2, 4):
        exact = float((grid**power * density).sum() / density.sum())
        spread = float((grid ** (2 * power) * density).sum() / density.sum() - exact**2) ** 0.5
        assert float((found**power).mean()) == pytest.approx(exact, abs=5 * spread / math.sqrt(count))


@pytest.mark.parametrize("noise", NOISES)
def test_calculi_agree_where_the_correction_is_added_by_hand(noise):
    """Ito's equation with f is Stratonovich's with f - c, step by step, for every scheme."""
    drift, diffusion = net_pair(noise)
    x = batch(4, 3)
    correction = Correction(Diffusion("test", noise, diffusion))

    def converted(t, z):
        return drift(t, z) - (correction(t, z) if noise != "additive" else 0)

    for scheme in SCHEMES:
        ito = NeuralSDE(drift, diffusion, steps=5, noise=noise, scheme=scheme)
        other = NeuralSDE(converted, diffusion, steps=5, noise=noise, calculus="stratonovich", scheme=scheme)
        increments = ito.draw(x, seeded())
        torch.testing.assert_close(ito(x, increments), other(x, increments), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", ["diagonal", "scalar", "general"])
def test_correction_against_the_whole_jacobian(noise):
    """1/2 sum_jk (d g_ij / d x_k) g_kj, the matrix g of any noise with its columns."""
    _, diffusion = net_pair(noise)
    net = Correction(Diffusion("test", noise, diffusion))
    x = batch(3)

    def matrix(z):
        value = diffusion(0.3, z)
        return torch.diag(value) if noise == "diagonal" else value

    jacobian = torch.autograd.functional.jacobian(matrix, x)
    wanted = 0.5 * torch.einsum("ijk,kj->i", jacobian, matrix(x))
    torch.testing.assert_close(net(0.3, x), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("noise", "scheme", "memory"), [*product(NOISES, SCHEMES, MODES)])
def test_gradients_are_those_of_autograd(noise, scheme, memory):
    drift, diffusion = net_pair(noise)
    t0, t1 = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 1.1))
    x = batch(4, 3).requires_grad_()
    found = []
    for gradient in ("derived", "autograd"):
        net = NeuralSDE(
            drift, diffusion, steps=6, t0=t0, t1=t1, noise=noise, scheme=scheme, memory=memory, gradient=gradient
        )
        increments = net.draw(x.detach(), seeded()).detach().requires_grad_()
        loss = torch.sin(net.trajectory(x, increments)).sum()
        leaves = [x, increments, t0, t1, *net.parameters()]
        found.append(torch.autograd.grad(loss, leaves, allow_unused=True))
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_second_derivatives_and_per_sample_gradients(scheme):
    net = NeuralSDE(*net_pair("general"), steps=3, noise="general", calculus="stratonovich", scheme=scheme)
    x = batch(2, 3)
    increments = net.draw(x, seeded())

    def value(z, w):
        return torch.sin(net(z, w)).sum()

    assert torch.autograd.gradgradcheck(value, (x.clone().requires_grad_(), increments.clone().requires_grad_()))
    slopes = torch.func.vmap(torch.func.grad(value), in_dims=(0, 1))(x, increments)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(value(leaf, increments), leaf)
    torch.testing.assert_close(slopes, wanted, rtol=1e-12, atol=1e-13)


def test_gradients_of_the_noise_reach_times_through_a_generator():
    t1 = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x = batch(5, 2)
    net = NeuralSDE(Linear(0.0), Constant(1.0), steps=4, t1=t1)
    net(x, generator=seeded()).sum().backward()
    with torch.no_grad():
        moved = NeuralSDE(Linear(0.0), Constant(1.0), steps=4)(x, generator=seeded()) - x
    assert float(t1.grad) == pytest.approx(float(moved.sum()) / 2, rel=1e-12)  # of sqrt(t1) W


def test_plain_functions_with_parameters_of_their_own():
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    net = NeuralSDE(lambda x: -scale * x, lambda t, x: scale * x, steps=4, scheme="milstein", calculus="stratonovich")
    net(batch(3, 2), generator=seeded()).sum().backward()
    assert scale.grad is not None and float(scale.grad) != 0
    recomputed = NeuralSDE(lambda x: -scale * x, lambda t, x: scale * x, steps=4, memory="recompute")
    with pytest.raises(ValueError, match="plain function that uses tensors needing gradients"):
        recomputed(batch(3, 2).requires_grad_(), generator=seeded())


def test_float32_and_an_unbatched_state():
    drift, diffusion = (net.float() for net in net_pair("diagonal"))
    net = NeuralSDE(drift, diffusion, steps=4)
    assert net(torch.zeros(3), generator=seeded()).dtype == torch.float32
    assert net.trajectory(torch.zeros(3)).shape == (5, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps=0; allowed: a whole number, 1 or more"),
        ({"t1": 0.0}, ValueError, "t0=0, t1=0; allowed: t1 after t0"),
        ({"t0": 2.0}, ValueError, "t0=2, t1=1; allowed: t1 after t0"),
        ({"noise": "diagnal"}, ValueError, "did you mean 'diagonal'"),
        ({"calculus": "Ito"}, ValueError, "calculus='Ito'; allowed: 'ito', 'stratonovich'"),
        ({"scheme": "milstien"}, ValueError, "did you mean 'milstein'"),
        ({"memory": "invert"}, ValueError, "memory='invert'; allowed"),
        ({"drift": 3}, TypeError, "drift is 3 of type int; allowed: an nn.Module or a function"),
        ({"diffusion": lambda t, x, y: x}, TypeError, r"diffusion takes 3 required arguments"),
    ],
)
def test_bad_arguments(options, error, message):
    drift, diffusion = Linear(1.0), Linear(1.0)
    given = {"drift": drift, "diffusion": diffusion, "steps": 2, **options}
    with pytest.raises(error, match=message):
        NeuralSDE(given.pop("drift"), given.pop("diffusion"), **given)


@pytest.mark.parametrize(
    ("noise", "value", "message"),
    [
        ("diagonal", lambda x: x[..., :2], r"returned shape \(4, 2\); .*\(..., d\).*: axis 1 has size 2, wanted 3"),
        ("scalar", lambda x: x, r"allowed where noise='scalar': \(..., d, 1\).*read 2 axes, wanted 3"),
        ("scalar", lambda x: x[..., None].expand(*x.shape, 2), r"axis 2 has size 2, wanted 1"),
        ("general", lambda x: x, r"allowed where noise='general': \(..., d, m\).*read 2 axes, wanted 3"),
        ("general", lambda x: x[..., :2, None], r"axis 1 has size 2, wanted 3"),
        ("diagonal", lambda x: 1.0, "returned a float"),
    ],
)
def test_a_diffusion_of_the_wrong_shape(noise, value, message):
    net = NeuralSDE(Linear(1.0), lambda t, x: value(x), steps=2, noise=noise)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        net(batch(4, 3))


def test_additive_noise_that_reads_the_state_is_refused():
    drift, diffusion = Net(3, (3,)), Net(3, (3, 2), seed=4)
    net, x = NeuralSDE(drift, diffusion, steps=3, noise="additive"), batch(4, 3)
    for increments in (None, torch.zeros(3, 4, 2, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"with noise='additive' diffusion\(t0, x\) .* or noise='general'"):
            net(x, increments)
    blind = NeuralSDE(drift, Blind(3, (3, 2)), steps=3, noise="additive")
    increments = blind.draw(x, seeded())
    mapped = torch.vmap(blind, (0, 1))(x, increments)  # where it is not asked
    torch.testing.assert_close(mapped, blind(x, increments), rtol=1e-12, atol=1e-12)


def test_bad_increments_and_results_that_are_not_finite():
    net = NeuralSDE(Linear(1.0), Linear(1.0), steps=3)
    x = batch(4, 2)
    with pytest.raises(ValueError, match=r"allowed: \(steps, ..., m\) = \(3, 4, 2\): axis 0 of size 3, read size 5"):
        net(x, batch(5, 4, 2))
    with pytest.raises(ValueError, match="3 axes, read 2"):
        net(x, batch(3, 2))
    with pytest.raises(TypeError, match=r"increments: read dtype torch.float32; allowed"):
        net(x, torch.zeros(3, 4, 2))
    with pytest.raises(RuntimeError, match="step 1"):
        increments = torch.zeros(3, 4, 2, dtype=torch.float64)
        increments[1] = math.inf
        net(x, increments)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("noise", "value", "message"),
    [
        ("scalar", (4, 3), r"returned shape \(4, 3\); allowed where noise='scalar': \(\.\.\., d, 1\)"),
        ("scalar", (4, 3, 2), r"returned shape \(4, 3, 2\); .*axis 2 has size 2, wanted 1"),
        ("diagonal", (4, 1), r"returned shape \(4, 1\); allowed where noise='diagonal': \(\.\.\., d\)"),
        ("general", (4, 3), r"returned shape \(4, 3\); allowed where noise='general': \(\.\.\., d, m\)"),
        ("diagonal", None, "returned a float; allowed where"),
    ],
)
def test_a_diffusion_of_the_wrong_shape_is_one_message(noise, value, message, scheme):
    def diffusion(t, x):
        return 3.0 if value is None else torch.ones(value)

    net = NeuralSDE(lambda t, x: -x, diffusion, steps=2, noise=noise, scheme=scheme)
    with pytest.raises(ValueError, match=message) as caught:
        net(torch.ones(4, 3))
    assert str(caught.value).count("NeuralSDE") == 1 and "block" not in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_initial_times_may_be_mapped_over(scheme):
    torch.manual_seed(3)
    x, increments = torch.randn(4, 3, dtype=torch.float64), 0.3 * torch.randn(5, 4, 3, dtype=torch.float64)

    def ends_at(t0):
        net = NeuralSDE(lambda t, x: t * torch.tanh(x), lambda t, x: 0.3 * torch.cos(x), t0=t0, t1=1.0, steps=5,
                        scheme=scheme, check_finite=False)  # fmt: skip
        return net(x, increments)

    times = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(ends_at)(times), torch.stack([ends_at(t) for t in times]))
    slope = torch.func.grad(lambda t: ends_at(t).sum())
    torch.testing.assert_close(torch.func.vmap(slope)(times), torch.stack([slope(t) for t in times]))
    with pytest.raises(ValueError, match="t0=1, t1=1; allowed: t1 after t0"):
        ends_at(torch.tensor(1.0))
