"""Users' cells with states of two sizes, outputs that are no state, targets, and operators that mix components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import verify
from derive import (
    Builder,
    Recurrence,
    Spec,
    Stack,
    dot,
    fill,
    input_,
    matvec,
    parameter,
    past,
    sigmoid,
    softmax,
    state,
    tanh,
    total,
)

double = torch.float64
SIZES = {"I": 3, "H": 4, "K": 2}
x, y = input_("x", "I"), input_("y", "K")
h, m, r = state("h", "H"), state("m", "H"), state("r", "K")
small, c = state("h", "K"), state("c", "H")
W, R, S = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("S", ("H", "K"))
V, D, p = parameter("V", ("K", "H")), parameter("D", ("K", "I")), parameter("p", "H")

Step = Callable[[dict[str, Tensor], Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True, eq=False)
class Own:
    """A spec, the sizes of its states, and the step by hand: (parameters, x_t, y_t, states) -> (output, states)."""

    spec: Spec
    states: str
    by_hand: Step

    def emitted(self) -> Spec:
        """The spec, to be emitted once."""
        return self.spec


def own(name: str, step: Builder, old: Any, new: Any, output: Any, by_hand: Step, taught: bool = False) -> Own:
    inputs = (x, y) if taught else (x,)
    spec = Spec(name, name.capitalize(), name, Recurrence(step.build(new), old, new, inputs, output))
    return Own(spec, "".join(q.shape[0] for q in old), by_hand)


def mixture() -> Own:
    """The weights of the new units come from a softmax over what all of them see."""
    step = Builder()
    weight = step.let("weight", softmax(matvec(W, x) + matvec(R, h)))
    new = step.let("new", (1 - weight) * h + 2 * weight * tanh(p * h))

    def by_hand(v: Any, x: Tensor, _: Tensor, states: Any) -> Any:
        (h,) = states
        weight = torch.softmax(x @ v["W"].mT + h @ v["R"].mT, -1)
        new = (1 - weight) * h + 2 * weight * torch.tanh(v["p"] * h)
        return new, (new,)

    return own("mixture", step, (h,), (new,), new, by_hand)


def centred() -> Own:
    """Layer normalization without the mean: every unit sees how long all are together, and what their sum is."""
    step = Builder()
    a = step.let("a", matvec(W, x) + matvec(R, h))
    length = step.let("length", 1 / (1 + dot(a, p * a)))
    new = step.let("new", tanh(a * length) + fill(total(sigmoid(p * h)), h) * p)

    def by_hand(v: Any, x: Tensor, _: Tensor, states: Any) -> Any:
        (h,) = states
        a = x @ v["W"].mT + h @ v["R"].mT
        length = 1 / (1 + (a * v["p"] * a).sum(-1, keepdim=True))
        new = torch.tanh(a * length) + torch.sigmoid(v["p"] * h).sum(-1, keepdim=True) * v["p"]
        return new, (new,)

    return own("centred", step, (h,), (new,), new, by_hand)


def skipping() -> Own:
    """The output sees the input past the state, and the state sees nothing of it."""
    step = Builder()
    new = step.let("new", tanh(matvec(W, x) + matvec(R, h)))
    o = step.let("o", matvec(V, new * h) + matvec(D, x))

    def by_hand(v: Any, x: Tensor, _: Tensor, states: Any) -> Any:
        (h,) = states
        new = torch.tanh(x @ v["W"].mT + h @ v["R"].mT)
        return (new * h) @ v["V"].mT + x @ v["D"].mT, (new,)

    return own("skipping", step, (h,), (new,), o, by_hand)


def schooled() -> Own:
    """A memory that is carried beside the target that is fed back."""
    step = Builder()
    gate = step.let("gate", sigmoid(matvec(W, x) + matvec(S, r)))
    new = step.let("new", gate * m + (1 - gate) * tanh(matvec(R, m)))
    late = step.let("late", y)
    o = step.let("o", softmax(matvec(V, new)))

    def by_hand(v: Any, x: Tensor, y: Tensor, states: Any) -> Any:
        m, r = states
        gate = torch.sigmoid(x @ v["W"].mT + r @ v["S"].mT)
        new = gate * m + (1 - gate) * torch.tanh(m @ v["R"].mT)
        return torch.softmax(new @ v["V"].mT, -1), (new, y)

    return own("schooled", step, (m, r), (new, late), o, by_hand, taught=True)


CELLS = (mixture(), centred(), skipping(), schooled())


@cache
def module_of(make: Callable[[], Spec]) -> Any:
    return load_text(emit(make())).Module


def sample(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=double, requires_grad=True)


def apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def slopes(outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[Tensor]:
    total = sum((value * torch.cos(3 * value)).sum() for value in outputs)
    return list(torch.autograd.grad(total, wanted, materialize_grads=True))


def loop(cell: Own, module: nn.Module, rows: Tensor, given: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of the last layer and final states, layer by layer by hand."""
    finals, layers = [], module.num_layers
    for layer in range(layers):
        end = f"_l{layer}"
        v = {name.removesuffix(end): value for name, value in module.named_parameters() if name.endswith(end)}
        now, outputs = tuple(value[layer] for value in states), []
        for row, target in zip(rows, given, strict=True):
            output, now = cell.by_hand(v, row, target, now)
            outputs.append(output)
        rows = torch.stack(outputs)
        finals.append(now)
    return [rows, *(torch.stack(values) for values in zip(*finals, strict=True))]


@pytest.mark.parametrize("memory", ("store", "chunk"))
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.spec.id)
def test_they_equal_loops_by_hand(cell: Own, memory: str) -> None:
    torch.manual_seed(0)
    kind = module_of(cell.emitted)
    sizes = [size for name, size in SIZES.items() if name != "K" or kind.further_sizes]
    module = kind(*sizes, 2, memory=memory, dtype=double)
    given, targets = sample(9, 2, SIZES["I"]), sample(9, 2, SIZES["K"])
    states = [sample(2, 2, SIZES[size]) for size in cell.states]
    extra = {"targets": targets} if len(next(iter(cell.spec.variants.values())).inputs) > 1 else {}
    output, final = module(given, tuple(states) if len(states) > 1 else states[0], **extra)
    found = [output, *(final if isinstance(final, tuple) else (final,))]
    expected = loop(cell, module, given, targets, states)
    assert apart(found, expected) < 1e-13
    wanted = [given, targets, *states, *module.parameters()]
    assert apart(slopes(found, wanted), slopes(expected, wanted)) < 1e-12


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.spec.id != "schooled"], ids=lambda cell: cell.spec.id)
def test_totals_of_their_states_are_what_autograd_finds_in_a_loop(cell: Own) -> None:
    torch.manual_seed(0)
    kind = module_of(cell.emitted)
    module = kind(*[size for name, size in SIZES.items() if name != "K" or kind.further_sizes], dtype=double)
    v = {name.removesuffix("_l0"): value for name, value in module.named_parameters()}
    given, starts = sample(6, 2, SIZES["I"]), [sample(2, SIZES[size]) for size in cell.states]
    now, paths, outputs = tuple(starts), [], []
    for row in given:
        output, now = cell.by_hand(v, row, row, now)
        outputs.append(output)
        paths.append(now)
    bar = torch.randn_like(torch.stack(outputs))
    wanted = [state for states in paths for state in states]
    found = torch.autograd.grad((torch.stack(outputs) * bar).sum(), wanted, materialize_grads=True)
    expected = [torch.stack(found[place :: len(starts)])[None] for place in range(len(starts))]
    state = tuple(value[None] for value in starts)
    totals = module.state_cotangents(given, bar, state if len(state) > 1 else state[0])
    assert apart([totals] if isinstance(totals, Tensor) else totals, expected) < 1e-13


def remembering() -> Spec:
    """The output sees what the state was three steps before, and the input past it."""
    step, old = Builder(), past(h, 3)
    new = step.let("new", tanh(matvec(W, x) + matvec(R, h + old)))
    o = step.let("o", matvec(V, new * old) + matvec(D, x))
    return Spec("remembering", "Remembering", "remembering", Recurrence(step.build((new, o)), (h,), (new,), (x,), o))


def causal() -> Spec:
    """Two layers over a few inputs, all steps at once."""
    step, earlier = Builder(), parameter("E", ("H", "I"))
    hidden = step.let("hidden", tanh(matvec(W, x) + matvec(earlier, past(x, 2))))
    o = step.let("o", softmax(matvec(V, hidden)))
    return Spec("causal", "Causal", "causal", Recurrence(step.build((o,)), (), (), (x,), o))


def recalled() -> Spec:
    """A prediction that is fed back beside earlier inputs."""
    step, earlier = Builder(), parameter("E", ("H", "I"))
    hidden = step.let("hidden", sigmoid(matvec(W, x) + matvec(earlier, past(x, 2)) + matvec(S, r)))
    o = step.let("o", matvec(V, hidden))
    new = step.let("new", softmax(o))
    return Spec("recalled", "Recalled", "recalled", Recurrence(step.build((new, o)), (r,), (new,), (x,), o))


def bottleneck() -> Spec:
    """Lines of a smaller size than the state, with inner products among them."""
    step = Builder()
    narrow = step.let("narrow", tanh(matvec(V, h) + matvec(D, x)))
    new = step.let("new", h + matvec(S, narrow) * dot(narrow, softmax(narrow)))
    return Spec("bottleneck", "Bottleneck", "bottleneck", Recurrence(step.build((new,)), (h,), (new,), (x,), new))


def prepared() -> Spec:
    """A matrix that is made of others before the loop, and an output that is no state."""
    step = Builder()
    new = step.let("new", tanh(matvec(W, x) + matvec(R + parameter("P", ("H", "H")), h)))
    o = step.let("o", matvec(V, new * h))
    return Spec("prepared", "Prepared", "prepared", Recurrence(step.build((new, o)), (h,), (new,), (x,), o))


def summed() -> Spec:
    """What is given out is made of both states, and the step does not list it."""
    step = Builder()
    new = step.let("new", tanh(matvec(W, x) + matvec(R, h)))
    slow = step.let("slow", p * m + new)
    both = step.let("both", new + slow)
    return Spec("summed", "Summed", "summed", Recurrence(step.build((new, slow)), (h, m), (new, slow), (x,), both))


def gated() -> Spec:
    """What is given out is read by the state."""
    step = Builder()
    gate = step.let("gate", sigmoid(matvec(W, x) + matvec(R, h)))
    new = step.let("new", gate * h + matvec(W, x))
    return Spec("gated", "Gated", "gated", Recurrence(step.build((new,)), (h,), (new,), (x,), gate))


@pytest.mark.parametrize("make", (remembering, causal, recalled, bottleneck, prepared, summed, gated))
def test_several_sizes_go_with_all_else_that_a_cell_may_have(make: Callable[[], Spec]) -> None:
    rows = verify(make())
    assert rows and not [row for row in rows if not row.passed]


def projected() -> Spec:
    """The LSTM of torch with `proj_size`: its output is a linear map of what the gates let out."""
    gates = "ifgo"
    into = {g: parameter(f"W_{g}", ("H", "I")) for g in gates}
    back = {g: parameter(f"R_{g}", ("H", "K")) for g in gates}
    bias = {g: parameter(f"b_{g}", "H") for g in gates}
    step, squash = Builder(), {"g": tanh}
    a = {g: matvec(into[g], x) + matvec(back[g], small) + bias[g] for g in gates}
    i, f, g, o = (step.let(n, squash.get(n, sigmoid)(a[n])) for n in gates)
    cell = step.let("c_next", f * c + i * g)
    new = step.let("h_next", matvec(V, o * tanh(cell)))
    stacks = [Stack("weight_ih", tuple(into.values())), Stack("weight_hh", tuple(back.values()))]
    stacks += [Stack("bias", tuple(bias.values()), parts=("bias_ih", "bias_hh")), Stack("weight_hr", (V,))]
    system = Recurrence(step.build((new, cell)), (small, c), (new, cell), (x,), new)
    return Spec("projected", "Projected", "projected", system, stacks=tuple(stacks))


@pytest.mark.parametrize("memory", ("store", "chunk"))
def test_a_projected_lstm_is_that_of_torch(memory: str) -> None:
    torch.manual_seed(0)
    torchs = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2, dtype=double)
    module = module_of(projected)(3, 5, 2, 2, bidirectional=True, memory=memory, dtype=double)
    module.load_state_dict(torchs.state_dict())
    given, states = sample(9, 2, 3), (sample(4, 2, 2), sample(4, 2, 5))
    (output, final), (expected, last) = module(given, states), torchs(given, states)
    assert apart([output, *final], [expected, *last]) < 1e-13
    names = [name for name, _ in torchs.named_parameters()]
    mine, others = (
        slopes([out, *end], [given, *states, *(kind.get_parameter(name) for name in names)])
        for kind, out, end in ((module, output, final), (torchs, expected, last))
    )
    assert apart(mine, others) < 1e-12
