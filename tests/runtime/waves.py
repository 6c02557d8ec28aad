"""Functions of time with parameters, as what a field reads."""

import torch
from torch import nn

DOUBLE = torch.float64


def tensor(*shape, seed=1, scale=0.5):
    return scale * torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Wave(nn.Module):
    """A function of time with parameters."""

    def __init__(self, *shape, seed=0):
        super().__init__()
        self.mean, self.swing = nn.Parameter(tensor(*shape, seed=seed)), nn.Parameter(tensor(*shape, seed=seed + 9))

    def forward(self, t):
        return self.mean + self.swing * torch.sin(3 * t + 0.2)
