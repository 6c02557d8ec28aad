"""LM-ResNet and other hand-written rules on the step engine: every memory mode against plain autograd."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.runtime.step_net import StepNet
from generated.lm_resnet import LMResNet, NotFiniteError
from tests.runtime.hand_rules import RK4, AntisymmetricNet, CubicODE, ResNet
from tests.runtime.networks import tanh_blocks, tolerance

torch.set_num_threads(1)
MEMORY = ["store", "recompute", "checkpoint", "invert", "exact"]
DOUBLE = torch.float64


def gradients(net: StepNet, x: Tensor, extra: tuple[Tensor, ...] = (), trajectory: bool = False) -> list[Any]:
    """Output and gradients of a fixed nonlinear functional of all outputs."""
    output = net.trajectory(x) if trajectory else net(x)
    weight = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).reshape(output.shape)
    inputs = [t for t in (x, *extra, *net.parameters()) if t.requires_grad]
    found = torch.autograd.grad((output * weight).sin().sum(), inputs, allow_unused=True)
    return [output.detach(), *found]


def difference(one: list[Any], other: list[Any]) -> float:
    """Largest norm-relative difference; None must meet None."""
    assert [a is None for a in one] == [b is None for b in other]
    assert all(a.dtype == b.dtype for a, b in zip(one, other, strict=True) if a is not None)
    errors = [(a - b).norm() / b.norm().clamp_min(1e-30) for a, b in zip(one, other, strict=True) if a is not None]
    return max(float(error) for error in errors)


def agree(make: Callable[[str, str], StepNet], memory: str, x: Tensor, tol: float | None = None, **kwargs: Any) -> None:
    """The derived form equals the plain one: values, gradients, buffers and the place of the random generator."""
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = make(memory, gradient)
        torch.manual_seed(1)
        rounds = [gradients(net, x, **kwargs) for _ in range(2)]  # twice: buffers have moved in between
        results.append([*rounds[0], *rounds[1], *(b.double() for b in net.buffers()), torch.rand(3, dtype=DOUBLE)])
    assert difference(*results) < (tol or tolerance(memory))


def lm(blocks: Callable[[], list[nn.Module]], **options: Any) -> Callable[[str, str], LMResNet]:
    """A maker of LM-ResNets in float64 for `agree`."""
    return lambda memory, gradient: LMResNet(
        blocks(), **{"k": 0.7, "step_size": 0.2, **options}, memory=memory, gradient=gradient
    ).double()


def batch(*shape: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(*shape, dtype=DOUBLE, requires_grad=True)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("start", ["plain", "matched"])
@pytest.mark.parametrize("trajectory", [False, True])
def test_lm_resnet_gradients(memory: str, start: str, trajectory: bool) -> None:
    agree(lm(lambda: tanh_blocks(11, 4), start=start), memory, batch(3, 4), trajectory=trajectory)


@pytest.mark.parametrize("memory", MEMORY)
def test_step_size_with_gradient(memory: str) -> None:
    h = torch.tensor(0.2, dtype=DOUBLE, requires_grad=True)
    agree(lm(lambda: tanh_blocks(5, 4), step_size=h), memory, batch(3, 4), extra=(h,))


def blocks_with_dropout() -> list[nn.Module]:
    return [nn.Sequential(b, nn.Dropout(0.4)) if n % 2 else b for n, b in enumerate(tanh_blocks(5, 4))]


def blocks_with_batch_norm() -> list[nn.Module]:
    return [nn.Sequential(nn.BatchNorm1d(4), b) for b in tanh_blocks(5, 4)]


def blocks_with_spectral_norm() -> list[nn.Module]:
    return [nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh()) for _ in range(4)]


def one_block_shared() -> list[nn.Module]:
    return [nn.Sequential(nn.BatchNorm1d(4), tanh_blocks(1, 4)[0], nn.Dropout(0.2))] * 5


def tied_within_block() -> list[nn.Module]:
    made: list[nn.Module] = []
    for _ in range(4):
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        made.append(nn.Sequential(first, nn.Tanh(), second))
    return made


def frozen_blocks() -> list[nn.Module]:
    blocks = tanh_blocks(5, 4)
    blocks[1].requires_grad_(False)
    next(blocks[3].parameters()).requires_grad_(False)
    return blocks


class UnusedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x).tanh()


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


BLOCKS = {
    "dropout": blocks_with_dropout,
    "batch norm": blocks_with_batch_norm,
    "spectral norm": blocks_with_spectral_norm,
    "shared": one_block_shared,
    "tied": tied_within_block,
    "frozen": frozen_blocks,
    "unused": lambda: [UnusedParameter() for _ in range(4)],
    "no parameters": lambda: [nn.Tanh() for _ in range(4)],
    "constant": lambda: [Constant(), nn.Tanh(), Constant()],
    "single step": lambda: tanh_blocks(1, 4),
    "two steps": lambda: tanh_blocks(2, 4),
}


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_blocks_of_every_kind(memory: str, blocks: Callable[[], list[nn.Module]]) -> None:
    agree(lm(blocks), memory, batch(6, 4))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`|`torch.nn.utils.spectral_norm`:FutureWarning")
def test_old_spectral_norm(memory: str) -> None:
    def blocks() -> list[nn.Module]:
        return [nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4)), nn.Tanh()) for _ in range(4)]

    agree(lm(blocks), memory, batch(6, 4))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("x", [batch(0, 4), batch(4), batch(2, 3, 4), batch(4, 6).t(), batch(3, 8)[:, ::2]])
def test_batch_axes(memory: str, x: Tensor) -> None:
    agree(lm(lambda: tanh_blocks(5, 4)), memory, x.detach().requires_grad_() if x.is_leaf else x)


@pytest.mark.parametrize("memory", MEMORY)
def test_input_without_gradient(memory: str) -> None:
    agree(lm(lambda: tanh_blocks(5, 4)), memory, batch(3, 4).detach())


@pytest.mark.parametrize("memory", MEMORY[:-1])
def test_k_of_zero_and_mixed(memory: str) -> None:
    agree(lm(lambda: tanh_blocks(6, 4), k=[0.0, 0.9, 0.0, -0.5, 1.0]), memory, batch(3, 4), tol=1e-10)


@pytest.mark.parametrize("memory", MEMORY[:-1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(memory: str, dtype: torch.dtype) -> None:
    x = batch(8, 4).detach().to(dtype).requires_grad_()
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = LMResNet(tanh_blocks(5, 4), k=0.7, step_size=0.2, memory=memory, gradient=gradient)
        net.blocks.to(dtype)  # k stays float32: a 0-dim tensor does not decide the dtype of the state
        results.append(gradients(net, x))
    assert results[0][0].dtype == dtype
    assert difference(*results) < (5e-2 if dtype is torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("memory", MEMORY)
def test_autocast(memory: str) -> None:
    x = batch(8, 4).detach().float().requires_grad_()
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = LMResNet(tanh_blocks(5, 4), k=0.7, step_size=0.2, memory=memory, gradient=gradient)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(x)
            again = net.blocks[0](x)  # weights cast inside the Function must not be found here without their graph
        inputs = [x, *net.parameters()]
        results.append([output.detach(), *torch.autograd.grad(output.sin().sum() + again.float().sum(), inputs)])
    assert difference(*results) < 2e-2


@pytest.mark.parametrize("memory", MEMORY)
def test_two_backward_passes_and_modes(memory: str) -> None:
    torch.manual_seed(0)
    net = lm(blocks_with_dropout)(memory, "derived")
    x = batch(3, 4)
    loss = net(x).sin().sum()
    first = torch.autograd.grad(loss, [x, *net.parameters()], retain_graph=True)
    net.eval()  # the replay has the modes of the call
    second = torch.autograd.grad(loss, [x, *net.parameters()])
    assert difference(list(first), list(second)) < 1e-12
    assert not any(m.training for m in net.modules())


@pytest.mark.parametrize("memory", MEMORY)
def test_backward_accumulates(memory: str) -> None:
    net = lm(lambda: tanh_blocks(5, 4))(memory, "derived")
    x = batch(3, 4)
    inputs = [x, *net.parameters()]
    expected = torch.autograd.grad(net(x).sin().sum(), inputs)
    for count in (1, 2):
        net(x).sin().sum().backward()
        assert difference([tensor.grad for tensor in inputs], [count * g for g in expected]) < 1e-12


@pytest.mark.parametrize("memory", MEMORY)
def test_copies_and_state_dict(memory: str) -> None:
    net = lm(blocks_with_batch_norm)(memory, "derived")
    x = batch(6, 4)
    expected = gradients(copy.deepcopy(net), x)
    assert difference(gradients(pickle.loads(pickle.dumps(net)), x), expected) == 0.0
    other = lm(blocks_with_batch_norm)(memory, "derived")
    other.load_state_dict(net.state_dict())
    assert "k" in net.state_dict()
    assert difference(gradients(other, x), expected) == 0.0


def test_memory_is_freed_by_backward() -> None:
    """Stored states and graphs do not outlive the backward pass, as in plain autograd."""
    for memory in MEMORY:
        net = lm(lambda: tanh_blocks(5, 4))(memory, "derived")
        output = net(batch(3, 4))
        node = output.grad_fn
        output.sum().backward()
        assert not node.recording.tape
        with pytest.raises(RuntimeError, match="second time"):
            node.saved_tensors


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_resnet(memory: str) -> None:
    def make(memory: str, gradient: str) -> ResNet:
        return ResNet(blocks_with_dropout(), step_size=0.3, memory=memory, gradient=gradient).double()

    agree(make, memory, batch(3, 4))
    agree(make, memory, batch(3, 4), trajectory=True)


class TimeField(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x) + t.sin()) * t


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("field", [TimeField, lambda: tanh_blocks(1, 4)[0]], ids=["field(t, x)", "field(x)"])
def test_runge_kutta_with_times(memory: str, field: Callable[[], nn.Module]) -> None:
    times = [torch.tensor(t, dtype=DOUBLE, requires_grad=True) for t in (0.1, 1.3)]

    def make(memory: str, gradient: str) -> RK4:
        return RK4(field(), t0=times[0], t1=times[1], steps=5, memory=memory, gradient=gradient).double()

    agree(make, memory, batch(3, 4), extra=tuple(times))
    agree(make, memory, batch(3, 4), extra=tuple(times), trajectory=True)


def test_plain_function_as_field() -> None:
    weight = torch.randn(4, 4, dtype=DOUBLE, requires_grad=True)
    x = batch(3, 4)
    seen = torch.autograd.grad(RK4(lambda t, x: (x @ weight).tanh(), steps=3)(x).sum(), [x, weight])
    assert all(g.abs().max() > 0 for g in seen)
    with pytest.raises(ValueError, match=r"an nn.Module with these tensors as its parameters, or memory='store'"):
        RK4(lambda t, x: (x @ weight).tanh(), steps=3, memory="recompute")(x)
    free = [torch.autograd.grad(RK4(lambda t, x: -x * t, steps=3, memory=m)(x).sum(), x)[0] for m in MEMORY[:3]]
    assert torch.allclose(free[0], free[1], rtol=1e-13) and torch.allclose(free[0], free[2], rtol=1e-13)


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_explicit_systems(memory: str) -> None:
    def cubic(memory: str, gradient: str) -> CubicODE:
        w, b, gamma = (torch.randn(s, dtype=DOUBLE) for s in ((4, 4), (4,), ()))
        net = CubicODE(w=w, b=b, gamma=gamma, h=0.05, steps=7, memory=memory)
        net.gradient = gradient
        return net

    def layers(memory: str, gradient: str) -> AntisymmetricNet:
        w, b = torch.randn(6, 4, 4, dtype=DOUBLE), torch.randn(6, 4, dtype=DOUBLE)
        net = AntisymmetricNet(w=w, b=b, h=0.1, memory=memory)
        net.gradient = gradient
        return net

    for make in (cubic, layers):
        agree(make, memory, batch(3, 4))
        agree(make, memory, batch(2, 3, 4), trajectory=True)
        agree(make, memory, batch(4))


def test_what_bad_input_gets() -> None:
    with pytest.raises(ValueError, match=r"memory='stor'; allowed: 'store', .*did you mean 'store'"):
        LMResNet(tanh_blocks(2, 4), memory="stor")
    with pytest.raises(ValueError, match=r"gradient='auto'; allowed: 'derived', 'autograd'"):
        LMResNet(tanh_blocks(2, 4), gradient="auto")
    with pytest.raises(ValueError, match=r"memory='invert'; allowed: 'store', 'recompute', 'checkpoint'\."):
        ResNet(tanh_blocks(2, 4), memory="invert")
    with pytest.raises(ValueError, match="tol=-1"):
        LMResNet(tanh_blocks(2, 4), tol=-1.0)
    with pytest.raises(ValueError, match="k has 3 rows on axis 0; allowed: 1"):
        LMResNet(tanh_blocks(2, 4), k=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="no blocks"):
        LMResNet([])
    with pytest.raises(TypeError, match=r"x has dtype torch.int64; allowed: a floating dtype"):
        LMResNet(tanh_blocks(2, 4))(torch.ones(3, 4, dtype=torch.int64))
    wrong = [nn.Linear(4, 4), nn.Linear(4, 5)]
    for gradient in ("derived", "autograd"):
        with pytest.raises(ValueError, match=r"block of step 1: .*axis 1 of size 4, read size 5"):
            LMResNet(wrong, gradient=gradient)(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"CubicODE: x has shape \(2, 3\); allowed: axis -1 of size 4, read size 3"):
        CubicODE(w=torch.eye(4), b=torch.ones(4), gamma=torch.tensor(1.0), h=0.1, steps=2)(torch.ones(2, 3))


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("memory", MEMORY)
def test_result_that_is_not_finite(gradient: str, memory: str) -> None:
    class Burst(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    blocks = [nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), Burst(), nn.Tanh()]
    net = LMResNet(blocks, k=0.5, gradient=gradient, memory=memory)
    with pytest.raises(NotFiniteError, match=r"LMResNet: x_4 of x_0 … x_5 .* step 3"):
        net(torch.ones(3, 4))
    with pytest.raises(NotFiniteError, match="the input x has values that are not finite"):
        net(torch.full((3, 4), torch.nan))
    net.check_finite = False
    if memory == "exact" and gradient == "derived":
        with pytest.raises(NotFiniteError):
            net(torch.ones(3, 4))
    else:
        assert not net(torch.ones(3, 4)).isfinite().any()


def test_repr_names_the_options() -> None:
    assert "steps=2, memory='invert', gradient='derived', tol=0.01" in repr(
        LMResNet(tanh_blocks(2, 4), memory="invert", tol=0.01)
    )
