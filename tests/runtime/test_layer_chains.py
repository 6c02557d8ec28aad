"""Blocks that are chains of torch's layers: called without a graph, with the gradients that autograd has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from codegen.runtime.blocks import Blocks
from generated import lm_resnet, revnet
from generated.lm_resnet import LMResNet
from generated.revnet import RevNet

torch.set_num_threads(1)
WIDTH = 5


def linear(bias: bool = True) -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, bias=bias, dtype=torch.float64)


CHAINS: dict[str, Callable[[], nn.Module]] = {
    "Tanh": lambda: nn.Sequential(linear(), nn.Tanh()),
    "Sigmoid": lambda: nn.Sequential(nn.Sigmoid(), linear(bias=False)),
    "ReLU": lambda: nn.Sequential(linear(), nn.ReLU(), linear()),
    "SiLU": lambda: nn.Sequential(linear(), nn.SiLU(), nn.Sequential(linear(), nn.Tanh())),
    "one layer": linear,
}


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def hooked() -> nn.Module:
    block = nn.Sequential(linear(), nn.Tanh())
    block[0].register_forward_hook(lambda module, given, value: 2 * value)
    return block


def overridden() -> nn.Module:
    layer = linear()
    layer.forward = lambda x: torch.sin(x @ layer.weight)  # type: ignore[method-assign]
    return layer


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "hook": hooked,
    "a forward of its own": overridden,
    "subclass": lambda: nn.Sequential(Doubled(WIDTH, WIDTH, dtype=torch.float64), nn.Tanh()),
    "parametrization": lambda: nn.Sequential(parametrizations.weight_norm(linear()), nn.Tanh()),
    "in place": lambda: nn.Sequential(linear(), nn.SiLU(inplace=True)),
    "another layer": lambda: nn.Sequential(linear(), nn.Softplus()),
}


def gradients(make: Callable[[], nn.Module], shape: tuple[int, ...], net: str, **options: str) -> list[Tensor | None]:
    torch.manual_seed(0)
    blocks = [make() for _ in range(6)]
    for parameter in list(blocks[1].parameters())[:1]:
        parameter.requires_grad_(False)
    inputs = [torch.randn(*shape, dtype=torch.float64).requires_grad_() for _ in range(2)]
    if net == "RevNet":
        module: nn.Module = RevNet(list(zip(blocks[::2], blocks[1::2], strict=True)), step_size=0.3, **options)
        outputs = module(*inputs)
    else:
        module = LMResNet(blocks, k=1.0, step_size=0.3, **options).double()
        outputs = (module(inputs.pop()),)
    sum(output.sin().sum() for output in outputs).backward()
    return [tensor.grad for tensor in (*inputs, *module.parameters())]


@pytest.mark.parametrize("shape", [(WIDTH,), (4, WIDTH), (2, 3, WIDTH), (0, WIDTH)])
@pytest.mark.parametrize("net", ["RevNet", "LMResNet"])
@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_gradients_are_those_of_autograd(name: str, net: str, shape: tuple[int, ...]) -> None:
    make = {**CHAINS, **OTHERS}[name]
    expected = gradients(make, shape, net, gradient="autograd")
    for memory in ("store", "recompute", "invert"):
        for one, other in zip(gradients(make, shape, net, memory=memory), expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("net", ["RevNet", "LMResNet"])
def test_chains_need_no_graph(monkeypatch: pytest.MonkeyPatch, name: str, net: str) -> None:
    for file in (revnet, lm_resnet):
        monkeypatch.setattr(file.Evaluation, "with_graph", None)
    gradients(CHAINS[name], (4, WIDTH), net, memory="store")
    gradients(CHAINS[name], (4, WIDTH), net, memory="invert")


@pytest.mark.parametrize("name", OTHERS)
def test_other_blocks_are_no_chains(name: str) -> None:
    assert Blocks([OTHERS[name]()], chains=True).distinct[0].chain is None


def test_hooks_on_all_modules_are_respected() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, value: None)
    try:
        assert Blocks([linear()], chains=True).distinct[0].chain is None
    finally:
        handle.remove()
    assert Blocks([linear()], chains=True).distinct[0].chain is not None


def test_hooks_on_saved_tensors_see_what_is_kept() -> None:
    seen: list[Tensor] = []

    def pack(value: Tensor) -> Tensor:
        seen.append(value)
        return value

    net = RevNet([(CHAINS["Tanh"](), CHAINS["Tanh"]()) for _ in range(7)], memory="store")
    x = torch.randn(2, WIDTH, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        net(x, x)
    assert len(seen) > 14 * 2  # of every block the point and the value at least


def test_a_block_of_the_wrong_width_is_named() -> None:
    net = RevNet([(linear(), nn.Linear(WIDTH, 3, dtype=torch.float64))])
    x = torch.randn(2, WIDTH, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"block\[1\] of step 0.*axis 1 of size 5, read size 3"):
        net(x, x)
