"""Total derivatives in the states at every step, beside autograd on a plain loop that keeps each state."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import load
from generated.gru import GRU
from generated.lstm import LSTM
from generated.lstm_peephole import LSTMPeephole
from generated.rnn_hidden import RNNHidden
from generated.tdnn import TDNN

SPECS = Path(__file__).parents[1] / "specs"
double = torch.float64


def lstm(v, x, states):
    h, c = states
    i, f, g, o = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT + v["bias_ih"] + v["bias_hh"]).chunk(4, -1)
    p = v.get("weight_ch", torch.zeros(3, 1, dtype=double))
    seen = (lambda place, c: c @ p[place].mT) if p.dim() == 3 else (lambda place, c: p[place] * c)
    c = (c * torch.sigmoid(f + seen(1, c))) + torch.sigmoid(i + seen(0, c)) * torch.tanh(g)
    return torch.sigmoid(o + seen(2, c)) * torch.tanh(c), c


def rnn(v, x, states):
    return (torch.tanh(x @ v["weight_ih"].mT + states[0] @ v["weight_hh"].mT + v["bias_ih"] + v["bias_hh"]),)


def gru(v, x, states):
    weights = (v[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return (torch.gru_cell(x[None], states[0][None], *weights)[0],)


def layer_norm_lstm(v, x, states):
    h, c = states
    norm, gain, bias = torch.nn.functional.layer_norm, v["gain"].unflatten(0, (5, -1)), v["bias"].unflatten(0, (5, -1))
    gates = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT).unflatten(-1, (4, -1))
    i, f, g, o = (norm(gates, gates.shape[-1:]) * gain[:4] + bias[:4]).unbind(-2)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm(c, c.shape[-1:]) * gain[4] + bias[4]), c


@cache
def own():
    return load_text(emit(load(SPECS / "layer_norm_lstm.py"))).Module


KINDS = {
    "lstm": (lambda: LSTM, lstm, {}),
    "gru": (lambda: GRU, gru, {"reset": "after", "blend": "torch"}),
    "rnn": (lambda: RNNHidden, rnn, {}),
    "diagonal peepholes": (lambda: LSTMPeephole, lstm, {}),
    "full peepholes": (lambda: LSTMPeephole, lstm, {"peephole": "full"}),
    "layer norm": (own, layer_norm_lstm, {}),
}


def filled(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.empty_like(value).normal_(0, 0.5, generator=generator))
    return module


def by_hand(module, step, x: Tensor, starts, lengths, bars, bar_finals):
    """Totals (layers * directions, T, B, H) per state, each sequence alone, by autograd in the states of a loop."""
    directions, steps = 1 + module.bidirectional, len(x)
    found = [torch.zeros(len(starts[0]), steps, len(lengths), module.hidden_size, dtype=double) for _ in starts]
    for b, length in enumerate(lengths):
        values, kept, total = x[:length, b], [], 0
        for row in range(module.num_layers * directions):
            layer, way = divmod(row, directions)
            suffix = f"_l{layer}" + "_reverse" * way
            own = {n.removesuffix(suffix): v for n, v in module.named_parameters() if n.endswith(suffix)}
            states, path = tuple(start[row, b] for start in starts), []
            for given in values.flip(0) if way else values:
                states = step(own, given, states)
                path.append(states)
            total = total + sum((state * bar[row, b]).sum() for state, bar in zip(states, bar_finals, strict=True))
            kept.append(path[::-1] if way else path)
            if way == directions - 1:
                ways = [torch.stack([states[0] for states in path]) for path in kept[-directions:]]
                values = torch.cat(ways, -1)
        total = total + (values * bars[:length, b]).sum()
        flat = [state for path in kept for states in path for state in states]
        places = [
            (k, row, t) for row, path in enumerate(kept) for t, states in enumerate(path) for k in range(len(states))
        ]
        for (k, row, t), value in zip(places, torch.autograd.grad(total, flat), strict=True):
            found[k][row, t, b] = value
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "lengths"),
    (({}, [6, 6, 6]), ({"num_layers": 2, "bidirectional": True, "batch_first": True}, [4, 6, 1])),
)
def test_they_are_what_autograd_finds_in_a_loop(kind, options, lengths):
    make, step, chosen = KINDS[kind]
    module = filled(make()(3, 4, dtype=double, **options, **chosen))
    torch.manual_seed(1)
    states, rows = len(module.cell().states), module.num_layers * (1 + module.bidirectional)
    x, bars = torch.randn(6, 3, 3, dtype=double), torch.randn(6, 3, 4 * (1 + module.bidirectional), dtype=double)
    starts, ends = ([torch.randn(rows, 3, 4, dtype=double) for _ in range(states)] for _ in range(2))
    as_given = (lambda v: v.transpose(0, 1)) if module.batch_first else (lambda v: v)
    as_state = tuple if states > 1 else (lambda v: v[0])
    more = {} if set(lengths) == {6} else {"lengths": lengths}
    found = module.state_cotangents(as_given(x), as_given(bars), as_state(starts), bar_state=as_state(ends), **more)
    found = (found,) if isinstance(found, Tensor) else found
    expected = by_hand(module, step, x, starts, lengths, bars, ends)
    for one, other in zip(found, expected, strict=True):
        ours = one.transpose(1, 2) if module.batch_first else one
        assert ours.shape == other.shape and (ours - other).norm() <= 1e-12 * other.norm()


def test_one_sequence_and_many_blocks_of_steps():
    """Long enough for several blocks of the sweep; without a batch axis; and the module is left as it is."""
    module = filled(LSTM(3, 4, dtype=double))
    before = dict(vars(module))
    torch.manual_seed(2)
    x, bars = torch.randn(40, 3, dtype=double), torch.randn(40, 4, dtype=double)
    wide = torch.randn(40, 2000, 3, dtype=double)
    h, c = module.state_cotangents(x, bars)
    assert h.shape == c.shape == (1, 40, 4)
    zeros = [torch.zeros(1, 1, 4, dtype=double)] * 2
    expected = by_hand(module, lstm, x[:, None], zeros, [40], bars[:, None], zeros)
    assert (h - expected[0].squeeze(2)).norm() < 1e-12 and (c - expected[1].squeeze(2)).norm() < 1e-12
    wide[:, 7] = x
    pulled = torch.zeros(40, 2000, 4, dtype=double)
    pulled[:, 7] = bars
    assert (module.state_cotangents(wide, pulled)[1][:, :, 7] - c).norm() < 1e-12
    assert vars(module) == before and all(value.grad is None for value in module.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    (
        ({"bar_output": torch.zeros(6, 2, 4)}, r"bar_output has shape \(6, 2, 4\); allowed: shape \(6, 3, 4\)"),
        ({"bar_output": None}, "bar_output is of type NoneType; allowed: a Tensor"),
        ({"bar_state": torch.zeros(1, 3, 4)}, "bar_state has 1 tensors; allowed: 2"),
        ({"bar_state": (torch.zeros(1, 3, 4), torch.zeros(1, 3, 5))}, r"bar_state has shape \(1, 3, 5\); allowed"),
        ({"x": [1.0]}, "x is of type list; allowed: a Tensor, padded, with lengths"),
    ),
)
def test_what_does_not_fit_is_refused(change, says):
    given = {"x": torch.zeros(6, 3, 3), "bar_output": torch.zeros(6, 3, 4), **change}
    with pytest.raises((TypeError, ValueError), match=f"LSTM: {says}"):
        LSTM(3, 4).state_cotangents(**given)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_what_has_none_is_refused(gradient):
    x, bars = torch.zeros(6, 3, 3), torch.zeros(6, 3, 4)
    with pytest.raises(TypeError, match="TDNN: a cell without a state; allowed"):
        TDNN(3, 4, gradient=gradient).state_cotangents(x, bars)
    with pytest.raises(TypeError, match="RNNHidden: a cell with jumps, whose states have no slope; allowed"):
        RNNHidden(3, 4, nonlinearity="heaviside", gradient=gradient).state_cotangents(x, bars)


def test_dropout_must_be_off():
    module = LSTM(3, 4, 2, dropout=0.5)
    with pytest.raises(ValueError, match="dropout is on, and would be drawn anew; call eval"):
        module.state_cotangents(torch.zeros(6, 3, 3), torch.zeros(6, 3, 4))
    assert module.eval().state_cotangents(torch.zeros(6, 3, 3), torch.zeros(6, 3, 4))[0].shape == (2, 6, 3, 4)
