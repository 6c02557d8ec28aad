"""The recurrent runtime under real conditions, with the peephole LSTM written by hand in `lstm_by_hand`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from generated.lstm_peephole import LSTMPeephole

PEEPHOLES = ("diagonal", "full", "none")
MEMORIES = ("store", "chunk")
double = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use


def make(*sizes: Any, **options: Any) -> LSTMPeephole:
    """A module in float64 whose peepholes are not zero."""
    torch.manual_seed(0)
    module = LSTMPeephole(*sizes, **{"dtype": double, **options})
    for name, parameter in module.named_parameters():
        if name.startswith("weight_ch"):
            nn.init.normal_(parameter, std=0.5)
    return module


def twin(module: LSTMPeephole, **changes: str) -> LSTMPeephole:
    """The same module with other options."""
    other = copy.deepcopy(module)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def functional(module: nn.Module) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """A scalar nonlinear function of (x, h, c, *parameters), and the parameters."""
    names = [name for name, _ in module.named_parameters()]

    def loss(x: Tensor, h: Tensor, c: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        output, (h_n, c_n) = torch.func.functional_call(module, parameters, (x, (h, c)))
        return (output * torch.cos(3 * output)).sum() + (h_n**2).sum() + (c_n**3).sum()

    return loss, tuple(parameter.detach().clone() for parameter in module.parameters())


def inputs(steps: int = 5, batch: int = 2, features: int = 3, size: int = 4, rows: int = 1) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    shapes = ((steps, batch, features), (rows, batch, size), (rows, batch, size))
    return tuple(torch.randn(shape, dtype=double) for shape in shapes)


def gradients(module: Any, x: Tensor, state: tuple[Tensor, ...], **options: Any) -> list[Tensor]:
    """Outputs, final states and all gradients of a nonlinear functional of them."""
    x, state = x.detach().clone().requires_grad_(), tuple(v.detach().clone().requires_grad_() for v in state)
    module.zero_grad()
    output, final = module(x, state, **options)
    loss = (output * torch.cos(3 * output)).sum() + sum((v**3).sum() for v in final)
    loss.backward()
    named = [parameter.grad for name, parameter in module.named_parameters() if "weight_ch" not in name]
    found: list[Any] = [output, *final, x.grad, *(v.grad for v in state), *named]
    return [v.detach().clone() for v in found]


def apart(found: Any, expected: Any) -> float:
    """Largest norm-relative difference over pairs of tensors."""
    pairs = list(zip(found, expected, strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    detached = [(a.detach(), b.detach()) for a, b in pairs]
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in detached)


@pytest.mark.parametrize(("peephole", "memory"), tuple(product(PEEPHOLES, MEMORIES)))
@pytest.mark.parametrize("bias", (True, False))
def test_derived_gradient_equals_autograd_of_the_plain_form(peephole: str, memory: str, bias: bool) -> None:
    for layers, bidirectional, batch_first in ((1, False, False), (2, True, True)):
        module = make(3, 4, layers, bias, batch_first, 0.0, bidirectional, peephole=peephole, memory=memory)
        x, *state = inputs(11, 5, rows=layers * (1 + bidirectional))
        x = x.transpose(0, 1) if batch_first else x
        plain = twin(module, gradient="autograd")
        for options in ({}, {"lengths": [11, 3, 1, 7, 7]}):
            found, expected = (
                gradients(module, x, tuple(state), **options),
                gradients(plain, x, tuple(state), **options),
            )
            assert apart(found, expected) < 1e-13
            assert apart([p.grad for p in module.parameters()], [p.grad for p in plain.parameters()]) < 1e-13


@pytest.mark.parametrize("peephole", PEEPHOLES)
@pytest.mark.parametrize("memory", MEMORIES)
def test_a_torch_lstm_is_reproduced_in_every_option(peephole: str, memory: str) -> None:
    for layers, bias, batch_first, bidirectional in product((1, 2), (True, False), (True, False), (True, False)):
        torch.manual_seed(0)
        oracle = nn.LSTM(3, 4, layers, bias, batch_first, 0.0, bidirectional, dtype=double)
        module = LSTMPeephole(
            3, 4, layers, bias, batch_first, 0.0, bidirectional, peephole=peephole, memory=memory, dtype=double
        )
        missing, unexpected = module.load_state_dict(oracle.state_dict(), strict=False)
        assert not unexpected and all(name.startswith("weight_ch") for name in missing)
        x, *state = inputs(6, 3, rows=layers * (1 + bidirectional))
        x = x.transpose(0, 1) if batch_first else x
        assert apart(gradients(module, x, tuple(state)), gradients(oracle, x, tuple(state))) < 1e-12
        assert apart([module(x)[0]], [oracle(x)[0]]) < 1e-12


def test_initial_parameters_are_torchs_under_the_same_seed() -> None:
    torch.manual_seed(5)
    oracle = nn.LSTM(3, 4, 2, bidirectional=True)
    torch.manual_seed(5)
    state = LSTMPeephole(3, 4, 2, bidirectional=True).state_dict()
    assert all(torch.equal(state[name], value) for name, value in oracle.state_dict().items())
    assert all(not value.any() for name, value in state.items() if name.startswith("weight_ch"))
    assert [name for name in state if not name.startswith("weight_ch")] == list(oracle.state_dict())


@pytest.mark.parametrize("enforce_sorted", (True, False))
def test_packed_sequences_equal_torchs(enforce_sorted: bool) -> None:
    torch.manual_seed(0)
    oracle = nn.LSTM(3, 4, 2, bidirectional=True, dtype=double)
    module = LSTMPeephole(3, 4, 2, bidirectional=True, dtype=double)
    module.load_state_dict(oracle.state_dict(), strict=False)
    lengths = [7, 5, 5, 2, 1] if enforce_sorted else [2, 7, 1, 5, 5]
    x, *state = inputs(7, 5, rows=4)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=enforce_sorted)
    (found, final), (expected, torch_final) = module(packed, tuple(state)), oracle(packed, tuple(state))
    assert torch.equal(found.batch_sizes, expected.batch_sizes)
    assert apart([found.data, *final], [expected.data, *torch_final]) < 1e-12
    output, padded_final = module(x, tuple(state), lengths=lengths)
    assert apart([output, *padded_final], [pad_packed_sequence(expected)[0], *torch_final]) < 1e-12


def test_one_sequence_without_a_batch_axis() -> None:
    oracle, x = nn.LSTM(3, 4, 2, batch_first=True, dtype=double), inputs()[0][:, 0]
    module = LSTMPeephole(3, 4, 2, batch_first=True, dtype=double)
    module.load_state_dict(oracle.state_dict(), strict=False)
    state = tuple(torch.randn(2, 4, dtype=double) for _ in range(2))
    for given in (None, state):
        (found, final), (expected, torch_final) = module(x, given), oracle(x, given)
        assert apart([found, *final], [expected, *torch_final]) < 1e-12


@pytest.mark.parametrize(("peephole", "memory"), tuple(product(PEEPHOLES, MEMORIES)))
def test_gradcheck_and_gradgradcheck(peephole: str, memory: str) -> None:
    module = make(2, 3, peephole=peephole, memory=memory)
    loss, parameters = functional(module)
    values = [v.requires_grad_() for v in (*inputs(3, 2, 2, 3), *parameters)]
    assert gradcheck(loss, values, eps=1e-6, rtol=1e-6, atol=1e-8)
    assert gradcheck(loss, values, eps=1e-6, rtol=1e-6, atol=1e-8, fast_mode=True, check_forward_ad=True)
    assert gradgradcheck(loss, values, fast_mode=True)


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_transform_equals_the_plain_form(memory: str) -> None:
    module = make(2, 3, memory=memory)
    loss, parameters = functional(module)
    plain, _ = functional(twin(module, gradient="autograd"))
    values = (*inputs(3, 2, 2, 3), *parameters)
    moves = tuple(torch.randn_like(v) for v in values)
    every = tuple(range(len(values)))
    batch = tuple(torch.stack((v, v + 0.1, v - 0.2)) for v in values)
    shared = (0, *(None for _ in every[1:]))

    def outputs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (h, c) = module(x)
        return output, h, c

    def plain_outputs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (h, c) = twin(module, gradient="autograd")(x)
        return output, h, c

    def check(transform: Callable[[Callable[..., Any]], Any], pair: tuple[Any, Any], *arguments: Any) -> None:
        found, expected = (torch.utils._pytree.tree_leaves(transform(f)(*arguments)) for f in pair)
        assert apart(found, expected) < 1e-12

    both = (loss, plain)
    check(lambda f: torch.func.grad(f, every), both, *values)
    check(torch.func.vmap, both, *batch)
    check(lambda f: torch.func.vmap(torch.func.grad(f, every)), both, *batch)
    check(lambda f: torch.func.vmap(torch.func.grad(f, every), shared), both, batch[0], *values[1:])
    check(
        lambda f: torch.func.grad(lambda *v: torch.func.vmap(f, shared)(*v).sum(), every), both, batch[0], *values[1:]
    )
    check(lambda f: lambda: torch.func.jvp(f, values, moves), both)
    check(lambda f: torch.func.hessian(f, (0, 6)), both, *values)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        check(transform, (outputs, plain_outputs), values[0])
    check(lambda f: torch.func.jacrev(torch.func.jacrev(f)), both, *values)


def test_two_backward_passes_through_one_graph() -> None:
    module = make(3, 4)
    x = inputs()[0].requires_grad_()
    total = module(x)[0].sin().sum()
    first = torch.autograd.grad(total, (x, *module.parameters()), retain_graph=True)
    second = torch.autograd.grad(total, (x, *module.parameters()), retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    total.backward()
    assert apart([v.grad for v in (x, *module.parameters())], first) == 0


@pytest.mark.parametrize("peephole", PEEPHOLES)
def test_only_what_needs_a_gradient_gets_one(peephole: str) -> None:
    module = make(3, 4, peephole=peephole)
    x, h, c = inputs()
    loss, parameters = functional(module)
    full = torch.func.grad(loss, tuple(range(3 + len(parameters))))(x, h, c, *parameters)
    for position in range(3 + len(parameters)):
        values = [v.clone().requires_grad_(k == position) for k, v in enumerate((x, h, c, *parameters))]
        (alone,) = torch.autograd.grad(loss(*values), values[position])
        assert apart([alone], [full[position]]) < 1e-14
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert not module(x)[0].requires_grad
    module.weight_ih_l0.requires_grad_(True)
    module(x)[0].sum().backward()
    assert module.weight_ih_l0.grad is not None and module.weight_hh_l0.grad is None


def test_only_the_output_or_only_a_final_state_is_used() -> None:
    module = make(3, 4)
    x = inputs()[0].requires_grad_()
    for pick in (lambda r: r[0], lambda r: r[1][0], lambda r: r[1][1]):
        (found,) = torch.autograd.grad(pick(module(x)).sin().sum(), x)
        (expected,) = torch.autograd.grad(pick(twin(module, gradient="autograd")(x)).sin().sum(), x)
        assert apart([found], [expected]) < 1e-13


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("steps", "batch"), ((1, 2), (1, 1), (4, 0), (40, 2)))
def test_one_step_an_empty_batch_and_many_chunks(memory: str, steps: int, batch: int) -> None:
    module = make(3, 4, memory=memory)
    x, h, c = inputs(steps, batch)
    found, expected = gradients(module, x, (h, c)), gradients(twin(module, gradient="autograd"), x, (h, c))
    assert apart(found, expected) < 1e-13


@pytest.mark.parametrize("peephole", PEEPHOLES)
def test_many_blocks_of_the_adjoint_sweep(peephole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make(3, 4, peephole=peephole)
    x, h, c = inputs(23, 5)
    whole = gradients(module, x, (h, c))
    monkeypatch.setattr("codegen.runtime.recurrent_function.BLOCK_ELEMENTS", 16 * 5 * 3)
    monkeypatch.setattr("codegen.runtime.recurrent_function.BLOCK_STEPS", 1)
    assert apart(gradients(module, x, (h, c)), whole) < 1e-14


@pytest.mark.parametrize(("dtype", "bound"), ((torch.float32, 1e-5), (torch.bfloat16, 0.1)))
@pytest.mark.parametrize("memory", MEMORIES)
def test_other_precisions(dtype: torch.dtype, bound: float, memory: str) -> None:
    exact = make(3, 8, memory=memory)
    module = copy.deepcopy(exact).to(dtype)
    x, h, c = inputs(size=8)
    found = gradients(module, x.to(dtype), (h.to(dtype), c.to(dtype)))
    assert all(v.dtype == dtype for v in found)
    assert apart([v.double() for v in found], gradients(exact, x, (h, c))) < bound


def test_autocast_gives_torchs_output_dtype() -> None:
    oracle = nn.LSTM(3, 8)
    module = LSTMPeephole(3, 8)
    module.load_state_dict(oracle.state_dict(), strict=False)
    x = inputs()[0].float()
    for gradient in ("derived", "autograd"):
        module.gradient = gradient
        with torch.autocast("cpu", torch.bfloat16):
            output, (h, c) = module(x)
            expected, (torch_h, torch_c) = oracle(x)
            assert (output.dtype, h.dtype, c.dtype) == (expected.dtype, torch_h.dtype, torch_c.dtype)
            output.float().sum().backward()
        assert module.weight_hh_l0.grad is not None and module.weight_hh_l0.grad.dtype == torch.float32
        assert apart([output.float()], [expected.float()]) < 0.05


def test_inputs_that_are_not_contiguous() -> None:
    module = make(3, 4)
    x, h, c = inputs()
    scattered = [torch.stack((v, v), -1)[..., 0] for v in (x, h, c)]
    assert not scattered[0].is_contiguous()
    loss, parameters = functional(module)
    every = tuple(range(3 + len(parameters)))
    columns = [p.t().contiguous().t() if p.dim() == 2 else p for p in parameters]
    found = torch.func.grad(loss, every)(*scattered, *columns)
    assert apart(found, torch.func.grad(loss, every)(x, h, c, *parameters)) < 1e-14
    spread = module(x)[0].transpose(0, 2)
    assert spread.sum().backward() is None


def test_changing_the_output_in_place_is_seen_or_refused() -> None:
    module = make(3, 4)
    x = inputs()[0].requires_grad_()

    def doubled(x: Tensor, of: LSTMPeephole) -> Tensor:
        return of(x)[0].mul_(2.0).sin().sum()

    expected = torch.func.grad(doubled)(x.detach(), twin(module, gradient="autograd"))
    try:
        assert apart([torch.func.grad(doubled)(x.detach(), module)], [expected]) < 1e-12
    except RuntimeError as error:
        assert "inplace" in str(error)
    try:
        assert apart(torch.autograd.grad(doubled(x, module), x), [expected]) < 1e-12
    except RuntimeError as error:
        assert "inplace" in str(error)


def test_copies_pickles_and_state_dicts() -> None:
    module = make(3, 4, 2, bidirectional=True, peephole="full")
    x, h, c = inputs(rows=4)
    expected = gradients(module, x, (h, c))
    fresh = LSTMPeephole(3, 4, 2, bidirectional=True, peephole="full", dtype=double)
    fresh.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh):
        assert all(torch.equal(a, b) for a, b in zip(gradients(other, x, (h, c)), expected, strict=True))
    assert repr(module) == "LSTMPeephole(3, 4, num_layers=2, bidirectional=True, peephole='full')"


def test_truncated_use_carries_the_state() -> None:
    module = make(3, 4, 2)
    x, h, c = inputs(6, rows=2)
    whole, final = module(x, (h, c))
    first, state = module(x[:4], (h, c))
    second, end = module(x[4:], tuple(v.detach() for v in state))
    assert apart([torch.cat((first, second)), *end], [whole, *final]) < 1e-14


def test_dropout_acts_between_layers_in_training_only() -> None:
    module = make(3, 4, 2, dropout=0.5)
    x = inputs()[0]
    torch.manual_seed(0)
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])


def test_compiled_module_takes_the_plain_form() -> None:
    module = make(3, 4)
    x = inputs()[0]
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    found = gradients(compiled, x, inputs()[1:])
    assert apart(found, gradients(module, x, inputs()[1:])) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    (
        (
            (torch.zeros(5, 2, 7),),
            {},
            r"LSTMPeephole: x has shape \(5, 2, 7\); allowed: axis 2 of size 3 \(input_size\), read size 7",
        ),
        ((torch.zeros(5, 7),), {}, r"axis 1 of size 3 \(input_size\), read size 7"),
        ((torch.zeros(3),), {}, "2 axes .* or 3, read 1"),
        ((torch.zeros(0, 2, 3),), {}, "no step; allowed: axis 0 of size 1 or more"),
        (
            (torch.zeros(5, 2, 3, dtype=double),),
            {},
            "dtype torch.float64; allowed: that of the parameters, torch.float32",
        ),
        (
            (torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))),
            {},
            r"state c has shape .*; allowed: shape \(1, 2, 4\), axis 1 of size 2, read size 3",
        ),
        ((torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4),)), {}, "1 entries; allowed: a tuple of 2 tensors: h, c"),
        ((torch.zeros(5, 3), (torch.zeros(1, 1, 4),) * 2), {}, "2 axes, read 3"),
        ((torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4, dtype=double))), {}, "state c has dtype"),
        ((torch.zeros(5, 2, 3),), {"lengths": [5]}, r"lengths has shape \(1,\); allowed: \(2,\)"),
        ((torch.zeros(5, 2, 3),), {"lengths": [5, 6]}, r"LSTMPeephole: lengths\[1\] is 6; allowed: 1 to 5"),
        ((torch.zeros(5, 2, 3),), {"lengths": torch.tensor([5.0, 1.0])}, "dtype torch.float32"),
    ),
)
def test_wrong_input_is_refused_with_axis_and_sizes(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        LSTMPeephole(3, 4)(*arguments, **options)


@pytest.mark.parametrize(
    "options", ({"peephole": "some"}, {"memory": "all"}, {"gradient": "none"}, {"dropout": 1.5}, {"num_layers": 0})
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        LSTMPeephole(3, 4, **options)
