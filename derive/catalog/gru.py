"""GRU, the deck's and torch's: the reset gate before or after the product, the update gate writing or keeping."""

from __future__ import annotations

from itertools import product

from derive import (
    Builder,
    DeckClaim,
    Expr,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    cotangent,
    identity,
    input_,
    matvec,
    parameter,
    quantities,
    sigmoid,
    state,
    tanh,
    transpose,
)

GATES = ("r", "z", "n")

x = input_("x", "I", latex="x_t", meaning="input")
h = state("h", "H", latex="h_{t-1}", meaning="hidden state before the step")
W_x = {g: parameter(f"W_x{g}", ("H", "I"), latex=f"W_{{x{g}}}", meaning=f"input to {g}") for g in GATES}
W_h = {g: parameter(f"W_h{g}", ("H", "H"), latex=f"W_{{h{g}}}", meaning=f"hidden state to {g}") for g in GATES}
b_x = {g: parameter(f"b_x{g}", "H", latex=f"b_{{x{g}}}", meaning=f"bias of {g}") for g in GATES}
b_h = {g: parameter(f"b_h{g}", "H", latex=f"b_{{h{g}}}", meaning=f"bias of the product with h in {g}") for g in GATES}

BLENDS = {
    "deck": lambda z, old, new: (1 - z) * old + z * new,
    "torch": lambda z, old, new: (1 - z) * new + z * old,
}


def cell(reset: str, blend: str) -> Recurrence:
    """One step of the cell with the reset gate before or after the product, and with the deck's or torch's blend."""
    step = Builder()

    def gate_input(gate: str, past: Expr) -> Quantity:
        value = past + matvec(W_x[gate], x) + b_x[gate]
        return step.let(f"a_{gate}", value, latex=f"a^{gate}_t", meaning=f"input of {gate}")

    def from_state(gate: str) -> Expr:
        return matvec(W_h[gate], h) + (b_h[gate] if reset == "after" else 0)

    r = step.let("r", sigmoid(gate_input("r", from_state("r"))), latex="r_t", meaning="reset gate")
    z = step.let("z", sigmoid(gate_input("z", from_state("z"))), latex="z_t", meaning="update gate")
    if reset == "before":
        past = step.let("rh", r * h, latex=r"(r h)_t", meaning="state that the reset gate lets through")
        past = matvec(W_h["n"], past)
    else:
        past = r * step.let("v", from_state("n"), latex="v_t", meaning="product with the state")
    n = step.let("n", tanh(gate_input("n", past)), latex=r"\tilde h_t", meaning="candidate")
    new = step.let("h_next", BLENDS[blend](z, h, n), latex="h_t", meaning="hidden state after the step")
    return Recurrence(step.build((new,)), old=(h,), new=(new,), inputs=(x,), output=new)


def rows(table: dict[str, Quantity]) -> tuple[Quantity, ...]:
    """The gates of a table in torch's order."""
    return tuple(table[g] for g in GATES)


# The variants that are not torch's have names of their own: torch's tensors mean another function.
NAMES = {("before", "deck"): "", ("before", "torch"): "_keep", ("after", "deck"): "_after"}
TORCHS = ("after", "torch")
STACKS = [
    Stack("weight_ih", rows(W_x), only=(TORCHS,)),
    Stack("weight_hh", rows(W_h), only=(TORCHS,)),
    Stack("bias_ih", rows(b_x), only=(TORCHS,)),
    Stack("bias_hh", rows(b_h), only=(TORCHS,)),
]
for variant, suffix in NAMES.items():
    STACKS += [Stack(f"weight_x{suffix}", rows(W_x), only=(variant,))]
    STACKS += [
        Stack(f"weight_h{suffix}", rows(W_h), only=(variant,)),
        Stack(f"bias_x{suffix}", rows(b_x), only=(variant,)),
    ]
    STACKS += [Stack(f"bias_h{suffix}", rows(b_h), only=(variant,))] if variant[0] == "after" else []

q = quantities(cell("before", "deck"))
bar = q["bar_h_next"]
into_z = bar * (q["n"] - h) * q["z"] * (1 - q["z"])
through = matvec(transpose(W_h["n"]), bar * q["z"] * (1 - q["n"] ** 2))
into_r = through * h * q["r"] * (1 - q["r"])
SENT_BACK = (
    bar * (1 - q["z"]) + matvec(transpose(W_h["z"]), into_z) + matvec(transpose(W_h["r"]), into_r) + through * q["r"]
)
a = parameter("a", "H", meaning="input of the update gate")
D003 = "recurrent networks 2/26/2018, 'Gated Recurrent Units'"

SPEC = Spec(
    id="gru",
    class_name="GRU",
    title="Gated recurrent unit",
    source="Cho et al. 2014; recurrent networks 2/26/2018, 'Gated Recurrent Units', lines 1101-1142",
    system={(reset, blend): cell(reset, blend) for reset, blend in product(("before", "after"), BLENDS)},
    options=("reset", "blend"),
    stacks=tuple(STACKS),
    claims=(
        DeckClaim("update", D003, "h_next", (1 - q["z"]) * h + q["z"] * q["n"], option="before_deck", agrees=True),
        DeckClaim(
            "E003-22",
            D003,
            "h_next",
            (1 - q["z"]) * h + q["z"] * q["n"],
            option="after_torch",
            note="no erratum but a trap: in torch.nn.GRU the update gate keeps, in the deck it writes",
            agrees=False,
        ),
        DeckClaim(
            "E003-22, reset",
            D003,
            "a_n",
            matvec(W_h["n"], q["r"] * h) + matvec(W_x["n"], x) + b_x["n"],
            option="after_torch",
            note="no erratum but a trap: torch.nn.GRU resets after the product, and its bias with it",
            agrees=False,
        ),
    ),
    relations=(
        cotangent(
            "what a step of the deck's variant sends back",
            cell("before", "deck").step,
            h,
            SENT_BACK,
            reason="the state enters both gates, the candidate and the blend; the deck stops at the forward rules",
            name="sent_back",
        ),
        identity(
            "the blends are exchanged where everything that enters the update gate changes its sign",
            BLENDS["deck"](sigmoid(-a), h, q["n"]),
            BLENDS["torch"](sigmoid(a), h, q["n"]),
            reason="1 - sigmoid(a) = sigmoid(-a)",
            name="exchanged_blends",
        ),
    ),
)
