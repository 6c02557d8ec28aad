"""LSTM with peepholes: the gates see the cell state, the output gate the new one."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Expr,
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
W_c = {g: parameter(f"W_c{g}", ("H", "H"), latex=f"W_{{C{LETTER[g]}}}", meaning=f"full peephole to {g}") for g in "ifo"}
p = {g: parameter(f"p_{g}", "H", latex=f"p_{LETTER[g]}", meaning=f"diagonal peephole to {g}") for g in "ifo"}

PEEPHOLES = {
    "diagonal": lambda gate, cell: p[gate] * cell,
    "full": lambda gate, cell: matvec(W_c[gate], cell),
    "none": lambda gate, cell: 0,
}


def cell(peephole: str) -> Recurrence:
    """One step of the cell with the given peepholes."""
    look = PEEPHOLES[peephole]
    step = Builder()

    def gate_input(gate: str, extra: Expr = 0) -> Quantity:
        value = matvec(W_h[gate], h) + matvec(W_x[gate], x) + b[gate] + extra
        return step.let(f"a_{gate}", value, latex=f"a^{{{LETTER[gate]}}}_t", meaning=f"input of gate {gate}")

    i = step.let("i", sigmoid(gate_input("i", look("i", C))), latex="i_t", meaning="input gate")
    f = step.let("f", sigmoid(gate_input("f", look("f", C))), latex="f_t", meaning="forget gate")
    g = step.let("g", tanh(gate_input("g")), latex=r"\tilde C_t", meaning="candidate")
    new_cell = step.let("c_next", f * C + i * g, latex="C_t", meaning="cell state after the step")
    o = step.let("o", sigmoid(gate_input("o", look("o", new_cell))), latex="o_t", meaning="output gate")
    tanh_c = step.let("tanh_c", tanh(new_cell), latex="r_t", meaning="squashed cell state")
    new_hidden = step.let("h_next", o * tanh_c, latex="h_t", meaning="hidden state after the step")
    new = (new_hidden, new_cell)
    return Recurrence(step.build(new), old=(h, C), new=new, inputs=(x,), output=new_hidden)


q = quantities(cell("full"))
slope = {g: q[g] * (1 - q[g]) for g in "ifo"}
candidate_slope = 1 - q["g"] ** 2
bar_c, bar_h = q["bar_c_next"], q["bar_h_next"]
into_output = matvec(transpose(W_h["o"]), bar_h * q["tanh_c"] * slope["o"])
into_candidate = matvec(transpose(W_h["g"]), bar_c * q["i"] * candidate_slope)


def past_cell(bar: Expr) -> Expr:
    """What C_{t-1} receives from step t when the cell's cotangent is `bar`."""
    return (
        q["f"] * bar
        + matvec(transpose(W_c["f"]), bar * C * slope["f"])
        + matvec(transpose(W_c["i"]), bar * q["g"] * slope["i"])
    )


def own_cell(bar: Expr) -> Expr:
    """What C_t receives in its own step when the state's cotangent is `bar`."""
    slope_of_tanh = 1 - q["tanh_c"] ** 2
    return bar * q["o"] * slope_of_tanh + matvec(transpose(W_c["o"]), bar * q["tanh_c"] * slope["o"])


def past_hidden(bar: Expr) -> Expr:
    """What h_{t-1} receives through the forget and input gates when the cell's cotangent is `bar`."""
    return matvec(transpose(W_h["f"]), bar * C * slope["f"]) + matvec(transpose(W_h["i"]), bar * q["g"] * slope["i"])


def claim(id: str, about: str, says: Expr, note: str) -> DeckClaim:
    """One defect of the deck's last two formulas, alone, in column form and with indices shifted by one."""
    return DeckClaim(id, DECK, about, says, option="full", note=note, agrees=False)


DECK = "recurrent networks 2/26/2018, lines 1081-1095, with the other defects mended"
stale = parameter("bar_h_later", "H", latex=r"\nabla_{h_{t+1}}", meaning="what the line of nabla_h made last")
W_Ch = parameter("W_Ch", ("H", "H"), latex="W_{Ch}", meaning="has no counterpart in the forward rules")

SPEC = Spec(
    id="lstm_peephole",
    class_name="LSTMPeephole",
    title="LSTM with peephole connections",
    source="Gers and Schmidhuber 2000; recurrent networks 2/26/2018, 'The Peephole Connection'",
    system={peephole: cell(peephole) for peephole in PEEPHOLES},
    option="peephole",
    stacks=(
        Stack("weight_ih", tuple(W_x[g] for g in GATES)),
        Stack("weight_hh", tuple(W_h[g] for g in GATES)),
        Stack("bias", tuple(b[g] for g in GATES), parts=("bias_ih", "bias_hh")),
        Stack("weight_ch", tuple(p[g] for g in "ifo"), initial="zeros", separate=True),
        Stack("weight_ch", tuple(W_c[g] for g in "ifo"), initial="zeros", separate=True),
    ),
    claims=(
        claim("E003-L1", "bar_c", past_cell(bar_h), "nabla_h stands where nabla_C of the later step belongs"),
        claim(
            "E003-L2",
            "bar_h",
            past_hidden(bar_h) + into_candidate + into_output,
            "nabla_h stands where nabla_C of the later step belongs",
        ),
        claim(
            "E003-L3",
            "bar_h",
            past_hidden(bar_c) + matvec(transpose(W_h["g"]), bar_c * q["o"] * candidate_slope) + into_output,
            "o where i belongs; line 1074 still has i",
        ),
        claim(
            "E003-L4",
            "bar_h",
            past_hidden(bar_c) + matvec(transpose(W_h["i"]), bar_c * q["i"] * candidate_slope) + into_output,
            "W_hi where W_hC belongs",
        ),
        claim(
            "E003-L5",
            "bar_c_next",
            q["bar_c_next_out"]
            + matvec(transpose(W_Ch), bar_h * q["o"] * (1 - q["tanh_c"] ** 2))
            + matvec(transpose(W_c["o"]), bar_h * q["tanh_c"] * slope["o"]),
            "h = o tanh(C) has no matrix: W_Ch does not exist",
        ),
        claim(
            "E003-L6",
            "bar_c",
            q["f"] * bar_c
            + bar_c * matvec(transpose(W_c["f"]), C * slope["f"])
            + bar_c * matvec(transpose(W_c["i"]), q["g"] * slope["i"]),
            "the Hadamard product with the cotangent comes before the matrix, not after it",
        ),
        claim(
            "E003-L7",
            "bar_h",
            past_hidden(bar_c) + into_candidate + matvec(transpose(W_h["o"]), bar_h * tanh(C) * slope["o"]),
            "tanh(.) without its time: it is the new cell state that the output gate multiplies",
        ),
        claim(
            "E003-L8",
            "bar_c_next",
            q["bar_c_next_out"] + own_cell(stale),
            "listed before nabla_h, nabla_C reads what the step after has left there: nabla_h comes first",
        ),
    ),
)
