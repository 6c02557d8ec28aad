"""Networks with exact weights: whole numbers added, parities told, as step units and as steep sigmoids."""

from itertools import product

import numpy as np
import pytest
import torch

from derive.catalog.parity_mlp import of_few
from generated.addition_rnn import RNNHidden as Adder
from generated.parity_mlp import DNN
from generated.parity_rnn import RNNHidden as Parity


def bits(numbers, length):
    """(length + 1, B) bits of whole numbers of any size, the least first, and one 0 for the last carry."""
    return torch.tensor([[number >> place & 1 for number in numbers] for place in range(length + 1)]).double()


def added(net, first, second, length):
    return net(torch.stack([bits(first, length), bits(second, length)], -1))[0].squeeze(-1)


@pytest.mark.parametrize("length", range(1, 7))
def test_all_sums_of_short_numbers(length):
    first, second = zip(*product(range(2**length), repeat=2), strict=True)
    expected = bits([a + b for a, b in zip(first, second, strict=True)], length)
    assert torch.equal(added(Adder().double(), first, second, length), expected)


LENGTH = 200
GENERATOR = np.random.default_rng(5)
FIRST, SECOND = ([int.from_bytes(GENERATOR.bytes(25), "big") for _ in range(64)] for _ in range(2))
FIRST, SECOND = [*FIRST, 2**LENGTH - 1, 2**LENGTH - 1, 0], [*SECOND, 1, 2**LENGTH - 1, 0]  # the longest carries
SUM = bits([a + b for a, b in zip(FIRST, SECOND, strict=True)], LENGTH)


def test_sums_of_200_bits():
    assert torch.equal(added(Adder().double(), FIRST, SECOND, LENGTH), SUM)


@pytest.mark.parametrize(("gain", "error"), [(10, 0.0134), (20, 9.08e-5), (40, 4.12e-9)])
def test_sigmoid_units_add_with_a_small_error(gain, error):
    found = added(Adder(nonlinearity="sigmoid", gain=gain).double(), FIRST, SECOND, LENGTH).detach()
    assert torch.equal(found.round(), SUM)
    assert float((found - SUM).abs().max()) == pytest.approx(error, rel=0.01)


def test_gentle_sigmoid_units_lose_the_carry():
    found = added(Adder(nonlinearity="sigmoid", gain=3).double(), FIRST, SECOND, LENGTH)
    assert not torch.equal(found.round(), SUM)


def words(length):
    """(2^length, length) all words."""
    return torch.tensor(list(product((0.0, 1.0), repeat=length)), dtype=torch.float64)


@pytest.mark.parametrize("length", range(1, 11))
def test_parity_of_all_words(length):
    parities = words(length).cumsum(1) % 2
    assert torch.equal(Parity(batch_first=True).double()(words(length).unsqueeze(-1))[0].squeeze(-1), parities)
    assert torch.equal(DNN([length, length, 1]).double()(words(length)), parities[:, -1:])
    assert torch.equal(DNN([length, length + 2, length, 1]).double()(words(length)), parities[:, -1:])
    soft = DNN([length, length, 1], activation="sigmoid", gain=30).double()(words(length))
    assert torch.equal(soft.round(), parities[:, -1:]) and soft.grad_fn is not None


@pytest.mark.parametrize("length", [1, 3, 5, 7, 79, 101, 201])
def test_sigmoid_units_that_suffice_for_an_odd_number_of_bits(length):
    """(N + 1)/2 of them as a net: what it says of every number of ones, and the sum that the relation has."""
    units, width = (length + 1) // 2, length**2
    net = DNN([length, units, 1], activation="sigmoid").double()
    places = torch.arange(units - 1, dtype=torch.float64)
    weights = torch.cat([torch.tensor([1 / width]).double(), torch.full((units - 1,), 40.0).double()])
    thresholds = torch.cat([torch.tensor([length / 2]).double(), 2 * places + 1.5])
    last = torch.tensor([[4 * width, *[-2.0] * (units - 1)]], dtype=torch.float64)
    with torch.no_grad():
        for value, numbers in zip(
            net.parameters(),
            (weights[:, None].expand(-1, length), -weights * thresholds, last, torch.tensor([units - 1 - 2 * width])),
            strict=True,
        ):
            value.copy_(numbers)
    counts = torch.arange(length + 1)
    said = net((torch.arange(length) < counts[:, None]).double()).squeeze(-1)
    assert torch.equal(said > 0.5, counts % 2 == 1)
    sums = torch.tensor([float(of_few(count, length, units)) for count in counts.tolist()])
    assert torch.allclose(torch.logit(said).float(), sums, rtol=0, atol=1e-5)
    assert float((sums.abs() - 0.5).abs().max()) < 1 / (96 * length) + 1e-6


def test_steep_units_can_be_trained_further():
    net = Adder(nonlinearity="sigmoid", gain=10).double()
    (added(net, FIRST, SECOND, LENGTH) - SUM).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    with torch.no_grad():
        net.weight_hh_l0.add_(1.0)
    net.reset_parameters()
    assert net.weight_hh_l0.tolist() == [[0, 10, 0]] * 3 and net.bias_ih_l0.tolist() == [-5, -15, -25]
    assert not net.bias_hh_l0.any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hidden_size": 4}, r"weight_ih_l0 has shape \(4, 2\) under these sizes; allowed: \(3, 2\)"),
        ({"bias": False}, "bias=False; allowed: True"),
        ({"gain": "steep"}, "gain='steep'; allowed: a finite real number"),
        ({"output": 2}, r"weight_ho has shape \(2, 3\) under these sizes; allowed: \(1, 3\)"),
    ],
)
def test_what_the_weights_do_not_fit_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Adder(**arguments)


@pytest.mark.parametrize(
    ("net", "shown"),
    [
        (Adder(), "2, 3, output=1"),
        (Adder(gain=20), "2, 3, output=1, gain=20.0"),
        (Parity(nonlinearity="sigmoid", gain=7.5), "1, 2, output=1, nonlinearity='sigmoid', gain=7.5"),
        (DNN([5, 5, 1]), "[5, 5, 1]"),
        (DNN([5, 5, 1], gain=2), "[5, 5, 1], gain=2.0"),
        (DNN([5, 5, 1], activation="sigmoid", gain=40), "[5, 5, 1], activation='sigmoid', gain=40.0"),
    ],
)
def test_the_gain_is_shown_as_other_arguments_are(net, shown):
    assert net.extra_repr() == shown and shown in repr(net)
