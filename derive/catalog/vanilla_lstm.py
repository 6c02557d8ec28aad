"""The vanilla LSTM with its fifteen parameters: the LSTM with full peepholes under other names."""

from __future__ import annotations

from derive import (
    Builder,
    DeckClaim,
    Expr,
    IdentityCheck,
    Quantity,
    Recurrence,
    Relation,
    Spec,
    input_,
    load,
    matvec,
    parameter,
    quantities,
    relation,
    sigmoid,
    state,
    tanh,
)
from derive.latex import latex
from derive.program import symbols_of

GATES = {"cu": "update", "cs": "state", "cr": "readout"}
FED = (*GATES, "du")

x = input_("x", "I", latex="x[n]", meaning="input")
v = state("v", "H", latex="v[n-1]", meaning="value of the cell before the step")
s = state("s", "H", latex="s[n-1]", meaning="state of the cell before the step")
W_x = {k: parameter(f"W_x{k}", ("H", "I"), latex=f"W_{{x_{{{k}}}}}", meaning=f"input to {k}") for k in FED}
W_v = {k: parameter(f"W_v{k}", ("H", "H"), latex=f"W_{{v_{{{k}}}}}", meaning=f"value to {k}") for k in FED}
W_s = {k: parameter(f"W_s{k}", ("H", "H"), latex=f"W_{{s_{{{k}}}}}", meaning=f"state to {k}") for k in GATES}
b = {k: parameter(f"b_{k}", "H", latex=f"b_{{{k}}}", meaning=f"bias of {k}") for k in FED}


def cell() -> Recurrence:
    """One step, in the order in which it can be computed."""
    step = Builder()

    def accumulated(k: str, seen: Quantity | None = None) -> Quantity:
        value = matvec(W_x[k], x) + matvec(W_v[k], v) + b[k]
        value += matvec(W_s[k], seen) if seen is not None else 0
        return step.let(f"a_{k}", value, latex=f"a_{{{k}}}", meaning=f"accumulated for {k}")

    def gate(k: str, seen: Quantity) -> Quantity:
        return step.let(f"g_{k}", sigmoid(accumulated(k, seen)), latex=f"g_{{{k}}}", meaning=f"control {GATES[k]}")

    g_cu, g_cs = gate("cu", s), gate("cs", s)
    u = step.let("u", tanh(accumulated("du")), latex="u[n]", meaning="update candidate")
    new_state = step.let("s_next", g_cs * s + g_cu * u, latex="s[n]", meaning="state of the cell after the step")
    r = step.let("r", tanh(new_state), latex="r[n]", meaning="readout")
    new = step.let("v_next", gate("cr", new_state) * r, latex="v[n]", meaning="value of the cell after the step")
    return Recurrence(step.build((new, new_state)), old=(v, s), new=(new, new_state), inputs=(x,), output=new)


q = quantities(cell())

# The catalogue's renaming: cu is the input gate, cs the forget gate, cr the output gate, du the candidate.
PEEPHOLE = load("lstm_peephole").system["full"]
THEIRS = quantities(PEEPHOLE)
OF = {"cu": "i", "cs": "f", "cr": "o", "du": "g"}
RENAMED = {
    **{THEIRS[theirs]: q[own] for theirs, own in {"c_next": "s_next", "tanh_c": "r", "h_next": "v_next"}.items()},
    **{THEIRS[theirs]: own for theirs, own in {"x": x, "h": v, "c": s}.items()},
    **{THEIRS[f"W_x{OF[k]}"]: W_x[k] for k in FED},
    **{THEIRS[f"W_h{OF[k]}"]: W_v[k] for k in FED},
    **{THEIRS[f"W_c{OF[k]}"]: W_s[k] for k in GATES},
    **{THEIRS[f"b_{OF[k]}"]: b[k] for k in FED},
    **{THEIRS[f"a_{OF[k]}"]: q[f"a_{k}"] for k in FED},
    **{THEIRS[OF[k]]: q["u" if k == "du" else f"g_{k}"] for k in FED},
}
NAMES = {own: theirs for theirs, own in RENAMED.items()}


def same(target: Quantity, own: Expr) -> Relation:
    """A line of the LSTM with full peepholes, and the line that it becomes under the renaming."""
    line = PEEPHOLE.step.value(NAMES[target])
    renamed = line.xreplace(RENAMED)
    check = IdentityCheck(renamed, own, tuple(sorted(symbols_of(own), key=str)))
    return relation(
        f"{target.name} is what the LSTM with full peepholes calls {NAMES[target].name}",
        "identity",
        rf"{latex(line)} \;\longmapsto\; {latex(own)}",
        text=f"{line}  becomes  {own}",
        reason="cu is the input gate, cs the forget gate, cr the output gate, du the candidate; v is h, s is C",
        check=check,
        section="The LSTM with full peepholes, line by line",
    )


square = parameter("W_ss", ("H", "H"), latex="W_s", meaning="feedback of the general formula")
DECK = "RNN and LSTM, 'Vanilla LSTM'"

SPEC = Spec(
    id="vanilla_lstm",
    class_name="VanillaLSTM",
    title="Vanilla LSTM",
    source="Sherstinsky 2020; RNN and LSTM, 'Vanilla LSTM'",
    system=cell(),
    claims=(
        DeckClaim("state", DECK, "s_next", q["g_cs"] * s + q["g_cu"] * q["u"], agrees=True),
        DeckClaim("value", DECK, "v_next", q["g_cr"] * tanh(q["s_next"]), agrees=True),
        DeckClaim(
            "E31",
            DECK,
            "a_cr",
            matvec(W_x["cr"], x) + matvec(W_s["cr"], s) + matvec(W_v["cr"], v) + b["cr"],
            note="listed before s[n], on which it depends: computed in that order it would read s[n-1]",
            agrees=False,
        ),
        DeckClaim(
            "E000-4",
            DECK,
            "s_next",
            q["g_cs"] * matvec(square, s) + q["g_cu"] * q["u"],
            note="the line before has F_s(s) = W_s s; here F_s(s) = s, which is A = 0",
            agrees=False,
        ),
    ),
    relations=tuple(same(line.target, line.value) for line in cell().step.assignments),
)
