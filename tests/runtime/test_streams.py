"""Nets with several networks in a step and several tensors in a state: every memory mode against plain autograd."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated.fractalnet import FractalNet
from generated.lm_resnet import LMResNet
from generated.polynet import PolyNet
from generated.revnet import InversionError, NotFiniteError, RevNet, StepError
from tests.runtime.networks import tanh_blocks
from tests.runtime.test_steps import BLOCKS, DOUBLE, batch, difference
from tests.runtime.test_steps_inversion import unit_blocks
from tests.runtime.test_steps_transforms import TRANSFORMS, X, doubled, loss_of, named
from tests.runtime.test_steps_transforms import difference as difference_of_trees

torch.set_num_threads(1)
JIT = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(JIT)

Make = Callable[[Callable[[], list[nn.Module]], dict[str, Any]], nn.Module]


def pairs(blocks: Callable[[], list[nn.Module]]) -> list[tuple[nn.Module, nn.Module]]:
    return list(zip(blocks(), blocks(), strict=True))


def revnet(blocks: Callable[[], list[nn.Module]], options: dict[str, Any]) -> nn.Module:
    return RevNet(pairs(blocks), **{"step_size": 0.3, **options})


def fractalnet(blocks: Callable[[], list[nn.Module]], options: dict[str, Any]) -> nn.Module:
    return FractalNet(pairs(blocks), **{"k1": 0.4, "k2": 0.6, "k3": 0.9, "step_size": 0.5, **options})


def polynet(order: int) -> Make:
    return lambda blocks, options: PolyNet(blocks(), **{"order": order, "step_size": 0.4, **options})


NETS: dict[str, tuple[Make, int, list[str]]] = {
    "RevNet": (revnet, 2, ["store", "recompute", "checkpoint", "invert"]),
    "FractalNet": (fractalnet, 1, ["store", "recompute", "checkpoint"]),
    "PolyNet, order 2": (polynet(2), 1, ["store", "recompute", "checkpoint"]),
    "PolyNet, order 3": (polynet(3), 1, ["recompute"]),
}
MODES = [(name, memory) for name, (_, _, modes) in NETS.items() for memory in modes]


def as_tuple(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def found(net: Any, inputs: list[Tensor], extra: tuple[Tensor, ...], trajectory: bool) -> list[Any]:
    """Outputs and gradients of a fixed nonlinear functional of all outputs."""
    outputs = as_tuple(net.trajectory(*inputs) if trajectory else net(*inputs))
    total = torch.zeros((), dtype=DOUBLE)
    for place, output in enumerate(outputs):
        weight = torch.linspace(0.5, 1.5 + place, output.numel(), dtype=output.dtype).reshape(output.shape)
        total = total + (output * weight).sin().sum()
    leaves = [t for t in (*inputs, *extra, *net.parameters()) if t.requires_grad]
    return [*(o.detach() for o in outputs), *torch.autograd.grad(total, leaves, allow_unused=True)]


def agree(
    name: str,
    memory: str,
    blocks: Callable[[], list[nn.Module]],
    shape: tuple[int, ...] = (6, 4),
    extra: tuple[Tensor, ...] = (),
    trajectory: bool = False,
    tol: float = 1e-12,
    **options: Any,
) -> None:
    """The derived form equals the plain one: values, gradients, buffers and the place of the random generator."""
    make, streams, _ = NETS[name]
    inputs = [batch(*shape).detach().mul(1 + place).requires_grad_() for place in range(streams)]
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = make(blocks, {**options, "memory": memory, "gradient": gradient}).double()
        torch.manual_seed(1)
        rounds = [found(net, inputs, extra, trajectory) for _ in range(2)]
        results.append([*rounds[0], *rounds[1], *(b.double() for b in net.buffers()), torch.rand(3, dtype=DOUBLE)])
    assert difference(*results) < tol


@pytest.mark.parametrize(("name", "memory"), MODES)
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_blocks_of_every_kind(name: str, memory: str, blocks: Callable[[], list[nn.Module]]) -> None:
    agree(name, memory, blocks, tol=1e-11)


@pytest.mark.parametrize(("name", "memory"), MODES)
def test_trajectory_batch_axes_and_step_size(name: str, memory: str) -> None:
    h = torch.tensor(0.2, dtype=DOUBLE, requires_grad=True)
    agree(name, memory, lambda: tanh_blocks(5, 4), (2, 3, 4), (h,), step_size=h)
    agree(name, memory, lambda: tanh_blocks(5, 4), (3, 4), (h,), trajectory=True, step_size=h)
    agree(name, memory, lambda: tanh_blocks(3, 4), (4,))
    agree(name, memory, lambda: tanh_blocks(3, 4), (0, 4))


@pytest.mark.parametrize(("name", "memory"), MODES)
def test_a_step_size_for_each_layer(name: str, memory: str) -> None:
    steps = torch.linspace(0.1, 0.4, 4, dtype=DOUBLE).requires_grad_()
    agree(name, memory, lambda: tanh_blocks(4, 4), (3, 4), (steps,), step_size=steps)
    make, streams, _ = NETS[name]
    torch.manual_seed(0)
    net = make(lambda: tanh_blocks(3, 4), {"memory": memory, "step_size": torch.full((3,), 0.3)}).double()
    net.step_size = net.step_size.double() * 0 + 0.3
    torch.manual_seed(0)
    same = make(lambda: tanh_blocks(3, 4), {"memory": memory, "step_size": 0.3}).double()
    inputs = [batch(3, 4) for _ in range(streams)]
    assert difference(found(net, inputs, (), False), found(same, inputs, (), False)) < 1e-12


@pytest.mark.parametrize("start", ["plain", "matched"])
@pytest.mark.parametrize("memory", NETS["RevNet"][2])
def test_a_step_size_for_each_layer_of_a_two_step_net(memory: str, start: str) -> None:
    steps = torch.linspace(0.1, 0.4, 5, dtype=DOUBLE).requires_grad_()
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = LMResNet(tanh_blocks(5, 4), k=0.7, step_size=steps, start=start, memory=memory, gradient=gradient)
        results.append(found(net.double(), [batch(3, 4)], (steps,), False))
    assert difference(*results) < 1e-11


@pytest.mark.parametrize("memory", NETS["RevNet"][2])
def test_one_network_serves_both_streams(memory: str) -> None:
    shared = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.3)).double()
    inputs = [batch(3, 4), batch(3, 4) * 2]
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(3)
        net = RevNet([(shared, shared)] * 4, step_size=0.3, memory=memory, gradient=gradient)
        results.append(found(net, inputs, (), False))
    assert difference(*results) < 1e-12


@pytest.mark.parametrize("memory", NETS["RevNet"][2])
def test_a_loss_of_one_stream_alone(memory: str) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        net = revnet(lambda: tanh_blocks(3, 4), {"memory": memory, "gradient": gradient}).double()
        x, y = batch(3, 4), batch(3, 4)
        for place in (0, 1):
            results.append(
                torch.autograd.grad(net(x, y)[place].sin().sum(), [x, y, *net.parameters()], allow_unused=True)
            )
    zero = [torch.zeros_like(p) for p in (x, y, *net.parameters())]
    filled = [[z if g is None else g for g, z in zip(one, zero, strict=True)] for one in results]
    assert difference(filled[0], filled[2]) < 1e-12 and difference(filled[1], filled[3]) < 1e-12


class OneTensor(nn.Module):
    """A net of two streams as a function of one tensor."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.net(x, x.flip(-1).cos())
        return first + second.sin()


CHOSEN = (
    "grad x, grad parameters, vmap, vmap(grad), grad(vmap), ensemble grad, jacrev, jacfwd, jvp(grad), hessian, "
    "jacrev(jacrev), forward over a pullback, forward mode, backward through vmap, gradient penalty, third derivative"
).split(", ")


def one_tensor(name: str, memory: str, gradient: str = "derived", dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)

    def blocks() -> list[nn.Module]:
        return [nn.Sequential(block, nn.Dropout(dropout)) for block in tanh_blocks(3, 3)]

    make, streams, _ = NETS[name]
    net = make(blocks, {"memory": memory, "gradient": gradient}).double()
    return net if streams == 1 else OneTensor(net)


@pytest.mark.parametrize(
    ("name", "memory"),
    [("RevNet", "store"), ("RevNet", "invert"), ("FractalNet", "store"), ("PolyNet, order 2", "recompute")],
)
@pytest.mark.parametrize("transform", CHOSEN)
def test_transforms(name: str, memory: str, transform: str) -> None:
    run = TRANSFORMS[transform]
    assert difference_of_trees(run(one_tensor(name, memory)), run(one_tensor(name, memory, "autograd"))) < 1e-12


@pytest.mark.parametrize(("name", "memory"), [("RevNet", "invert"), ("PolyNet, order 2", "store")])
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_dropout_under_vmap(name: str, memory: str, randomness: str) -> None:
    results = []
    for gradient in ("derived", "autograd"):
        net = one_tensor(name, memory, gradient, dropout=0.5)
        torch.manual_seed(3)
        grad_of = torch.func.grad(loss_of(net))
        results.append(torch.vmap(grad_of, (None, 0), randomness=randomness)(named(net), X))
    assert difference_of_trees(*results) < 1e-12
    assert doubled(net)


@pytest.mark.parametrize("name", NETS)
def test_copies_keep_their_values(name: str) -> None:
    make, streams, modes = NETS[name]
    net = make(BLOCKS["batch norm"], {"memory": modes[-1]}).double()
    inputs = [batch(6, 4) for _ in range(streams)]
    expected = found(copy.deepcopy(net), inputs, (), False)
    assert difference(found(pickle.loads(pickle.dumps(net)), inputs, (), False), expected) == 0.0


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("name", NETS)
def test_a_result_that_is_not_finite_names_the_step(name: str, gradient: str) -> None:
    class Burst(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    make, streams, _ = NETS[name]
    net = make(lambda: [nn.Tanh(), nn.Tanh(), Burst(), nn.Tanh()], {"gradient": gradient})
    with pytest.raises(RuntimeError, match=r"x_3 of x_0 … x_4 .* step 2"):
        net(*[torch.ones(3, 4)] * streams)


# --- RevNet ---


def test_revnet_is_the_formula_of_the_catalogue() -> None:
    torch.manual_seed(0)
    blocks = pairs(lambda: tanh_blocks(4, 3, dtype=DOUBLE))
    x, y = batch(2, 3), batch(2, 3) * 3
    expected_x, expected_y = x, y
    for f, g in blocks:
        expected_x = expected_x + 0.3 * f(expected_y)
        expected_y = expected_y + 0.3 * g(expected_x)
    got = RevNet(blocks, step_size=0.3)(x, y)
    assert torch.allclose(got[0], expected_x, rtol=1e-14) and torch.allclose(got[1], expected_y, rtol=1e-14)


def test_fractalnet_and_polynet_are_the_formulas_of_the_catalogue() -> None:
    torch.manual_seed(0)
    blocks = pairs(lambda: tanh_blocks(3, 3, dtype=DOUBLE))
    x = batch(2, 3)
    fractal, poly, heun = x, x, x
    for f, g in blocks:
        fractal = 0.2 * fractal + 0.7 * (1.1 * fractal + f(fractal)) + g(1.1 * fractal + f(fractal))
        poly = poly + f(poly) + f(f(poly)) + f(f(f(poly)))
        heun = heun + (f(heun) + f(heun + f(heun))) / 2
    weights = {name: torch.tensor(value, dtype=DOUBLE) for name, value in (("k1", 0.2), ("k2", 0.7), ("k3", 1.1))}
    assert torch.allclose(FractalNet(blocks, **weights)(x), fractal, rtol=1e-13)
    assert torch.allclose(PolyNet([f for f, _ in blocks], order=3)(x), poly, rtol=1e-13)

    class Half(nn.Module):
        def __init__(self, whole: nn.Module) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Tensor) -> Tensor:
            return self.whole(x) / 2

    net = FractalNet([(f, Half(f)) for f, _ in blocks], k1=0.5, k2=0.5, k3=1.0).double()
    assert torch.allclose(net(x), heun, rtol=1e-13)


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_round_trip_at_depth_thousand(dtype: torch.dtype, tol: float) -> None:
    net = RevNet(pairs(lambda: unit_blocks(1000, 8, dtype)), step_size=1e-3, memory="invert").to(dtype)
    x, y = (torch.randn(16, 8, dtype=dtype) for _ in range(2))
    with torch.no_grad():
        back = net.inverse(*net(x, y))
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(back, (x, y), strict=True)) < tol


def test_jacobian_has_determinant_one_and_is_symplectic_for_gradients_only() -> None:
    torch.manual_seed(0)

    class Gradient(nn.Module):
        """x -> W^T tanh(W x + b), the gradient of a function."""

        def __init__(self) -> None:
            super().__init__()
            self.W, self.b = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.W.mT + self.b).tanh() @ self.W

    z = torch.randn(6, dtype=DOUBLE)
    unit = torch.eye(3, dtype=DOUBLE)
    omega = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=DOUBLE), unit)
    defects = {}
    for kind, blocks in (("gradient", [Gradient() for _ in range(4)]), ("other", tanh_blocks(4, 3))):
        net = RevNet(list(zip(blocks[:2], blocks[2:], strict=True)), step_size=0.4).double()
        jacobian = torch.func.jacrev(lambda z, net=net: torch.cat(net(z[:3], z[3:])))(z).detach()
        assert abs(float(torch.linalg.det(jacobian)) - 1) < 1e-12
        defects[kind] = float((jacobian.mT @ omega @ jacobian - omega).norm())
    assert defects["gradient"] < 1e-12 and defects["other"] > 1e-3


def test_invert_keeps_nothing_that_grows_with_depth() -> None:
    held = {}
    for depth in (10, 1000):
        net = RevNet(
            pairs(lambda depth=depth: unit_blocks(depth, 8, torch.float32)), step_size=1 / depth, memory="invert"
        )
        node = net(torch.randn(16, 8), torch.randn(16, 8))[0].grad_fn
        own = {p.data_ptr() for p in net.parameters()}
        held[depth] = sum(t.nbytes for t in node.saved_tensors if t.data_ptr() not in own)
        assert len(node.recording.kept) == 2
    assert held[10] == held[1000]


def test_errors_that_grow_force_checkpoints_and_are_noticed() -> None:
    net = RevNet(pairs(lambda: unit_blocks(60, 8, torch.float32)), step_size=1.0, memory="invert")
    inputs = [torch.randn(4, 8) for _ in range(2)]
    assert len(net(*inputs)[0].grad_fn.recording.kept) > 3
    results = {}
    for net.memory in ("invert", "recompute"):
        total = sum(o.sin().sum() for o in net(*inputs))
        results[net.memory] = torch.autograd.grad(total, list(net.parameters()))
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(*results.values(), strict=True)) < 1e-2
    net.memory, net.tol, net.rules = "invert", 1e-9, net.rules._replace(amplification=lambda *_: 0.0)
    with pytest.raises(InversionError, match=r"RevNet: the state before step 0"):
        sum(o.sum() for o in net(*inputs)).backward()


X2 = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: RevNet(tanh_blocks(2, 4)), r"RevNet: blocks\[0\] has 3 networks; allowed: an iterable of \(f, g\)"),
        (
            lambda: RevNet([nn.Tanh()]),
            r"RevNet: blocks\[0\] is Tanh\(\) of type Tanh; allowed: an iterable of \(f, g\), 2",
        ),
        (lambda: RevNet([(nn.Tanh(), 1)]), r"RevNet: blocks\[0\] has 1 of type int; allowed"),
        (lambda: RevNet(pairs(lambda: tanh_blocks(2, 4)))(X2, X2[:1]), r"RevNet: y has shape \(1, 4\) .* of x"),
        (lambda: RevNet(pairs(lambda: tanh_blocks(2, 4)))(X2, X2.double()), r"RevNet: y has .* torch.float64; allowed"),
        (lambda: RevNet(pairs(lambda: tanh_blocks(2, 4)))(X2, [1.0]), "RevNet: y is of type list; allowed: a Tensor"),
        (lambda: PolyNet(tanh_blocks(2, 4), order=9), "PolyNet: order=9; allowed: 1, 2, 3, 4"),
        (lambda: PolyNet(tanh_blocks(2, 4), memory="invert"), "PolyNet: memory='invert'; allowed: 'store'"),
    ),
)
def test_wrong_arguments_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_a_block_that_does_not_fit_is_named_with_its_place(gradient: str) -> None:
    net = RevNet([(nn.Tanh(), nn.Tanh()), (nn.Tanh(), nn.Linear(5, 4))], gradient=gradient)
    x = torch.ones(2, 4, requires_grad=True)
    with pytest.raises(StepError, match=r"RevNet: the block\[1\] of step 1 was called with x of shape \(2, 4\)"):
        net(x, x)
    assert issubclass(NotFiniteError, StepError)
