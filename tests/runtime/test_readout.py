"""Read-outs of recurrent cells: one product for all steps, at every step of every sequence, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from codegen.emission import emit
from derive import Builder, Recurrence, Spec, input_, matvec, parameter, state, tanh
from derive.errors import UnsupportedError
from generated.rnn_hidden import RNNHidden

double = torch.float64
FUNCTIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "elu": nn.functional.elu,
    "identity": lambda a: a,
}


def make(*sizes: Any, **options: Any) -> RNNHidden:
    torch.manual_seed(0)
    return RNNHidden(3, 4, *sizes, **{"dtype": double, **options})


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def gradients(output: Tensor, final: Tensor, wanted: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad((output * torch.cos(3 * output)).sum() + (final**3).sum(), tuple(wanted))


@pytest.mark.parametrize("nonlinearity", FUNCTIONS)
@pytest.mark.parametrize("memory", ("store", "chunk"))
@pytest.mark.parametrize("bias", (True, False))
def test_a_network_equals_a_loop_by_hand(nonlinearity: str, memory: str, bias: bool) -> None:
    module = make(1, bias, nonlinearity=nonlinearity, memory=memory, output=2)
    x, h = torch.randn(9, 5, 3, dtype=double, requires_grad=True), torch.randn(1, 5, 4, dtype=double)
    h.requires_grad_()
    p = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    assert list(p) == ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * bias + ["weight_ho"] + ["bias_ho"] * bias
    outputs, value = [], h[0]
    for row in x.unbind(0):
        a = row @ p["weight_ih"].mT + value @ p["weight_hh"].mT
        value = FUNCTIONS[nonlinearity](a + p["bias_ih"] + p["bias_hh"] if bias else a)
        outputs.append(nn.functional.linear(value, p["weight_ho"], p.get("bias_ho")))
    expected, output, final = torch.stack(outputs), *module(x, h)
    assert apart([output, final[0]], [expected, value]) < 1e-13
    wanted = (x, h, *p.values())
    assert apart(gradients(output, final, wanted), gradients(expected, value[None], wanted)) < 1e-12


def twins(*sizes: Any, **options: Any) -> tuple[RNNHidden, RNNHidden, nn.Linear]:
    """A network with a read-out, the same without, and the read-out as torch's own layer."""
    module, bare = make(*sizes, output=2, **options), make(*sizes, **options)
    missing, unexpected = bare.load_state_dict(module.state_dict(), strict=False)
    assert not missing and unexpected == ["weight_ho", "bias_ho"]
    layer = nn.Linear(module.weight_ho.shape[1], 2, dtype=double)
    layer.load_state_dict({"weight": module.weight_ho, "bias": module.bias_ho})
    return module, bare, layer


def test_it_reads_both_directions_of_the_last_layer() -> None:
    module, bare, layer = twins(2, True, True, 0.0, True)
    assert module.weight_ho.shape == (2, 8)
    x = torch.randn(5, 7, 3, dtype=double)
    (output, final), (plain, plain_final) = module(x), bare(x)
    assert apart([output, final], [layer(plain), plain_final]) < 1e-14
    assert apart([module(x[0])[0]], [layer(bare(x[0])[0])]) < 1e-14


def test_packed_and_padded_sequences_have_it_where_they_have_steps() -> None:
    module, bare, layer = twins(2, bidirectional=True)
    x, lengths = torch.randn(7, 4, 3, dtype=double), [2, 7, 1, 5]
    output, final = module(x, lengths=lengths)
    plain, plain_final = bare(x, lengths=lengths)
    inside = torch.arange(7)[:, None, None] < torch.tensor(lengths)[None, :, None]
    assert apart([output, final], [layer(plain) * inside, plain_final]) < 1e-14
    kept = [0, 1, 3]
    packed = pack_padded_sequence(x[:, kept], torch.tensor([2, 7, 5]), enforce_sorted=False)
    assert apart([pad_packed_sequence(module(packed)[0])[0]], [output[:, kept]]) < 1e-14
    assert module(x[:, :0], lengths=torch.zeros(0, dtype=torch.int64))[0].shape == (7, 0, 2)


def test_under_autocast_it_has_the_precision_of_the_cell() -> None:
    module = make(output=2, dtype=torch.float32)
    x = torch.randn(5, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output, final = module(x)
    assert output.dtype == final.dtype == torch.bfloat16
    output.float().sum().backward()
    assert module.weight_ho.grad is not None and module.weight_ho.grad.dtype == torch.float32


def test_transforms_go_through_it() -> None:
    module = make(output=2)
    x = torch.randn(3, 5, 2, 3, dtype=double)
    values = {name: value.detach() for name, value in module.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, values, (x,))[0].sin().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(values, x)
    alone = [torch.func.grad(loss)(values, one) for one in x]
    for name in values:
        assert apart([each[name]], [torch.stack([found[name] for found in alone])]) < 1e-13
    assert torch.autograd.gradcheck(lambda x: module(x)[0], (x[0].requires_grad_(),))


@pytest.mark.parametrize("size", (0, -1, 1.5, True))
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"RNNHidden: output=.*; allowed: a whole number, 1 or more"):
        make(output=size)


def test_it_is_shown() -> None:
    assert repr(make(output=2)) == "RNNHidden(3, 4, output=2)"


x, h, m = input_("x", "I"), state("h", "H"), state("m", "H")
W, V, p = parameter("W", ("H", "I")), parameter("V", ("K", "H")), parameter("p", "H")


def spec(read: Any) -> Spec:
    step = Builder()
    a = step.let("a", matvec(W, x) + p * h)
    new = step.let("new", tanh(a))
    o = step.let("o", read(a, new))
    system = Recurrence(step.build((new, o)), (h,), (new,), (x,), o)
    return Spec("read", "Read", "read", system)


@pytest.mark.parametrize(
    ("read", "sized"),
    (
        (lambda a, new: matvec(V, a), True),
        (lambda a, new: matvec(V, new * p), True),
        (lambda a, new: matvec(V, h), True),
        (lambda a, new: 2 * new, False),
    ),
)
def test_an_output_that_reads_more_than_the_state_is_a_part_of_the_step(read: Any, sized: bool) -> None:
    text = emit(spec(read))
    assert "carried=True" in text and "def readout_shapes" in text and "_readout" not in text.split("_CELLS")[1]
    assert ('further_sizes = ("output_size",)' in text) == sized


def test_vectors_of_a_third_size_are_refused() -> None:
    first, second = parameter("S", ("K", "J")), parameter("R", ("J", "H"))
    with pytest.raises(UnsupportedError, match="the step has vectors of the sizes H, J, K; a recurrent module has"):
        emit(spec(lambda a, new: matvec(first, matvec(second, new))))
