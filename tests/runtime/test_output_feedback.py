"""Recurrent networks that read their own output or targets, against loops by hand and under every transform."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from generated.rnn_hidden import RNNHidden
from generated.rnn_output import RNNOutput

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use
double = torch.float64
FEEDBACK = ("logits", "prob", "teacher")
LINKS = {"identity": lambda o: o, "softmax": lambda o: torch.softmax(o, -1), "sigmoid": torch.sigmoid}
FUNCTIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "elu": nn.functional.elu,
    "identity": lambda a: a,
}
DISTINCT = (("logits", "identity"), ("prob", "softmax"), ("prob", "sigmoid"), ("teacher", "identity"))
D, H, K = 3, 5, 4


def make(*sizes: Any, **options: Any) -> RNNOutput:
    torch.manual_seed(0)
    return RNNOutput(D, H, K, *sizes, **{"dtype": double, **options})


def sample(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=double, requires_grad=True)


def one_way(module: RNNOutput, suffix: str, x: Tensor, y: Tensor, r: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """One layer and direction over one sequence: x (T, features), y (T, K), r (K,)."""
    p = {name.removesuffix(suffix): value for name, value in module.named_parameters() if name.endswith(suffix)}
    b, c = (p["bias_ih"] + p["bias_hh"], p["bias_ho"]) if module.bias else (0, 0)
    outputs = []
    for t in reversed(range(length)) if suffix.endswith("reverse") else range(length):
        h = FUNCTIONS[module.nonlinearity](p["weight_ih"] @ x[t] + p["weight_hh"] @ r + b)
        o = p["weight_ho"] @ h + c
        r = {"logits": o, "prob": LINKS[module.link](o), "teacher": y[t]}[module.feedback]
        outputs.append((t, o))
    zero = (r.new_zeros(K),) * (len(x) - length)
    return torch.stack([*(o for _, o in sorted(outputs, key=lambda pair: pair[0])), *zero]), r


def by_hand(module: RNNOutput, x: Tensor, y: Tensor, r: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """All layers and directions, one sequence after the other: x (T, B, D), y (T, B, K), r (layers, B, K)."""
    outputs, finals = [], []
    for sequence, length in enumerate(lengths):
        value, after = x[:, sequence], []
        for layer in range(module.num_layers):
            ways = []
            for way in range(2 if module.bidirectional else 1):
                suffix = f"_l{layer}" + "_reverse" * way
                start = r[layer * (2 if module.bidirectional else 1) + way, sequence]
                output, final = one_way(module, suffix, value, y[:, sequence], start, length)
                ways.append(output)
                after.append(final)
            value = torch.cat(ways, -1)
        outputs.append(value)
        finals.append(torch.stack(after))
    return torch.stack(outputs, 1), torch.stack(finals, 1)


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def gradients(output: Tensor, final: Tensor, wanted: Any) -> list[Tensor]:
    total = (output * torch.cos(3 * output)).sum() + (final**3).sum()
    return list(torch.autograd.grad(total, tuple(wanted), materialize_grads=True))


def given(module: RNNOutput, y: Tensor) -> dict[str, Tensor]:
    return {"targets": y} if module.feedback == "teacher" else {}


@pytest.mark.parametrize(("feedback", "link", "nonlinearity"), list(product(FEEDBACK, LINKS, FUNCTIONS)))
def test_every_combination_equals_a_loop_by_hand(feedback: str, link: str, nonlinearity: str) -> None:
    for memory, bias in (("store", True), ("chunk", False)):
        module = make(1, bias, feedback=feedback, link=link, nonlinearity=nonlinearity, memory=memory)
        x, y, r = sample(10, 2, D), sample(10, 2, K), sample(1, 2, K)
        output, final = module(x, r, **given(module, y))
        expected = by_hand(module, x, y, r, [10, 10])
        assert apart([output, final], expected) < 1e-13
        wanted = (x, y, r, *module.parameters())
        assert apart(gradients(output, final, wanted), gradients(*expected, wanted)) < 1e-12


@pytest.mark.parametrize(("feedback", "link"), DISTINCT)
def test_layers_directions_and_lengths_equal_loops_by_hand(feedback: str, link: str) -> None:
    for memory in ("store", "chunk"):
        module = make(2, bidirectional=True, feedback=feedback, link=link, memory=memory)
        x, y, r, lengths = sample(7, 3, D), sample(7, 3, K), sample(4, 3, K), [4, 7, 2]
        expected = by_hand(module, x, y, r, lengths)
        wanted = (x, y, r, *module.parameters())
        slopes = gradients(*expected, wanted)
        found = module(x, r, lengths=lengths, **given(module, y))
        assert apart(found, expected) < 1e-13
        assert apart(gradients(*found, wanted), slopes) < 1e-12
        packed = [pack_padded_sequence(value, torch.tensor(lengths), enforce_sorted=False) for value in (x, y)]
        output, final = module(packed[0], r, **given(module, packed[1]))
        found = (pad_packed_sequence(output)[0], final)
        assert apart(found, expected) < 1e-13
        assert apart(gradients(*found, wanted), slopes) < 1e-12


@pytest.mark.parametrize(("feedback", "link"), DISTINCT)
def test_other_layouts_of_the_batch_and_pieces_of_a_sequence(feedback: str, link: str) -> None:
    module, turned = make(2, feedback=feedback, link=link), make(2, batch_first=True, feedback=feedback, link=link)
    x, y, r = sample(6, 3, D), sample(6, 3, K), sample(2, 3, K)
    output, final = module(x, r, **given(module, y))
    first, last = turned(x.transpose(0, 1), r, **given(module, y.transpose(0, 1)))
    assert apart([first.transpose(0, 1), last], [output, final]) < 1e-14
    alone = module(x[:, 1], r[:, 1], **given(module, y[:, 1]))
    assert apart(alone, [output[:, 1], final[:, 1]]) < 1e-14
    start, between = module(x[:4], r, **given(module, y[:4]))
    end, after = module(x[4:], between, **given(module, y[4:]))
    assert apart([torch.cat((start, end)), after], [output, final]) < 1e-14


@pytest.mark.parametrize("feedback", FEEDBACK)
def test_a_learnt_state_is_the_given_one(feedback: str) -> None:
    module, plain = make(2, feedback=feedback, learn_initial=True), make(2, feedback=feedback)
    assert module.initial_r.shape == (2, K)
    plain.load_state_dict(module.state_dict(), strict=False)
    with torch.no_grad():
        module.initial_r.normal_()
    x, y = sample(5, 3, D), sample(5, 3, K)
    found = module(x, **given(module, y))
    start = module.initial_r.detach().clone().requires_grad_()
    expected = plain(x, start.unsqueeze(1).expand(2, 3, K), **given(module, y))
    assert apart(found, expected) < 1e-14
    assert apart(gradients(*found, [module.initial_r]), gradients(*expected, [start])) < 1e-13


def test_targets_decouple_the_steps_and_nothing_else_does() -> None:
    x, y = torch.randn(5, 1, D, dtype=double), torch.randn(5, 1, K, dtype=double)
    for feedback, link in DISTINCT:
        module = make(feedback=feedback, link=link)
        slopes = torch.autograd.functional.jacobian(lambda x, m=module: m(x, **given(m, y))[0], x).squeeze()
        across = slopes.abs().amax((1, 3))  # o_s in x_t
        assert bool((across.diagonal() > 1e-3).all()) and not across.triu(1).any()
        assert bool(across.tril(-1).any()) == (feedback != "teacher")


@pytest.mark.parametrize("nonlinearity", FUNCTIONS)
def test_logits_fed_back_are_a_recursion_of_the_hidden_units(nonlinearity: str) -> None:
    module = make(nonlinearity=nonlinearity)
    hidden = RNNHidden(D, H, nonlinearity=nonlinearity, output=K, dtype=double)
    p = {name.removesuffix("_l0"): value.detach() for name, value in module.named_parameters()}
    merged = {"weight_hh_l0": p["weight_hh"] @ p["weight_ho"], "weight_ho": p["weight_ho"], "bias_ho": p["bias_ho"]}
    moved = p["bias_hh"] + p["weight_hh"] @ p["bias_ho"]
    same = {"weight_ih_l0": p["weight_ih"], "bias_ih_l0": p["bias_ih"], "bias_hh_l0": moved}
    hidden.load_state_dict({**merged, **same})
    assert torch.linalg.matrix_rank(merged["weight_hh_l0"]) == K < H
    x, h = torch.randn(8, 3, D, dtype=double), torch.randn(1, 3, H, dtype=double)
    output, final = module(x, h @ p["weight_ho"].mT + p["bias_ho"])
    expected, state = hidden(x, h)
    assert apart([output, final[0]], [expected, state[0] @ p["weight_ho"].mT + p["bias_ho"]]) < 1e-13


@pytest.mark.parametrize(("feedback", "link"), DISTINCT[:-1])
def test_totals_of_what_is_fed_back_are_what_autograd_finds_in_a_loop(feedback: str, link: str) -> None:
    module, lengths = make(feedback=feedback, link=link), [4, 6, 1]
    p = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    x, start, bar, bar_final = sample(6, 3, D), sample(1, 3, K), sample(6, 3, K), sample(1, 3, K)
    expected = torch.zeros(1, 6, 3, K, dtype=double)
    for b, length in enumerate(lengths):
        r, path, loss = start[0, b], [], torch.zeros((), dtype=double)
        for t in range(length):
            h = torch.tanh(p["weight_ih"] @ x[t, b] + p["weight_hh"] @ r + p["bias_ih"] + p["bias_hh"])
            o = p["weight_ho"] @ h + p["bias_ho"]
            r = o if feedback == "logits" else LINKS[link](o)
            path.append(r)
            loss = loss + o @ bar[t, b]
        loss = loss + r @ bar_final[0, b]
        expected[0, :length, b] = torch.stack(torch.autograd.grad(loss, path, materialize_grads=True))
    found = module.state_cotangents(x, bar, start, bar_state=bar_final, lengths=lengths)
    assert isinstance(found, Tensor) and apart([found], [expected]) < 1e-13


def test_targets_have_no_totals() -> None:
    module = make(feedback="teacher")
    with pytest.raises(ValueError, match=r"the state r is the target of the step before, .* without targets"):
        module.state_cotangents(sample(5, 2, D), sample(5, 2, K))


@pytest.mark.parametrize(("feedback", "link"), DISTINCT)
def test_transforms_go_through_it(feedback: str, link: str) -> None:
    module = make(feedback=feedback, link=link)
    x, y, r = sample(3, 2, D), sample(3, 2, K), sample(1, 2, K)
    names = [name for name, _ in module.named_parameters()]
    values = tuple(value.detach().requires_grad_() for value in module.parameters())

    def run(x: Tensor, y: Tensor, r: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, parameters, (x, r), given(module, y))

    def loss(values: tuple[Tensor, ...], x: Tensor) -> Tensor:
        return run(x, y, r, *values)[0].sin().sum()

    batch = torch.randn(4, 3, 2, D, dtype=double)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(values, batch)
    alone = [torch.func.grad(loss)(values, one) for one in batch]
    assert apart(each, [torch.stack(found) for found in zip(*alone, strict=True)]) < 1e-12
    tangent = torch.randn_like(x)
    _, moved = torch.func.jvp(lambda x: run(x, y, r, *values)[0], (x.detach(),), (tangent,))
    e = 1e-6
    assert (
        apart([moved], [(run(x + e * tangent, y, r, *values)[0] - run(x - e * tangent, y, r, *values)[0]) / (2 * e)])
        < 1e-8
    )


@pytest.mark.parametrize("feedback", FEEDBACK)
def test_under_autocast_it_has_the_precision_of_torch(feedback: str) -> None:
    module = make(feedback=feedback, link="softmax", dtype=torch.float32)
    x, y = torch.randn(5, 2, D), torch.randn(5, 2, K)
    with torch.autocast("cpu", torch.bfloat16):
        output, final = module(x, **given(module, y))
    assert output.dtype == final.dtype == torch.bfloat16
    output.float().sum().backward()
    assert module.weight_ho_l0.grad.dtype == torch.float32


def refused(module: RNNOutput, message: str, kind: type[Exception], *args: Any, **named: Any) -> None:
    with pytest.raises(kind, match=message):
        module(*args, **named)


def test_targets_that_do_not_fit_are_refused_before_anything_is_computed() -> None:
    x, y = torch.randn(5, 2, D, dtype=double), torch.randn(5, 2, K, dtype=double)
    refused(
        make(),
        "RNNOutput: targets is given, but this cell reads no target; allowed: targets=None",
        ValueError,
        x,
        targets=y,
    )
    module = make(feedback="teacher")
    refused(module, "targets is None; this cell reads the target of the step before", TypeError, x)
    wrong = r"targets has shape \(5, 2, 3\); allowed: shape \(5, 2, 4\), axis 2 of size 4, read size 3"
    refused(module, wrong, ValueError, x, targets=x)
    refused(module, r"\(4, 2, 4\); .*, axis 0 of size 5, read size 4", ValueError, x, targets=y[1:])
    refused(module, r"\(5, 4\); .*, 3 axes, read 2", ValueError, x, targets=y[:, 0])
    refused(module, "targets has dtype torch.float32; allowed: that of x", TypeError, x, targets=y.float())
    packed = pack_padded_sequence(x, torch.tensor([5, 3]))
    refused(module, "of type Tensor; .* a PackedSequence", TypeError, packed, targets=y)
    short = pack_padded_sequence(y, torch.tensor([5, 2]))
    refused(module, r"targets has shape \(7, 4\); allowed: shape \(8, 4\)", ValueError, packed, targets=short)
    turned = pack_padded_sequence(y, torch.tensor([3, 5]), enforce_sorted=False)
    refused(module, "targets is packed with other lengths than x", ValueError, packed, targets=turned)
    assert isinstance(module(packed, targets=pack_padded_sequence(y, torch.tensor([5, 3])))[0], PackedSequence)
    state = r"state r has shape \(1, 2, 5\); allowed: shape \(1, 2, 4\), axis 2 of size 4"
    refused(make(), state, ValueError, x, torch.zeros(1, 2, H, dtype=double))


def test_sizes_and_options_are_shown_and_checked() -> None:
    assert repr(make(2, feedback="prob", link="softmax")) == (
        "RNNOutput(3, 5, 4, num_layers=2, feedback='prob', link='softmax')"
    )
    with pytest.raises(ValueError, match="RNNOutput: output_size=0; allowed: a whole number, 1 or more"):
        RNNOutput(D, H, 0)
    with pytest.raises(ValueError, match="RNNOutput: link='argmax'"):
        make(link="argmax")
    twin = make(2, feedback="prob", link="softmax")
    twin.load_state_dict(make(2, feedback="teacher").state_dict())
    assert isinstance(twin, nn.Module)
