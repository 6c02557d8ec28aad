"""The peephole LSTM as the generator is to emit it: the derived part, written by hand as the model of the lowering.

Three variants of the cell, one for each value of `peephole`; each has the same four functions (see `Cell`). The
gates are stacked as i, f, g, o, the peepholes as i, f, o.

     (1) a_i = W_i x + R_i h_prev + P_i c_prev + b_i      (2) a_f = W_f x + R_f h_prev + P_f c_prev + b_f
     (3) a_g = W_g x + R_g h_prev + b_g                   (4) i = sigmoid(a_i)      (5) f = sigmoid(a_f)
     (6) g = tanh(a_g)                                    (7) c = f * c_prev + i * g
     (8) a_o = W_o x + R_o h_prev + P_o c + b_o           (9) o = sigmoid(a_o)
    (10) tanh_c = tanh(c)                                (11) h = o * tanh_c

    (12) bar_a_o = bar_h * tanh_c * o * (1 - o)
    (13) bar_c = bar_c_next + bar_h * o * (1 - tanh_c**2) + P_o^T bar_a_o
    (14) bar_a_i = bar_c * g * i * (1 - i)               (15) bar_a_f = bar_c * c_prev * f * (1 - f)
    (16) bar_a_g = bar_c * i * (1 - g**2)
    (17) bar_c_prev = bar_c * f + P_i^T bar_a_i + P_f^T bar_a_f
    (18) bar_h_prev = bar_output_prev + R^T bar_a        (19) bar_x = W^T bar_a
    (20) bar_W = sum bar_a x^T    (21) bar_R = sum bar_a h_prev^T    (22) bar_b = sum bar_a
    (23) bar_P_i = sum bar_a_i c_prev, bar_P_f = sum bar_a_f c_prev    (24) bar_P_o = sum bar_a_o c
"""

from __future__ import annotations

import torch
from torch import Tensor

from codegen.runtime.recurrent import Recurrent, one_of
from codegen.runtime.recurrent_function import Cell, Sums, Values
from codegen.runtime.slopes import sigmoid_slope, tanh_slope


def _plain_diagonal(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """peephole="diagonal", plain form: x (T, B, I), h and c (B, H), weight_ch (3, H) -> output (T, B, H), h, c."""
    weight_hh_t = weight_hh.t()
    weight_ci, weight_cf, weight_co = weight_ch.unbind(0)
    output = []
    for a_x in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        h_prev, c_prev = h, c
        a_i, a_f, a_g, a_o = torch.addmm(a_x, h_prev, weight_hh_t).chunk(4, 1)  # (1) (2) (3) (8)
        a_i = a_i + weight_ci * c_prev  # (1)
        a_f = a_f + weight_cf * c_prev  # (2)
        i = torch.sigmoid(a_i)  # (4)
        f = torch.sigmoid(a_f)  # (5)
        g = torch.tanh(a_g)  # (6)
        c = f * c_prev + i * g  # (7)
        a_o = a_o + weight_co * c  # (8)
        o = torch.sigmoid(a_o)  # (9)
        tanh_c = torch.tanh(c)  # (10)
        h = o * tanh_c  # (11)
        output.append(h)
    return torch.stack(output), h, c


def _forward_diagonal(
    x: Tensor, h_0: Tensor, c_0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> tuple[Tensor, ...]:
    """peephole="diagonal", forward sweep: paths of h and c (T, B, H) and the gates (T, B, 4 H)."""
    steps, batch, size = x.shape[0], x.shape[1], h_0.shape[1]
    weight_hh_t = weight_hh.t()
    weight_ci_cf, weight_co = weight_ch[0:2], weight_ch[2]
    h_path, c_path = x.new_empty(steps, batch, size), x.new_empty(steps, batch, size)
    h_rows, c_rows = h_path.unbind(0), c_path.unbind(0)
    tanh_c = x.new_empty(batch, size)
    a_path = torch.addmm(bias, x.flatten(0, 1), weight_ih.t()).view(steps, batch, 4 * size)
    i_path, f_path, g_path, o_path = a_path.view(steps, batch, 4, size).unbind(2)
    for a, i_f, i, f, g, o, h_prev, c_prev, c_prev_wide, h, c in zip(
        a_path.unbind(0),
        a_path.view(steps, batch, 4, size)[:, :, 0:2].unbind(0),
        i_path.unbind(0),
        f_path.unbind(0),
        g_path.unbind(0),
        o_path.unbind(0),
        (h_0, *h_rows[:-1]),
        (c_0, *c_rows[:-1]),
        (c_0.unsqueeze(1), *c_path[:-1].unsqueeze(2).unbind(0)),
        h_rows,
        c_rows,
        strict=True,
    ):
        a.addmm_(h_prev, weight_hh_t)  # (1) (2) (3) (8)
        i_f.addcmul_(c_prev_wide, weight_ci_cf)  # (1) (2)
        i_f.sigmoid_()  # (4) (5)
        g.tanh_()  # (6)
        torch.mul(f, c_prev, out=c)  # (7)
        c.addcmul_(i, g)  # (7)
        o.addcmul_(c, weight_co)  # (8)
        o.sigmoid_()  # (9)
        torch.tanh(c, out=tanh_c)  # (10)
        torch.mul(o, tanh_c, out=h)  # (11)
    return h_path, c_path, a_path


def _recompute_diagonal(x: Tensor, before: Values, paths: Values, operands: Values) -> Values:
    """peephole="diagonal": the gates (T, B, 4 H) of all steps at once from the paths (T, B, H)."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, c_prev), (_, c), (weight_ih, weight_hh, bias, weight_ch) = before, paths, operands
    a = torch.addmm(bias, x.flatten(0, 1), weight_ih.t())
    a.addmm_(h_prev.flatten(0, 1), weight_hh.t())  # (1) (2) (3) (8)
    stack = a.view(steps, batch, 4, size)
    stack[:, :, 0:2].addcmul_(c_prev.unsqueeze(2), weight_ch[0:2]).sigmoid_()  # (1) (2) (4) (5)
    stack[:, :, 2].tanh_()  # (3) (6)
    stack[:, :, 3].addcmul_(c, weight_ch[2]).sigmoid_()  # (8) (9)
    return (a.view(steps, batch, 4 * size),)


def _backward_diagonal(
    x: Tensor,
    before: Values,
    paths: Values,
    operands: Values,
    activations: Values,
    bar_a: Tensor,
    bars: Values,
    sums: Sums,
) -> Values:
    """peephole="diagonal", adjoint sweep. Cotangents are linear in the pivots bar_h and bar_c: coefficients first."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, c_prev), (_, c), (weight_ih, weight_hh, _, weight_ch), (a_path,) = before, paths, operands, activations
    bar_output, bar_h, bar_c = bars
    bar_x, bar_weight_ih, bar_weight_hh, bar_bias, bar_weight_ch = sums
    i, f, g, o = a_path.view(steps, batch, 4, size).unbind(2)
    tanh_c = torch.tanh(c)  # (10)
    bar_stack = bar_a.view(steps, batch, 4, size)
    bar_a_i, bar_a_f, bar_a_g, bar_a_o = bar_stack.unbind(2)
    sigmoid_slope(tanh_c, o, out=bar_a_o)  # (12), to be multiplied by bar_h
    sigmoid_slope(g, i, out=bar_a_i)  # (14), to be multiplied by bar_c
    sigmoid_slope(c_prev, f, out=bar_a_f)  # (15), to be multiplied by bar_c
    tanh_slope(i, g, out=bar_a_g)  # (16), to be multiplied by bar_c
    bar_c_by_bar_h = tanh_slope(o, tanh_c, out=torch.empty_like(tanh_c))  # (13), to be multiplied by bar_h
    bar_c_by_bar_h.addcmul_(bar_a_o, weight_ch[2])  # (13)
    bar_c_prev_by_bar_c = torch.addcmul(f, bar_a_i, weight_ch[0])  # (17), to be multiplied by bar_c
    bar_c_prev_by_bar_c.addcmul_(bar_a_f, weight_ch[1])  # (17)

    bar_h, bar_c_next = bar_h + bar_output[-1], bar_c.clone()  # (18)
    bar_c = torch.empty_like(bar_c_next)
    bar_c_wide = bar_c.unsqueeze(1)
    for bar_a_row, bar_a_i_f_g_row, bar_a_o_row, by_bar_h, by_bar_c, bar_output_prev in zip(
        bar_a.unbind(0)[::-1],
        bar_stack[:, :, 0:3].unbind(0)[::-1],
        bar_a_o.unbind(0)[::-1],
        bar_c_by_bar_h.unbind(0)[::-1],
        bar_c_prev_by_bar_c.unbind(0)[::-1],
        (torch.zeros_like(bar_h), *bar_output[:-1].unbind(0))[::-1],
        strict=True,
    ):
        bar_a_o_row.mul_(bar_h)  # (12)
        torch.addcmul(bar_c_next, bar_h, by_bar_h, out=bar_c)  # (13)
        bar_a_i_f_g_row.mul_(bar_c_wide)  # (14) (15) (16)
        torch.mul(bar_c, by_bar_c, out=bar_c_next)  # (17)
        torch.addmm(bar_output_prev, bar_a_row, weight_hh, out=bar_h)  # (18)

    bar_a_rows = bar_a.flatten(0, 1)
    if bar_x is not None:
        torch.mm(bar_a_rows, weight_ih, out=bar_x.flatten(0, 1))  # (19)
    if bar_weight_ih is not None:
        bar_weight_ih.addmm_(bar_a_rows.t(), x.flatten(0, 1))  # (20)
    if bar_weight_hh is not None:
        bar_weight_hh.addmm_(bar_a_rows.t(), h_prev.flatten(0, 1))  # (21)
    if bar_bias is not None:
        bar_bias.add_(bar_a_rows.sum(0))  # (22)
    if bar_weight_ch is not None:
        bar_weight_ch[0:2].add_((bar_stack[:, :, 0:2] * c_prev.unsqueeze(2)).sum((0, 1)))  # (23)
        bar_weight_ch[2].add_((bar_a_o * c).sum((0, 1)))  # (24)
    return bar_h, bar_c_next


def _plain_full(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """peephole="full", plain form: x (T, B, I), h and c (B, H), weight_ch (3, H, H) -> output (T, B, H), h, c."""
    weight_hh_t = weight_hh.t()
    weight_ci_cf_t, weight_co_t = weight_ch[0:2].flatten(0, 1).t(), weight_ch[2].t()
    output = []
    for a_x in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        h_prev, c_prev = h, c
        a_i, a_f, a_g, a_o = torch.addmm(a_x, h_prev, weight_hh_t).chunk(4, 1)  # (1) (2) (3) (8)
        c_i, c_f = torch.mm(c_prev, weight_ci_cf_t).chunk(2, 1)  # (1) (2)
        a_i = a_i + c_i  # (1)
        a_f = a_f + c_f  # (2)
        i = torch.sigmoid(a_i)  # (4)
        f = torch.sigmoid(a_f)  # (5)
        g = torch.tanh(a_g)  # (6)
        c = f * c_prev + i * g  # (7)
        a_o = a_o + torch.mm(c, weight_co_t)  # (8)
        o = torch.sigmoid(a_o)  # (9)
        tanh_c = torch.tanh(c)  # (10)
        h = o * tanh_c  # (11)
        output.append(h)
    return torch.stack(output), h, c


def _forward_full(
    x: Tensor, h_0: Tensor, c_0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_ch: Tensor
) -> tuple[Tensor, ...]:
    """peephole="full", forward sweep: paths of h and c (T, B, H) and the gates (T, B, 4 H)."""
    steps, batch, size = x.shape[0], x.shape[1], h_0.shape[1]
    weight_hh_t = weight_hh.t()
    weight_ci_cf_t, weight_co_t = weight_ch[0:2].flatten(0, 1).t(), weight_ch[2].t()
    h_path, c_path = x.new_empty(steps, batch, size), x.new_empty(steps, batch, size)
    h_rows, c_rows = h_path.unbind(0), c_path.unbind(0)
    tanh_c = x.new_empty(batch, size)
    a_path = torch.addmm(bias, x.flatten(0, 1), weight_ih.t()).view(steps, batch, 4 * size)
    i_path, f_path, g_path, o_path = a_path.view(steps, batch, 4, size).unbind(2)
    for a, i_f, i, f, g, o, h_prev, c_prev, h, c in zip(
        a_path.unbind(0),
        a_path[:, :, : 2 * size].unbind(0),
        i_path.unbind(0),
        f_path.unbind(0),
        g_path.unbind(0),
        o_path.unbind(0),
        (h_0, *h_rows[:-1]),
        (c_0, *c_rows[:-1]),
        h_rows,
        c_rows,
        strict=True,
    ):
        a.addmm_(h_prev, weight_hh_t)  # (1) (2) (3) (8)
        i_f.addmm_(c_prev, weight_ci_cf_t)  # (1) (2)
        i_f.sigmoid_()  # (4) (5)
        g.tanh_()  # (6)
        torch.mul(f, c_prev, out=c)  # (7)
        c.addcmul_(i, g)  # (7)
        o.addmm_(c, weight_co_t)  # (8)
        o.sigmoid_()  # (9)
        torch.tanh(c, out=tanh_c)  # (10)
        torch.mul(o, tanh_c, out=h)  # (11)
    return h_path, c_path, a_path


def _recompute_full(x: Tensor, before: Values, paths: Values, operands: Values) -> Values:
    """peephole="full": the gates (T, B, 4 H) of all steps at once from the paths (T, B, H)."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, c_prev), (_, c), (weight_ih, weight_hh, bias, weight_ch) = before, paths, operands
    a = torch.addmm(bias, x.flatten(0, 1), weight_ih.t())
    a.addmm_(h_prev.flatten(0, 1), weight_hh.t())  # (1) (2) (3) (8)
    a[:, : 2 * size].addmm_(c_prev.flatten(0, 1), weight_ch[0:2].flatten(0, 1).t())  # (1) (2)
    a[:, : 2 * size].sigmoid_()  # (4) (5)
    a[:, 2 * size : 3 * size].tanh_()  # (6)
    a[:, 3 * size :].addmm_(c.flatten(0, 1), weight_ch[2].t()).sigmoid_()  # (8) (9)
    return (a.view(steps, batch, 4 * size),)


def _backward_full(
    x: Tensor,
    before: Values,
    paths: Values,
    operands: Values,
    activations: Values,
    bar_a: Tensor,
    bars: Values,
    sums: Sums,
) -> Values:
    """peephole="full", adjoint sweep. Cotangents are linear in the pivots bar_h and bar_c: coefficients first."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, c_prev), (_, c), (weight_ih, weight_hh, _, weight_ch), (a_path,) = before, paths, operands, activations
    bar_output, bar_h, bar_c = bars
    bar_x, bar_weight_ih, bar_weight_hh, bar_bias, bar_weight_ch = sums
    i, f, g, o = a_path.view(steps, batch, 4, size).unbind(2)
    tanh_c = torch.tanh(c)  # (10)
    bar_stack = bar_a.view(steps, batch, 4, size)
    bar_a_i, bar_a_f, bar_a_g, bar_a_o = bar_stack.unbind(2)
    sigmoid_slope(tanh_c, o, out=bar_a_o)  # (12), to be multiplied by bar_h
    sigmoid_slope(g, i, out=bar_a_i)  # (14), to be multiplied by bar_c
    sigmoid_slope(c_prev, f, out=bar_a_f)  # (15), to be multiplied by bar_c
    tanh_slope(i, g, out=bar_a_g)  # (16), to be multiplied by bar_c
    bar_c_by_bar_h = tanh_slope(o, tanh_c, out=torch.empty_like(tanh_c))  # (13), to be multiplied by bar_h
    weight_ci_cf, weight_co = weight_ch[0:2].flatten(0, 1), weight_ch[2]

    bar_h, bar_c_next = bar_h + bar_output[-1], bar_c.clone()  # (18)
    bar_c = torch.empty_like(bar_c_next)
    bar_c_wide = bar_c.unsqueeze(1)
    for bar_a_row, bar_a_i_f_g_row, bar_a_o_row, by_bar_h, f_row, bar_output_prev in zip(
        bar_a.unbind(0)[::-1],
        bar_stack[:, :, 0:3].unbind(0)[::-1],
        bar_a_o.unbind(0)[::-1],
        bar_c_by_bar_h.unbind(0)[::-1],
        f.unbind(0)[::-1],
        (torch.zeros_like(bar_h), *bar_output[:-1].unbind(0))[::-1],
        strict=True,
    ):
        bar_a_o_row.mul_(bar_h)  # (12)
        torch.addcmul(bar_c_next, bar_h, by_bar_h, out=bar_c)  # (13)
        bar_c.addmm_(bar_a_o_row, weight_co)  # (13)
        bar_a_i_f_g_row.mul_(bar_c_wide)  # (14) (15) (16)
        torch.mul(bar_c, f_row, out=bar_c_next)  # (17)
        bar_c_next.addmm_(bar_a_row[:, : 2 * size], weight_ci_cf)  # (17)
        torch.addmm(bar_output_prev, bar_a_row, weight_hh, out=bar_h)  # (18)

    bar_a_rows = bar_a.flatten(0, 1)
    if bar_x is not None:
        torch.mm(bar_a_rows, weight_ih, out=bar_x.flatten(0, 1))  # (19)
    if bar_weight_ih is not None:
        bar_weight_ih.addmm_(bar_a_rows.t(), x.flatten(0, 1))  # (20)
    if bar_weight_hh is not None:
        bar_weight_hh.addmm_(bar_a_rows.t(), h_prev.flatten(0, 1))  # (21)
    if bar_bias is not None:
        bar_bias.add_(bar_a_rows.sum(0))  # (22)
    if bar_weight_ch is not None:
        bar_weight_ch[0:2].flatten(0, 1).addmm_(bar_a_rows[:, : 2 * size].t(), c_prev.flatten(0, 1))  # (23)
        bar_weight_ch[2].addmm_(bar_a_rows[:, 3 * size :].t(), c.flatten(0, 1))  # (24)
    return bar_h, bar_c_next


def _plain_none(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """peephole="none", plain form: x (T, B, I), h and c (B, H) -> output (T, B, H), h, c."""
    weight_hh_t = weight_hh.t()
    output = []
    for a_x in torch.nn.functional.linear(x, weight_ih, bias).unbind(0):
        h_prev, c_prev = h, c
        a_i, a_f, a_g, a_o = torch.addmm(a_x, h_prev, weight_hh_t).chunk(4, 1)  # (1) (2) (3) (8)
        i = torch.sigmoid(a_i)  # (4)
        f = torch.sigmoid(a_f)  # (5)
        g = torch.tanh(a_g)  # (6)
        c = f * c_prev + i * g  # (7)
        o = torch.sigmoid(a_o)  # (9)
        tanh_c = torch.tanh(c)  # (10)
        h = o * tanh_c  # (11)
        output.append(h)
    return torch.stack(output), h, c


def _forward_none(
    x: Tensor, h_0: Tensor, c_0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """peephole="none", forward sweep: paths of h and c (T, B, H) and the gates (T, B, 4 H)."""
    steps, batch, size = x.shape[0], x.shape[1], h_0.shape[1]
    weight_hh_t = weight_hh.t()
    h_path, c_path = x.new_empty(steps, batch, size), x.new_empty(steps, batch, size)
    h_rows, c_rows = h_path.unbind(0), c_path.unbind(0)
    tanh_c = x.new_empty(batch, size)
    a_path = torch.addmm(bias, x.flatten(0, 1), weight_ih.t()).view(steps, batch, 4 * size)
    i_path, f_path, g_path, o_path = a_path.view(steps, batch, 4, size).unbind(2)
    for a, i_f, i, f, g, o, h_prev, c_prev, h, c in zip(
        a_path.unbind(0),
        a_path[:, :, : 2 * size].unbind(0),
        i_path.unbind(0),
        f_path.unbind(0),
        g_path.unbind(0),
        o_path.unbind(0),
        (h_0, *h_rows[:-1]),
        (c_0, *c_rows[:-1]),
        h_rows,
        c_rows,
        strict=True,
    ):
        a.addmm_(h_prev, weight_hh_t)  # (1) (2) (3) (8)
        i_f.sigmoid_()  # (4) (5)
        g.tanh_()  # (6)
        torch.mul(f, c_prev, out=c)  # (7)
        c.addcmul_(i, g)  # (7)
        o.sigmoid_()  # (9)
        torch.tanh(c, out=tanh_c)  # (10)
        torch.mul(o, tanh_c, out=h)  # (11)
    return h_path, c_path, a_path


def _recompute_none(x: Tensor, before: Values, paths: Values, operands: Values) -> Values:
    """peephole="none": the gates (T, B, 4 H) of all steps at once from the paths (T, B, H)."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, _), (weight_ih, weight_hh, bias) = before, operands
    a = torch.addmm(bias, x.flatten(0, 1), weight_ih.t())
    a.addmm_(h_prev.flatten(0, 1), weight_hh.t())  # (1) (2) (3) (8)
    a[:, : 2 * size].sigmoid_()  # (4) (5)
    a[:, 2 * size : 3 * size].tanh_()  # (6)
    a[:, 3 * size :].sigmoid_()  # (9)
    return (a.view(steps, batch, 4 * size),)


def _backward_none(
    x: Tensor,
    before: Values,
    paths: Values,
    operands: Values,
    activations: Values,
    bar_a: Tensor,
    bars: Values,
    sums: Sums,
) -> Values:
    """peephole="none", adjoint sweep. Cotangents are linear in the pivots bar_h and bar_c: coefficients first."""
    steps, batch, size = x.shape[0], x.shape[1], before[0].shape[2]
    (h_prev, c_prev), (_, c), (weight_ih, weight_hh, _), (a_path,) = before, paths, operands, activations
    bar_output, bar_h, bar_c = bars
    bar_x, bar_weight_ih, bar_weight_hh, bar_bias = sums
    i, f, g, o = a_path.view(steps, batch, 4, size).unbind(2)
    tanh_c = torch.tanh(c)  # (10)
    bar_stack = bar_a.view(steps, batch, 4, size)
    bar_a_i, bar_a_f, bar_a_g, bar_a_o = bar_stack.unbind(2)
    sigmoid_slope(tanh_c, o, out=bar_a_o)  # (12), to be multiplied by bar_h
    sigmoid_slope(g, i, out=bar_a_i)  # (14), to be multiplied by bar_c
    sigmoid_slope(c_prev, f, out=bar_a_f)  # (15), to be multiplied by bar_c
    tanh_slope(i, g, out=bar_a_g)  # (16), to be multiplied by bar_c
    bar_c_by_bar_h = tanh_slope(o, tanh_c, out=torch.empty_like(tanh_c))  # (13), to be multiplied by bar_h

    bar_h, bar_c_next = bar_h + bar_output[-1], bar_c.clone()  # (18)
    bar_c = torch.empty_like(bar_c_next)
    bar_c_wide = bar_c.unsqueeze(1)
    for bar_a_row, bar_a_i_f_g_row, bar_a_o_row, by_bar_h, f_row, bar_output_prev in zip(
        bar_a.unbind(0)[::-1],
        bar_stack[:, :, 0:3].unbind(0)[::-1],
        bar_a_o.unbind(0)[::-1],
        bar_c_by_bar_h.unbind(0)[::-1],
        f.unbind(0)[::-1],
        (torch.zeros_like(bar_h), *bar_output[:-1].unbind(0))[::-1],
        strict=True,
    ):
        bar_a_o_row.mul_(bar_h)  # (12)
        torch.addcmul(bar_c_next, bar_h, by_bar_h, out=bar_c)  # (13)
        bar_a_i_f_g_row.mul_(bar_c_wide)  # (14) (15) (16)
        torch.mul(bar_c, f_row, out=bar_c_next)  # (17)
        torch.addmm(bar_output_prev, bar_a_row, weight_hh, out=bar_h)  # (18)

    bar_a_rows = bar_a.flatten(0, 1)
    if bar_x is not None:
        torch.mm(bar_a_rows, weight_ih, out=bar_x.flatten(0, 1))  # (19)
    if bar_weight_ih is not None:
        bar_weight_ih.addmm_(bar_a_rows.t(), x.flatten(0, 1))  # (20)
    if bar_weight_hh is not None:
        bar_weight_hh.addmm_(bar_a_rows.t(), h_prev.flatten(0, 1))  # (21)
    if bar_bias is not None:
        bar_bias.add_(bar_a_rows.sum(0))  # (22)
    return bar_h, bar_c_next


_GATES = (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh"))


def _no_totals(*_: object) -> Values:
    """Not written by hand."""
    raise NotImplementedError


_CELLS: dict[tuple[str, ...], Cell] = {
    ("diagonal",): Cell(
        states=("h", "c"),
        operands=(*_GATES, ("weight_ch",)),
        plain=_plain_diagonal,
        forward=_forward_diagonal,
        recompute=_recompute_diagonal,
        backward=_backward_diagonal,
        totals=_no_totals,
    ),
    ("full",): Cell(
        states=("h", "c"),
        operands=(*_GATES, ("weight_ch",)),
        plain=_plain_full,
        forward=_forward_full,
        recompute=_recompute_full,
        backward=_backward_full,
        totals=_no_totals,
    ),
    ("none",): Cell(
        states=("h", "c"),
        operands=_GATES,
        plain=_plain_none,
        forward=_forward_none,
        recompute=_recompute_none,
        backward=_backward_none,
        totals=_no_totals,
    ),
}


class LSTMPeephole(Recurrent):
    """LSTM whose gates see the cell state, with torch.nn.LSTM's arguments, parameters and shapes.

    peephole: "diagonal" (`weight_ch` (3, H), rows i, f, o), "full" (`weight_ch` (3, H, H)) or "none".
    memory: "store" keeps the gates of every step, "chunk" the states only and recomputes the gates a chunk at a time.
    gradient: "derived" runs the derived adjoint sweep, "autograd" differentiates the plain form.
    """

    cells = _CELLS
    options = ("peephole",)
    zero_at_start = ("weight_ch",)
    biases = ("bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        peephole: str = "diagonal",
        memory: str = "store",
        gradient: str = "derived",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.peephole = one_of("peephole", peephole, ("diagonal", "full", "none"))
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            memory=memory,
            gradient=gradient,
            device=device,
            dtype=dtype,
        )

    def parameter_shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        size = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (4 * size, features),
            "weight_hh": (4 * size, size),
            "bias_ih": (4 * size,),
            "bias_hh": (4 * size,),
        }
        if self.peephole == "diagonal":
            shapes["weight_ch"] = (3, size)
        if self.peephole == "full":
            shapes["weight_ch"] = (3, size, size)
        return shapes


Module = LSTMPeephole
