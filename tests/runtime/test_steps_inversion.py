"""Rebuilding states by the inverse: how exact, how much memory, and what happens when it cannot be trusted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from codegen.runtime.blocks import Blocks, Evaluation
from codegen.runtime.sweep import block_lipschitz
from generated.lm_resnet import InversionError, LMResNet, _amplification
from tests.runtime.networks import tanh_blocks

torch.set_num_threads(1)
TOL = {torch.float32: 1e-3, torch.float64: 1e-6}


def unit_blocks(count: int, width: int, dtype: torch.dtype) -> list[nn.Module]:
    """Linear-Tanh-Linear blocks with Lipschitz constant 1 (each matrix has norm 1)."""
    torch.manual_seed(0)
    blocks = tanh_blocks(count, width, dtype=dtype)
    for module in nn.ModuleList(blocks).modules():
        if isinstance(module, nn.Linear):
            module.weight.data /= torch.linalg.matrix_norm(module.weight.data, 2)
    return blocks


def functional(output: Tensor) -> Tensor:
    return (output / output.detach().norm() * torch.arange(output.shape[-1])).sin().sum()


@pytest.mark.parametrize("k", [-0.9, -0.5, 0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("h", [1e-3, 0.1])
def test_depth_thousand(k: float, dtype: torch.dtype, h: float) -> None:
    net = LMResNet(unit_blocks(1000, 8, dtype), k=k, step_size=h).to(dtype)
    x = torch.randn(16, 8, dtype=dtype, requires_grad=True)
    found = {}
    for memory in ("recompute", "invert"):
        net.memory = memory
        found[memory] = torch.autograd.grad(functional(net(x)), [x, *net.parameters()])
    errors = [
        float((a - b).norm() / b.norm().clamp_min(1e-30))
        for a, b in zip(found["invert"], found["recompute"], strict=True)
    ]
    assert max(errors) < 10 * TOL[dtype]


def stored_share(net: LMResNet, x: Tensor) -> float:
    """Bytes that the graph holds beyond parameters and input, as a share of those of the N+1 states."""
    node = net(x).grad_fn
    assert node is not None
    own = {p.data_ptr() for p in [x, *net.parameters()]}
    held = [t for t in node.saved_tensors if t.data_ptr() not in own]
    return sum(t.nbytes for t in held) / ((len(net.blocks) + 1) * x.nbytes)


def test_memory_of_the_modes() -> None:
    net = LMResNet(tanh_blocks(1000, 64), k=0.9, step_size=1e-3)
    x = torch.randn(256, 64)
    shares = {}
    for net.memory in ("recompute", "checkpoint", "invert"):
        shares[net.memory] = stored_share(net, x)
    assert shares["recompute"] == pytest.approx(1.0, abs=0.01)
    assert shares["checkpoint"] <= 2 / math.isqrt(1000) + 0.01
    assert shares["invert"] <= 0.15


def test_zero_k_forces_a_checkpoint() -> None:
    k = [0.9] * 20
    k[7] = 0.0
    net = LMResNet(tanh_blocks(21, 4), k=k, memory="invert", step_size=0.1)
    recording = net(torch.randn(3, 4)).grad_fn.recording
    assert 8 in recording.kept and 8 not in recording.inverted and {7, 9} <= recording.inverted
    assert 0 not in recording.inverted  # the start has no inverse


def test_jacobian_estimate() -> None:
    """Between the largest singular value and twice that, and without a trace in the random state."""
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 10.0):
        block = nn.Linear(32, 32)
        nn.init.normal_(block.weight, std=scale / math.sqrt(32))
        evaluation = Evaluation(Blocks([block]), list(block.parameters()), {}, torch.device("cpu"), live=True)
        with torch.no_grad():
            evaluation.field(0)(torch.randn(64, 32))
        before = torch.get_rng_state()
        estimate = float(block_lipschitz(evaluation).detach())
        assert torch.equal(before, torch.get_rng_state())
        true = float(torch.linalg.matrix_norm(block.weight.detach(), 2))
        assert 0.8 * true < estimate < 2.0 * true


def test_untrustworthy_inverse_is_an_error() -> None:
    """With an amplification that is too small, the comparison at the checkpoints must notice."""
    net = LMResNet(unit_blocks(200, 8, torch.float32), k=0.9, step_size=0.1, memory="invert")
    net.rules = net.rules._replace(amplification=lambda local, shared, lipschitz: 1.0)
    with pytest.raises(InversionError, match=r"LMResNet: the state before step \d+, .* differs .*; allowed: tol=0.001"):
        functional(net(torch.randn(16, 8))).backward()


def test_tolerance_is_the_users() -> None:
    kept = {}
    for tol in (1e-5, 1e-3, 1e-1):
        net = LMResNet(unit_blocks(100, 8, torch.float32), k=0.5, step_size=0.1, memory="invert", tol=tol)
        kept[tol] = len(net(torch.randn(16, 8)).grad_fn.recording.kept)
    assert kept[1e-5] > kept[1e-3] > kept[1e-1]


def test_amplification_is_the_spectral_radius_of_the_inverse_step() -> None:
    for k in (-0.9, -0.5, 0.5, 0.9, 1.0):
        for mu in (0.0, 0.1, 1.0):
            radii = []
            for sign in (mu, -mu):
                companion = torch.tensor([[1 - k + sign, k], [1.0, 0.0]], dtype=torch.float64)
                radii.append(float(torch.linalg.eigvals(torch.linalg.inv(companion)).abs().max()))
            assert _amplification((k,), (1.0,), mu) == pytest.approx(max(radii), rel=1e-12)
    assert _amplification((0.0,), (1.0,), 0.1) == math.inf
