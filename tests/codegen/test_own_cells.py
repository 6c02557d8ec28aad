"""Cells from spec files of a user's own: the whole way of the command line, and beside plain loops of torch's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from cli import main
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import load

SPECS = Path(__file__).parents[1] / "specs"
norm = torch.nn.functional.layer_norm
double = torch.float64


def layer_norm_lstm(v, x, states):
    h, c = states
    gates = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT).unflatten(-1, (4, -1))
    gain, bias = v["gain"].unflatten(0, (5, -1)), v["bias"].unflatten(0, (5, -1))
    i, f, g, o = (norm(gates, gates.shape[-1:]) * gain[:4] + bias[:4]).unbind(-2)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm(c, c.shape[-1:]) * gain[4] + bias[4]), c


def minimal_gated_unit(v, x, states):
    (h,) = states
    f, a = (x @ v["weight_ih"].mT + v["bias"]).chunk(2, -1)
    U_f, U_h = v["weight_hh"].chunk(2)
    f = torch.sigmoid(f + h @ U_f.mT)
    return (torch.lerp(h, torch.tanh(a + (f * h) @ U_h.mT), f),)


def coupled_gates(v, x, states):
    h, c = states
    f, g, o = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT + v["bias"]).chunk(3, -1)
    c = torch.lerp(torch.tanh(g), c, torch.sigmoid(f + v["p_f"] * c))
    return torch.sigmoid(o) * torch.tanh(c), c


def three_memories(v, x, states):
    h, c, m = states
    i, f, g, o = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT + v["bias"]).chunk(4, -1)
    i, f = torch.sigmoid(i + v["weight_mh"][0] * m), torch.sigmoid(f + v["weight_mh"][1] * m)
    c = f * c + i * torch.tanh(g)
    m = m + v["rate"] * (c - m)
    return torch.sigmoid(o) * torch.tanh(c + m), c, m


def mixing(v, x, states):
    h, c = states
    a = x @ v["W"].mT + h @ v["R"].mT
    share = torch.softmax(a * v["v"] + c, -1)
    level = torch.logsumexp(h * v["u"], -1, keepdim=True)
    along = (torch.tanh(c) * v["u"]).sum(-1, keepdim=True)
    gate = torch.sigmoid(along - v["k"] * level)
    slow = gate * c + (1 - gate) * torch.tanh(norm(share * h - c, c.shape[-1:], eps=1e-5) @ v["S"].mT)
    return share * slow - v["k"] * (h * slow).sum(-1, keepdim=True) / h.shape[-1], slow + along * level * v["v"]


CELLS = {f.__name__: f for f in (layer_norm_lstm, minimal_gated_unit, coupled_gates, three_memories, mixing)}
both = pytest.mark.parametrize("name", CELLS)


@cache
def module_of(name: str):
    return load_text(emit(load(SPECS / f"{name}.py"))).Module


def made(name: str, **options):
    module = module_of(name)(3, 4, dtype=double, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.empty_like(value).normal_(0.2, 0.5, generator=generator))
    return module


def run_by_hand(module, name: str, x: Tensor, starts: list[Tensor], lengths: list[int]):
    """All layers and directions, one sequence after the other: output and final states."""
    directions, states = 1 + module.bidirectional, len(starts)
    rows = [[[] for _ in lengths] for _ in starts]
    outputs = []
    for sequence, length in enumerate(lengths):
        values = x[:length, sequence]
        for layer in range(module.num_layers):
            ways = []
            for way in range(directions):
                suffix = f"_l{layer}" + "_reverse" * way
                own = {n.removesuffix(suffix): v for n, v in module.named_parameters() if n.endswith(suffix)}
                current = tuple(start[layer * directions + way, sequence] for start in starts)
                found = []
                for row in values.flip(0) if way else values:
                    current = CELLS[name](own, row, current)
                    found.append(current[0])
                ways.append(torch.stack(found[::-1] if way else found))
                for state in range(states):
                    rows[state][sequence].append(current[state])
            values = torch.cat(ways, -1)
        outputs.append(torch.nn.functional.pad(values, (0, 0, 0, len(x) - length)))
    return torch.stack(outputs, 1), tuple(torch.stack([torch.stack(r) for r in part], 1) for part in rows)


def gradients(module, output, finals, leaves):
    loss = (output * torch.cos(3 * output)).sum() + sum((value**3).sum() for value in finals)
    return torch.autograd.grad(loss, [*leaves, *module.parameters()])


@both
@pytest.mark.parametrize("memory", ("store", "chunk"))
@pytest.mark.parametrize(("layers", "bidirectional", "lengths"), ((1, False, [9, 9, 9]), (2, True, [5, 9, 1])))
def test_values_and_gradients_are_those_of_a_loop(name, memory, layers, bidirectional, lengths):
    module = made(name, num_layers=layers, bidirectional=bidirectional, memory=memory)
    torch.manual_seed(1)
    states = len(module.cell().states)
    x = torch.randn(9, 3, 3, dtype=double, requires_grad=True)
    starts = [torch.randn(layers * (1 + bidirectional), 3, 4, dtype=double, requires_grad=True) for _ in range(states)]
    given = {} if set(lengths) == {9} else {"lengths": lengths}
    output, finals = module(x, tuple(starts) if states > 1 else starts[0], **given)
    finals = finals if isinstance(finals, tuple) else (finals,)
    expected, ends = run_by_hand(module, name, x, starts, lengths)
    found = [output, *finals, *gradients(module, output, finals, [x, *starts])]
    wanted = [expected, *ends, *gradients(module, expected, ends, [x, *starts])]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and (one - other).norm() <= 1e-12 * other.norm()


@both
def test_gradients_of_both_orders(name):
    module = made(name)
    torch.manual_seed(2)
    states = len(module.cell().states)
    x = torch.randn(3, 2, 3, dtype=double, requires_grad=True)
    starts = [torch.randn(1, 2, 4, dtype=double, requires_grad=True) for _ in range(states)]

    def run(x, *starts):
        output, finals = module(x, starts if states > 1 else starts[0])
        return output, *(finals if isinstance(finals, tuple) else (finals,))

    assert torch.autograd.gradcheck(run, (x, *starts), rtol=1e-6)
    assert torch.autograd.gradgradcheck(run, (x[:2, :1].detach().requires_grad_(), *(s[:, :1] for s in starts)))


@both
@pytest.mark.parametrize("memory", ("store", "chunk"))
def test_a_batch_without_sequences(name, memory):
    """No warning, and the gradients are zero."""
    module = made(name, memory=memory)
    x = torch.randn(5, 0, 3, dtype=double, requires_grad=True)
    output, _ = module(x)
    found = torch.autograd.grad(output.sum(), [x, *module.parameters()])
    assert output.shape == (5, 0, 4) and found[0].shape == x.shape
    assert not any(gradient.any() for gradient in found)


@pytest.mark.slow
@both
def test_the_command_line_takes_the_file(name, tmp_path):
    spec = str(SPECS / f"{name}.py")
    for command in (["show", spec], ["generate", spec, "-o", str(tmp_path)], ["verify", spec]):
        done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert (tmp_path / f"{name}.py").exists()
