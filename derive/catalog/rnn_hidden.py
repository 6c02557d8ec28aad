"""Recurrent network with hidden-to-hidden recurrence, and a read-out of every step where its size is given."""

from __future__ import annotations

from sympy import Integer

from derive import (
    Builder,
    DeckClaim,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    cotangent,
    elu,
    input_,
    matvec,
    parameter,
    quantities,
    relu,
    sigmoid,
    state,
    step,
    tanh,
    transpose,
)
from derive.losses import SEQUENCE_LOSSES

x = input_("x", "I", latex="x_t", meaning="input")
h = state("h", "H", latex="h_{t-1}", meaning="hidden state before the step")
U = parameter("U", ("H", "I"), meaning="input to hidden state")
W = parameter("W", ("H", "H"), meaning="hidden state to hidden state")
b = parameter("b", "H", meaning="bias")
V = parameter("V", ("K", "H"), meaning="hidden state to output")
c = parameter("c", "K", meaning="bias of the output")

NONLINEARITIES = {
    "tanh": tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "elu": elu,
    "identity": lambda a: a,
    "heaviside": step,
}


def cell(nonlinearity: str) -> Recurrence:
    """One step with the given nonlinearity, and its read-out."""
    line = Builder()
    a = line.let("a_h", b + matvec(W, h) + matvec(U, x), latex="a_t", meaning="input of the units")
    new = line.let("h_next", NONLINEARITIES[nonlinearity](a), latex="h_t", meaning="hidden state after the step")
    o = line.let("o", c + matvec(V, new), latex="o_t", meaning="output")
    return Recurrence(line.build((new, o)), old=(h,), new=(new,), inputs=(x,), output=o)


q: dict[str, Quantity] = quantities(cell("tanh"))
relus = quantities(cell("relu"))
bar = q["bar_h_next"]
later = parameter("a_later", "H", latex="a_{t+1}", meaning="input of the units one step later")
D000, D002 = "RNN and LSTM", "Lecture October 16, 'Recurrent NN'"
no_bias = {b: Integer(0), c: Integer(0)}

SPEC = Spec(
    id="rnn_hidden",
    class_name="RNNHidden",
    title="Recurrent network, hidden to hidden",
    source="Elman 1990; Lecture October 16, 'Recurrent NN'; RNN and LSTM",
    system={nonlinearity: cell(nonlinearity) for nonlinearity in NONLINEARITIES},
    option="nonlinearity",
    stacks=(
        Stack("weight_ih", (U,)),
        Stack("weight_hh", (W,)),
        Stack("bias", (b,), parts=("bias_ih", "bias_hh")),
        Stack("weight_ho", (V,)),
        Stack("bias_ho", (c,)),
    ),
    loss=SEQUENCE_LOSSES,
    claims=(
        DeckClaim("hidden state", D000, "a_h", matvec(W, h) + matvec(U, x), where=no_bias, option="tanh", agrees=True),
        DeckClaim("output", D000, "o", matvec(V, q["h_next"]), where=no_bias, option="tanh", agrees=True),
        DeckClaim(
            "E002-6",
            D002 + ", lines 94-96",
            "h_next",
            relu(later),
            option="relu",
            note="the units read the input of their own step, a_t",
            agrees=False,
        ),
        DeckClaim(
            "E002-7",
            D002,
            "bar_x",
            0 * relus["bar_x"],
            option="tanh",
            note="x_t has no parameters, but what is below a stacked net needs its gradient",
            agrees=False,
        ),
    ),
    relations=(
        cotangent(
            "what a step with tanh sends back",
            cell("tanh").step,
            h,
            matvec(transpose(W), (1 - q["h_next"] ** 2) * bar),
            reason="the slope stands between the matrix and the cotangent; the deck says which gradients are needed",
            name="sent_back",
        ),
    ),
)
