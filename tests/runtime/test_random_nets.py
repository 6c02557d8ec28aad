"""Random residual nets: draws, their shapes and their generator, spared blocks, the reverse sweep of Shake-Shake."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated.dropout_sde import DropoutSDE
from generated.gaussian_noise_injection import GaussianNoiseNet
from generated.shake_shake import ShakeShake
from generated.stochastic_depth import StochasticDepth
from tests.runtime.networks import tanh_blocks

torch.set_num_threads(1)
DOUBLE = torch.float64
DEPTH, WIDTH = 4, 3
MEMORY = ["store", "recompute", "checkpoint"]
SURVIVAL = (0.9, 0.8, 0.6, 0.5)
Make = Callable[..., Any]


def blocks() -> list[nn.Module]:
    torch.manual_seed(0)
    return tanh_blocks(DEPTH, WIDTH, dtype=DOUBLE)


def pairs() -> list[tuple[nn.Module, nn.Module]]:
    torch.manual_seed(0)
    return list(zip(tanh_blocks(DEPTH, WIDTH, dtype=DOUBLE), tanh_blocks(DEPTH, WIDTH, dtype=DOUBLE), strict=True))


def batch(*shape: int) -> Tensor:
    return torch.randn(*(shape or (5, WIDTH)), generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


def hand_depth(net: Any, x: Tensor, eta: Tensor) -> Tensor:
    for block, draw in zip(net.blocks, eta, strict=True):
        x = x + draw * block(x)
    return x


def hand_inverted(net: Any, x: Tensor, eta: Tensor) -> Tensor:
    for block, draw, p in zip(net.blocks, eta, SURVIVAL, strict=True):
        x = x + draw / p * block(x)
    return x


def hand_shake(net: Any, x: Tensor, eta: Tensor) -> Tensor:
    for (one, two), draw in zip(net.blocks, eta, strict=True):
        x = x + draw * one(x) + (1 - draw) * two(x)
    return x


def hand_noise(net: Any, x: Tensor, z: Tensor) -> Tensor:
    for block, draw in zip(net.blocks, z, strict=True):
        x = x + block(x) + 0.3 * draw
    return x


def hand_dropout(net: Any, x: Tensor, gamma: Tensor) -> Tensor:
    for block, draw, p in zip(net.blocks, gamma, SURVIVAL, strict=True):
        x = x + block(x) * draw / p
    return x


NETS: dict[str, tuple[Make, Callable[..., Tensor]]] = {
    "plain": (lambda **o: StochasticDepth(blocks(), survival=SURVIVAL, **o), hand_depth),
    "inverted": (lambda **o: StochasticDepth(blocks(), survival=SURVIVAL, scaling="inverted", **o), hand_inverted),
    "shake": (lambda **o: ShakeShake(pairs(), **o), hand_shake),
    "noise": (lambda **o: GaussianNoiseNet(blocks(), sigma=0.3, **o), hand_noise),
    "dropout": (lambda **o: DropoutSDE(blocks(), keep=SURVIVAL, **o), hand_dropout),
}
LAYERS = ["plain", "inverted", "shake"]  # with one draw for each sample, or one for each layer


def gradients(output: Tensor, x: Tensor, net: nn.Module) -> list[Tensor | None]:
    weight = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).reshape(output.shape)
    found = torch.autograd.grad((output * weight).sin().sum(), [x, *net.parameters()], allow_unused=True)
    return [output.detach(), *found]


def assert_close(one: list[Tensor | None], other: list[Tensor | None], tol: float = 1e-12) -> None:
    assert [a is None for a in one] == [b is None for b in other]
    for a, b in zip(one, other, strict=True):
        if a is not None and b is not None:
            assert float((a - b).norm() / b.norm().clamp_min(1e-30)) < tol


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("name", NETS)
def test_drawn_nets_are_the_loops_written_by_hand(name: str, memory: str) -> None:
    make, by_hand = NETS[name]
    net, x = make(memory=memory), batch().requires_grad_()
    draws = net.draw(x, generator=torch.Generator().manual_seed(2))
    first = draws[0] if isinstance(draws, tuple) else draws
    expected = gradients(by_hand(net, x, first), x, net)
    assert_close(gradients(net(x, draws=draws), x, net), expected)
    assert_close(gradients(net(x, generator=torch.Generator().manual_seed(2)), x, net), expected)
    torch.testing.assert_close(net.trajectory(x, draws)[-1], expected[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_blocks_of_layers_that_are_left_out_are_not_called(memory: str, gradient: str) -> None:
    net = StochasticDepth(blocks(), survival=0.5, memory=memory, gradient=gradient, per="layer")
    calls: list[int] = []
    for n, block in enumerate(net.blocks):
        block.register_forward_hook(lambda *_, n=n: calls.append(n))
    x, eta = batch().requires_grad_(), torch.tensor([1.0, 0.0, 0.0, 1.0])
    found = gradients(net(x, draws=eta), x, net)
    assert set(calls) == {0, 3}
    assert_close(found, gradients(hand_depth(net, x, eta), x, net)[:2] + found[2:])
    per_block = len(list(net.blocks[0].parameters()))
    of_block = [found[2 + n * per_block : 2 + (n + 1) * per_block] for n in range(DEPTH)]
    assert [all(g is None for g in part) for part in of_block] == [False, True, True, False]
    calls.clear()
    net(x, draws=eta[:, None, None].expand(-1, 5, 1))  # of samples all blocks are needed
    assert set(calls) == {0, 1, 2, 3}


def test_all_blocks_left_out_is_the_identity() -> None:
    net, x = StochasticDepth(blocks(), survival=0.5), batch().requires_grad_()
    output = net(x, draws=torch.zeros(DEPTH))
    (found,) = torch.autograd.grad((2 * output).sum(), x)
    assert torch.equal(output, x) and torch.equal(found, torch.full_like(x, 2.0))


def test_statistics_of_a_block_that_is_left_out_stay() -> None:
    norms = [nn.BatchNorm1d(WIDTH) for _ in range(2)]
    net = StochasticDepth(norms, survival=0.5)
    net(batch().float(), draws=torch.tensor([0.0, 1.0])).sum().backward()
    assert [int(norm.num_batches_tracked) for norm in norms] == [0, 1]


@pytest.mark.parametrize("name", NETS)
def test_evaluation_takes_the_means_and_given_draws_count_always(name: str) -> None:
    make, by_hand = NETS[name]
    net, x = make().eval(), batch()
    means = {"plain": SURVIVAL, "inverted": SURVIVAL, "shake": [0.5] * DEPTH, "noise": [0.0] * DEPTH}
    mean = torch.tensor(means.get(name, SURVIVAL), dtype=DOUBLE)
    torch.testing.assert_close(net(x), by_hand(net, x, mean), rtol=0, atol=1e-14)
    assert torch.equal(net(x), net(x, generator=torch.Generator().manual_seed(0)))
    other = torch.linspace(0.1, 0.4, DEPTH, dtype=DOUBLE)
    torch.testing.assert_close(net(x, draws=other), by_hand(net, x, other), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NETS)
def test_one_generator_gives_the_same_draws_whatever_the_memory(name: str) -> None:
    x, found = batch(), []
    for memory in MEMORY:
        torch.manual_seed(len(found))  # the global generator has no part in it
        before = torch.get_rng_state()
        found.append(NETS[name][0](memory=memory)(x, generator=torch.Generator().manual_seed(5)))
        torch.set_rng_state(before)
    assert all(torch.equal(one, found[0]) for one in found)
    again = NETS[name][0]()(x, generator=torch.Generator().manual_seed(6))
    assert not torch.equal(again, found[0])


def test_draws_come_from_their_laws() -> None:
    """Means and variances within five standard errors of the laws' own."""
    many = 20_000
    x, generator = torch.zeros(many, 2, dtype=DOUBLE), torch.Generator().manual_seed(3)
    eta = StochasticDepth(blocks(), survival=SURVIVAL).draw(x, generator)
    assert eta.shape == (DEPTH, many, 1) and set(eta.unique().tolist()) == {0.0, 1.0}
    for row, p in zip(eta, SURVIVAL, strict=True):
        assert abs(float(row.mean()) - p) < 5 * (p * (1 - p) / many) ** 0.5
    shares = ShakeShake(pairs()).draw(x, generator)[0]
    assert abs(float(shares.mean()) - 0.5) < 5 * (1 / 12 / shares.numel()) ** 0.5
    assert abs(float(shares.var()) - 1 / 12) < 5 * ((1 / 80 - 1 / 144) / shares.numel()) ** 0.5
    z = GaussianNoiseNet(blocks(), sigma=1.0).draw(x, generator)
    assert z.shape == (DEPTH, many, 2)
    assert abs(float(z.mean())) < 5 / z.numel() ** 0.5 and abs(float(z.var()) - 1) < 5 * (2 / z.numel()) ** 0.5
    gamma = DropoutSDE(blocks(), keep=0.3).draw(x, generator)
    assert gamma.shape == z.shape and abs(float(gamma.mean()) - 0.3) < 5 * (0.21 / gamma.numel()) ** 0.5
    assert StochasticDepth(blocks(), survival=0.5, per="layer").draw(x).shape == (DEPTH,)
    assert StochasticDepth(blocks(), survival=0.5).draw(x[0]).shape == (DEPTH,)


def swept_by_hand(net: Any, x: Tensor, eta: Tensor, beta: Tensor, bar: Tensor) -> list[Tensor]:
    """The paper's reverse pass: at the states of the forward shares the transposed Jacobians with other shares."""
    states = [x.detach()]
    for (one, two), draw in zip(net.blocks, eta, strict=True):
        states.append((states[-1] + draw * one(states[-1]) + (1 - draw) * two(states[-1])).detach())
    for n in reversed(range(DEPTH)):
        (one, two), share, leaf = net.blocks[n], beta[n], states[n].clone().requires_grad_()
        pulled = [torch.autograd.grad(f(leaf), leaf, w * bar)[0] for f, w in ((one, share), (two, 1 - share))]
        bar = bar + pulled[0] + pulled[1]
    return [bar]


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_shake_shake_sweeps_back_with_its_own_draws(memory: str, gradient: str) -> None:
    net, x = ShakeShake(pairs(), memory=memory, gradient=gradient), batch().requires_grad_()
    eta, beta = (torch.rand(DEPTH, 5, 1, generator=torch.Generator().manual_seed(n), dtype=DOUBLE) for n in (1, 2))
    bar = torch.linspace(-1, 1, x.numel(), dtype=DOUBLE).reshape(x.shape)
    output = net(x, draws=(eta, beta))
    torch.testing.assert_close(output, hand_shake(net, x, eta), rtol=0, atol=1e-14)
    (found,) = torch.autograd.grad(output, x, bar)
    assert_close([found], list(swept_by_hand(net, x, eta, beta, bar)))
    (plain,) = torch.autograd.grad(hand_shake(net, x, eta), x, bar)
    assert float((found - plain).norm()) > 0.01  # no gradient, and not by accident
    for same in (eta, (eta, eta)):
        (found,) = torch.autograd.grad(net(x, draws=same), x, bar)
        assert_close([found], [plain])


def test_shake_shake_on_average_sweeps_back_with_the_mean_share() -> None:
    """Shares 0 and 1 have the mean of the uniform law, and the sweep is affine in each: the sum over all is exact."""
    net, x = ShakeShake(pairs()), batch().requires_grad_()
    eta = torch.rand(DEPTH, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    ends = [torch.tensor(one, dtype=DOUBLE) for one in itertools.product((0.0, 1.0), repeat=DEPTH)]
    found = [gradients(net(x, draws=(eta, beta)), x, net)[1:] for beta in ends]
    mean = gradients(net(x, draws=(eta, torch.full_like(eta, 0.5))), x, net)[1:]
    assert_close([sum(one) / len(ends) for one in zip(*found, strict=True)], mean)  # type: ignore[arg-type]


def test_independent_draws_of_the_reverse_sweep_are_asked_for() -> None:
    x, generator = batch(), torch.Generator().manual_seed(3)
    eta, beta = ShakeShake(pairs()).draw(x, generator)
    assert eta is beta
    eta, beta = ShakeShake(pairs(), backward="independent").draw(x, generator)
    assert not torch.equal(eta, beta) and eta.shape == beta.shape == (DEPTH, 5, 1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("name", NETS)
def test_transforms(name: str) -> None:
    """Per-sample gradients by vmap, forward mode, second derivatives: all of the net with these draws."""
    net, x = NETS[name][0](), batch()
    draws = net.draw(x, torch.Generator().manual_seed(4))
    first = draws[0] if isinstance(draws, tuple) else draws
    one = first[:, 0] if name not in LAYERS else first[:, 0, 0]

    def scalar(sample: Tensor) -> Tensor:
        return net(sample, draws=one).sin().sum()

    per_sample = torch.func.vmap(torch.func.grad(scalar))(x)
    by_loop = torch.stack([torch.func.grad(scalar)(sample) for sample in x])
    torch.testing.assert_close(per_sample, by_loop, rtol=0, atol=1e-13)
    hessian = torch.func.hessian(scalar)(x[0])
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(scalar, x[0]), rtol=0, atol=1e-12)
    along = torch.func.jvp(scalar, (x[0],), (torch.ones_like(x[0]),))[1]
    torch.testing.assert_close(along, torch.func.grad(scalar)(x[0]).sum(), rtol=0, atol=1e-12)


def test_draws_under_vmap() -> None:
    """Nothing is asked of draws that are batched: all blocks are called."""
    net, x = StochasticDepth(blocks(), survival=0.5), batch()
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=DEPTH)), dtype=DOUBLE)
    found = torch.func.vmap(lambda mask: net(x, draws=mask))(masks)
    torch.testing.assert_close(found, torch.stack([net(x, draws=mask) for mask in masks]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype: torch.dtype) -> None:
    net = StochasticDepth(blocks(), survival=SURVIVAL).to(dtype)
    x = batch().to(dtype).requires_grad_()
    output = net(x)
    output.float().sum().backward()
    assert output.dtype == x.grad.dtype == dtype  # type: ignore[union-attr]


def test_images_and_several_batch_axes() -> None:
    convolutions = [nn.Conv2d(2, 2, 3, padding=1, dtype=DOUBLE) for _ in range(2)]
    x = batch(3, 2, 4, 4)
    for net, shape in (
        (StochasticDepth(convolutions, survival=0.5), (2, 3, 1, 1, 1)),
        (DropoutSDE(convolutions, keep=0.5), (2, 3, 2, 4, 4)),
    ):
        assert net.draw(x).shape == shape
        assert net(x).shape == x.shape
    net = StochasticDepth(blocks(), survival=0.5)
    assert net(batch(3, 5, WIDTH), draws=torch.ones(DEPTH, 3, 5, 1)).shape == (3, 5, WIDTH)


def test_masks_of_other_dtypes_and_copies() -> None:
    net, x = StochasticDepth(blocks(), survival=0.5), batch()
    mask = torch.tensor([True, False, True, True])
    assert torch.equal(net(x, draws=mask), copy.deepcopy(net)(x, draws=mask.int()))
    assert list(net.state_dict()) == [f"blocks.{name}" for name in net.blocks.state_dict()]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StochasticDepth(blocks(), survival=0.0), ValueError, r"survival=0\.0; allowed: a number in \(0, 1\]"),
        (lambda: StochasticDepth(blocks(), survival=(1, 1, 1, 1.5)), ValueError, r"survival=1\.5; allowed: a number"),
        (lambda: StochasticDepth(blocks(), survival=(0.5, 0.5)), ValueError, r"survival has shape \(2,\); .*\(4,\)"),
        (lambda: StochasticDepth(blocks(), survival="half"), TypeError, "survival='half'; allowed: a number in"),
        (lambda: StochasticDepth(blocks(), survival=float("nan")), ValueError, "survival=nan; allowed"),
        (lambda: StochasticDepth(blocks(), survival=0.5, scaling="none"), ValueError, "scaling='none'; allowed: 'pl"),
        (lambda: StochasticDepth(blocks(), survival=0.5, per="batch"), ValueError, "per='batch'; allowed: 'sample'"),
        (lambda: GaussianNoiseNet(blocks(), sigma=-0.1), ValueError, r"sigma=-0\.1; allowed: a number, 0 or more"),
        (lambda: GaussianNoiseNet(blocks(), sigma=float("inf")), ValueError, "sigma=inf; allowed: a number"),
        (lambda: DropoutSDE(blocks(), keep=0), ValueError, r"keep=0\.0; allowed: a number in \(0, 1\]"),
        (lambda: ShakeShake(blocks()), ValueError, r"blocks\[0\] has 3 networks; allowed: .*\(f1, f2\)"),
        (lambda: ShakeShake(pairs(), backward="other"), ValueError, "backward='other'; allowed: 'same'"),
    ],
)
def test_what_constructors_refuse(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "draws", "error", "message"),
    [
        ("plain", torch.ones(3), ValueError, r"draws: eta has shape \(3,\); allowed: \(4,\).* or \(4, 5, 1\)"),
        ("plain", torch.ones(4, 5), ValueError, r"draws: eta has shape \(4, 5\)"),
        ("plain", torch.ones(4, 5, 3), ValueError, r"draws: eta has shape \(4, 5, 3\)"),
        ("plain", torch.ones(4, 2, 1), ValueError, r"draws: eta has shape \(4, 2, 1\)"),
        ("plain", [torch.ones(4), torch.ones(4)], ValueError, "draws has 2 tensors; allowed: eta"),
        ("plain", 0.5, TypeError, "draws: eta is of type float; allowed: a tensor"),
        ("plain", torch.ones(4, requires_grad=True), ValueError, "needs a gradient; allowed: draws without one, or"),
        ("shake", (torch.ones(4), torch.ones(2)), ValueError, r"draws: beta has shape \(2,\)"),
        ("shake", (torch.ones(4),) * 3, ValueError, r"draws has 3 tensors; allowed: \(eta, beta\)"),
        ("noise", torch.ones(4, 5, 2), ValueError, r"draws: z has shape \(4, 5, 2\); allowed: \(4,\).* \(4, 5, 3\)"),
    ],
)
def test_what_calls_refuse(name: str, draws: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NETS[name][0]()(batch(), draws=draws)


def test_draws_with_a_gradient_are_followed_by_autograd() -> None:
    net, x = StochasticDepth(blocks(), survival=0.5, gradient="autograd"), batch()
    eta = torch.full((DEPTH,), 0.3, dtype=DOUBLE, requires_grad=True)
    (found,) = torch.autograd.grad(net(x, draws=eta).sum(), eta)
    (expected,) = torch.autograd.grad(hand_depth(net, x, eta).sum(), eta)
    torch.testing.assert_close(found, expected)
