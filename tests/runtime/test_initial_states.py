"""States before the first step: zero, given or learnt, and carried from piece to piece of a long sequence."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generated.gru import GRU
from generated.lstm import LSTM

double = torch.float64
KINDS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "lstm": (LSTM, {}, nn.LSTM),
    "gru": (GRU, {"reset": "after", "blend": "torch"}, nn.GRU),
}
kinds = pytest.mark.parametrize("name", KINDS)


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def tensors(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def like_a_call(name: str, values: list[Tensor]) -> Any:
    return tuple(values) if name == "lstm" else values[0]


@kinds
@pytest.mark.parametrize("memory", ("store", "chunk"))
@pytest.mark.parametrize("batch", (0, 1, 5))
def test_a_learnt_state_is_one_that_is_given_to_every_sequence(name: str, memory: str, batch: int) -> None:
    kind, options, torchs = KINDS[name]
    torch.manual_seed(0)
    module = kind(3, 4, 2, bidirectional=True, learn_initial=True, memory=memory, dtype=double, **options)
    learnt = [value for key, value in module.named_parameters() if key.startswith("initial_")]
    assert all(value.shape == (4, 4) and not value.any() for value in learnt) and len(learnt) == 1 + (name == "lstm")
    oracle = torchs(3, 4, 2, bidirectional=True, dtype=double)
    missing, unexpected = oracle.load_state_dict(module.state_dict(), strict=False)
    assert not missing and unexpected == [f"initial_{key}" for key in "hc"[: len(learnt)]]
    x = torch.randn(6, batch, 3, dtype=double)
    assert apart([module(x)[0]], [oracle(x)[0]]) < 1e-12
    with torch.no_grad():
        for value in learnt:
            value.normal_()
    twins = [value.detach().clone().requires_grad_() for value in learnt]
    given = like_a_call(name, [value[:, None].repeat(1, batch, 1) for value in twins])
    results = []
    for run, wanted in ((lambda: module(x), learnt), (lambda: oracle(x, given), twins)):
        output, final = run()
        loss = output.sin().sum() + sum((value**3).sum() for value in tensors(final))
        results.append([output, *tensors(final), *torch.autograd.grad(loss, wanted)])
    assert apart(*results) < 1e-12
    own = like_a_call(name, [torch.zeros(4, batch, 4, dtype=double) for _ in learnt])
    assert apart([module(x, own)[0]], [oracle(x, own)[0]]) < 1e-12


def test_a_learnt_state_goes_with_every_form_of_input() -> None:
    torch.manual_seed(0)
    module = LSTM(3, 4, learn_initial=True, dtype=double)
    module.initial_h.data.normal_()
    module.initial_c.data.normal_()
    x = torch.randn(6, 3, 3, dtype=double)
    whole = module(x)[0]
    assert apart([module(x[:, 0])[0]], [whole[:, 0]]) < 1e-14
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 6, 4]), enforce_sorted=False)
    output, final = module(packed)
    padded, padded_final = module(x, lengths=[2, 6, 4])
    assert apart([nn.utils.rnn.pad_packed_sequence(output)[0], *final], [padded, *padded_final]) < 1e-14
    assert apart([copy.deepcopy(module)(x)[0]], [whole]) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert LSTM(3, 4, learn_initial=True)(x.float())[0].dtype == torch.bfloat16


def test_it_is_shown_and_its_gradient_is_checked() -> None:
    module = LSTM(2, 3, learn_initial=True, dtype=double)
    assert repr(module) == "LSTM(2, 3, learn_initial=True)"
    x = torch.randn(3, 2, 2, dtype=double)
    names = [key for key, _ in module.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))[0].sin().sum()

    values = tuple(value.detach().clone().requires_grad_() for value in module.parameters())
    assert torch.autograd.gradcheck(loss, values)
    assert torch.autograd.gradgradcheck(loss, values, fast_mode=True)


@kinds
def test_truncated_backpropagation_stops_where_the_state_was_detached(name: str) -> None:
    """Pieces of unequal length: the values are those of one run, the gradients those of torch under the same cuts."""
    kind, options, torchs = KINDS[name]
    torch.manual_seed(0)
    oracle = torchs(3, 4, 2, dtype=double)
    module = kind(3, 4, 2, dtype=double, **options)
    module.load_state_dict(oracle.state_dict())
    x = torch.randn(10, 2, 3, dtype=double)

    def pieces(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        net.zero_grad()
        state, outputs = None, []
        for piece in x.split([4, 4, 2]):
            output, state = net(piece, state)
            output.sin().sum().backward()
            state = like_a_call(name, [value.detach() for value in tensors(state)])
            outputs.append(output)
        return outputs, [parameter.grad for parameter in net.parameters()]

    (found, gradients), (expected, torch_gradients) = pieces(module), pieces(oracle)
    assert apart(found, expected) < 1e-12 and apart(gradients, torch_gradients) < 1e-12
    assert apart([torch.cat(found)], [module(x)[0]]) < 1e-13
    module.zero_grad()
    module(x)[0].sin().sum().backward()
    assert apart(gradients, [parameter.grad for parameter in module.parameters()]) > 1e-3
