"""Recurrent network whose output is fed back: the logits, the prediction made of them, or the target in its place."""

from __future__ import annotations

from itertools import product

from sympy import Rational

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Recurrence,
    SampledCheck,
    Spec,
    Stack,
    dot,
    elu,
    identity,
    input_,
    matvec,
    parameter,
    quantities,
    relation,
    relu,
    sigmoid,
    softmax,
    state,
    tanh,
    transpose,
)
from derive.catalog import rnn_output_checks as checks

x = input_("x", "I", latex="x_t", meaning="input")
y = input_("y", "K", latex="y_t", meaning="target")
r = state("r", "K", latex="r_{t-1}", meaning="what is fed back of the step before")
U = parameter("U", ("H", "I"), meaning="input to hidden units")
W = parameter("W", ("H", "K"), meaning="what is fed back to hidden units")
b = parameter("b", "H", meaning="bias")
V = parameter("V", ("K", "H"), meaning="hidden units to output")
c = parameter("c", "K", meaning="bias of the output")

FEEDBACK = ("logits", "prob", "teacher")
LINKS = {"identity": lambda o: o, "softmax": softmax, "sigmoid": sigmoid}
NONLINEARITIES = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid, "elu": elu, "identity": lambda a: a}


def cell(feedback: str, link: str, nonlinearity: str) -> Recurrence:
    """One step; the link is a part of it where the prediction is fed back."""
    step = Builder()
    a = step.let("a_h", b + matvec(W, r) + matvec(U, x), latex="a_t", meaning="input of the hidden units")
    h = step.let("h", NONLINEARITIES[nonlinearity](a), latex="h_t", meaning="hidden units")
    o = step.let("o", c + matvec(V, h), latex="o_t", meaning="output: logits of the prediction")
    if feedback == "teacher":
        new = step.let("r_next", y, latex="r_t", meaning="what is fed back")
        return Recurrence(step.build((new, o)), old=(r,), new=(new,), inputs=(x, y), output=o)
    if feedback == "logits" or link == "identity":
        return Recurrence(step.build((o,)), old=(r,), new=(o,), inputs=(x,), output=o)
    new = step.let("r_next", LINKS[link](o), latex="r_t", meaning="what is fed back")
    return Recurrence(step.build((new, o)), old=(r,), new=(new,), inputs=(x,), output=o)


taught = cell("teacher", "identity", "tanh")
q = quantities(cell("prob", "softmax", "tanh"))
before = state("h_before", "H", latex="h_{t-1}", meaning="hidden units of the step before")
g, v = state("g", "K", meaning="weight of the outputs"), state("v", "I", meaning="direction")
later = state("x_later", "I", latex="x_{t+1}", meaning="input one step later")
fed = b + matvec(W, c + matvec(V, before)) + matvec(U, x)
hidden = (b + matvec(W, c)) + matvec(W, matvec(V, before)) + matvec(U, x)
own = dot(v, matvec(transpose(U), (1 - q["h"] ** 2) * matvec(transpose(V), g)))
DECK = "Lecture October 16, 'Recurrent NN', '2nd Model'"

SPEC = Spec(
    id="rnn_output",
    class_name="RNNOutput",
    title="Recurrent network, output to hidden",
    source="Jordan 1986; Lecture October 16, 'Recurrent NN', '2nd Model'",
    system={chosen: cell(*chosen) for chosen in product(FEEDBACK, LINKS, NONLINEARITIES)},
    options=("feedback", "link", "nonlinearity"),
    stacks=(
        Stack("weight_ih", (U,)),
        Stack("weight_hh", (W,)),
        Stack("bias", (b,), parts=("bias_ih", "bias_hh")),
        Stack("weight_ho", (V,)),
        Stack("bias_ho", (c,)),
    ),
    claims=(
        DeckClaim(
            "E002-8",
            DECK,
            "bar_o",
            q["bar_o_out"] + q["bar_r_next"],
            option="prob_softmax_tanh",
            note="the deck has no formula and does not say what of the output is fed back; this is the gradient where "
            "the logits are, which is another one than that of the prediction",
            agrees=False,
        ),
        DeckClaim(
            "E002-8, teacher",
            DECK,
            "bar_o",
            q["bar_o_out"],
            option="prob_softmax_tanh",
            note="the same for a target that is fed back: then nothing comes back from later steps",
            agrees=False,
        ),
    ),
    relations=(
        identity(
            "logits fed back are a recursion of the hidden units",
            fed,
            hidden,
            reason="r_{t-1} = c + V h_{t-1}: the network from hidden to hidden units with W V in place of W and "
            "b + W c in place of b",
            check=IdentityCheck(fed, hidden, (*taught.step.inputs, before)),
            name="hidden_to_hidden",
        ),
        relation(
            "rank of that recursion",
            "inequality",
            r"\operatorname{rank}(W V) \le K",
            text="rank(W V) <= K",
            reason="W has K columns: through an output of few numbers, little of the hidden units comes back",
            check=SampledCheck(checks.ranks_above, Rational(1), lambda factor: factor * Rational(49, 50)),
        ),
        identity(
            "targets decouple the steps",
            dot(v, q["bar_x"]),
            own,
            reason="the gradient in x_t of g (o_t + o_{t+1}) where targets are fed back: no step reads what another "
            "computed, and o_{t+1} does not depend on x_t",
            check=IdentityCheck(
                lambda known, _: checks.slope_of_both(taught, known, g, v, later),
                own,
                (*taught.step.inputs, g, v, later),
                given=taught.step,
            ),
            name="decoupled",
        ),
    ),
)
