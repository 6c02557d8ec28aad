"""LSTM: three gates around a cell state that nothing squashes on its way from step to step."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    input_,
    matvec,
    parameter,
    quantities,
    sigmoid,
    state,
    tanh,
    transpose,
)

GATES = ("i", "f", "g", "o")
LETTER = {"i": "i", "f": "f", "g": "C", "o": "o"}

x = input_("x", "I", latex="x_t", meaning="input")
h = state("h", "H", latex="h_{t-1}", meaning="hidden state before the step")
C = state("c", "H", latex="C_{t-1}", meaning="cell state before the step")
W_x = {g: parameter(f"W_x{g}", ("H", "I"), latex=f"W_{{x{LETTER[g]}}}", meaning=f"input to {g}") for g in GATES}
W_h = {g: parameter(f"W_h{g}", ("H", "H"), latex=f"W_{{h{LETTER[g]}}}", meaning=f"hidden state to {g}") for g in GATES}
b = {g: parameter(f"b_{g}", "H", latex=f"b_{LETTER[g]}", meaning=f"bias of {g}") for g in GATES}


def cell() -> Recurrence:
    """One step of the cell."""
    step = Builder()

    def gate_input(gate: str) -> Quantity:
        value = matvec(W_h[gate], h) + matvec(W_x[gate], x) + b[gate]
        return step.let(f"a_{gate}", value, latex=f"a^{{{LETTER[gate]}}}_t", meaning=f"input of gate {gate}")

    i = step.let("i", sigmoid(gate_input("i")), latex="i_t", meaning="input gate")
    f = step.let("f", sigmoid(gate_input("f")), latex="f_t", meaning="forget gate")
    g = step.let("g", tanh(gate_input("g")), latex=r"\tilde C_t", meaning="candidate")
    new_cell = step.let("c_next", f * C + i * g, latex="C_t", meaning="cell state after the step")
    o = step.let("o", sigmoid(gate_input("o")), latex="o_t", meaning="output gate")
    tanh_c = step.let("tanh_c", tanh(new_cell), latex="r_t", meaning="squashed cell state")
    new_hidden = step.let("h_next", o * tanh_c, latex="h_t", meaning="hidden state after the step")
    new = (new_hidden, new_cell)
    return Recurrence(step.build(new), old=(h, C), new=new, inputs=(x,), output=new_hidden)


q = quantities(cell())
bar_h, bar_c = q["bar_h_next"], q["bar_c_next"]
D003 = "recurrent networks 2/26/2018"

SPEC = Spec(
    id="lstm",
    class_name="LSTM",
    title="LSTM",
    source="Hochreiter and Schmidhuber 1997; Gers et al. 2000; recurrent networks 2/26/2018, 'LSTM'",
    system=cell(),
    stacks=(
        Stack("weight_ih", tuple(W_x[g] for g in GATES)),
        Stack("weight_hh", tuple(W_h[g] for g in GATES)),
        Stack("bias", tuple(b[g] for g in GATES), parts=("bias_ih", "bias_hh")),
    ),
    claims=(
        DeckClaim("cell state", f"{D003}, 'LSTM'", "c_next", q["f"] * C + q["i"] * q["g"], agrees=True),
        DeckClaim("hidden state", f"{D003}, 'LSTM'", "h_next", q["o"] * tanh(q["c_next"]), agrees=True),
        DeckClaim(
            "carousel",
            f"{D003}, 'Exploding/Vanishing gradients'",
            "bar_c",
            q["f"] * bar_c,
            note="the cell's cotangent is multiplied by the forget gate and by nothing else",
            agrees=True,
        ),
        DeckClaim(
            "E003-19",
            f"{D003}, line 806",
            "bar_c",
            C * q["f"] * bar_c,
            note="C stands between the gates where the identity belongs: no weights and no nonlinearity there",
            agrees=False,
        ),
        DeckClaim(
            "E003-L6",
            f"{D003}, lines 1081-1095, without peepholes",
            "bar_h",
            bar_c * matvec(transpose(W_h["f"]), C * q["f"] * (1 - q["f"]))
            + bar_c * matvec(transpose(W_h["i"]), q["g"] * q["i"] * (1 - q["i"]))
            + matvec(transpose(W_h["g"]), bar_c * q["i"] * (1 - q["g"] ** 2))
            + matvec(transpose(W_h["o"]), bar_h * q["tanh_c"] * q["o"] * (1 - q["o"])),
            note="the Hadamard product with the cotangent comes before the matrix, not after it",
            agrees=False,
        ),
    ),
)
