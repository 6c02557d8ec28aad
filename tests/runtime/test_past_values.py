"""Cells that read values several steps old, beside loops by hand: values, all gradients, and what runs around them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import verify
from derive import Builder, Recurrence, Spec, lag, lags, matvec, parameter, past, state
from derive import step as jump
from derive.errors import SpecError
from generated.rnn_hidden import RNNHidden
from generated.rnn_multitap import RNNMultitap
from generated.tdnn import TDNN
from tests.codegen.lagged_cells import CELLS, Lagged, h, x

double = torch.float64
MODES = [("store", "derived"), ("chunk", "derived"), ("store", "autograd")]


@cache
def kind(name: str) -> Any:
    return load_text(emit(CELLS[name].spec)).Module


def make(name: str, *sizes: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(name)(3, 4, *sizes, **{"dtype": double, **CELLS[name].told, **options})


def starts(cell: Lagged, batch: int) -> list[Tensor]:
    """States before the first step, (1, B, H) or (1, B, K, H), and inputs before it, (1, B, K, I)."""
    found = [torch.randn(1, batch, *([depth] if depth else []), 4, dtype=double) for depth in cell.depths]
    found += [torch.randn(1, batch, cell.inputs, 3, dtype=double)] if cell.inputs else []
    return [value.requires_grad_() for value in found]


def by_hand(cell: Lagged, p: Any, inputs: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The loop: outputs and final states of one layer."""
    states = [list(v[0].unbind(1)) if v.dim() == 4 else [v[0]] for v in given[: len(cell.depths)]]
    xs = list(given[-1][0].unbind(1)) if cell.inputs else []
    outputs = []
    for row in inputs:
        xs = [row, *xs]
        output, *new = cell.by_hand(p, xs, states, cell.told)
        outputs.append(output)
        states = [[value, *kept] for value, kept in zip(new, states, strict=True)]
    finals = [
        torch.stack(kept[:depth], 1)[None] if depth else kept[0][None]
        for kept, depth in zip(states, cell.depths, strict=True)
    ]
    return torch.stack(outputs), finals + ([torch.stack(xs[: cell.inputs], 1)[None]] if cell.inputs else [])


def as_tuple(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def given_to(state: Sequence[Tensor]) -> Any:
    return state[0] if len(state) == 1 else tuple(state)


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs if a.numel())


def gradients(output: Tensor, finals: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[Tensor, ...]:
    loss = (output * torch.cos(3 * output)).sum() + sum((v**3).sum() for v in finals)
    return torch.autograd.grad(loss, tuple(wanted))


@pytest.mark.parametrize(("memory", "gradient"), MODES)
@pytest.mark.parametrize("steps", [1, 3, 11])
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_a_user_equals_a_loop_by_hand(name: str, steps: int, memory: str, gradient: str) -> None:
    cell, module = CELLS[name], make(name, memory=memory, gradient=gradient)
    inputs, state = torch.randn(steps, 2, 3, dtype=double, requires_grad=True), starts(cell, 2)
    p = {n.removesuffix("_l0"): value for n, value in module.named_parameters()}
    expected, ends = by_hand(cell, p, inputs, state)
    output, final = module(inputs, given_to(state))
    finals = as_tuple(final)
    assert apart([output, *finals], [expected, *ends]) < 1e-13
    wanted = (inputs, *state, *p.values())
    assert apart(gradients(output, finals, wanted), gradients(expected, ends, wanted)) < 1e-12


@pytest.mark.parametrize("taps", [(1,), (1, 3), (4, 2)])
@pytest.mark.parametrize(("memory", "gradient"), MODES)
def test_taps_equal_a_loop_by_hand(taps: tuple[int, ...], memory: str, gradient: str) -> None:
    torch.manual_seed(0)
    module = RNNMultitap(3, 4, lags=taps, memory=memory, gradient=gradient, dtype=double)
    inputs = torch.randn(20, 2, 3, dtype=double, requires_grad=True)
    state = torch.randn(1, 2, max(taps), 4, dtype=double, requires_grad=True)
    kept, outputs = list(state[0].unbind(1)), []
    for row in inputs:
        a = row @ module.weight_ih_l0.T + module.bias_l0
        for k, W in zip(taps, module.weight_hh_l0, strict=True):
            a = a + kept[k - 1] @ W.T
        outputs.append(torch.tanh(a))
        kept.insert(0, outputs[-1])
    expected, end = torch.stack(outputs), torch.stack(kept[: max(taps)], 1)[None]
    output, final = module(inputs, state)
    assert apart([output, final], [expected, end]) < 1e-13
    wanted = (inputs, state, *module.parameters())
    assert apart(gradients(output, [final], wanted), gradients(expected, [end], wanted)) < 1e-12


def test_one_tap_is_the_network_without_taps() -> None:
    torch.manual_seed(0)
    plain, module = RNNHidden(3, 4, dtype=double), RNNMultitap(3, 4, lags=(1,), dtype=double)
    with torch.no_grad():
        module.weight_ih_l0.copy_(plain.weight_ih_l0)
        module.weight_hh_l0.copy_(plain.weight_hh_l0[None])
        module.bias_l0.copy_(plain.bias_ih_l0 + plain.bias_hh_l0)
    inputs = torch.randn(7, 2, 3, dtype=double)
    (one, end), (other, final) = plain(inputs), module(inputs)
    assert apart([other, final[:, :, 0]], [one, end]) < 1e-14


@pytest.mark.parametrize("taps", [(1, 2, 3), (0, 1, 2, 3), (5, 0)])
@pytest.mark.parametrize("memory", ["store", "chunk"])
def test_a_time_delay_layer_is_a_causal_convolution_with_the_flipped_kernel(taps: tuple[int, ...], memory: str) -> None:
    torch.manual_seed(0)
    module, longest = TDNN(3, 4, lags=taps, memory=memory, dtype=double), max(taps)
    inputs = torch.randn(9, 2, 3, dtype=double, requires_grad=True)
    state = torch.randn(1, 2, longest, 3, dtype=double, requires_grad=True)
    kernel = torch.zeros(4, 3, longest + 1, dtype=double)
    placed = kernel.index_add(2, torch.tensor(taps), module.weight_l0.permute(1, 2, 0))
    every = torch.cat((state[0].flip(1), inputs.transpose(0, 1)), 1).transpose(1, 2)
    expected = torch.tanh(nn.functional.conv1d(every, placed.flip(2), module.bias_l0)).permute(2, 0, 1)
    output, final = module(inputs, state)
    assert apart([output], [expected]) < 1e-14
    assert torch.equal(final[0], every[:, :, -longest:].flip(2).transpose(1, 2))
    wanted = (inputs, state, *module.parameters())
    assert apart(gradients(output, (), wanted), gradients(expected, (), wanted)) < 1e-12


@pytest.mark.parametrize("name", ["delayed", "register", "layered"])
def test_a_cell_of_a_user_is_verified(name: str) -> None:
    assert not [row for row in verify(CELLS[name].spec) if not row.passed]


def test_memory_is_finite() -> None:
    module, inputs = TDNN(3, 4, lags=(1, 4), dtype=double), torch.randn(8, 1, 3, dtype=double)
    found = torch.autograd.functional.jacobian(lambda v: module(v)[0], inputs)
    reads = found.abs().amax((1, 2, 4, 5))
    lag_of = torch.arange(8)[:, None] - torch.arange(8)
    assert torch.equal(reads > 0, (lag_of == 1) | (lag_of == 4))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("memory", ["store", "chunk"])
def test_pieces_with_the_carried_state_equal_one_run(name: str, memory: str) -> None:
    cell, module = CELLS[name], make(name, memory=memory)
    inputs, state = torch.randn(9, 2, 3, dtype=double, requires_grad=True), starts(cell, 2)
    whole, end = module(inputs, given_to(state))
    outputs, carried = [], given_to(state)
    for piece in inputs.split((2, 1, 6)):
        output, carried = module(piece, carried)
        outputs.append(output)
    joined, finals, ends = torch.cat(outputs), as_tuple(carried), as_tuple(end)
    assert apart([joined, *finals], [whole, *ends]) < 1e-14
    wanted = (inputs, *state, *module.parameters())
    assert apart(gradients(joined, finals, wanted), gradients(whole, ends, wanted)) < 1e-12


@pytest.mark.parametrize("name", CELLS)
def test_lengths_directions_and_layers_equal_a_run_of_each_sequence(name: str) -> None:
    module = make(name, 2, bidirectional=True)
    lengths = (3, 6, 1)
    inputs = torch.randn(6, 3, 3, dtype=double, requires_grad=True)
    state = [torch.randn_like(v) for v in as_tuple(module(inputs)[1])]
    output, final = module(inputs, given_to(state), lengths=lengths)
    rows, ends = [], []
    for place, length in enumerate(lengths):
        alone = given_to([v[:, place : place + 1] for v in state])
        row, end = module(inputs[:length, place : place + 1], alone)
        rows.append(nn.functional.pad(row, (0, 0, 0, 0, 0, 6 - length)))
        ends.append(as_tuple(end))
    expected, apiece = torch.cat(rows, 1), [torch.cat(parts, 1) for parts in zip(*ends, strict=True)]
    assert apart([output, *as_tuple(final)], [expected, *apiece]) < 1e-13
    wanted = (inputs, *module.parameters())
    assert apart(gradients(output, as_tuple(final), wanted), gradients(expected, apiece, wanted)) < 1e-12
    packed = pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
    found, last = module(packed, given_to(state))
    assert apart([pad_packed_sequence(found)[0], *as_tuple(last)], [output, *as_tuple(final)]) < 1e-14


@pytest.mark.parametrize("name", CELLS)
def test_first_and_second_derivatives_and_vmap(name: str) -> None:
    cell, module = CELLS[name], make(name)
    inputs, state = torch.randn(3, 1, 3, dtype=double, requires_grad=True), starts(cell, 1)
    names = [n for n, _ in module.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def run(row: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        begins, p = rest[: len(state)], dict(zip(names, rest[len(state) :], strict=True))
        output, final = torch.func.functional_call(module, p, (row, given_to(begins)))
        return (output, *as_tuple(final))

    given = (inputs, *state, *values)
    assert gradcheck(run, given, fast_mode=True) and gradgradcheck(run, given, fast_mode=True)
    several = torch.randn(3, 3, 1, 3, dtype=double)
    slope = torch.func.grad(lambda p, row: run(row, *state, *p)[0].sin().sum())
    found = torch.func.vmap(slope, (None, 0))(tuple(values), several)
    apiece = [slope(tuple(values), row) for row in several]
    assert apart(found, [torch.stack(parts) for parts in zip(*apiece, strict=True)]) < 1e-12


@pytest.mark.parametrize("name", CELLS)
def test_a_learnt_start_an_unbatched_input_and_a_copy(name: str) -> None:
    module = make(name, learn_initial=True)
    learnt = [value for n, value in module.named_parameters() if n.startswith("initial_")]
    with torch.no_grad():
        for value in learnt:
            value.normal_()
    inputs = torch.randn(5, 2, 3, dtype=double)
    given = [value.unsqueeze(1).expand(value.shape[0], 2, *value.shape[1:]) for value in learnt]
    (one, end), (other, final) = module(inputs), module(inputs, given_to(given))
    assert apart([one, *as_tuple(end)], [other, *as_tuple(final)]) == 0.0
    single, last = module(inputs[:, 0])
    assert apart([single, *as_tuple(last)], [one[:, 0], *(v[:, 0] for v in as_tuple(end))]) < 1e-14
    one.sum().backward()
    assert all(value.grad is not None for value in learnt)
    twin = copy.deepcopy(module)
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(inputs)[0], one)


def test_what_is_no_lag_is_refused() -> None:
    for taps in ((), (0, 1), (1, 1), (1.5,), (True,)):
        with pytest.raises(ValueError, match="RNNMultitap: lags"):
            RNNMultitap(3, 4, lags=taps)
    with pytest.raises(ValueError, match=r"TDNN: lags=-1; allowed: a whole number of steps, 0 or more"):
        TDNN(3, 4, lags=(-1,))
    for taps in (2, None):
        with pytest.raises(ValueError, match=f"RNNMultitap: lags={taps}; allowed: a tuple of numbers of steps, 1 or"):
            RNNMultitap(3, 4, lags=taps)
    with pytest.raises(ValueError, match="TDNN: lags=None; allowed: a tuple of numbers of steps, 0 or more"):
        TDNN(3, 4, lags=None)
    module = RNNMultitap(3, 4, lags=(1, 5))
    assert "lags=(1, 5)" in repr(module)
    with pytest.raises(ValueError, match=r"state h has shape \(1, 2, 4, 4\); allowed: shape \(1, 2, 5, 4\), axis 2"):
        module(torch.zeros(6, 2, 3), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"state x_past_l0 has shape \(2, 3\); allowed: shape \(1, 2, 3, 3\), 4 axes"):
        TDNN(3, 4)(torch.zeros(6, 2, 3), torch.zeros(2, 3))


def cell(term: Any) -> Recurrence:
    step = Builder()
    new = step.let("h_next", matvec(parameter("U", ("H", "I")), x) + term)
    return Recurrence(step.build((new,)), (h,), (new,), (x,), new)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: past(h, 0), "the lag of h is 0 (int); allowed: a whole number of steps, 1 or more"),
        (lambda: past(x, -1), "the lag of x is -1 (int); allowed: a whole number of steps, 0 or more"),
        (lambda: past(past(h, 2), 2), "a state or an input as the step reads it"),
        (lambda: past(h, lags("lags", (0, 1))), "lags has the default .* of h are 1 or more"),
        (lambda: lags("lags", ()), "one or more numbers of steps"),
        (lambda: cell(past(h, lag("x", 2))), "x names a lag and something else"),
        (lambda: cell(past(h, lag("delay", 2)) + past(h, lag("delay", 3), name="other")), "delay names a lag and"),
        (lambda: cell(past(state("g", "H"), 2)), "g_lag2 is a past value of g; allowed: of h, x"),
        (lambda: lag("delay", 0), "delay is 0 (int); allowed"),
    ],
)
def test_a_spec_with_what_is_no_lag_is_refused(made: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(int)", r"\(int\)")):
        made()


def test_the_last_value_is_the_state_itself() -> None:
    assert past(h, 1) is h and past(x, 0) is x


@pytest.mark.parametrize(("memory", "gradient"), MODES)
def test_jumps_of_what_is_read_later_run_forwards(memory: str, gradient: str) -> None:
    line, W, R = Builder(), parameter("W", ("H", "I")), parameter("R", ("H", "H"))
    after = line.let("h_next", jump(matvec(R, past(h, lag("delay", 2))) + matvec(W, x)))
    system = Recurrence(line.build((after,)), (h,), (after,), (x,), after)
    module = load_text(emit(Spec("jumps", "Jumps", "jumps", system))).Module(3, 4, memory=memory, gradient=gradient)
    inputs = torch.randn(5, 1, 3)
    output, values = module(inputs), [torch.zeros(1, 4), torch.zeros(1, 4)]
    for row in inputs:
        values.append((values[-2] @ module.R_l0.mT + row @ module.W_l0.mT > 0).to(row.dtype))
    assert torch.equal(output[0], torch.stack(values[2:])) and not output[0].requires_grad
