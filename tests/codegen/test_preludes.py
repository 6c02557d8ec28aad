"""Operands that are functions of parameters: computed once per call, with their derived backward."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from sympy import Expr, exp
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import (
    Builder,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    UnsupportedError,
    constant,
    identity_like,
    input_,
    linear_solve,
    matmul,
    matvec,
    parameter,
    sigmoid,
    state,
    step_size,
    tanh,
    transpose,
)

x, h = input_("x", "I"), state("h", "H")
W, U, b = parameter("W", ("H", "H")), parameter("U", ("H", "I")), parameter("b", "H")
v, g = parameter("v", "H"), parameter("g")
eps, size = constant("eps"), step_size("k")
TIGHT = 1e-12


def own(name: str, matrix: Expr, leak: Expr | int = 1, *stacks: Stack, **defaults: float) -> Spec:
    """h' = (1 - leak) h + leak tanh(matrix h + U x + b)."""
    step = Builder()
    new = step.let("h_next", (1 - leak) * h + leak * tanh(matvec(matrix, h) + matvec(U, x) + b))
    system = Recurrence(step.build((new,)), (h,), (new,), (x,), new)
    return Spec(name, "Own", "own", system, stacks=stacks, defaults=defaults)


def cayley() -> Spec:
    """An orthogonal matrix by Cayley's transform."""
    step = Builder()
    skew = step.let("skew", W - transpose(W))
    unit = step.let("unit", identity_like(W))
    turn = step.let("turn", linear_solve(unit + skew, unit - skew))
    new = step.let("h_next", tanh(matvec(turn, h) + matvec(U, x) + b))
    return Spec("own_cayley", "Own", "own", Recurrence(step.build((new,)), (h,), (new,), (x,), new))


Made = Callable[[Mapping[str, Tensor]], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Own:
    """A spec, how its matrix and leak are made of tensors, and numbers of the constructor."""

    spec: Spec
    made: Made
    numbers: Mapping[str, float]


EYE = torch.eye(4, dtype=torch.float64)
CELLS = {
    "antisymmetric": Own(own("own_anti", W - transpose(W)), lambda p: (p["W"] - p["W"].T, 1), {}),
    "damped": Own(
        own("own_damped", identity_like(W) + size * (W - transpose(W) - eps * identity_like(W)), eps=0.125),
        lambda p: (EYE + 0.3 * (p["W"] - p["W"].T - 0.125 * EYE), 1),
        {"step_size": 0.3},
    ),
    "orthogonal": Own(
        cayley(), lambda p: (torch.linalg.inv(EYE + p["W"] - p["W"].T) @ (EYE - p["W"] + p["W"].T), 1), {}
    ),
    "low rank": Own(
        own("own_rank", g * transpose(matmul(transpose(W), W)), sigmoid(v)),
        lambda p: (p["g"] * p["W"].T @ p["W"], torch.sigmoid(p["v"])),
        {},
    ),
    "scaled": Own(
        own("own_scaled", W * exp(g), exp(v) / (1 + exp(v))), lambda p: (p["W"] * p["g"].exp(), p["v"].sigmoid()), {}
    ),
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, ModuleType]:
    return {name: load_text(emit(cell.spec)) for name, cell in CELLS.items()}


def by_hand(cell: Own, p: Mapping[str, Tensor], x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The loop over torch's own functions."""
    matrix, leak = cell.made(p)
    outputs = []
    for row in x.unbind(0):
        h = (1 - leak) * h + leak * torch.tanh(h @ matrix.T + row @ p["U"].T + p["b"])
        outputs.append(h)
    return torch.stack(outputs), h


def apart(found: Any, expected: Any) -> float:
    pairs = ((a.detach(), b.detach()) for a, b in zip(found, expected, strict=True))
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def loss(output: Tensor, final: Tensor) -> Tensor:
    return (output * torch.cos(3 * output)).sum() + (final**3).sum()


def parameters(module: nn.Module, ending: str) -> dict[str, Tensor]:
    return {name.removesuffix(ending): p for name, p in module.named_parameters() if name.endswith(ending)}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("memory", ["store", "chunk"])
def test_outputs_and_gradients_equal_a_loop_by_hand(loaded, name, memory):
    torch.manual_seed(1)
    cell = CELLS[name]
    module = loaded[name].Own(3, 4, memory=memory, **cell.numbers).double()
    x = torch.randn(11, 2, 3, dtype=torch.float64, requires_grad=True)
    h = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    p = parameters(module, "_l0")
    output, final = module(x, h)
    expected, last = by_hand(cell, p, x, h[0])
    assert apart([output, final[0]], [expected, last]) < TIGHT
    wanted = (x, h, *p.values())
    found = torch.autograd.grad(loss(output, final), wanted)
    assert apart(found, torch.autograd.grad(loss(expected, last[None]), wanted)) < TIGHT


def test_every_option_of_recurrent_modules_holds(loaded):
    """Two layers in both directions over packed sequences, with learnt initial states."""
    torch.manual_seed(2)
    cell, lengths = CELLS["orthogonal"], [5, 3]
    options = {"bidirectional": True, "learn_initial": True, "dtype": torch.float64}
    module = loaded["orthogonal"].Own(3, 4, 2, **options)
    nn.init.normal_(module.initial_h)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    output, final = module(pack_padded_sequence(x, torch.tensor(lengths)))
    (found, _) = pad_packed_sequence(output)
    for sample, length in enumerate(lengths):
        rows = x[:length, sample : sample + 1]
        for layer in range(2):
            ways = []
            for way, ending in enumerate((f"_l{layer}", f"_l{layer}_reverse")):
                start = module.initial_h[2 * layer + way, None]
                steps = rows.flip(0) if way else rows
                values, last = by_hand(cell, parameters(module, ending), steps, start)
                ways.append(values.flip(0) if way else values)
                assert apart([final[2 * layer + way, sample]], [last[0]]) < TIGHT
            rows = torch.cat(ways, -1)
        assert apart([found[:length, sample]], [rows[:, 0]]) < TIGHT


def test_transforms_go_through(loaded):
    torch.manual_seed(3)
    module = loaded["orthogonal"].Own(3, 4, dtype=torch.float64)
    x = torch.randn(4, 6, 3, dtype=torch.float64)

    def value(held: Mapping[str, Tensor], sample: Tensor) -> Tensor:
        return torch.func.functional_call(module, held, (sample,))[0].sin().sum()

    held = dict(module.named_parameters())
    each = torch.func.vmap(torch.func.grad(value), (None, 1))(held, x)
    for sample in range(6):
        one = torch.autograd.grad(value(held, x[:, sample]), tuple(held.values()))
        assert apart([each[name][sample] for name in held], one) < TIGHT
    leaves = tuple(p.detach().requires_grad_() for p in held.values())
    assert torch.autograd.gradgradcheck(
        lambda *values: value(dict(zip(held, values, strict=True)), x[:2, 0]), leaves, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precisions(loaded, dtype):
    torch.manual_seed(4)
    module = loaded["orthogonal"].Own(3, 4, dtype=dtype)
    x = torch.randn(4, 2, 3, dtype=dtype)
    output, _ = module(x)
    output.sum().backward()
    assert output.dtype == dtype and all(p.grad.dtype == dtype for p in module.parameters())
    wide = {name: p.detach().double() for name, p in parameters(module, "_l0").items()}
    expected, _ = by_hand(CELLS["orthogonal"], wide, x.double(), torch.zeros(2, 4, dtype=torch.float64))
    assert apart([output.double()], [expected]) < 20 * torch.finfo(dtype).eps


def test_autocast_lowers_what_the_prelude_made(loaded):
    module = loaded["orthogonal"].Own(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = module(torch.randn(4, 2, 3))
    output.sum().backward()
    assert output.dtype == torch.bfloat16 and module.W_l0.grad.dtype == torch.float32


def test_a_singular_matrix_is_an_error_that_names_it(loaded):
    singular = own("own_inverse", linear_solve(identity_like(W) - size * W, identity_like(W)))
    module = load_text(emit(singular)).Own(3, 4, step_size=0.5)
    with torch.no_grad():
        module.W_l0.copy_(2 * torch.eye(4))
    with pytest.raises(ValueError, match=re.escape("Own: I - W*k is singular in the layer of l0, step_size=0.5")):
        module(torch.randn(2, 1, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", 0.0, -1.0])
def test_numbers_are_checked(loaded, value):
    with pytest.raises(ValueError, match=r"Own: step_size=.*; allowed: a finite number above 0"):
        loaded["damped"].Own(3, 4, step_size=value)


def test_numbers_have_defaults_and_are_shown(loaded):
    module = loaded["damped"].Own(3, 4)
    assert (module.step_size, module.eps) == (1.0, 0.125)
    assert "step_size=1.0" in repr(module) and "eps=0.125" in repr(module)


def test_stacks_of_what_is_made_are_refused():
    stacked = own("own_stacked", matmul(W, W), 1, Stack("weight_hh", (W,)))
    with pytest.raises(UnsupportedError, match=r"the stack weight_hh holds W.* leave it out of the stacks"):
        emit(stacked)


def test_a_line_without_parameters_is_refused():
    step = Builder()
    scale: Quantity = step.let("scale", eps + 1)
    new = step.let("h_next", tanh(matvec(W, h) + matvec(U, x)) * scale)
    spec = Spec("own_scale", "Own", "own", Recurrence(step.build((new,)), (h,), (new,), (x,), new))
    with pytest.raises(UnsupportedError, match=r"scale = eps \+ 1 has no parameter in it"):
        emit(spec)
