"""Emitted implicit modules, and a field for them."""

from __future__ import annotations

from functools import cache

import torch
from sympy import Rational, sqrt
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, ButcherTableau, Network, Spec, load, state, time

ROOT3 = sqrt(3) / 6
GAUSS4 = ButcherTableau(
    A=[[Rational(1, 4), Rational(1, 4) - ROOT3], [Rational(1, 4) + ROOT3, Rational(1, 4)]],
    b=[Rational(1, 2), Rational(1, 2)],
    c=[Rational(1, 2) - ROOT3, Rational(1, 2) + ROOT3],
    title="Gauss 4",
)
GAMMA = 1 - sqrt(2) / 2
SDIRK2 = ButcherTableau(A=[[GAMMA, 0], [1 - GAMMA, GAMMA]], b=[1 - GAMMA, GAMMA], c=[GAMMA, 1], title="SDIRK 2")


@cache
def module_of(name):
    if name in ("backward_euler", "trapezoid"):
        return load_text(emit(load(name)))
    x, t, f = state("x", "d"), time("t"), Network("f", takes_time=True)
    scheme = {"gauss4": GAUSS4, "sdirk2": SDIRK2}[name]
    return load_text(emit(Spec("own", "Own", "own", ODE((x,), (f(t, x),), time=t), scheme=scheme)))


class Net(nn.Module):
    """A small nonlinear field with time."""

    def __init__(self, size=3):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(size, 8).double(), nn.Linear(8, size).double()

    def forward(self, t, x):
        return self.outer(torch.tanh(self.inner(x) + t))


def start(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
