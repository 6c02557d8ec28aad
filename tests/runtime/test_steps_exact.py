"""memory="exact": every state bit for bit, how much is kept, how right the gradients are, and what is refused."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.runtime.exact import Exact
from generated.lm_resnet import FixedPointOverflowError, InversionError, LMResNet, loss
from generated.resnet import ResNet
from tests.runtime.hand_rules import ResNet as HandResNet
from tests.runtime.networks import tanh_blocks

torch.set_num_threads(1)
# (k, q): k is p/q in float64
WEIGHTS = [(1 / 2, 2), (-1 / 2, 2), (3 / 10, 10), (-1 / 10, 10), (9 / 10, 10), (-9 / 10, 10), (1.0, 256), (1 / 3, 3),
           (255 / 256, 256), (7 / 16, 256), (1 / 16, 16), (-3 / 8, 256)]  # fmt: skip
DOUBLE = torch.float64


def exact_net(
    depth: int, k: float | Sequence[float] | Tensor, q: int = 256, width: int = 4, dtype: torch.dtype = torch.float32
) -> LMResNet:
    torch.manual_seed(0)
    blocks = tanh_blocks(depth, width, dtype=dtype)
    return LMResNet(blocks, k=k, q=q, step_size=1 / depth, memory="exact").to(dtype)


def states_seen(net: LMResNet, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The states, in float64, at which the rest of the step is evaluated: forward, and backward in the same order."""
    seen: list[Tensor] = []
    given = net.rules.exact

    def rest(field: Any, state: Any, local: Any, shared: Any) -> Tensor:
        seen.append(state[0])
        return given.rest(field, state, local, shared)

    net.rules = net.rules._replace(exact=type(given)(given.weight, given.at_weight, rest))
    net(x).sin().sum().backward()
    half = len(seen) // 2
    return seen[:half], seen[half:][::-1]


def gradients(net: LMResNet, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(net(x).sin().sum(), [x, *net.parameters()]))


def float64_reference(net: LMResNet, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients of the plain steps at p/q itself, in float64."""
    k = (net.k.detach().double() * net.denominator).round() / net.denominator
    plain = LMResNet(copy.deepcopy(net.blocks), k=k, step_size=net.step_size, gradient="autograd").double()
    with torch.no_grad():
        plain.k.copy_(k)
    wide = x.detach().double().requires_grad_()
    return plain(wide).detach(), gradients(plain, wide)


def worst(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float((a.detach().double() - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)


@pytest.mark.parametrize(("k", "q"), WEIGHTS)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("depth", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_state_comes_back_bit_for_bit(k: float, q: int, dtype: torch.dtype, depth: int) -> None:
    x = torch.randn(3, 4, dtype=dtype)
    forward, backward = states_seen(exact_net(depth, k, q, dtype=dtype), x)
    assert len(forward) == len(backward) == depth - 1
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 3, 70, 1000])
def test_weights_of_every_layer(depth: int) -> None:
    torch.manual_seed(1)
    net = exact_net(depth, 2 * torch.rand(depth - 1) - 1, q=97)
    forward, backward = states_seen(net, torch.randn(3, 4))
    assert len(forward) == depth - 1
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))


@pytest.mark.parametrize(("k", "share"), [(0.5, 1 / 16), (0.9, 1 / 16), (1.0, 1 / 16), (1 / 16, 0.145)])
def test_memory_against_that_of_all_states(k: float, share: float) -> None:
    net = exact_net(1000, k, width=64)
    x = torch.randn(256, 64)
    own = {p.data_ptr() for p in [x, *net.parameters()]}
    node = net(x).grad_fn
    held = [t for t in node.saved_tensors if t.data_ptr() not in own]  # the rounded k among them
    assert sum(t.nbytes for t in held) <= share * 1001 * x.nbytes
    assert not node.recording.tape and not node.recording.kept and not node.recording.snapshots


@pytest.mark.parametrize(("k", "q"), WEIGHTS)
def test_forward_and_gradients_against_float64(k: float, q: int) -> None:
    """The cotangent of k is made of increments of states in the precision of the net, hence its looser bound.

    The net follows u' = f/(1+k): below 0 it runs faster, and errors grow.
    """
    slow = min(1.0, 1 + k)
    for dtype, value_bound, bound in ((torch.float32, 1e-6 / slow, 2e-5 / slow), (DOUBLE, 1e-8, 1e-6 / slow)):
        net = exact_net(150, k, q, dtype=dtype)
        x = torch.randn(16, 4, dtype=dtype, requires_grad=True)
        value, expected = float64_reference(net, x)
        assert worst([net(x)], [value]) < value_bound
        assert worst(gradients(net, x), expected) < bound


def test_thousand_layers_at_one_half() -> None:
    net = exact_net(1000, 0.5, width=8)
    x = torch.randn(16, 8, requires_grad=True)
    value, expected = float64_reference(net, x)
    found = gradients(net, x)  # raises unless every bit comes back
    assert worst([net(x)], [value]) < 1e-6
    assert worst(found, expected) < 4e-5
    assert worst([found[0], *found[2:]], [expected[0], *expected[2:]]) < 4e-6  # all but that of k


def test_gradient_passes_straight_through_the_rounding() -> None:
    x = torch.randn(5, 4, dtype=DOUBLE, requires_grad=True)
    k = torch.tensor([0.3, -0.004, 0.001, -0.7], dtype=DOUBLE)
    rounded = torch.tensor([0.3125, -0.0625, 0.0625, -0.6875], dtype=DOUBLE)  # never 0
    for gradient in ("derived", "autograd"):
        found = []
        for values in (k, rounded):
            net = exact_net(5, values, q=16, dtype=DOUBLE)
            net.gradient = gradient
            found.append([net(x), *gradients(net, x)])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_without_gradients_the_steps_have_the_same_weights() -> None:
    net = exact_net(20, 0.3, q=2, dtype=DOUBLE)
    x = torch.randn(5, 4, dtype=DOUBLE)
    with torch.no_grad():
        plain = net(x)
    assert worst([plain], [net(x).detach()]) < 1e-10
    states = net.trajectory(x)
    assert worst([states[-1]], [plain]) < 1e-10 and states.shape == (21, 5, 4)


@pytest.mark.parametrize("k", [0.5, 0.3])
def test_second_backward_pass_finds_everything_unchanged(k: float) -> None:
    net = exact_net(200, k)
    x = torch.randn(5, 4, requires_grad=True)
    total = net(x).sin().sum()
    first = torch.autograd.grad(total, [x, *net.parameters()], retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(total, [x, *net.parameters()])))


@pytest.mark.parametrize("bit", [0, 7, 40])
def test_what_was_kept_and_changed_is_detected(bit: int) -> None:
    """Every tensor in turn, one bit of one entry (behind the back of autograd, which watches the tensors)."""
    for k in (0.5, 0.3):
        total = exact_net(150, k)(torch.randn(5, 4)).sum()
        newest, older, sums, *words = [t.numpy() for t in saved(total) if t.dtype == torch.int64]
        assert len(words) == (3 if k == 0.5 else 5)
        total.backward(retain_graph=True)
        for kept in (newest, older, sums[:-2], *words):  # the last two states need no checksum: they are kept
            kept.reshape(-1)[-1] ^= 1 << bit
            with pytest.raises(InversionError, match=r"the state before step \d+ did not come back bit for bit"):
                total.backward(retain_graph=True)
            kept.reshape(-1)[-1] ^= 1 << bit


def saved(total: Tensor) -> Sequence[Tensor]:
    return total.grad_fn.next_functions[0][0].saved_tensors


class Drifting(nn.Module):
    """A block that gives another value at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + 1e-6 * next(self.calls)


@pytest.mark.parametrize("step", [0, 1, 17, 39])
def test_a_block_that_does_not_repeat_itself_is_named(step: int) -> None:
    blocks = tanh_blocks(40, 4)
    blocks[step] = Drifting()
    net = LMResNet(blocks, k=0.5, step_size=0.1, memory="exact")
    with pytest.raises(InversionError, match=rf"LMResNet: the state before step {step} did .*memory='checkpoint'"):
        net(torch.randn(3, 4)).sum().backward()


class Large(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.size


@pytest.mark.parametrize("size", [1e9, 1e12, 1e30])
def test_overflow_names_the_step(size: float) -> None:
    blocks = [*tanh_blocks(6, 4), Large(size), *tanh_blocks(3, 4)]
    net = LMResNet(blocks, k=0.5, memory="exact")
    with pytest.raises(FixedPointOverflowError, match=r"x_7 of x_0 … x_10 \(made by step 6\) .*memory='checkpoint'"):
        net(torch.ones(3, 4))
    with pytest.raises(FixedPointOverflowError, match=r"x_0 of x_0 … x_10 gets"):
        net(torch.full((3, 4), 1e12))


def test_states_up_to_the_limit() -> None:
    """k = 1 adds up the increments of all steps: those that are allowed lead to no overflow."""
    with torch.no_grad():
        limit = 2.0**61 / 2**32 / 64
    net = LMResNet([Large(0.9 * limit) for _ in range(100)], k=1.0, step_size=1.0, memory="exact")
    x = torch.zeros(2, 3, requires_grad=True)
    with pytest.raises(FixedPointOverflowError):
        net(x)
    net = LMResNet([nn.Hardtanh(-1e6, 1e6) for _ in range(100)], k=1.0, step_size=1.0, memory="exact")
    x = torch.full((2, 3), 9e5, requires_grad=True)
    net(x).sum().backward()  # raises unless every bit comes back
    assert float(net(x).detach().abs().max()) > 3e7


@pytest.mark.parametrize(("k", "says"), [(0.0, "0 in row 0"), ([0.5, 1.01], "1.01 in row 1"), (float("nan"), "nan")])
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_weights_that_are_refused(k: float | list[float], says: str, gradient: str) -> None:
    net = LMResNet(tanh_blocks(3, 4), k=k, memory="exact", gradient=gradient)
    with pytest.raises(ValueError, match=rf"LMResNet: the weight of the oldest state is {says}.*Use memory='store'"):
        net(torch.randn(3, 4))
    with torch.no_grad(), pytest.raises(ValueError, match="from -1 to 1 but not 0"):
        net(torch.randn(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    net = exact_net(3, 0.5).to(dtype)
    with pytest.raises(TypeError, match=rf"x has dtype {dtype}; allowed with memory='exact': torch.float32 or"):
        net(torch.randn(3, 4, dtype=dtype))


def test_what_else_is_refused() -> None:
    for q in (1, 0, 1025, 2.5, True):
        with pytest.raises(ValueError, match=r"LMResNet: q=.*; allowed: a whole number from 2 to 1024"):
            LMResNet(tanh_blocks(2, 4), q=q)
    for kind in (ResNet, HandResNet):
        with pytest.raises(ValueError, match="memory='exact'; allowed: 'store', 'recompute', 'checkpoint'"):
            kind(tanh_blocks(2, 4), memory="exact")


def test_convolutions_and_autocast_repeat_themselves() -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.Dropout(0.2)) for _ in range(30)]
    net = LMResNet(blocks, k=0.5, step_size=0.1, memory="exact")
    net(torch.randn(2, 4, 8, 8)).sum().backward()
    net = exact_net(30, 0.5, width=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(torch.randn(6, 8))
    output.sum().backward()
    assert output.dtype == torch.float32


def test_attention_takes_the_same_path_with_and_without_gradients() -> None:
    """In eval mode torch has another kernel where no graph is asked for; its values are not the same."""

    def block() -> nn.Module:
        return nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True, dropout=0.0)

    torch.manual_seed(0)
    net = LMResNet([block() for _ in range(5)], k=0.5, step_size=0.1, memory="exact").eval()
    net(torch.randn(2, 3, 8)).sum().backward()


def test_split_of_a_step_by_hand() -> None:
    """The weight as any expression: here of a momentum, x_next = (1 + m) x - m x_prev + h f."""
    split = Exact(
        weight=lambda local, shared: -local[0],
        at_weight=lambda weight, local, shared: ((-weight,), shared),
        rest=lambda field, state, local, shared: (1 + local[0]) * state[0] + shared[0] * field(state[0]),
    )
    local, shared = split.rounded("Net", 4, torch.ones(2), (torch.tensor([0.3, -0.9]),), (0.1,))
    assert local[0].tolist() == [0.25, -1.0] and shared == (0.1,)


def trained(memory: str, steps: int = 60) -> list[float]:
    """Losses on a task with two classes that a line does not separate; k is learned as well."""
    torch.manual_seed(0)
    x = torch.randn(256, 2)
    target = (x[:, 0] * x[:, 1] > 0).long()
    widen, read = nn.Linear(2, 8), nn.Linear(8, 2)
    net = LMResNet(tanh_blocks(12, 8), k=0.3, q=16, step_size=0.5, memory=memory)
    parameters = [*widen.parameters(), *net.parameters(), *read.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        total = loss(read(net(widen(x))), target) / len(x)
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert not torch.equal(net.k.detach(), torch.full_like(net.k, 0.3))
    return losses


def test_training_through_the_rounding() -> None:
    exact, store = trained("exact"), trained("store")
    assert exact[0] > 0.6 and exact[-1] < 0.2
    assert exact[-1] < 2 * store[-1] + 0.05
