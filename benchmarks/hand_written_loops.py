"""Recurrent cells as a user writes them who knows how: one product for all inputs, `unbind`, gates in one product.

Plain functions with type hints, so that TorchScript takes them too. Each returns the output of every step.
"""

from __future__ import annotations

import torch
from torch import Tensor


def peephole_lstm(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> Tensor:
    """LSTM with diagonal peepholes; the output gate sees the new cell."""
    weight_ci, weight_cf, weight_co = weight_ch.unbind(0)
    weight_hh_t = weight_hh.t()
    output: list[Tensor] = []
    for a in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        i, f, g, o = torch.addmm(a, h, weight_hh_t).chunk(4, 1)
        i = torch.sigmoid(i + weight_ci * c)
        f = torch.sigmoid(f + weight_cf * c)
        c = f * c + i * torch.tanh(g)
        o = torch.sigmoid(o + weight_co * c)
        h = o * torch.tanh(c)
        output.append(h)
    return torch.stack(output)


def coupled_peephole(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> Tensor:
    """LSTM with diagonal peepholes whose input gate is 1 - f."""
    weight_cf, weight_co = weight_ch.unbind(0)
    weight_hh_t = weight_hh.t()
    output: list[Tensor] = []
    for a in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        f, g, o = torch.addmm(a, h, weight_hh_t).chunk(3, 1)
        c = torch.lerp(torch.tanh(g), c, torch.sigmoid(f + weight_cf * c))
        o = torch.sigmoid(o + weight_co * c)
        h = o * torch.tanh(c)
        output.append(h)
    return torch.stack(output)


def deck_gru(x: Tensor, h: Tensor, weight_x: Tensor, weight_h: Tensor, weight_n: Tensor, bias: Tensor) -> Tensor:
    """GRU with the reset gate before the product; the update gate writes."""
    weight_h_t, weight_n_t = weight_h.t(), weight_n.t()
    size = h.shape[1]
    output: list[Tensor] = []
    for a in torch.nn.functional.linear(x, weight_x, bias).unbind(0):
        r, z = torch.sigmoid(torch.addmm(a[:, : 2 * size], h, weight_h_t)).chunk(2, 1)
        n = torch.tanh(torch.addmm(a[:, 2 * size :], r * h, weight_n_t))
        h = torch.lerp(h, n, z)
        output.append(h)
    return torch.stack(output)


def vanilla_lstm(
    x: Tensor,
    v: Tensor,
    s: Tensor,
    weight_x: Tensor,
    weight_v: Tensor,
    weight_s: Tensor,
    weight_r: Tensor,
    bias: Tensor,
) -> Tensor:
    """LSTM with full peepholes, as in 'Vanilla LSTM'; the read-out gate sees the new state."""
    weight_v_t, weight_s_t, weight_r_t = weight_v.t(), weight_s.t(), weight_r.t()
    size = v.shape[1]
    output: list[Tensor] = []
    for a_x in torch.nn.functional.linear(x, weight_x, bias).unbind(0):
        a = torch.addmm(a_x, v, weight_v_t)
        cu, cs = torch.sigmoid(torch.addmm(a[:, : 2 * size], s, weight_s_t)).chunk(2, 1)
        s = cs * s + cu * torch.tanh(a[:, 2 * size : 3 * size])
        v = torch.sigmoid(torch.addmm(a[:, 3 * size :], s, weight_r_t)) * torch.tanh(s)
        output.append(v)
    return torch.stack(output)
