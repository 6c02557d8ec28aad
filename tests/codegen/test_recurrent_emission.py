"""Emitted recurrent modules: equal to what is written by hand, as short in the loops, the same text on every run."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import verify
from derive import Builder, Recurrence, Spec, Stack, input_, load, matvec, parameter, relu, sigmoid, state, tanh
from derive.errors import UnsupportedError
from tests.codegen.gated_cells import CELLS, coupled_lstm, gru_after, gru_before, plain_rnn
from tests.runtime import lstm_by_hand

ROOT = Path(__file__).parents[2]
PEEPHOLES = ("diagonal", "full", "none")
MEMORIES = ("store", "chunk")
double = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use


@cache
def lstm_text() -> str:
    return emit(load("lstm_peephole"))


@cache
def lstm():
    return load_text(lstm_text()).Module


@cache
def text_of(cell):
    return emit(cell.spec)


@cache
def module_of(cell):
    return load_text(text_of(cell)).Module


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.empty(value.shape, dtype=double).normal_(0, 0.3, generator=generator))
    return module


def inputs(states: int, rows: int = 1, steps: int = 11, batch: int = 5):
    torch.manual_seed(1)
    x = torch.randn(steps, batch, 3, dtype=double)
    return x, [torch.randn(rows, batch, 4, dtype=double) for _ in range(states)]


def results(run, parameters, x, states):
    """Output, final states and every gradient of a nonlinear functional of them."""
    x, states = x.clone().requires_grad_(), [state.clone().requires_grad_() for state in states]
    for value in parameters:
        value.grad = None
    output, final = run(x, tuple(states) if len(states) > 1 else states[0])
    final = final if isinstance(final, tuple) else (final,)
    loss = (output * torch.cos(3 * output)).sum() + sum((value**3).sum() for value in final)
    loss.backward()
    found = [output, *final, x.grad, *(state.grad for state in states), *(value.grad for value in parameters)]
    return [value.detach() for value in found]


def of_module(module, x, states):
    return results(module, list(module.parameters()), x, states)


def apart(found, expected):
    """Largest norm-relative difference over pairs of tensors."""
    pairs = list(zip(found, expected, strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    assert all(bool(b.isfinite().all()) for _, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


@pytest.mark.parametrize(("peephole", "memory"), tuple(product(PEEPHOLES, MEMORIES)))
@pytest.mark.parametrize("bias", (True, False))
def test_the_peephole_lstm_equals_the_one_written_by_hand(peephole, memory, bias):
    for layers, bidirectional in ((1, False), (2, True)):
        sizes = (3, 4, layers, bias, False, 0.0, bidirectional)
        module = seeded(lstm()(*sizes, peephole=peephole, memory=memory, dtype=double))
        hand = lstm_by_hand.LSTMPeephole(*sizes, peephole=peephole, memory=memory, dtype=double)
        plain = lstm()(*sizes, peephole=peephole, memory=memory, gradient="autograd", dtype=double)
        hand.load_state_dict(module.state_dict())
        plain.load_state_dict(module.state_dict())
        given = inputs(2, layers * (1 + bidirectional))
        found = of_module(module, *given)
        assert apart(found, of_module(hand, *given)) < 1e-12
        assert apart(found, of_module(plain, *given)) < 1e-12


@pytest.mark.parametrize("peephole", PEEPHOLES)
def test_without_peepholes_it_is_torchs_lstm(peephole):
    torch.manual_seed(0)
    oracle = nn.LSTM(3, 4, 2, bidirectional=True, dtype=double)
    module = lstm()(3, 4, 2, bidirectional=True, peephole=peephole, dtype=double)
    missing, unexpected = module.load_state_dict(oracle.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("weight_ch") for name in missing)
    given = inputs(2, 4)
    found, expected = of_module(module, *given), of_module(oracle, *given)
    named = [name for name, _ in module.named_parameters()]
    kept = [value for name, value in zip(named, found[-len(named) :], strict=True) if "weight_ch" not in name]
    assert apart([*found[: -len(named)], *kept], expected) < 1e-12


def test_parameters_of_no_stack_without_their_biases():
    cell = next(cell for cell in CELLS if cell.spec.id == "without_stacks")
    bare, whole = (module_of(cell)(3, 4, 2, bias=bias, dtype=double) for bias in (False, True))
    seeded(bare)
    with torch.no_grad():
        for name, value in whole.named_parameters():
            value.copy_(bare.get_parameter(name)) if not name.startswith("bias") else value.zero_()
    given = inputs(2, 2)
    kept = [value for name, value in whole.named_parameters() if not name.startswith("bias")]
    assert len(kept) == len(list(bare.parameters())) < len(list(whole.parameters()))
    assert apart(of_module(bare, *given), results(whole, kept, *given)) < 1e-12


def test_what_a_parameter_is_called_says_nothing():
    """A gain is no bias, and only the parameters of a stack start at zero, whatever their names begin with."""
    x, h = input_("x", "I"), state("h", "H")
    W, R = parameter("W", ("H", "I")), parameter("peer", ("H", "H"))
    p, gain, rate, b = (parameter(name, "H") for name in ("p", "bias_gain", "initial_rate", "shift"))
    step = Builder()
    h_next = step.let("h_next", tanh(gain * (matvec(W, x) + matvec(R, h) - b) + p * h) + rate * h)
    cell = Recurrence(step.build((h_next,)), (h,), (h_next,), (x,), h_next)
    kind = load_text(emit(Spec("named", "Named", "named", cell, stacks=(Stack("pe", (p,), initial="zeros"),)))).Module
    torch.manual_seed(0)
    module, bare = kind(3, 4, 2, learn_initial=True), kind(3, 4, bias=False, dtype=double)
    zero = [name for name, value in module.named_parameters() if not value.any()]
    assert zero == ["pe_l0", "pe_l1", "initial_h"]
    assert [name for name, _ in bare.named_parameters()] == [
        f"{n}_l0" for n in ("W", "pe", "peer", "bias_gain", "initial_rate")
    ]
    x, h = torch.randn(1, 2, 3, dtype=double), torch.randn(1, 2, 4, dtype=double)
    v = {name.removesuffix("_l0"): value for name, value in bare.named_parameters()}
    inner = v["bias_gain"] * (x[0] @ v["W"].mT + h[0] @ v["peer"].mT)
    torch.testing.assert_close(bare(x, h)[0][0], torch.tanh(inner + v["pe"] * h[0]) + v["initial_rate"] * h[0])


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_an_unread_state_starts_from_has_no_gradient(memory):
    """As in plain autograd; the output of this cell is a state that no step reads."""
    x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
    V, W, R = parameter("V", ("H", "I")), parameter("W", ("H", "I")), parameter("R", ("H", "H"))
    step = Builder()
    c_next = step.let("c_next", tanh(matvec(W, x) + matvec(R, c)))
    h_next = step.let("h_next", sigmoid(matvec(V, x)) * c_next)
    cell = Recurrence(step.build((h_next, c_next)), (h, c), (h_next, c_next), (x,), h_next)
    kind = load_text(emit(Spec("unread", "Unread", "unread", cell))).Module
    modules = [kind(3, 4, 2, memory=memory, gradient=way, dtype=double) for way in ("derived", "autograd")]
    modules[1].load_state_dict(modules[0].state_dict())
    given, states = inputs(2, 2)
    h_0, c_0 = (value.requires_grad_() for value in states)
    found = []
    for module in modules:
        output, (h_n, c_n) = module(given, (h_0, c_0))
        wanted = (h_0, c_0, *module.parameters())
        found.append(torch.autograd.grad((output**3).sum() + (h_n + c_n).sin().sum(), wanted, allow_unused=True))
    assert found[0][0] is None and found[1][0] is None
    torch.testing.assert_close(found[0][1:], found[1][1:], rtol=1e-12, atol=1e-14)


def test_shapes_on_the_meta_device():
    output, (h, c) = lstm()(3, 4, 2, bidirectional=True, device="meta")(torch.empty(5, 2, 3, device="meta"))
    assert output.shape == (5, 2, 8) and h.shape == c.shape == (4, 2, 4) and output.is_meta


def test_options_layouts_and_a_read_out_of_a_users_own():
    """A leaky cell: two options, tensors named apart for one variant, three of the four combinations, an output."""
    x, h = input_("u", "I"), state("m", "H")
    W, R, b = parameter("A", ("H", "I")), parameter("B", ("H", "H")), parameter("d", "H")
    rate, V = parameter("rate", "H"), parameter("Q", ("P", "H"))
    slopes = {"smooth": tanh, "sharp": relu}
    leaks = {"fixed": lambda old, new: (old + new) / 2, "learnt": lambda old, new: old + rate * (new - old)}

    def cell(slope, leak):
        step = Builder()
        a = step.let("a", matvec(W, x) + matvec(R, h) + b)
        new = step.let("m_next", leaks[leak](h, slopes[slope](a)))
        out = step.let("p", sigmoid(matvec(V, new)))
        return Recurrence(step.build((new, out)), (h,), (new,), (x,), out)

    table = [("smooth", "fixed"), ("smooth", "learnt"), ("sharp", "learnt")]
    stacks = (Stack("inward", (W,), only=(table[0],)), Stack("into", (W,), only=tuple(table[1:])), Stack("bias", (b,)))
    options = {"options": ("slope", "leak"), "stacks": stacks}
    spec = Spec("leaky", "Leaky", "Leaky", {key: cell(*key) for key in table}, **options)
    rows = verify(spec)
    assert len(rows) > 60 and all(row.passed for row in rows)
    labels = " ".join(row.check for row in rows)
    assert "[slope='sharp', leak='learnt', output=" in labels and "at kinks" in labels
    kind = load_text(emit(spec)).Module
    names = [{name for name, _ in kind(3, 4, slope=a, leak=b, output=2).named_parameters()} for a, b in table]
    common = {"B_l0", "bias_l0", "Q"}
    assert names[0] == {"inward_l0", *common} and names[1] == names[2] == {"into_l0", "rate_l0", *common}
    with pytest.raises(ValueError, match=r"Leaky\(slope='sharp', leak='fixed'\) has no derived cell; allowed: Leaky\("):
        kind(3, 4, slope="sharp", leak="fixed")


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.spec.id)
@pytest.mark.parametrize("memory", MEMORIES)
def test_any_cell_equals_its_plain_form_and_a_loop_by_hand(cell, memory):
    module = seeded(module_of(cell)(3, 4, memory=memory, dtype=double))
    plain = seeded(module_of(cell)(3, 4, gradient="autograd", dtype=double))
    own = {n.removesuffix("_l0"): value.detach().clone().requires_grad_() for n, value in module.named_parameters()}

    def loop(x, states):
        states = [state[0] for state in (states if isinstance(states, tuple) else (states,))]
        output = []
        for row in x.unbind(0):
            states = cell.by_hand(own, row, tuple(states))
            output.append(states[0])
        return torch.stack(output), tuple(state.unsqueeze(0) for state in states)

    given = inputs(cell.states)
    found = of_module(module, *given)
    assert apart(found, of_module(plain, *given)) < 1e-12
    assert apart(found, results(loop, list(own.values()), *given)) < 1e-12


@pytest.mark.parametrize(
    ("cell", "oracle"), ((gru_after(), nn.GRU), (plain_rnn("torchs_rnn", biases=("bias_ih", "bias_hh")), nn.RNN))
)
def test_torchs_own_cells_can_be_written_down(cell, oracle):
    torch.manual_seed(0)
    expected = oracle(3, 4, 2, bidirectional=True, dtype=double)
    module = module_of(cell)(3, 4, 2, bidirectional=True, dtype=double)
    module.load_state_dict(expected.state_dict())
    given = inputs(1, 4)
    assert apart(of_module(module, *given), of_module(expected, *given)) < 1e-12


def test_frozen_and_missing_gradients_are_not_computed():
    module = seeded(module_of(coupled_lstm())(3, 4, dtype=double))
    x, states = inputs(2)
    module.weight_hh_l0.requires_grad_(False)
    output, _ = module(x, tuple(states))
    output.sum().backward()
    assert module.weight_hh_l0.grad is None and module.weight_ih_l0.grad is not None and x.grad is None


def loops(text: str) -> dict[str, tuple[int, int]]:
    """Statements in the loop of each function that has one, and tensors that are cut for every step."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            inner = [part for part in ast.walk(node) if isinstance(part, ast.For)]
            if inner:
                cut = getattr(inner[0].target, "elts", [inner[0].target])
                found[node.name] = len(inner[0].body), len(cut)
    return found


def test_loops_are_as_short_as_by_hand():
    """In statements, or in statements and cuts together: a copy may spare several cuts."""
    emitted, by_hand = loops(lstm_text()), loops(inspect.getsource(lstm_by_hand))
    derived = [name for name in by_hand if name.startswith(("_forward", "_backward"))]
    assert len(derived) == 6
    assert all(emitted[name][0] <= by_hand[name][0] or sum(emitted[name]) < sum(by_hand[name]) - 2 for name in derived)


@pytest.mark.parametrize("cell", (None, *CELLS), ids=lambda cell: cell.spec.id if cell else "lstm_peephole")
def test_every_line_of_a_loop_carries_the_number_of_an_equation(cell):
    """But for copies of states, which no equation speaks of."""
    text = text_of(cell) if cell else lstm_text()
    numbers = set(re.findall(r"^ {4}\((\d+)\) ", text, re.MULTILINE))
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith(("_forward", "_backward")):
            inner = next(part for part in ast.walk(node) if isinstance(part, ast.For))
            for statement in inner.body:
                comment = lines[(statement.end_lineno or 0) - 1].partition("#")[2]
                found = re.findall(r"\((\d+)\)", comment)
                assert found or re.search(r"_after.copy_|_before\)", ast.unparse(statement)), ast.unparse(statement)
                assert set(found) <= numbers


@pytest.mark.parametrize("cell", (None, gru_before(), *CELLS[2:4]), ids=lambda cell: cell.spec.id if cell else "lstm")
def test_the_text_passes_ruff_and_mypy(cell, tmp_path):
    path = tmp_path / "emitted.py"
    path.write_text(text_of(cell) if cell else lstm_text(), encoding="utf-8")
    rules = "--select=E,F,W,I,UP,B,SIM,RUF", "--line-length=120", "--target-version=py311"
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", *rules, str(path)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout
    if cell is None:
        mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(path)]
        done = subprocess.run(mypy, capture_output=True, text=True, check=False, cwd=ROOT)
        assert not done.returncode, done.stdout


GENERATE = """
import sys
from codegen.emission import emit
from derive import load
from tests.codegen.gated_cells import {cell}
print(emit({cell}().spec), emit(load("lstm_peephole")))
"""
WITHOUT_TORCH = """
import sys
from codegen.emission import emit
from derive import load
emit(load("lstm_peephole"))
assert "torch" not in sys.modules
"""


def run_python(code: str, seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def test_the_text_is_the_same_under_any_hash_seed():
    code = GENERATE.format(cell="three_states")
    assert run_python(code, "1") == run_python(code, "2")


def test_generating_does_not_import_torch():
    assert run_python(WITHOUT_TORCH, "0") == ""


def test_a_refusal_names_spec_and_option():
    spec = load("lstm_peephole")
    cell = spec.system["none"]
    broken = type(spec)(
        spec.id, spec.class_name, spec.title, {"wide": type(cell)(cell.step, cell.old, cell.new)}, option="peephole"
    )
    with pytest.raises(UnsupportedError, match="lstm_peephole, peephole = 'wide': a recurrent module reads one input"):
        emit(broken)


def test_a_cell_without_a_bias_says_so():
    kind = module_of(next(cell for cell in CELLS if cell.spec.id == "crossing"))
    with pytest.raises(ValueError, match="Crossing: bias=False; allowed: True, it has no parameter that is only added"):
        kind(3, 4, bias=False)
