"""Cells that torch.nn has too: its state_dict loads, and everything agrees to 1e-12 under every option."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from generated.gru import GRU
from generated.lstm import LSTM
from generated.lstm_peephole import LSTMPeephole
from generated.lstm_uwv import LSTMUWV
from generated.rnn_hidden import RNNHidden
from generated.vanilla_lstm import VanillaLSTM

double = torch.float64
MEMORIES = ("store", "chunk")
PAIRS: dict[str, tuple[Callable[..., Any], dict[str, str], Callable[..., nn.Module], dict[str, str]]] = {
    "lstm": (LSTM, {}, nn.LSTM, {}),
    "gru": (GRU, {"reset": "after", "blend": "torch"}, nn.GRU, {}),
    "rnn": (RNNHidden, {}, nn.RNN, {}),
    "relu": (RNNHidden, {"nonlinearity": "relu"}, nn.RNN, {"nonlinearity": "relu"}),
}
pair = pytest.mark.parametrize("name", PAIRS)
packs = {"sorted": [7, 5, 5, 2, 1], "unsorted": [2, 7, 1, 5, 5]}


def both(name: str, *sizes: Any, **options: Any) -> tuple[Any, nn.Module]:
    """The derived module with torch's tensors, loaded strictly, and torch's own."""
    kind, chosen, torchs, torch_chosen = PAIRS[name]
    torch.manual_seed(0)
    names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
    named = dict(zip(names, sizes, strict=False))  # torch.nn.RNN has another argument among them
    oracle = torchs(3, 4, dtype=double, **named, **torch_chosen)
    module = kind(3, 4, *sizes, dtype=double, **chosen, **options)
    module.load_state_dict(oracle.state_dict())
    return module, oracle


def states_of(name: str, *shape: int) -> Any:
    """One state, or two of an LSTM."""
    torch.manual_seed(2)
    values = tuple(torch.randn(shape, dtype=double) for _ in range(2))
    return values if name == "lstm" else values[0]


def leaves(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def everything(module: nn.Module, x: Any, state: Any, **options: Any) -> list[Tensor]:
    """Output, final state and all gradients of a nonlinear functional of them."""
    state = [value.clone().requires_grad_() for value in leaves(state)]
    data = x.data if isinstance(x, nn.utils.rnn.PackedSequence) else x
    data = data.clone().requires_grad_()
    given = x._replace(data=data) if isinstance(x, nn.utils.rnn.PackedSequence) else data
    module.zero_grad()
    output, final = module(given, tuple(state) if len(state) > 1 else state[0], **options)
    output = output.data if isinstance(output, nn.utils.rnn.PackedSequence) else output
    loss = (output * torch.cos(3 * output)).sum() + sum((value**3).sum() for value in leaves(final))
    loss.backward()
    parameters = [parameter.grad for parameter in module.parameters()]
    found: list[Any] = [output, *leaves(final), data.grad, *(value.grad for value in state), *parameters]
    return [value.detach().clone() for value in found]


def apart(found: Any, expected: Any) -> float:
    """Largest norm-relative difference over pairs of tensors."""
    pairs = list(zip(found, expected, strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    detached = [(a.detach(), b.detach()) for a, b in pairs]
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in detached)


@pair
@pytest.mark.parametrize("memory", MEMORIES)
def test_torchs_state_dict_loads_and_agrees_in_every_option(name: str, memory: str) -> None:
    for layers, bias, batch_first, bidirectional in product((1, 2), (True, False), (True, False), (True, False)):
        module, oracle = both(name, layers, bias, batch_first, 0.3 * (layers > 1), bidirectional, memory=memory)
        module.eval()
        oracle.eval()
        x = torch.randn(11, 5, 3, dtype=double)
        state = states_of(name, layers * (1 + bidirectional), 5, 4)
        x = x.transpose(0, 1) if batch_first else x
        assert apart(everything(module, x, state), everything(oracle, x, state)) < 1e-12
        assert apart([module(x)[0]], [oracle(x)[0]]) < 1e-12


@pair
def test_names_order_shapes_and_first_values_are_torchs(name: str) -> None:
    kind, chosen, torchs, torch_chosen = PAIRS[name]
    torch.manual_seed(5)
    oracle = torchs(3, 4, 2, bidirectional=True, **torch_chosen).state_dict()
    torch.manual_seed(5)
    state = kind(3, 4, 2, bidirectional=True, **chosen).state_dict()
    assert list(state) == list(oracle)
    assert all(torch.equal(state[key], value) for key, value in oracle.items())


@pair
@pytest.mark.parametrize("order", packs)
def test_packed_and_padded_sequences(name: str, order: str) -> None:
    module, oracle = both(name, 2, True, False, 0.0, True)
    x, state, lengths = torch.randn(7, 5, 3, dtype=double), states_of(name, 4, 5, 4), packs[order]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=order == "sorted")
    assert apart(everything(module, packed, state), everything(oracle, packed, state)) < 1e-12
    expected, final = oracle(packed, state)
    output, found = module(x, state, lengths=lengths)
    assert apart([output, *leaves(found)], [pad_packed_sequence(expected)[0], *leaves(final)]) < 1e-12


@pair
def test_one_sequence_without_a_batch_axis(name: str) -> None:
    for batch_first in (True, False):
        module, oracle = both(name, 2, True, batch_first)
        x, state = torch.randn(7, 3, dtype=double), states_of(name, 2, 4)
        assert apart(everything(module, x, state), everything(oracle, x, state)) < 1e-12


@pair
def test_dropout_of_everything_acts_where_torchs_does(name: str) -> None:
    kind, chosen, torchs, torch_chosen = PAIRS[name]
    module, oracle = kind(3, 4, 3, dropout=1.0, **chosen), torchs(3, 4, 3, dropout=1.0, **torch_chosen)
    module.load_state_dict(oracle.state_dict())
    x = torch.randn(5, 2, 3)
    assert apart([module(x)[0]], [oracle(x)[0]]) < 1e-5


def test_the_vanilla_lstm_is_the_lstm_with_full_peepholes() -> None:
    """Under the catalogue's renaming, with every gradient; a torch LSTM where the states are not seen."""
    torch.manual_seed(0)
    module, other = VanillaLSTM(3, 4, dtype=double), LSTMPeephole(3, 4, peephole="full", dtype=double)
    own = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    assert len(own) == 15
    order = {"i": "cu", "f": "cs", "g": "du", "o": "cr"}
    rows = {
        "weight_ih_l0": [own[f"W_x{k}"] for k in order.values()],
        "weight_hh_l0": [own[f"W_v{k}"] for k in order.values()],
        "bias_ih_l0": [own[f"b_{k}"] for k in order.values()],
    }
    peepholes = torch.stack([own[f"W_s{k}"] for k in ("cu", "cs", "cr")])
    values = {name: torch.cat(parts).detach() for name, parts in rows.items()}
    zero = torch.zeros(16, dtype=double)
    other.load_state_dict({**values, "bias_hh_l0": zero, "weight_ch_l0": peepholes.detach()})
    x, state = torch.randn(7, 2, 3, dtype=double), states_of("lstm", 1, 2, 4)
    found, expected = everything(module, x, state), everything(other, x, state)
    assert apart(found[:6], expected[:6]) < 1e-12
    for name, parts in rows.items():
        assert apart([torch.cat([part.grad for part in parts])], [getattr(other, name).grad]) < 1e-12
    assert apart([own[f"W_s{k}"].grad for k in ("cu", "cs", "cr")], other.weight_ch_l0.grad.unbind(0)) < 1e-12
    with torch.no_grad():
        for k in ("cu", "cs", "cr"):
            own[f"W_s{k}"].zero_()
    oracle = nn.LSTM(3, 4, dtype=double)
    oracle.load_state_dict({**values, "bias_hh_l0": zero})
    assert apart(everything(module, x, state)[:6], everything(oracle, x, state)[:6]) < 1e-12


def test_lstm_uwv_is_torchs_lstm_without_biases_and_a_softmax() -> None:
    torch.manual_seed(0)
    module, oracle = LSTMUWV(3, 4, output=2, dtype=double), nn.LSTM(3, 4, bias=False, dtype=double)
    oracle.load_state_dict({"weight_ih_l0": module.U_l0, "weight_hh_l0": module.W_l0})
    x, state = torch.randn(7, 2, 3, dtype=double), states_of("lstm", 1, 2, 4)
    plain, final = oracle(x, state)
    output, found = module(x, state)
    assert apart([output, *found], [(plain @ module.V.mT).softmax(-1), *final]) < 1e-13
    classes = torch.randint(2, (7, 2))
    loss = nn.functional.nll_loss(output.log().flatten(0, 1), classes.flatten(), reduction="sum")
    expected = (output - nn.functional.one_hot(classes, 2)).flatten(0, 1).mT @ plain.flatten(0, 1)
    assert apart(torch.autograd.grad(loss, [module.V]), [expected]) < 1e-12


VARIANTS = tuple(product(("before", "after"), ("deck", "torch")))


def by_hand(module: GRU, x: Tensor, h: Tensor) -> Tensor:
    """The gated recurrent unit over all steps, written out."""
    suffix = {("before", "deck"): "", ("before", "torch"): "_keep", ("after", "deck"): "_after"}[module.chosen]
    W, R, b = (getattr(module, f"{part}{suffix}_l0").chunk(3) for part in ("weight_x", "weight_h", "bias_x"))
    d = getattr(module, f"bias_h{suffix}_l0").chunk(3) if module.reset == "after" else [torch.zeros_like(b[0])] * 3
    output = []
    for row in x.unbind(0):
        r, z = (torch.sigmoid(row @ W[k].mT + b[k] + h @ R[k].mT + d[k]) for k in (0, 1))
        past = (r * h) @ R[2].mT if module.reset == "before" else r * (h @ R[2].mT + d[2])
        n = torch.tanh(row @ W[2].mT + b[2] + past)
        h = (1 - z) * h + z * n if module.blend == "deck" else (1 - z) * n + z * h
        output.append(h)
    return torch.stack(output)


@pytest.mark.parametrize(("reset", "blend"), VARIANTS[:3])
@pytest.mark.parametrize("memory", MEMORIES)
def test_the_other_units_equal_a_loop_by_hand(reset: str, blend: str, memory: str) -> None:
    module = GRU(3, 4, reset=reset, blend=blend, memory=memory, dtype=double)
    x, h = torch.randn(9, 5, 3, dtype=double), torch.randn(1, 5, 4, dtype=double)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unit = module

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            output = by_hand(module, x, h[0])
            return output, output[-1:]

    assert apart(everything(module, x, h), everything(Loop(), x, h)) < 1e-12


def test_negated_update_gates_exchange_the_blends() -> None:
    one = GRU(3, 4, dtype=double)
    other = GRU(3, 4, blend="torch", dtype=double)
    for mine, torchs in zip(one.parameters(), other.parameters(), strict=True):
        values = mine.detach().clone()
        values[4:8] *= -1
        torchs.data.copy_(values)
    x = torch.randn(6, 2, 3, dtype=double)
    assert apart([other(x)[0]], [one(x)[0]]) < 1e-14


def test_resets_agree_for_a_diagonal_matrix_alone() -> None:
    before, after = GRU(3, 4, dtype=double), GRU(3, 4, reset="after", dtype=double)
    x = torch.randn(6, 2, 3, dtype=double)
    tensors = dict(zip(("weight_x", "weight_h", "bias_x"), before.parameters(), strict=True))
    for name, value in tensors.items():
        getattr(after, f"{name}_after_l0").data.copy_(value)
    after.bias_h_after_l0.data.zero_()
    assert apart([after(x)[0]], [before(x)[0]]) > 1e-3
    for module in (before.weight_h_l0, after.weight_h_after_l0):
        module.data[8:].copy_(torch.diag(module.data[8:].diagonal().clone()))
    assert apart([after(x)[0]], [before(x)[0]]) < 1e-14


@pytest.mark.parametrize("strict", (True, False))
@pytest.mark.parametrize(("reset", "blend"), VARIANTS[:3])
def test_torchs_tensors_in_another_unit_fail_loudly(reset: str, blend: str, strict: bool) -> None:
    module = GRU(3, 4, 2, bidirectional=True, reset=reset, blend=blend)
    message = r"the names of GRU\(reset='after', blend='torch'\), this is GRU\(reset='.*', blend='.*'\)"
    with pytest.raises(RuntimeError, match=message):
        module.load_state_dict(nn.GRU(3, 4, 2, bidirectional=True).state_dict(), strict=strict)
    model = nn.Sequential(module)
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict({f"0.{name}": v for name, v in nn.GRU(3, 4).state_dict().items()}, strict=strict)
    learnt = GRU(3, 4, reset=reset, blend=blend, learn_initial=True)
    with pytest.raises(RuntimeError, match=message):
        learnt.load_state_dict({**nn.GRU(3, 4).state_dict(), "initial_h": torch.zeros(1, 4)}, strict=strict)


def test_no_two_units_share_a_name() -> None:
    names = [name for reset, blend in VARIANTS for name, _ in GRU(3, 4, reset=reset, blend=blend).named_parameters()]
    assert len(names) == len(set(names)) == 3 + 3 + 4 + 4


def test_options_are_shown_and_checked() -> None:
    assert repr(GRU(3, 4, reset="after", blend="torch")) == "GRU(3, 4, reset='after', blend='torch')"
    assert repr(GRU(3, 4)) == "GRU(3, 4)"
    with pytest.raises(ValueError, match="GRU: reset='never'; allowed: 'before', 'after'"):
        GRU(3, 4, reset="never")


@pair
def test_code_for_torchs_modules_may_ask_for_one_block_of_weights(name: str) -> None:
    module, oracle = both(name, 2)
    x, state = torch.randn(5, 2, 3, dtype=double), states_of(name, 2, 2, 4)
    for each in (module, oracle):
        each.flatten_parameters()
    assert apart(everything(module, x, state), everything(oracle, x, state)) < 1e-12
