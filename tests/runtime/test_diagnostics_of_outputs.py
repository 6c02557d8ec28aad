"""Measures of cells whose output is no state, with states of two sizes, targets or kept values, beside loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from sympy import Rational
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from codegen.diagnostics import gradient_profile, state_jacobians
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import Builder, Recurrence, Spec, input_, matvec, parameter, sigmoid, state, tanh
from derive.functions import step as jump
from generated.delay_rnn import DelayRNN
from generated.lstm import LSTM
from generated.rnn_output import RNNOutput
from tests.codegen.test_cells_of_sizes import CELLS, Own

STEPS, BATCH, D, H, K, DELAY, STEP_SIZE = 4, 2, 3, 5, 4, 3, 0.7
double = torch.float64


@dataclass(frozen=True, eq=False)
class Beside:
    """A module's class, what it is constructed with, its states, and one step of it by hand.

    `step(parameters, x, y, states) -> (output, states)`; `shown` is the state that the output is, if it is one.
    """

    name: str
    kind: Callable[[], Any]
    sizes: tuple[int, ...]
    options: dict[str, Any]
    states: dict[str, tuple[int, ...]]
    step: Callable[..., Any]
    shown: int | None = None
    taught: bool = False


def fed_back(feedback: str, link: str, taught: bool = False) -> Beside:
    """RNNOutput: r is the output itself where the logits are fed back, and else what is made of it."""

    def step(v: Any, x: Tensor, y: Tensor, states: Any) -> Any:
        hidden = torch.tanh(x @ v["weight_ih"].T + states[0] @ v["weight_hh"].T + v["bias_ih"] + v["bias_hh"])
        o = hidden @ v["weight_ho"].T + v["bias_ho"]
        made = {"softmax": torch.softmax(o, -1), "sigmoid": torch.sigmoid(o), "identity": o}[link]
        return o, ({"logits": o, "prob": made, "teacher": y}[feedback],)

    options = {"feedback": feedback, "link": link}
    shown = 0 if feedback == "logits" else None
    return Beside(f"{feedback} {link}", lambda: RNNOutput, (H, K), options, {"r": (K,)}, step, shown, taught)


def delayed() -> Beside:
    """The delay equation's step: the output is the newest of the values that are kept of r."""

    def step(v: Any, x: Tensor, y: Tensor, states: Any) -> Any:
        s, past = states
        known = s + STEP_SIZE * (past[:, -1] @ v["B"].T + x @ v["C"].T + v["phi"])
        s = torch.linalg.solve(torch.eye(H, dtype=double) - STEP_SIZE * v["A"], known.T).T
        r = torch.tanh(s)
        return r, (s, torch.cat((r.unsqueeze(1), past[:, :-1]), 1))

    options = {"delay": DELAY, "step_size": STEP_SIZE}
    return Beside("delay_rnn", lambda: DelayRNN, (H,), options, {"s": (H,), "r": (DELAY, H)}, step, 1)


def written(name: str, output: str, sizes: tuple[int, ...], hidden: str, shown: int | None) -> Beside:
    """A cell of a user with two states: the output is the second one, or what is made of both and the input."""
    x, h, m = input_("x", "I"), state("h", hidden), state("m", "H")
    W, R, S = parameter("W", (hidden, "I")), parameter("R", ("H", hidden)), parameter("S", (hidden, "H"))
    step = Builder()
    gate = step.let("gate", sigmoid(matvec(W, x) + matvec(S, m)))
    h_next = step.let("h_next", gate * h + (1 - gate) * tanh(matvec(W, x)))
    m_next = step.let("m_next", tanh(matvec(R, h_next)) * m + matvec(R, h))
    made = step.let("y", m_next * matvec(R, h_next) + m) if output == "y" else m_next
    returned = tuple(dict.fromkeys((h_next, m_next, made)))
    system = Recurrence(step.build(returned), (h, m), (h_next, m_next), (x,), made)

    def by_hand(v: Any, x: Tensor, _: Tensor, states: Any) -> Any:
        h, m = states
        gate = torch.sigmoid(x @ v["W"].T + m @ v["S"].T)
        h_next = gate * h + (1 - gate) * torch.tanh(x @ v["W"].T)
        m_next = torch.tanh(h_next @ v["R"].T) * m + h @ v["R"].T
        return (m_next * (h_next @ v["R"].T) + m if output == "y" else m_next), (h_next, m_next)

    spec = Spec(name, name.capitalize(), name, system)
    states = {"h": sizes[:1], "m": sizes[-1:]}
    return Beside(name, lambda: load_text(emit(spec)).Module, sizes, {}, states, by_hand, shown)


def jumping() -> Beside:
    """One of two states has no slope, and the output reads what it was."""
    x, h, m = input_("x", "I"), state("h", "H"), state("m", "H")
    W, R = parameter("W", ("H", "I")), parameter("R", ("H", "H"))
    step = Builder()
    h_next = step.let("h_next", tanh(matvec(R, h) + m) + matvec(W, x))
    m_next = step.let("m_next", jump(h_next - Rational(1, 2)))
    system = Recurrence(step.build((h_next, m_next)), (h, m), (h_next, m_next), (x,), h_next)

    def by_hand(v: Any, x: Tensor, _: Tensor, states: Any) -> Any:
        h_next = torch.tanh(states[0] @ v["R"].T + states[1]) + x @ v["W"].T
        return h_next, (h_next, (h_next > 0.5).double())

    spec = Spec("jumping", "Jumping", "jumping", system)
    return Beside("jumping", lambda: load_text(emit(spec)).Module, (H,), {}, {"h": (H,), "m": (H,)}, by_hand, 0)


def users(cell: Own, states: dict[str, tuple[int, ...]], taught: bool = False) -> Beside:
    return Beside(
        cell.spec.id, lambda: load_text(emit(cell.spec)).Module, (H, K), {}, states, cell.by_hand, None, taught
    )


SKIPPING, SCHOOLED = (next(one for one in CELLS if one.spec.id == name) for name in ("skipping", "schooled"))
BESIDES = (
    fed_back("logits", "identity"), fed_back("prob", "softmax"), fed_back("prob", "sigmoid"),
    fed_back("teacher", "identity", taught=True), delayed(), users(SKIPPING, {"h": (H,)}),
    users(SCHOOLED, {"m": (H,), "r": (K,)}, taught=True), written("alike", "y", (H,), "H", None),
    written("apart", "y", (K, H), "G", None), written("shown", "m", (K, H), "G", 1),
    jumping(),
)  # fmt: skip
every = pytest.mark.parametrize("one", BESIDES, ids=lambda one: one.name)


@cache
def module_of(one: Beside) -> nn.Module:
    """Two layers in both directions, with weights that are not small."""
    torch.manual_seed(1)
    module: nn.Module = one.kind()(D, *one.sizes, 2, bidirectional=True, dtype=double, **one.options)
    for name, value in module.named_parameters():
        nn.init.normal_(value, std=0.6)
        if name.startswith("A"):
            value.data -= torch.eye(H, dtype=double)
    return module


def drawn(one: Beside) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """An input, targets, and the states before the first step."""
    torch.manual_seed(2)
    x, y = torch.randn(STEPS, BATCH, D, dtype=double), torch.randn(STEPS, BATCH, K, dtype=double)
    return x, y, tuple(torch.randn(4, BATCH, *size, dtype=double) for size in one.states.values())


def given(one: Beside) -> tuple[Tensor, dict[str, Any]]:
    """The same as the module takes it."""
    x, y, states = drawn(one)
    return x, {"state": states if len(states) > 1 else states[0], **({"targets": y} if one.taught else {})}


def loop(one: Beside, nudges: Any) -> tuple[Tensor, list[Any]]:
    """Outputs of the last layer, and what every step of each layer and direction reads: (parameters, x, y, states).

    States are moved by nudges right after they are formed: (layer and direction, state, step).
    """
    x, y, starts = drawn(one)
    module, read = module_of(one), []
    for layer in range(2):
        ways = []
        for way, suffix in enumerate((f"_l{layer}", f"_l{layer}_reverse")):
            v = {n.removesuffix(suffix): p for n, p in module.named_parameters() if n.endswith(suffix)}
            row, outputs = 2 * layer + way, []
            states = tuple(value[row] + nudges[row, k, 0] for k, value in enumerate(starts))
            for t, place in enumerate(reversed(range(STEPS)) if way else range(STEPS), 1):
                read.append((v, x[place], y[place], states))
                output, states = one.step(*read[-1])
                states = tuple(value + nudges[row, k, t] for k, value in enumerate(states))
                if one.shown is not None:
                    shown = states[one.shown]
                    output = shown if shown.dim() == 2 else shown[:, 0]
                outputs.append(output)
            ways.append(torch.stack(outputs[::-1] if way else outputs))
        x = torch.cat(ways, -1)
    return x, read


def still(one: Beside) -> dict[tuple[int, int, int], Tensor]:
    return {(row, k, t): torch.zeros(BATCH, *size, dtype=double, requires_grad=True)
            for row in range(4) for k, size in enumerate(one.states.values()) for t in range(STEPS + 1)}  # fmt: skip


@every
@pytest.mark.parametrize("loss", [None, lambda output: (output * torch.cos(3 * output)).sum()])
def test_loss_and_gradients_are_those_of_a_loop_by_hand(one: Beside, loss: Any) -> None:
    x, more = given(one)
    module, nudges = module_of(one), still(one)
    output, _ = loop(one, nudges)
    torch.testing.assert_close(module(x, **more)[0], output, rtol=1e-11, atol=1e-12)
    value = output[-1].sum() if loss is None else loss(output)
    found = gradient_profile(module, x, loss, **more)
    assert found.names == tuple(
        f"{letter}, layer {row}" for row in ("0", "0, reverse", "1", "1, reverse") for letter in one.states
    )
    torch.testing.assert_close(found.loss, value.detach(), rtol=1e-11, atol=0)
    weights = {n: p for n, p in module.named_parameters() if p.dim() > 1}
    bars = torch.autograd.grad(value, [*nudges.values(), *weights.values()], materialize_grads=True)
    for (row, k, t), bar in zip(nudges, bars, strict=False):
        norms = found.norms[len(one.states) * row + k, t]
        torch.testing.assert_close(norms, bar.flatten(1).norm(dim=1), rtol=1e-10, atol=1e-14)
    for (name, lengths), bar in zip(found.neurons.items(), bars[len(nudges) :], strict=True):
        assert name in weights
        torch.testing.assert_close(lengths, bar.norm(dim=-1).flatten(), rtol=1e-10, atol=1e-14)


def after(one: Beside, v: dict[str, Tensor], x: Tensor, y: Tensor, *states: Tensor) -> Tensor:
    return torch.cat([value.flatten(1) for value in one.step(v, x, y, states)[1]], 1)


@every
def test_jacobians_of_every_layer_are_those_of_steps_by_hand(one: Beside) -> None:
    x, more = given(one)
    found = state_jacobians(module_of(one), x, **more)
    assert [each.name for each in found] == ["layer 0", "layer 0, reverse", "layer 1", "layer 1, reverse"]
    with torch.no_grad():
        _, read = loop(one, still(one))
    for place, (v, row, y, states) in enumerate(read):
        dense = torch.autograd.functional.jacobian(partial(after, one, v, row, y), states)
        for sample in range(BATCH):
            expected = torch.cat([block[sample, :, sample].flatten(1) for block in dense], -1)
            mine = found[place // STEPS].jacobians[place % STEPS, sample]
            torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-13)


def test_targets_that_do_not_fit_are_refused_as_by_the_module() -> None:
    taught = BESIDES[3]
    module, (x, more) = module_of(taught), given(taught)
    for measure in (gradient_profile, state_jacobians):
        with pytest.raises(TypeError, match="RNNOutput: targets is None; this cell reads the target"):
            measure(module, x)
        with pytest.raises(ValueError, match="axis 0 of size 4, read size 3"):
            measure(module, x, targets=more["targets"][:3])
        with pytest.raises(ValueError, match="RNNOutput: targets is given, but this cell reads no target"):
            measure(module_of(BESIDES[0]), x, targets=more["targets"])
        with pytest.raises(ValueError, match=r"RNNOutput: state r has shape \(1, 2, 4\)"):
            measure(module, x, state=more["state"][:1], targets=more["targets"])
    first = RNNOutput(D, H, K, batch_first=True, dtype=double, feedback="teacher")
    second = RNNOutput(D, H, K, dtype=double, feedback="teacher")
    second.load_state_dict(first.state_dict())
    turned = gradient_profile(first, x.transpose(0, 1), targets=more["targets"].transpose(0, 1))
    torch.testing.assert_close(turned.norms, gradient_profile(second, x, targets=more["targets"]).norms)


@pytest.mark.parametrize("kind", [LSTM, nn.LSTM])
def test_weights_with_a_parametrization_are_what_it_makes_of_them(kind: Any) -> None:
    """Beside the same numbers without one."""
    torch.manual_seed(4)
    plain, x = kind(D, H, 2, bidirectional=True, dtype=double), torch.randn(STEPS, BATCH, D, dtype=double)
    normed = kind(D, H, 2, bidirectional=True, dtype=double)
    for name in ("weight_hh_l0", "weight_ih_l1_reverse"):
        parametrizations.weight_norm(normed, name)
        nn.init.normal_(normed.parametrizations[name].original0)
    with torch.no_grad():
        for name, value in plain.named_parameters():
            value.copy_(getattr(normed, name))
    found, expected = gradient_profile(normed, x), gradient_profile(plain, x)
    torch.testing.assert_close(found.norms, expected.norms)
    assert set(found.neurons) == set(expected.neurons)
    for name, lengths in expected.neurons.items():
        torch.testing.assert_close(found.neurons[name], lengths)
    for mine, theirs in zip(state_jacobians(normed, x), state_jacobians(plain, x), strict=True):
        torch.testing.assert_close(mine.jacobians, theirs.jacobians)


def test_weights_of_nets_with_a_parametrization() -> None:
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    net, x = nn.Sequential(layer, nn.Tanh()), torch.randn(BATCH, 3)
    plain = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    plain[0].load_state_dict({"weight": layer.weight, "bias": layer.bias})
    found, expected = gradient_profile(net, x).neurons, gradient_profile(plain, x).neurons
    assert set(found) == {"0.weight"}
    torch.testing.assert_close(found["0.weight"], expected["0.weight"])


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_that_are_made_by_a_call_are_refused_by_name() -> None:
    module = nn.utils.weight_norm(nn.LSTM(D, H), "weight_hh_l0")
    with pytest.raises(ValueError, match=r"LSTM: weight_hh_l0 is no parameter of the module; allowed: .*parametrizat"):
        gradient_profile(module, torch.randn(STEPS, BATCH, D))


def test_a_matrix_is_a_weight_whatever_its_name_begins_with():
    x, h = input_("x", "I"), state("h", "H")
    built = Builder()
    after = built.let(
        "h_next", tanh(matvec(parameter("initial_W", ("H", "I")), x) + matvec(parameter("R", ("H", "H")), h))
    )
    spec = Spec("begins", "Begins", "begins", Recurrence(built.build((after,)), (h,), (after,), (x,), after))
    module = load_text(emit(spec)).Module(D, H, dtype=double, learn_initial=True)
    found = gradient_profile(module, torch.randn(STEPS, BATCH, D, dtype=double)).neurons
    assert set(found) == {"initial_W_l0", "R_l0"} and all(rows.all() for rows in found.values())
