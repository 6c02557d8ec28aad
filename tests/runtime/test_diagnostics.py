"""Measures of trained modules beside plain autograd through whole sequences, loops by hand and closed forms."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn

import codegen
from codegen.diagnostics import StateJacobians, gradient_profile, state_jacobians
from generated.delay_rnn import DelayRNN
from generated.dnn import DNN
from generated.gru import GRU
from generated.linear_recursion import LinearRecursion
from generated.lm_resnet import LMResNet
from generated.lstm import LSTM
from generated.lstm_general import LSTMGeneral
from generated.lstm_peephole import LSTMPeephole
from generated.resnet import ResNet
from generated.rnn_hidden import RNNHidden
from generated.rnn_multitap import RNNMultitap
from generated.tdnn import TDNN
from generated.vanilla_lstm import VanillaLSTM

STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4
CELLS = {
    "LSTM": lambda **kw: LSTM(FEATURES, HIDDEN, **kw),
    "GRU": lambda **kw: GRU(FEATURES, HIDDEN, **kw),
    "GRU after": lambda **kw: GRU(FEATURES, HIDDEN, reset="after", blend="torch", **kw),
    "LSTMPeephole": lambda **kw: LSTMPeephole(FEATURES, HIDDEN, peephole="full", memory="chunk", **kw),
    "RNNHidden": lambda **kw: RNNHidden(FEATURES, HIDDEN, output=2, **kw),
    "VanillaLSTM": lambda **kw: VanillaLSTM(FEATURES, HIDDEN, **kw),
    "LSTMGeneral": lambda **kw: LSTMGeneral(FEATURES, HIDDEN, **kw),
    "LinearRecursion": lambda **kw: LinearRecursion(FEATURES, HIDDEN, **kw),
    "torch.nn.LSTM": lambda **kw: nn.LSTM(FEATURES, HIDDEN, **kw),
    "torch.nn.RNN": lambda **kw: nn.RNN(FEATURES, HIDDEN, nonlinearity="relu", **kw),
}


def made(name, **options):
    torch.manual_seed(1)
    return CELLS[name](dtype=torch.float64, **options)


def data(module, layers=1, directions=1, steps=STEPS):
    """An input and the states before it, one tensor for each state of the cell."""
    random = torch.Generator().manual_seed(2)
    x = torch.randn(steps, BATCH, FEATURES, dtype=torch.float64, generator=random)
    count = 1 if isinstance(module(x)[1], torch.Tensor) else 2
    shape = (layers * directions, BATCH, HIDDEN)
    return x, tuple(torch.randn(shape, dtype=torch.float64, generator=random) for _ in range(count))


def as_given(states):
    return states if len(states) > 1 else states[0]


@pytest.mark.parametrize("name", CELLS)
def test_product_of_jacobians_is_that_of_the_whole_sequence(name):
    """Against autograd through one call of the module, which runs all its steps."""
    module = made(name)
    x, states = data(module)
    (found,) = state_jacobians(module, x, as_given(states))

    def final(*flat):
        after = module(x, as_given(tuple(v.unsqueeze(0) for v in flat)))[1]
        return torch.cat([v[0] for v in ((after,) if isinstance(after, torch.Tensor) else after)], -1)

    dense = torch.autograd.functional.jacobian(final, tuple(v[0] for v in states))
    for sample in range(BATCH):
        expected = torch.cat([block[sample, :, sample] for block in dense], -1)
        torch.testing.assert_close(found.products()[-1, sample], expected, rtol=1e-10, atol=1e-13)
    assert found.jacobians.shape == (STEPS, BATCH, HIDDEN * len(states), HIDDEN * len(states))


def lstm_by_hand(module, x, nudges):
    """Two layers of torch.lstm_cell, the states moved by nudges right after they are formed: (layer, state, step)."""
    for layer in range(2):
        weights = [getattr(module, f"{n}_l{layer}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        h, c = (nudges[layer, state, 0] for state in (0, 1))
        outputs = []
        for t, row in enumerate(x, 1):
            h, c = torch.lstm_cell(row, (h, c), *weights)
            h, c = h + nudges[layer, 0, t], c + nudges[layer, 1, t]
            outputs.append(h)
        x = torch.stack(outputs)
    return x


@pytest.mark.parametrize("name", ["LSTM", "torch.nn.LSTM"])
def test_gradients_of_all_states_against_a_loop_by_hand(name):
    module = made(name, num_layers=2)
    x, _ = data(module)
    nudges = {(k, s, t): torch.zeros(BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
              for k in range(2) for s in range(2) for t in range(STEPS + 1)}  # fmt: skip

    def loss(output):
        return (output**2).sum() + output[1].sum()

    value = loss(lstm_by_hand(module, x, nudges))
    gradients = torch.autograd.grad(value, list(nudges.values()), allow_unused=True, materialize_grads=True)
    bars = dict(zip(nudges, gradients, strict=True))
    found = gradient_profile(module, x, loss)
    assert found.names == ("h, layer 0", "c, layer 0", "h, layer 1", "c, layer 1")
    for (layer, state, t), bar in bars.items():
        torch.testing.assert_close(found.norms[2 * layer + state, t], bar.norm(dim=1), rtol=1e-11, atol=0)
    loss(module(x)[0]).backward()
    assert set(found.neurons) == {n for n, p in module.named_parameters() if p.dim() > 1}
    for name, lengths in found.neurons.items():
        torch.testing.assert_close(lengths, module.get_parameter(name).grad.norm(dim=1), rtol=1e-11, atol=0)
    torch.testing.assert_close(found.loss, value.detach())


@pytest.mark.parametrize("name", ["GRU", "LSTMPeephole", "RNNHidden", "torch.nn.LSTM"])
def test_gradients_of_the_first_states_of_stacked_directions(name):
    """Against autograd through one call of the module, batch first; later states are first ones of shorter calls."""
    module = made(name, num_layers=2, bidirectional=True, batch_first=True)
    forward = made(name, num_layers=2, bidirectional=True)
    forward.load_state_dict(module.state_dict())
    x, states = data(forward, layers=2, directions=2)
    leaves = tuple(v.requires_grad_() for v in states)
    x = x.transpose(0, 1)
    value = module(x, as_given(leaves))[0][:, -1].sum()
    bars = torch.autograd.grad(value, leaves)
    found = gradient_profile(module, x, state=as_given(states))
    torch.testing.assert_close(found.loss, value.detach())
    rows = dict(zip(found.names, found.norms, strict=True))
    for state, bar in zip(("h", "c"), bars, strict=False):
        for row, ending in enumerate(("0", "0, reverse", "1", "1, reverse")):
            torch.testing.assert_close(
                rows[f"{state}, layer {ending}"][0], bar[row].norm(dim=1), rtol=1e-10, atol=1e-15
            )
    assert module.batch_first and not any(p.grad is not None for p in module.parameters())


def test_later_states_are_the_first_ones_of_what_follows():
    module = made("LSTMPeephole")
    x, states = data(module)
    _, after = module(x[:2], states)
    whole, rest = gradient_profile(module, x, state=states), gradient_profile(module, x[2:], state=after)
    torch.testing.assert_close(whole.norms[:, 2:], rest.norms, rtol=1e-11, atol=0)


def test_learnt_initial_states_are_where_it_starts():
    module = made("GRU", learn_initial=True)
    x, (state,) = data(module)
    with torch.no_grad():
        module.initial_h.copy_(state[:, 0])
    expanded = module.initial_h.detach().unsqueeze(1).expand(-1, BATCH, -1)
    one, same = gradient_profile(module, x), gradient_profile(module, x, state=expanded)
    torch.testing.assert_close(one.norms, same.norms)
    module(x)[0][-1].sum().backward()
    assert not any(name.startswith("initial_") for name in one.neurons)  # states are in the rows, not neurons


@pytest.mark.parametrize(("kind", "options"), [
    (DelayRNN, {"delay": 2}), (RNNMultitap, {"lags": (1, 3)}), (TDNN, {"lags": (0, 2)}), (TDNN, {"lags": (0, 1)}),
    (nn.LSTM, {"proj_size": 2}),
])  # fmt: skip
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_of_which_several_values_are_kept(kind, options, bidirectional):
    """Against the gradient in what one call of the module starts from; the product of Jacobians likewise."""
    torch.manual_seed(3)
    module = kind(FEATURES, HIDDEN, num_layers=2, bidirectional=bidirectional, dtype=torch.float64, **options)
    x = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
    after = module(x)[1]
    starts = [torch.randn_like(v).requires_grad_() for v in ((after,) if isinstance(after, torch.Tensor) else after)]
    value = module(x, as_given(tuple(starts)))[0][-1].sum()
    bars = torch.autograd.grad(value, starts)
    found = gradient_profile(module, x, state=as_given(tuple(starts)))
    torch.testing.assert_close(found.loss, value.detach())
    names = module.cell().states if hasattr(module, "cell") else ("h", "c")
    rows = dict(zip(found.names, found.norms, strict=True))
    for place, bar in enumerate(bars):
        for row, part in enumerate(bar):
            layer, way = (place - len(names), row) if place >= len(names) else divmod(row, 1 + bidirectional)
            letter = names[place] if place < len(names) else "x_past"
            name = f"{letter}, layer {layer}{', reverse' * way}"
            torch.testing.assert_close(rows[name][0], part.flatten(1).norm(dim=1), rtol=1e-10, atol=1e-14)
    jacobians = state_jacobians(module, x, as_given(tuple(starts)))
    count = len(names)
    kept = [(*starts[:count], *starts[count + layer : count + layer + 1]) for layer in range(2)]
    sizes = [sum(value[0, 0].numel() for value in values) for values in kept]
    if options == {"lags": (0, 1)}:  # the input alone is kept, for one step
        assert not any(one.jacobians.any() for one in jacobians)
    assert [one.jacobians.shape[-1] for one in jacobians] == [size for size in sizes for _ in range(1 + bidirectional)]


@pytest.mark.parametrize("kind", [DelayRNN, RNNMultitap])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_output_s_own_path_does_not_depend_on_values(kind, scale):
    """The gradient of the last output's sum in the state that it is; with zero weights all states are alike."""
    module = kind(FEATURES, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(scale)
    found = gradient_profile(module, torch.ones(STEPS, BATCH, FEATURES, dtype=torch.float64))
    last = {name: norms[-1] for name, norms in zip(found.names, found.norms, strict=True)}
    expected = {"s, layer 0": 0.0, "r, layer 0": 2.0} if kind is DelayRNN else {"h, layer 0": 2.0}
    for name, size in expected.items():
        torch.testing.assert_close(last[name], torch.full((BATCH,), size, dtype=torch.float64))


def test_learnt_starts_of_several_values():
    module = RNNMultitap(FEATURES, HIDDEN, lags=(1, 3), learn_initial=True, dtype=torch.float64)
    x = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
    with torch.no_grad():
        module.initial_h.normal_()
    given = module.initial_h.detach().unsqueeze(1).expand(-1, BATCH, -1, -1)
    torch.testing.assert_close(gradient_profile(module, x).norms, gradient_profile(module, x, state=given).norms)


def test_neurons_are_rows_of_matrices():
    module = RNNMultitap(FEATURES, HIDDEN, lags=(1, 3), learn_initial=True, dtype=torch.float64)
    x = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
    found = gradient_profile(module, x).neurons
    module(x)[0][-1].sum().backward()
    gradient = module.weight_hh_l0.grad
    assert set(found) == {"weight_ih_l0", "weight_hh_l0"} and gradient.shape == (2, HIDDEN, HIDDEN)
    rows = torch.stack([gradient[k, j].norm() for k in range(2) for j in range(HIDDEN)])
    torch.testing.assert_close(found["weight_hh_l0"], rows)
    net = nn.Sequential(nn.Conv1d(2, 3, 2))
    assert gradient_profile(net, torch.ones(1, 2, 4)).neurons["0.weight"].shape == (3,)


def test_gradients_of_a_cell_are_those_after_the_output_is_formed():
    """The total one of `state_cotangents` has what goes through the output besides."""
    module = made("LSTM")
    x, _ = data(module)
    found = gradient_profile(module, x)
    bars = torch.zeros(STEPS, BATCH, HIDDEN, dtype=torch.float64)
    bars[-1] = 1
    h, c = module.state_cotangents(x, bars)
    torch.testing.assert_close(found.norms[0, 1:], h[0].norm(dim=-1))
    assert not found.norms[1, -1].any() and c[0, -1].norm() > 0.1


def test_linear_recursion_in_closed_form():
    """Every Jacobian is W; memory ends where |W^n| first falls below the threshold; gradients are |W^T^n 1|."""
    module = made("LinearRecursion")
    W = 0.6 * torch.tensor([[0.8, 2, 0, 0], [0, 0.8, 0, 0], [0, 0, 0.3, -0.9], [0, 0, 0.9, 0.3]], dtype=torch.float64)
    with torch.no_grad():
        module.W_l0.copy_(W)
    x, _ = data(module, steps=30)
    (found,) = state_jacobians(module, x)
    torch.testing.assert_close(found.jacobians, W.expand(30, BATCH, 4, 4), rtol=1e-14, atol=1e-15)
    radius = max(0.6 * 0.8, 0.6 * math.hypot(0.3, 0.9))
    torch.testing.assert_close(found.spectral_radius, torch.full((30, BATCH), radius, dtype=torch.float64))
    expected = torch.linalg.svdvals(W).expand(30, BATCH, 4)
    torch.testing.assert_close(found.singular_values, expected)
    norms = [torch.linalg.matrix_power(W, n).svd().S[0] for n in range(1, 31)]
    for threshold in (0.9, 0.01):
        first = next(n for n, size in enumerate(norms, 1) if size < threshold)
        assert found.memory_length(threshold).tolist() == [first] * BATCH
        assert found.memory_length(threshold, start=3).tolist() == [first] * BATCH
    assert found.memory_length(1e-9).tolist() == [math.inf] * BATCH
    profile = gradient_profile(module, x)
    back = [(torch.linalg.matrix_power(W.T, 30 - t) @ torch.ones(4, dtype=torch.float64)).norm() for t in range(31)]
    torch.testing.assert_close(profile.norms[0], torch.stack(back)[:, None].expand(31, BATCH))


def test_nineteen_layers_against_deltas_by_hand():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6, dtype=torch.float64) for _ in range(19)]
    net = nn.Sequential(*(one for layer in layers for one in (layer, nn.Sigmoid())))
    x = torch.randn(BATCH, 6, dtype=torch.float64)
    found = gradient_profile(net, x)
    assert found.norms.shape == (1, 39, BATCH) and found.names == ("state",)
    values = [x]
    for layer in layers:
        values.append(torch.sigmoid(layer(values[-1]).detach()))
    bar = torch.ones(BATCH, 6, dtype=torch.float64)
    for k in reversed(range(19)):
        delta = bar * values[k + 1] * (1 - values[k + 1])
        torch.testing.assert_close(found.norms[0, 2 * k + 1], delta.norm(dim=1))
        gradient = delta.T @ values[k]
        torch.testing.assert_close(found.neurons[f"{2 * k}.weight"], gradient.norm(dim=1))
        bar = delta @ layers[k].weight.detach()
        torch.testing.assert_close(found.norms[0, 2 * k], bar.norm(dim=1))


def test_a_net_whose_layers_are_not_called_is_one_layer():
    """Its weights are those of all layers: the emitted deep net beside torch's own layers."""
    torch.manual_seed(0)
    net = DNN([3, 5, 4, 2], activation="elu", dtype=torch.float64)
    layers = [nn.Linear(one.weight.shape[1], one.weight.shape[0], dtype=torch.float64) for one in net.layers]
    for mine, theirs in zip(layers, net.layers, strict=True):
        mine.load_state_dict(theirs.state_dict())
    beside = nn.Sequential(layers[0], nn.ELU(), layers[1], nn.ELU(), layers[2])
    x = torch.randn(BATCH, 3, dtype=torch.float64)
    found, expected = gradient_profile(net, x), gradient_profile(beside, x)
    torch.testing.assert_close(found.norms, expected.norms[:, [0, -1]])
    for k in range(3):
        torch.testing.assert_close(found.neurons[f"layers.{k}.weight"], expected.neurons[f"{2 * k}.weight"])


@pytest.mark.parametrize("kind", [ResNet, LMResNet])
def test_nets_of_blocks_against_a_loop_by_hand(kind):
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double() for _ in range(4)]
    net = kind(blocks, k=0.5) if kind is LMResNet else kind(blocks)
    net = net.double()
    x = torch.randn(BATCH, 3, dtype=torch.float64)
    nudges = [torch.zeros_like(x).requires_grad_() for _ in range(5)]
    states = [x + nudges[0]]
    for n, block in enumerate(blocks):
        k = 0.5 if kind is LMResNet and n else 0.0
        older = states[-2] if n else 0.0
        states.append((1 - k) * states[-1] + k * older + block(states[-1]) + nudges[n + 1])
    value = states[-1].square().sum()
    bars = torch.autograd.grad(value, nudges)
    found = gradient_profile(net, x, lambda output: output.square().sum())
    torch.testing.assert_close(found.loss, value.detach())
    for n, bar in enumerate(bars):
        torch.testing.assert_close(found.norms[0, n], bar.norm(dim=1))
    assert net.gradient == "derived" and not any(block._forward_pre_hooks for block in net.blocks)


def test_what_is_refused():
    x = torch.zeros(STEPS, BATCH, FEATURES, dtype=torch.float64)
    module = made("LSTM", num_layers=2, dropout=0.5)
    with pytest.raises(ValueError, match=r"LSTM: dropout=0.5 is on; allowed: a module in evaluation, module.eval\(\)"):
        gradient_profile(module, x)
    assert gradient_profile(module.eval(), x).norms.shape == (4, STEPS + 1, BATCH)
    with pytest.raises(ValueError, match="allowed: 3 axes, read 2"):
        state_jacobians(module, x[:, 0])
    with pytest.raises(TypeError, match="batch is of type PackedSequence"):
        gradient_profile(module, nn.utils.rnn.pack_sequence([x[:, 0]]))
    with pytest.raises(ValueError, match="loss gives shape"):
        gradient_profile(module, x, lambda output: output)
    with pytest.raises(ValueError, match=r"LSTM: batch has shape \(0, 2, 3\); allowed: one step or more"):
        gradient_profile(module, x[:0])
    flat = [RNNHidden(FEATURES, HIDDEN, nonlinearity="heaviside", output=k, dtype=torch.float64) for k in (None, 2)]
    for measure, jumping in product((gradient_profile, state_jacobians), flat):
        with pytest.raises(ValueError, match="RNNHidden: nothing has a slope in a state; allowed: cells without jumps"):
            measure(jumping, x)
    with pytest.raises(TypeError, match="Linear: no recurrent module"):
        state_jacobians(nn.Linear(3, 3), x)
    jacobians = StateJacobians("layer 0", torch.eye(2).expand(3, 1, 2, 2))
    with pytest.raises(ValueError, match="allowed: 0 to 2"):
        jacobians.memory_length(start=3)
    with pytest.raises(ValueError, match="allowed: a number above 0"):
        jacobians.memory_length(0.0)


def test_it_is_found_by_its_name():
    assert codegen.diagnostics.gradient_profile is gradient_profile
