"""The general formula of gated cells: both parts of the delay recursion, each behind a gate."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Quantity,
    Recurrence,
    Spec,
    identity,
    input_,
    matvec,
    parameter,
    quantities,
    sigmoid,
    state,
    tanh,
)

GATES = {"cs": "state", "cu": "update", "cr": "readout"}

x = input_("x", "I", latex="x[n]", meaning="input")
v = state("v", "H", latex="v[n-1]", meaning="value of the cell before the step")
s = state("s", "H", latex="s[n-1]", meaning="state of the cell before the step")
W_s = parameter("W_s", ("H", "H"), meaning="state to state")
W_r = parameter("W_r", ("H", "H"), meaning="readout to state")
W_x = parameter("W_x", ("H", "I"), meaning="input to state")
theta = parameter("theta_s", "H", latex=r"\theta_s", meaning="bias of the state")
W_xg = {k: parameter(f"W_x{k}", ("H", "I"), latex=f"W_{{x_{{{k}}}}}", meaning=f"input to gate {k}") for k in GATES}
W_sg = {k: parameter(f"W_s{k}", ("H", "H"), latex=f"W_{{s_{{{k}}}}}", meaning=f"state to gate {k}") for k in GATES}
W_vg = {k: parameter(f"W_v{k}", ("H", "H"), latex=f"W_{{v_{{{k}}}}}", meaning=f"value to gate {k}") for k in GATES}
b = {k: parameter(f"b_{k}", "H", latex=f"b_{{{k}}}", meaning=f"bias of gate {k}") for k in GATES}


def cell() -> Recurrence:
    """One step: what becomes of the state, what is added to it and what is read of it, each behind a gate."""
    step = Builder()

    def gate(k: str, seen: Quantity) -> Quantity:
        value = matvec(W_xg[k], x) + matvec(W_sg[k], seen) + matvec(W_vg[k], v) + b[k]
        a = step.let(f"a_{k}", value, latex=f"a_{{{k}}}", meaning=f"input of gate {k}")
        return step.let(f"g_{k}", sigmoid(a), latex=f"g_{{{k}}}", meaning=f"control {GATES[k]}")

    g_cs, g_cu = gate("cs", s), gate("cu", s)
    r = step.let("r", tanh(s), latex="r[n-1]", meaning="readout of the state before the step")
    kept = step.let("F_s", matvec(W_s, s), latex=r"\mathcal F_s", meaning="what the state becomes by itself")
    new_part = matvec(W_r, r) + matvec(W_x, x) + theta
    update = step.let("F_u", new_part, latex=r"\mathcal F_u", meaning="what readout and input add")
    new_state = step.let("s_next", g_cs * kept + g_cu * update, latex="s[n]", meaning="state after the step")
    r_next = step.let("r_next", tanh(new_state), latex="r[n]", meaning="readout")
    new = step.let("v_next", gate("cr", new_state) * r_next, latex="v[n]", meaning="value after the step")
    return Recurrence(step.build((new, new_state)), old=(v, s), new=(new, new_state), inputs=(x,), output=new)


q, step = quantities(cell()), cell().step
OPEN = matvec(W_s, s) + matvec(W_r, tanh(s)) + matvec(W_x, x) + theta
DECK = "RNN and LSTM, 'LSTM'"

SPEC = Spec(
    id="lstm_general",
    class_name="LSTMGeneral",
    title="LSTM, the general formula",
    source="Sherstinsky 2020; RNN and LSTM, 'LSTM'",
    system=cell(),
    claims=(
        DeckClaim("state", DECK, "s_next", q["g_cs"] * q["F_s"] + q["g_cu"] * q["F_u"], agrees=True),
        DeckClaim("update", DECK, "F_u", matvec(W_r, q["r"]) + matvec(W_x, x) + theta, agrees=True),
        DeckClaim("value", DECK, "v_next", q["g_cr"] * q["r_next"], agrees=True),
        DeckClaim(
            "E30",
            "RNN and LSTM, 'Vanilla LSTM'",
            "s_next",
            q["g_cs"] * s + q["g_cu"] * tanh(matvec(W_r, v) + matvec(W_x, x) + theta),
            note="the vanilla LSTM is no special case of the formula: it has W_s = I, feeds back the gated v where r "
            "stands, and squashes the update",
            agrees=False,
        ),
    ),
    relations=(
        identity(
            "open gates give back the recursion without gates",
            q["F_s"] + q["F_u"],
            OPEN,
            reason="with both gates at 1 this is s[n], the step of the delay equation",
            check=IdentityCheck(q["F_s"] + q["F_u"], OPEN, step.inputs, given=step),
            name="open_gates",
        ),
    ),
)
