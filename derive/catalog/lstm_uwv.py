"""LSTM in the notation U, W, V: no biases, and a softmax of every step where its size is given."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    cotangent,
    input_,
    matvec,
    outer,
    parameter,
    quantities,
    sigmoid,
    softmax,
    state,
    tanh,
    transpose,
)

GATES = ("i", "f", "g", "o")

x = input_("x", "I", latex="x_t", meaning="input")
s = state("s", "H", latex="s_{t-1}", meaning="hidden state before the step")
c = state("c", "H", latex="c_{t-1}", meaning="cell state before the step")
U = {g: parameter(f"U_{g}", ("H", "I"), latex=f"U^{g}", meaning=f"input to {g}") for g in GATES}
W = {g: parameter(f"W_{g}", ("H", "H"), latex=f"W^{g}", meaning=f"hidden state to {g}") for g in GATES}
V = parameter("V", ("K", "H"), meaning="hidden state to output")


def cell() -> Recurrence:
    """One step of the cell and its read-out; the deck's row vectors are columns here, its matrices transposed."""
    step = Builder()

    def gate_input(gate: str) -> Quantity:
        value = matvec(U[gate], x) + matvec(W[gate], s)
        return step.let(f"a_{gate}", value, latex=f"a^{gate}_t", meaning=f"input of gate {gate}")

    i = step.let("i", sigmoid(gate_input("i")), latex="i_t", meaning="input gate")
    f = step.let("f", sigmoid(gate_input("f")), latex="f_t", meaning="forget gate")
    o = step.let("o", sigmoid(gate_input("o")), latex="o_t", meaning="output gate")
    g = step.let("g", tanh(gate_input("g")), latex="g_t", meaning="candidate")
    new_cell = step.let("c_next", c * f + g * i, latex="c_t", meaning="cell state after the step")
    tanh_c = step.let("tanh_c", tanh(new_cell), latex="r_t", meaning="squashed cell state")
    new = step.let("s_next", tanh_c * o, latex="s_t", meaning="hidden state after the step")
    z = step.let("z", matvec(V, new), latex="z_t", meaning="logits")
    y = step.let("y", softmax(z), latex="y_t", meaning="probabilities")
    return Recurrence(step.build((new, new_cell, y)), old=(s, c), new=(new, new_cell), inputs=(x,), output=y)


q = quantities(cell())
DECK = "recurrent networks 2/26/2018, 'LSTM Equations', lines 1157-1163"
square = parameter("V_square", ("H", "H"), latex="V", meaning="the matrix of the output where K = H")

SPEC = Spec(
    id="lstm_uwv",
    class_name="LSTMUWV",
    title="LSTM with U, W and V",
    source="recurrent networks 2/26/2018, 'LSTM Equations'",
    system=cell(),
    stacks=(
        Stack("U", tuple(U[g] for g in GATES)),
        Stack("W", tuple(W[g] for g in GATES)),
    ),
    claims=(
        DeckClaim("cell state", DECK, "c_next", c * q["f"] + q["g"] * q["i"], agrees=True),
        DeckClaim("hidden state", DECK, "s_next", tanh(q["c_next"]) * q["o"], agrees=True),
        DeckClaim(
            "E003-23",
            DECK,
            "z",
            matvec(transpose(square), q["s_next"]),
            where={V: square},
            note="V s_t on a slide of row vectors is, in columns, the transposed matrix: s_t V is meant",
            agrees=False,
        ),
    ),
    relations=(
        cotangent(
            "gradient of U",
            cell().step,
            U["i"],
            outer(q["bar_a_i"], x),
            reason="every gate alike; of row vectors it is x^T delta; the deck stops at the forward rules",
            name="gradient_of_U",
        ),
        cotangent(
            "gradient of the hidden state",
            cell().step,
            q["s_next"],
            q["bar_s_next_out"] + matvec(transpose(V), q["bar_z"]),
            reason="the next step and the read-out; for a cross entropy of y the cotangent of the logits is y - d",
            name="gradient_of_s",
        ),
    ),
)
