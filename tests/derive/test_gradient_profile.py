"""What the layers of a deep net take from gradients, beside a net as torch draws it, of the deck's width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from derive.catalog.deep19_gradient_profile_checks import ACTIVATIONS, INITIALIZATIONS, LAYERS, UNITS, derived

MODULES = {"elu": nn.ELU, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
MEASURED = {"elu": 0.19, "relu": 0.34, "sigmoid": 0.85, "tanh": 0.18}  # with the classes of data beside it, width 1024


def row(start: str) -> tuple[float, float]:
    (found,) = [value for name, value in INITIALIZATIONS.items() if name.startswith(start)]
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layers_as_torch_draws_them(name):
    """Uniform weights and biases of `torch.nn.Linear`; lengths of the rows of gradients by autograd."""
    torch.manual_seed(5)
    layers = [nn.Linear(UNITS, UNITS) for _ in range(LAYERS)]
    net = nn.Sequential(*(part for layer in layers for part in (layer, MODULES[name]())))
    x, direction = torch.randn(1, UNITS), torch.randn(1, UNITS)
    found = torch.autograd.grad((net(x) * direction).sum(), [layer.weight for layer in layers])
    logs = torch.stack([gradient.norm(dim=1).mean().log10() for gradient in found])[3:-3].double()
    steps = torch.arange(len(logs)).double() - (len(logs) - 1) / 2
    slope = float((steps @ logs) / (steps @ steps))
    claimed = derived(name, *row("uniform"))
    assert claimed == pytest.approx(slope, abs=0.015)
    assert claimed == pytest.approx(MEASURED[name], abs=0.02)


def test_small_normal_weights_are_those_of_the_deck_s_width():
    assert row("normal of variance 0.01^2")[0] == pytest.approx(UNITS * 1e-4)
