"""LSTM in both directions: two sweeps that do not meet, and where their final states stand."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
from sympy import Expr

from derive import (
    Builder,
    ResidualCheck,
    Spec,
    concat,
    matvec,
    parameter,
    relation,
    state,
)
from derive.catalog.lstm_bidirectional_checks import LSTM, WAYS, T, run
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric

DECK = "recurrent networks 2/26/2018, 'Bidirectional LSTM'"
SWEEPS, FINAL = "Two sweeps over time", "Final states"
LETTER = {"ahead": "F", "back": "B"}
h = {way: state(f"h_{way}", "H", latex=f"h^{LETTER[way]}_t", meaning=f"output of the sweep {way}") for way in WAYS}
V, c = parameter("V", ("K", "H+H"), meaning="read-out of both"), parameter("c", "K", meaning="its bias")
graph = Builder()
joint = graph.let("H_t", concat(*h.values()), latex="H_t", meaning="output of step t, both halves")
o = graph.let("o_t", matvec(V, joint) + c, latex="o_t", meaning="read-out of step t")
sent = {way: state(f"bar_x_{way}", "I", latex=rf"\bar{{x}}^{LETTER[way]}_t") for way in WAYS}
total_sent = sent["ahead"] + sent["back"]


def residual_of_inputs(coefficients: tuple[Expr, ...]) -> float:
    """The claimed cotangent of each input beside difference quotients along two directions."""
    swept = {way: run().heard(way) for way in WAYS}
    worst = mpmath.mpf(0)
    for t in range(T):
        claimed = value_of(coefficients[0], {sent[way]: swept[way][t] for way in WAYS})
        for along in (run().x[0], run().x[1] ** 2):
            worst = max(worst, abs((claimed * along).sum() - run().quotient(t, along)))
    return float(worst)


first, last = (state(f"h_back_{n}", "H", latex=rf"h^{{B}}_{{{n}}}") for n in ("1", "T"))


def beside(expected: Callable[[], Numeric]) -> Callable[[tuple[Expr, ...]], float]:
    """An output of the direction that reads backwards, claimed to be something."""

    def residual(coefficients: tuple[Expr, ...]) -> float:
        found, _, _ = run().outputs("back", run().x)
        return float(max(abs(value_of(coefficients[0], {first: found[0], last: found[-1]}) - expected())))

    return residual


def one_step() -> Numeric:
    """From the start, on the last input."""
    return evaluate(LSTM.step, {**run().own["back"], LSTM.inputs[0]: run().x[-1]})[LSTM.new[0]]


final_is_first = beside(lambda: run().outputs("back", run().x)[1])
last_is_one_step = beside(one_step)

SPEC = Spec(
    id="lstm_bidirectional",
    class_name="",
    title="LSTM in both directions",
    source=f"{DECK}; Schuster and Paliwal 1997",
    system=graph.build([o]),
    relations=(
        relation(
            "two independent sweeps",
            "definition",
            r"h^F_t = \mathrm{LSTM}_F(h^F_{t-1}, x_t), \qquad h^B_t = \mathrm{LSTM}_B(h^B_{t+1}, x_t), \qquad H_t = "
            r"\left[h^F_t;\, h^B_t\right]",
            text="h_ahead from x_1 to x_T, h_back from x_T to x_1, put back into the order of time",
            reason="parameters of their own; neither reads the other, so their reverse sweeps do not meet either",
            section=SWEEPS,
        ),
        relation(
            "an input hears from both",
            "identity",
            r"\bar{x}_t = \bar{x}^F_t + \bar{x}^B_t",
            text=f"bar_x = {total_sent}",
            reason="each from the reverse sweep of the cell in its own order of time, begun with its half of V^T bar_o",
            name="input",
            value=total_sent,
            check=ResidualCheck(residual_of_inputs, (total_sent,), f"difference quotients over {T} steps, 60 digits"),
            section=SWEEPS,
        ),
        relation(
            "the direction that reads backwards ends at the first step",
            "identity",
            r"h^B_{\mathrm{final}} = h^B_1 = o_{:, 1, H:}, \qquad \text{not } o_{:, T, H:}",
            text="final state backwards = o[:, 0, H:]",
            reason="outputs are put back into the order of time, final states are not",
            name="final",
            value=first,
            check=ResidualCheck(final_is_first, (first,), f"a run of {T} steps"),
            section=FINAL,
        ),
        relation(
            "its last output has seen one input",
            "identity",
            r"h^B_T = \mathrm{LSTM}_B(h^B_{\mathrm{start}}, x_T)",
            text="o[:, -1, H:] is one step on x_T",
            reason="so many-to-one takes [h^F_T; h^B_1], the two final states, and not o[:, -1]",
            name="last",
            value=last,
            check=ResidualCheck(last_is_one_step, (last,), f"a run of {T} steps"),
            section=FINAL,
        ),
    ),
    statements=(
        (
            r"o: [B, T, 2 H], \quad h, c: [2 L, B, H]",
            "documentation of torch.nn.LSTM; in h and c the directions of a layer follow one another",
        ),
    ),
    no_module="`derive generate lstm` emits a class with bidirectional=True; so has every recurrent class",
)
