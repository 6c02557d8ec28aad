"""memory="exact" of two-step schemes that are not in the catalogue."""

from __future__ import annotations

import pytest
import torch
from sympy import Rational
from torch import nn

from codegen import emit
from codegen.verification.loaded import load_text
from derive import ODE, LinearMultistep, Network, Spec, Start, parameter, state, time
from derive.errors import SpecError

X, T = state("x", "d"), time()
M, S, Z = parameter("m", per_layer=True), parameter("s"), parameter("z", per_layer=True)


def spec(alpha, beta=(0, 1, 0), takes_time=False):
    f = Network("f", per_layer=True, takes_time=takes_time)
    ode = ODE(state=(X,), velocity=(f(T, X),), time=T) if takes_time else ODE(state=(X,), velocity=(f(X),))
    scheme = LinearMultistep(alpha=alpha, beta=beta, start={"plain": Start()}, title="own")
    return Spec(id="own", class_name="Own", title="Own two-step net", system=ode, scheme=scheme)


class TimeField(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t, x):
        return torch.tanh(self.linear(x) + t)


@pytest.mark.parametrize(
    ("alpha", "beta", "takes_time", "given"),
    [
        ((1 + M, -M), (0, 1, 0), False, {"m": -0.6}),
        ((2 * M, 1 - 2 * M), (0, 1, 0), False, {"m": 0.3}),
        ((1 - S, S), (0, 1, 0), True, {"s": 0.45}),
        ((1 - M, M), (0, Z, 0), True, {"m": 0.45, "z": 0.7}),
        ((0, 1), (0, 2, 0), False, {}),
        ((Rational(2, 3), Rational(1, 3)), (0, 1, 0), False, {}),
    ],
)
def test_gradients_and_reversal(alpha, beta, takes_time, given):
    module = load_text(emit(spec(alpha, beta, takes_time)))
    found = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(0)
        blocks = [TimeField() if takes_time else nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(40)]
        net = module.Own(blocks, **given, step_size=0.05, memory="exact", gradient=gradient).double()
        x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        output = net(x)
        found.append([output.detach(), *torch.autograd.grad(output.sin().sum(), [x, *net.parameters()])])
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True)) < 1e-8


def test_schemes_without_it_do_not_offer_it():
    text = emit(spec((1 - M, M), (0, 1, 1)))
    assert (
        "exact=Exact(" not in text
        and "class InformationBuffer" not in text
        and "denominator of the weights" not in text
    )


def test_a_parameter_must_not_have_the_name_of_the_option():
    q = parameter("q", per_layer=True)
    with pytest.raises(SpecError, match="'q' is an option of the emitted module; rename the parameter"):
        emit(spec((1 - q, q)))
