"""The derived cell adjoint, chained by hand over time in NumPy, against autograd of an LSTM written out in torch."""

import numpy as np
import pytest
import torch

from derive.catalog.lstm_peephole import (
    PEEPHOLES,
    bar_c,
    bar_h,
    cell,
    into_candidate,
    into_output,
    own_cell,
    past_cell,
    past_hidden,
)
from derive.evaluator import evaluate, value_of
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Role

STEPS, HIDDEN, INPUT = 3, 4, 2
SIZES = {"H": HIDDEN, "I": INPUT}


def draw_parameters(recurrence, draw):
    parameters = [q for q in recurrence.step.inputs if q.role is Role.PARAMETER]
    return {q: draw.standard_normal([SIZES[size] for size in q.shape]) for q in parameters}


def chained(recurrence, parameters, inputs, start, seeds, last):
    """Outputs of all steps, and the gradients of sum_t <seed_t, h_t> + <last, c_T>, step by step by hand."""
    (x,), (h, c), (h_next, c_next) = recurrence.inputs, recurrence.old, recurrence.new
    adjoint = reverse_sweep(recurrence.step)
    state, trace = dict(zip((h, c), start, strict=True)), []
    for value in inputs:
        known = evaluate(recurrence.step, {**parameters, **state, x: value})
        trace.append(known)
        state = {h: known[h_next], c: known[c_next]}
    gradients = {q: np.zeros_like(value) for q, value in parameters.items()}
    carried, of_inputs = {h: np.zeros(HIDDEN), c: last}, []
    for known, seed in zip(reversed(trace), reversed(seeds), strict=True):
        given = {adjoint.seeds[h_next]: carried[h] + seed, adjoint.seeds[c_next]: carried[c]}
        bars = evaluate(adjoint.program, {**known, **given})
        for q in gradients:
            gradients[q] += bars[adjoint.cotangents[q]]
        carried = {q: bars[adjoint.cotangents[q]] for q in (h, c)}
        of_inputs.append(bars[adjoint.cotangents[x]])
    outputs = [known[h_next] for known in trace]
    return outputs, state, {q.name: v for q, v in gradients.items()}, carried[h], carried[c], of_inputs[::-1]


def peephole_of(kind, w, gate, memory):
    if kind == "none":
        return 0
    return w[f"p_{gate}"] * memory if kind == "diagonal" else w[f"W_c{gate}"] @ memory


def torch_step(kind, w, x, h, c):
    """Catalogue, `lstm_peephole`: forget and input gate see C_(t-1), the output gate C_t, the candidate none."""
    look = {gate: peephole_of(kind, w, gate, c) for gate in "if"}
    i = torch.sigmoid(w["W_xi"] @ x + w["W_hi"] @ h + w["b_i"] + look["i"])
    f = torch.sigmoid(w["W_xf"] @ x + w["W_hf"] @ h + w["b_f"] + look["f"])
    candidate = torch.tanh(w["W_xg"] @ x + w["W_hg"] @ h + w["b_g"])
    c = f * c + i * candidate
    o = torch.sigmoid(w["W_xo"] @ x + w["W_ho"] @ h + w["b_o"] + peephole_of(kind, w, "o", c))
    return o * torch.tanh(c), c


def leaf(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def close(found, expected):
    expected = expected.detach().numpy()
    assert np.shape(found) == expected.shape
    assert np.max(np.abs(found - expected)) <= 1e-12 * max(1.0, np.max(np.abs(expected)))


def problem(kind):
    draw = np.random.default_rng(7)
    recurrence = cell(kind)
    parameters = draw_parameters(recurrence, draw)
    inputs, seeds = draw.standard_normal((STEPS, INPUT)), draw.standard_normal((STEPS, HIDDEN))
    start, last = draw.standard_normal((2, HIDDEN)), draw.standard_normal(HIDDEN)
    return recurrence, parameters, inputs, start, seeds, last


@pytest.mark.parametrize("kind", PEEPHOLES)
def test_every_gradient_against_a_hand_written_lstm(kind):
    recurrence, parameters, inputs, start, seeds, last = problem(kind)
    outputs, state, gradients, bar_h, bar_c, of_inputs = chained(recurrence, parameters, inputs, start, seeds, last)
    weights = {q.name: leaf(value) for q, value in parameters.items()}
    xs, h0, c0 = leaf(inputs), leaf(start[0]), leaf(start[1])
    h, c, loss = h0, c0, 0.0
    for t in range(STEPS):
        h, c = torch_step(kind, weights, xs[t], h, c)
        close(outputs[t], h)
        loss = loss + h @ torch.from_numpy(seeds[t])
    (loss + c @ torch.from_numpy(last)).backward()
    close(state[recurrence.old[1]], c)
    assert set(gradients) == set(weights) and len(weights) == (12 if kind == "none" else 15)
    for name, gradient in gradients.items():
        close(gradient, weights[name].grad)
    close(np.array(of_inputs), xs.grad)
    close(bar_h, h0.grad)
    close(bar_c, c0.grad)


def test_without_peepholes_it_is_torch_s_lstm():
    recurrence, parameters, inputs, start, seeds, last = problem("none")
    outputs, state, gradients, bar_h, bar_c, of_inputs = chained(recurrence, parameters, inputs, start, seeds, last)
    named = {q.name: torch.from_numpy(value) for q, value in parameters.items()}
    stacked = {"weight_ih_l0": "W_x", "weight_hh_l0": "W_h", "bias_ih_l0": "b_"}
    reference = torch.nn.LSTM(INPUT, HIDDEN, dtype=torch.float64)
    rows = {name: torch.cat([named[f"{head}{gate}"] for gate in "ifgo"]) for name, head in stacked.items()}
    reference.load_state_dict({**rows, "bias_hh_l0": torch.zeros(4 * HIDDEN, dtype=torch.float64)})
    xs, h0, c0 = leaf(inputs), leaf(start[:1]), leaf(start[1:])
    found, (_, c) = reference(xs, (h0, c0))
    ((found * torch.from_numpy(seeds)).sum() + (c[0] * torch.from_numpy(last)).sum()).backward()
    close(np.array(outputs), found)
    close(state[recurrence.old[1]], c[0])
    for name, head in stacked.items():
        close(np.concatenate([gradients[f"{head}{gate}"] for gate in "ifgo"]), getattr(reference, name).grad)
    close(np.array(of_inputs), xs.grad)
    close(bar_h, h0.grad[0])
    close(bar_c, c0.grad[0])


def test_full_peepholes_that_are_diagonal_are_diagonal_peepholes():
    recurrence, parameters, inputs, start, seeds, last = problem("diagonal")
    full = cell("full")
    by_name = {q.name: value for q, value in parameters.items()}
    by_name |= {f"W_c{gate}": np.diag(by_name[f"p_{gate}"]) for gate in "ifo"}
    matrices = {q: by_name[q.name] for q in full.step.inputs if q.role is Role.PARAMETER}
    one = chained(recurrence, parameters, inputs, start, seeds, last)
    two = chained(full, matrices, inputs, start, seeds, last)
    assert np.allclose(one[0], two[0], rtol=0, atol=1e-15)
    for gate in "ifo":
        assert np.allclose(np.diag(two[2][f"W_c{gate}"]), one[2][f"p_{gate}"], rtol=0, atol=1e-13)


def deck_s_lines(order, known_of_steps, seeds, last):
    """What (h_0, c_0) receive by the deck's two lines, mended, in one of the two orders within a step."""
    from_later = {bar_h: past_hidden(bar_c) + into_candidate + into_output, bar_c: past_cell(bar_c)}
    now = {bar_h: np.zeros(HIDDEN), bar_c: np.zeros(HIDDEN)}
    sent = {bar_h: np.zeros(HIDDEN), bar_c: last}
    for known, seed in zip(reversed(known_of_steps), reversed(seeds), strict=True):
        for bar in order:
            beside = seed if bar == bar_h else value_of(own_cell(bar_h), {**known, **now})
            now[bar] = sent[bar] + beside
        sent = {bar: value_of(sends, {**known, **now}) for bar, sends in from_later.items()}
    return sent[bar_h], sent[bar_c]


def test_the_deck_s_order_within_a_step_reads_the_state_s_cotangent_too_early():
    """E003-L8: nabla_C is listed first, and needs nabla_h."""
    recurrence, parameters, inputs, start, seeds, last = problem("full")
    *_, of_h, of_c, _ = chained(recurrence, parameters, inputs, start, seeds, last)
    (x,), state, known = recurrence.inputs, dict(zip(recurrence.old, start, strict=True)), []
    for value in inputs:
        known.append(evaluate(recurrence.step, {**parameters, **state, x: value}))
        state = dict(zip(recurrence.old, (known[-1][q] for q in recurrence.new), strict=True))
    found = deck_s_lines((bar_h, bar_c), known, seeds, last)
    assert np.allclose(found[0], of_h, rtol=1e-12, atol=1e-13) and np.allclose(found[1], of_c, rtol=1e-12, atol=1e-13)
    early = deck_s_lines((bar_c, bar_h), known, seeds, last)
    assert np.linalg.norm(early[0] - of_h) > 0.1 * np.linalg.norm(of_h)
    assert np.linalg.norm(early[1] - of_c) > 0.1 * np.linalg.norm(of_c)
