"""What a wrong call of an emitted module gets: an error that says what was read and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated import lm_resnet, resnet
from generated.backward_euler import BackwardEuler
from generated.cubic_ode import CubicODE
from generated.driven_oscillator import DrivenOscillator
from generated.lm_resnet import LMResNet, NotFiniteError, StepError
from generated.lstm_peephole import LSTMPeephole
from generated.neural_sde import NeuralSDE
from generated.resnet import ResNet
from generated.rk4 import RK4
from generated.rk4 import StepError as RK4Error
from tests.runtime.networks import tanh_blocks

x, V, c = torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)
classes = torch.tensor([0, 3])
LOSSES = [resnet.loss, resnet.loss_cotangent, lm_resnet.loss, lm_resnet.loss_cotangent]


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        ((x, classes, V), "V without c; allowed: V and c, or none of them"),
        ((x, classes, None, c), "c without V; allowed"),
        (
            (x, classes, torch.ones(4, 5), c),
            r"V has shape \(4, 5\); allowed: axis 1 of size 3, .* of output, read size 5",
        ),
        ((x, classes, V, torch.ones(5)), r"c has shape \(5,\); allowed: axis 0 of size 4, .* of V, read size 5"),
        ((x, classes, V[None], c), r"V has shape \(1, 4, 3\); allowed: 2 axes"),
        ((x, torch.ones(2, 4)), r"target has shape \(2, 4\), size 4 on axis 1 in place of 3; allowed: .* \(2, 3\)"),
        ((x, torch.ones(3)), r"target has shape \(3,\), 1 axes in place of 2"),
        ((x, torch.tensor([0, 1, 2])), r"target has shape \(3,\), size 3 on axis 0 in place of 2"),
        ((x, torch.tensor([0, 3])), "class indices from 0 to 3; allowed: 0 to 2"),
        ((x, torch.tensor([-1, 2])), "class indices from -1 to 2; allowed: 0 to 2"),
        (
            (x, torch.ones(2, 3, dtype=torch.int64)),
            r"torch.int64 .* \(2, 3\); allowed: a floating target .*, or integer",
        ),
        ((x, torch.tensor([True, False])), "torch.bool"),
        ((x, [0, 1]), "target is of type list; allowed: a Tensor"),
    ),
)
def test_loss(function: Callable[..., Tensor], arguments: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{function.__name__}: .*{message}"):
        function(*arguments)


def test_loss_under_transforms() -> None:
    expected = resnet.loss(x, classes, V, c)
    each = torch.vmap(lambda one, target: resnet.loss(one, target, V, c))(x, classes)
    torch.testing.assert_close(each.sum(), expected)
    small = classes.to(torch.int32)
    torch.testing.assert_close(torch.compile(resnet.loss, backend="eager", fullgraph=True)(x, small, V, c), expected)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint", "invert"])
@pytest.mark.parametrize(
    ("given", "said"),
    (
        (torch.ones(2, 5), r"\(2, 5\) and dtype torch.float32: mat1 and mat2 shapes"),
        (torch.ones(2, 4, dtype=torch.float64), r"\(2, 4\) and dtype torch.float64: .*dtype"),
        (torch.tensor(1.0), r"\(\) and dtype torch.float32: "),
    ),
)
def test_block_that_does_not_fit(gradient: str, memory: str, given: Tensor, said: str) -> None:
    net = LMResNet(tanh_blocks(3, 4), gradient=gradient, memory=memory)
    for call in (net, net.trajectory, torch.no_grad()(net)):
        with pytest.raises(
            StepError, match=rf"LMResNet: the block of step 0 was called with x of shape {said}"
        ) as caught:
            call(given)
        assert isinstance(caught.value.__cause__, RuntimeError | IndexError | TypeError)
        assert not isinstance(caught.value.__cause__, StepError)


def test_inner_net_names_its_own_step() -> None:
    net = LMResNet([nn.Tanh(), ResNet([nn.Linear(5, 5)])])
    with pytest.raises(RuntimeError, match=r"ResNet: the block of step 0 was called with x of shape \(2, 4\)"):
        net(torch.ones(2, 4))
    with pytest.raises(TypeError, match=r"LMResNet: block of step 0: it returned a tuple; allowed: a Tensor"):
        LMResNet([nn.LSTM(4, 4)])(torch.ones(2, 4))


def cubic(**options: Any) -> CubicODE:
    return CubicODE(**{"w": torch.eye(4), "b": torch.ones(4), "steps": 2, **options})


def test_dtype_of_written_out_equations() -> None:
    with pytest.raises(TypeError, match=r"CubicODE: x has dtype torch.float64, and b has torch.float32"):
        cubic()(torch.ones(2, 4, dtype=torch.float64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cubic()(torch.ones(2, 4, dtype=torch.bfloat16))


BLOCKS = tanh_blocks(2, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: cubic(w=torch.ones(3, 4, 4)), "CubicODE: w has 3 rows on axis 0; allowed: 2, one for each step"),
        (lambda: cubic(w=torch.ones(4)), r"CubicODE: w has shape \(4,\); allowed: shape \(d, d\) or \(steps, d, d\)"),
        (lambda: cubic(gamma=torch.ones(4)), r"CubicODE: gamma has shape \(4,\); allowed: shape \(\)"),
        (lambda: cubic(w="a"), "CubicODE: w='a'; allowed: a number or a tensor of shape"),
        (lambda: cubic(w=torch.eye(4, dtype=torch.int64)), "CubicODE: w has dtype torch.int64; allowed: a floating"),
        (lambda: cubic(t0="a"), "CubicODE: t0='a'; allowed: a real number"),
        (lambda: cubic(t1=torch.ones(2)), r"CubicODE: t1 is a tensor of shape \(2,\) .*; allowed: a real number"),
        (lambda: LMResNet(BLOCKS, step_size=torch.ones(3)), r"LMResNet: step_size is a tensor of shape \(3,\)"),
        (lambda: LMResNet(BLOCKS, step_size="a"), "LMResNet: step_size='a'; allowed: a real number"),
        (lambda: LMResNet(BLOCKS, k="a"), "LMResNet: k='a'; allowed: a number, or one for each step"),
        (lambda: LMResNet(BLOCKS, k=torch.ones(1, 4)), r"LMResNet: k has shape \(1, 4\); allowed: a number"),
        (lambda: LMResNet(BLOCKS, tol="a"), "LMResNet: tol='a'; allowed: a number above 0"),
        (lambda: LMResNet([1, 2]), r"LMResNet: blocks\[0\] is 1 of type int; allowed: an iterable of nn.Module"),
        (lambda: LMResNet(nn.Tanh()), "LMResNet: blocks is of type Tanh; allowed: an iterable of nn.Module"),
        (lambda: LMResNet(BLOCKS)([1.0, 2.0]), "LMResNet: x is of type list; allowed: a Tensor"),
        (lambda: LMResNet(BLOCKS).trajectory([1.0, 2.0]), "LMResNet: x is of type list; allowed: a Tensor"),
        (lambda: LSTMPeephole(3.0, 4), "LSTMPeephole: input_size=3.0; allowed: a whole number, 1 or more"),
        (lambda: LSTMPeephole(3, True), "LSTMPeephole: hidden_size=True; allowed: a whole number, 1 or more"),
        (lambda: LSTMPeephole(3, 4, dropout="a"), "LSTMPeephole: dropout='a'; allowed: a probability"),
        (lambda: LSTMPeephole(3, 4, memory="all"), "LSTMPeephole: memory='all'; allowed: 'store', 'chunk'"),
        (lambda: LSTMPeephole(3, 4)([1.0]), "LSTMPeephole: x is of type list; allowed: a Tensor or a PackedSequence"),
        (
            lambda: LSTMPeephole(3, 4)(torch.ones(5, 2, 3), targets=torch.ones(5, 2, 3)),
            "LSTMPeephole: targets is given, but this cell reads no target; allowed: targets=None",
        ),
    ),
)
def test_wrong_argument_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_hint_of_a_system_without_blocks(gradient: str) -> None:
    with pytest.raises(NotFiniteError, match="smaller values"):
        LMResNet([nn.Linear(1, 1) for _ in range(9)], k=1e30, gradient=gradient)(torch.ones(1, 1))
    net = cubic(gamma=1e30, gradient=gradient)
    with pytest.raises(RuntimeError, match=r"smaller step size, or other parameters: none .* may be zero") as caught:
        net(torch.ones(2, 4))
    assert "blocks" not in str(caught.value)


def test_oscillator_takes_two_unknowns() -> None:
    with pytest.raises(TypeError, match="DrivenOscillator: x is of type list"):
        DrivenOscillator(steps=2)([1.0, 2.0])


@pytest.mark.parametrize("time", ["t0", "t1"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_times_are_finite(time: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^CubicODE: {time}={value}; allowed: a finite number"):
        cubic(**{time: value})
    with pytest.raises(ValueError, match=f"^LMResNet: step_size={value}; allowed: a finite number"):
        LMResNet(BLOCKS, step_size=value)


class Three(nn.Module):
    def forward(self, t: Tensor, x: Tensor, y: Tensor, z: float = 0.0) -> Tensor:
        return x + y


def test_a_field_takes_a_state_or_a_time_and_a_state() -> None:
    said = r"takes 3 required arguments \(t, x, y\); allowed: field\(x\) or field\(t, x\)"
    for field in (Three(), lambda t, x, y: x):
        with pytest.raises(TypeError, match=f"^RK4: field {said}"):
            RK4(field, steps=2)
    with pytest.raises(TypeError, match=r"^ResNet: block takes 3 required arguments \(t, x, y\)"):
        ResNet([Three()])
    RK4(lambda t, x, y=1, *more: y * x, steps=2)(torch.ones(2))
    for gradient in ("derived", "autograd"):
        with pytest.raises(RK4Error, match=r"^RK4: the field in step 0 was called with \(t, x\), x of shape \(2, 4\)"):
            RK4(nn.Bilinear(4, 4, 4), steps=2, gradient=gradient)(torch.ones(2, 4))


def test_the_times_are_shown() -> None:
    assert "steps=2, t0=0, t1=2.5, memory='store'" in repr(RK4(nn.Tanh(), steps=2, t1=nn.Parameter(torch.tensor(2.5))))
    assert "steps=2, memory='store'" in repr(LMResNet(BLOCKS))


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("kind", [RK4, BackwardEuler])
@pytest.mark.parametrize(("name", "value"), [("t0", torch.nan), ("t1", torch.inf)])
def test_a_time_that_is_not_finite_is_named(kind, gradient, name, value):
    """A tensor is read only after the steps have failed: no host read before."""
    module = kind(nn.Linear(2, 2), steps=3, gradient=gradient, **{name: torch.tensor(value)})
    with pytest.raises(RuntimeError, match=f"{kind.__name__}: {name} is {value}; allowed: finite numbers"):
        module(torch.ones(2))


def test_a_parameter_that_is_not_finite_is_named():
    module = LMResNet([nn.Linear(2, 2) for _ in range(3)], k=0.5)
    module.k.data[1] = torch.nan
    with pytest.raises(RuntimeError, match="LMResNet: k has values that are not finite"):
        module(torch.ones(2))


X = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(
    ("drift", "diffusion", "options", "said"),
    [
        (nn.Linear(2, 3), nn.Linear(2, 2), {}, r"drift in step 0: .*axis 1 of size 2, read size 3"),
        (nn.Linear(2, 2), nn.Linear(3, 2), {}, r"the diffusion in step 0 was called with"),
        (lambda t, x: x * math.nan, lambda t, x: x, {}, r"made by the value of the drift in step 0"),
        (lambda t, x: x, lambda t, x: x * math.nan, {}, r"made by the value of the diffusion in step 0"),
        (
            lambda t, x: x,
            lambda t, x: (1 + x**2).unsqueeze(-1),
            {"noise": "additive"},
            r"diffusion that does not read x",
        ),
    ],
)
def test_what_fails_in_a_stochastic_equation_is_named(drift, diffusion, options, said, tracked):
    x = torch.zeros(3, 2) if options else X
    with pytest.raises((ValueError, RuntimeError), match=said):
        NeuralSDE(drift, diffusion, steps=2, **options)(x.clone().requires_grad_(tracked))


def test_generators_and_states_without_axes():
    net = NeuralSDE(lambda t, x: x, lambda t, x: x, steps=2)
    with pytest.raises(TypeError, match=r"generator is a int; allowed: a torch\.Generator"):
        net(X, generator=3)
    with pytest.raises(ValueError, match="generator is given with increments"):
        net(X, torch.zeros(2, 3, 2), torch.Generator())
    with pytest.raises(ValueError, match=r"x has no axes; allowed: \(\.\.\., d\)"):
        net(torch.tensor(1.0))
