"""What recurrent modules are called and constructed with and cannot take: one message that names it, at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from generated.gru import GRU
from generated.linear_recursion import LinearRecursion
from generated.lstm import LSTM
from generated.lstm_general import LSTMGeneral
from generated.rnn_hidden import RNNHidden

KINDS = {LSTM: ("h", "c"), LSTMGeneral: ("v", "s"), GRU: ("h",), RNNHidden: ("h",), LinearRecursion: ("h",)}
x = torch.zeros(5, 2, 3)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def state(kind, *shape, **options):
    """Zeros of one shape for every state, as a module takes them."""
    values = tuple(torch.zeros(*shape, **options) for _ in KINDS[kind])
    return values if len(values) > 1 else values[0]


def refused(says, kind, *arguments, **options):
    with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__}: {says}"):
        kind(3, 4)(*arguments, **options)


@kinds
def test_states(kind):
    first, count = KINDS[kind][0], len(KINDS[kind])
    shape = rf"state {first} has shape {{}}; allowed: shape \(1, 2, 4\), axis {{}} of size {{}}, read size {{}}"
    for axis, (size, right) in enumerate(((2, 1), (3, 2), (5, 4))):
        sizes = [1, 2, 4]
        sizes[axis] = size
        refused(shape.format(rf"\({', '.join(map(str, sizes))}\)", axis, right, size), kind, x, state(kind, *sizes))
    refused(rf"state {first} has shape \(2, 4\); .* 3 axes, read 2", kind, x, state(kind, 2, 4))
    wide = state(kind, 1, 2, 4, dtype=torch.float64)
    refused(rf"state {first} has dtype torch.float64; allowed: that of x, torch.float32", kind, x, wide)
    refused(rf"state {first} is on meta; allowed: the device of x, cpu", kind, x, state(kind, 1, 2, 4, device="meta"))
    refused("state has 3 entries; allowed: ", kind, x, (torch.zeros(1, 2, 4),) * 3)
    refused("state is of type str; allowed: ", kind, x, "zero")
    refused("state is of type int; allowed: ", kind, x, 0)
    refused("state is of type dict; allowed: ", kind, x, {"h": torch.zeros(1, 2, 4)})
    refused(f"state {first} is of type NoneType; allowed: a Tensor", kind, x, (None,) * count)
    with pytest.raises(ValueError, match=r"allowed: shape \(4, 2, 4\), axis 0 of size 4, read size 2"):
        kind(3, 4, 2, bidirectional=True)(x, state(kind, 2, 2, 4))


@pytest.mark.parametrize("kind", (LSTM, LSTMGeneral))
def test_a_tensor_where_a_pair_is_wanted(kind):
    names = ", ".join(KINDS[kind])
    refused(f"state is one tensor; allowed: a tuple of 2 tensors: {names}", kind, x, torch.zeros(1, 2, 4))


def test_a_pair_where_a_tensor_is_wanted():
    refused("state has 2 entries; allowed: h, a Tensor", RNNHidden, x, (torch.zeros(1, 2, 4),) * 2)


@kinds
def test_inputs(kind):
    refused(
        r"x has shape \(5, 2, 7\); allowed: axis 2 of size 3 \(input_size\), read size 7", kind, torch.zeros(5, 2, 7)
    )
    refused("x has no step; allowed: axis 0 of size 1 or more", kind, x[:0])
    with pytest.raises(ValueError, match="x has no step; allowed: axis 1 of size 1 or more"):
        kind(3, 4, batch_first=True)(torch.zeros(2, 0, 3))
    for other in (torch.int64, torch.bool, torch.complex64, torch.float64):
        refused(f"x has dtype {other}; allowed: that of the parameters, torch.float32", kind, x.to(other))
    refused("x is on meta; allowed: the device of the parameters, cpu", kind, x.to("meta"))
    refused("x is of type ndarray; allowed: a Tensor or a PackedSequence", kind, x.numpy())
    packed = pack_padded_sequence(torch.zeros(5, 2, 4), [5, 3])
    refused(r"x has shape \(8, 4\); allowed: axis 1 of size 3", kind, packed)
    refused("lengths is given with a PackedSequence", kind, pack_padded_sequence(x, [5, 3]), lengths=[5, 3])


@pytest.mark.parametrize(
    ("lengths", "says"),
    (
        ([6, 2], r"lengths\[0\] is 6; allowed: 1 to 5, the steps of x"),
        ([2, 0], r"lengths\[1\] is 0; allowed: 1 to 5, the steps of x"),
        (torch.tensor([-1, 2]), r"lengths\[0\] is -1; allowed: 1 to 5"),
        ([1.5, 2], "lengths has dtype torch.float32; allowed: integers"),
        (torch.tensor([True, False]), "lengths has dtype torch.bool; allowed: integers"),
        ([1, 2, 3], r"lengths has shape \(3,\); allowed: \(2,\), one for each sequence"),
        ([[1, 2]], r"lengths has shape \(1, 2\); allowed: \(2,\)"),
        (3, r"lengths has shape \(\); allowed: \(2,\)"),
        ("ab", "lengths is 'ab'; allowed: a Tensor or a list of integers"),
        ([None, 1], r"lengths is \[None, 1\]; allowed: a Tensor or a list of integers"),
    ),
)
def test_lengths(lengths, says):
    refused(says, LSTM, x, lengths=lengths)


@kinds
@pytest.mark.parametrize(
    ("options", "says"),
    (
        *(
            ({"hidden_size": size}, f"hidden_size={size!r}; allowed: a whole number")
            for size in (0, -1, "4", 4.0, True)
        ),
        ({"input_size": 0}, "input_size=0; allowed: a whole number, 1 or more"),
        ({"num_layers": 0}, "num_layers=0; allowed: a whole number, 1 or more"),
        *(
            ({"dropout": value}, f"dropout={value!r}; allowed: a prob")
            for value in (1.5, -0.1, "a", None, float("nan"))
        ),
        ({"bidirectional": 2}, "bidirectional=2; allowed: True or False"),
        ({"batch_first": None}, "batch_first=None; allowed: True or False"),
        ({"learn_initial": "no"}, "learn_initial='no'; allowed: True or False"),
        ({"dtype": torch.int64}, "dtype=torch.int64; allowed: a floating point torch.dtype"),
        ({"dtype": "float64"}, "dtype='float64'; allowed: a floating point torch.dtype"),
        ({"memory": "all"}, "memory='all'; allowed: 'store', 'chunk'"),
    ),
)
def test_options(kind, options, says):
    with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__}: {says}"):
        kind(**{"input_size": 3, "hidden_size": 4, **options})
