"""Second derivatives, torch.func transforms and compilation of the step engine, against the plain form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils._pytree import tree_leaves

from generated.lm_resnet import LMResNet
from tests.runtime.networks import tanh_blocks, tolerance

torch.set_num_threads(1)
MEMORY = ["store", "recompute", "checkpoint", "invert", "exact"]
JIT = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"  # torch's own use, in its forward mode
pytestmark = pytest.mark.filterwarnings(JIT)
X = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
T = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
Net = LMResNet


def make(memory: str, gradient: str = "derived", dropout: float = 0.0) -> LMResNet:
    torch.manual_seed(0)
    blocks = [nn.Sequential(block, nn.Dropout(dropout)) for block in tanh_blocks(4, 3)]
    return LMResNet(blocks, k=0.7, step_size=0.5, memory=memory, gradient=gradient).double()


def named(net: Net) -> dict[str, Tensor]:
    return dict(net.named_parameters())


def doubled(net: Net) -> dict[str, Tensor]:
    return {name: torch.stack([p, 2 * p]).detach() for name, p in net.named_parameters()}


def output_of(net: Net) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda parameters, x: functional_call(net, parameters, (x,))


def loss_of(net: Net) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda parameters, x: functional_call(net, parameters, (x,)).sin().sum()


def forward_mode(net: Net) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(net(forward_ad.make_dual(X, T))).tangent


def forward_mode_of_parameter(net: Net) -> Tensor:
    with forward_ad.dual_level():
        dual = {**named(net), "k": forward_ad.make_dual(net.k, torch.ones_like(net.k))}
        return forward_ad.unpack_dual(functional_call(net, dual, (X,))).tangent


def backward_through_vmap(net: Net) -> Any:
    return torch.autograd.grad(vmap(net)(X).sin().sum(), list(net.parameters()))


def third(net: Net) -> Any:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(net(x).sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.cos().sum(), x, create_graph=True)
    return torch.autograd.grad(second.sin().sum(), [x, *net.parameters()])


def penalty(net: Net) -> Any:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(net(x).sin().sum(), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), list(net.parameters()), allow_unused=True)


def loss_gradient(net: Net) -> Callable[[Tensor], Tensor]:
    return grad(lambda x: net(x).sin().sum())


def push(function: Callable[[Tensor], Tensor]) -> Any:
    return jvp(function, (X,), (T,))


def forward_over_a_pullback(net: Net) -> Any:
    """The forward pass lies outside of the forward mode, the reverse sweep inside."""
    pull_back = vjp(output_of(net), named(net), X)[1]
    return jvp(pull_back, (T,), (X,))


TRANSFORMS: dict[str, Callable[[Net], Any]] = {
    "grad x": lambda net: loss_gradient(net)(X),
    "grad parameters": lambda net: grad(loss_of(net))(named(net), X),
    "vmap": lambda net: vmap(net)(X),
    "vmap inner axis": lambda net: vmap(lambda x: net(x[None])[0], in_dims=0)(X),
    "vmap(grad)": lambda net: vmap(grad(loss_of(net)), (None, 0))(named(net), X),
    "grad(vmap)": lambda net: grad(lambda p: vmap(loss_of(net), (None, 0))(p, X).sum())(named(net)),
    "ensemble": lambda net: vmap(output_of(net), (0, None))(doubled(net), X),
    "ensemble grad": lambda net: vmap(grad(loss_of(net)), (0, None))(doubled(net), X),
    "jacrev": lambda net: jacrev(net)(X),
    "jacrev parameters": lambda net: jacrev(output_of(net))(named(net), X),
    "jacfwd": lambda net: jacfwd(net)(X),
    "jacfwd parameters": lambda net: jacfwd(output_of(net))(named(net), X),
    "jvp": push,
    "jvp(grad)": lambda net: push(loss_gradient(net)),
    "hessian": lambda net: hessian(lambda x: net(x).sin().sum())(X),
    "jacrev(jacrev)": lambda net: jacrev(jacrev(lambda x: net(x).sin().sum()))(X),
    "jacfwd(jacfwd)": lambda net: jacfwd(jacfwd(lambda x: net(x).sin().sum()))(X),
    "jacrev(jacfwd)": lambda net: jacrev(jacfwd(lambda x: net(x).sin().sum()))(X),
    "jacfwd(jacfwd(grad))": lambda net: jacfwd(jacfwd(loss_gradient(net)))(X),
    "forward over a pullback": forward_over_a_pullback,
    "forward mode": forward_mode,
    "forward mode of k": forward_mode_of_parameter,
    "backward through vmap": backward_through_vmap,
    "gradient penalty": penalty,
    "third derivative": third,
    "trajectory grad": lambda net: grad(lambda x: net.trajectory(x).sin().sum())(X),
    "trajectory jacrev": lambda net: jacrev(net.trajectory)(X),
}


def difference(one: Any, other: Any) -> float:
    leaves = ([leaf if leaf is None else leaf.detach() for leaf in tree_leaves(tree)] for tree in (one, other))
    pairs = zip(*leaves, strict=True)
    return max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs if a is not None)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_transforms(memory: str, transform: Callable[[Net], Any]) -> None:
    assert difference(transform(make(memory)), transform(make(memory, "autograd"))) < tolerance(memory)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize(
    ("transform", "randomness"),
    [
        ("jacrev", ""),
        ("grad parameters", ""),
        ("gradient penalty", ""),
        ("vmap(grad)", "same"),
        ("vmap(grad)", "different"),
    ],
)
def test_dropout_under_transforms(memory: str, transform: str, randomness: str) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        net = make(memory, gradient, dropout=0.5)
        torch.manual_seed(3)
        if randomness:
            results.append(vmap(grad(loss_of(net)), (None, 0), randomness=randomness)(named(net), X))
        else:
            results.append(TRANSFORMS[transform](net))
    assert difference(*results) < tolerance(memory)


@pytest.mark.parametrize("memory", MEMORY[:-1])  # differences of a function of rounded weights are no derivatives
def test_gradcheck(memory: str) -> None:
    net = make(memory)
    names = [name for name, _ in net.named_parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (X.clone().requires_grad_(), *net.parameters())
    assert torch.autograd.gradcheck(function, inputs, eps=1e-6, rtol=1e-6, atol=1e-8, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("memory", MEMORY)
def test_first_gradient_is_the_derived_sweep(memory: str) -> None:
    """Also under create_graph and torch.func.grad, and not a second time for the second derivative."""
    net = make(memory)
    calls = []

    def adjoint(*arguments: Any) -> Any:
        calls.append(1)
        return derived(*arguments)

    derived = net.rules.adjoint
    net.rules = net.rules._replace(adjoint=adjoint)
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    assert len(calls) == 3
    first.sum().backward()
    assert len(calls) == 3
    grad(lambda x: net(x).sum())(X)
    assert len(calls) == 6


@pytest.mark.parametrize("memory", ["store", "invert", "exact"])
def test_compiled(memory: str) -> None:
    net, plain = make(memory), make(memory, "autograd")
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = X.clone().requires_grad_()
    got = torch.autograd.grad(compiled(x).sin().sum(), [x, *net.parameters()])
    expected = torch.autograd.grad(plain(x).sin().sum(), [x, *plain.parameters()])
    assert difference(got, expected) < 1e-12


def test_saved_tensor_hooks_and_functional_call() -> None:
    """Saved parameters that are not the module's own objects are put in by functional_call."""
    for memory in MEMORY:
        net, plain = make(memory), make(memory, "autograd")
        x = X.clone().requires_grad_()
        with torch.autograd.graph.save_on_cpu():
            loss = net(x).sin().sum()
        got = torch.autograd.grad(loss, [x, *net.parameters()])
        assert difference(got, torch.autograd.grad(plain(x).sin().sum(), [x, *plain.parameters()])) < tolerance(memory)
        scale = torch.tensor(1.25, dtype=X.dtype, requires_grad=True)
        results = []
        for one in (net, plain):
            scaled = {name: scale * p for name, p in one.named_parameters()}
            results.append(torch.autograd.grad(functional_call(one, scaled, (x,)).sin().sum(), [x, scale]))
        assert difference(*results) < tolerance(memory)
