"""Recurrent network with several taps: the hidden state reads itself several steps back."""

from __future__ import annotations

from dataclasses import replace

from derive import (
    Builder,
    DeckClaim,
    Expr,
    Quantity,
    Recurrence,
    Relation,
    Spec,
    Stack,
    cotangent,
    input_,
    lags,
    matvec,
    outer,
    parameter,
    past,
    quantities,
    relu,
    state,
    tanh,
    taps,
    transpose,
    unrolled,
    with_lags,
)
from derive.past_values import tap
from derive.reverse_sweep import reverse_sweep
from derive.unrolling import at

LAGS = lags("lags", (1, 2))
x = input_("x", "I", latex="x_t", meaning="input")
h = state("h", "H", latex="h_{t-1}", meaning="hidden state before the step")
U = parameter("U", ("H", "I"), meaning="input to hidden state")
W = parameter("W", (LAGS.count, "H", "H"), latex="W_k", meaning="hidden state k steps before to hidden state")
b = parameter("b", "H", meaning="bias")
earlier = past(h, LAGS)

NONLINEARITIES = {"tanh": tanh, "relu": relu, "identity": lambda a: a}


def cell(nonlinearity: str) -> Recurrence:
    """One step with the given nonlinearity."""
    step = Builder()
    a = step.let("a_h", b + taps(W, earlier) + matvec(U, x), latex="a_t", meaning="input of the units")
    new = step.let("h_next", NONLINEARITIES[nonlinearity](a), latex="h_t", meaning="hidden state after the step")
    return Recurrence(step.build((new,)), old=(h,), new=(new,), inputs=(x,), output=new)


STEPS, CHOSEN = 5, (1, 3)
chosen = replace(cell("tanh"), step=with_lags(cell("tanh").step, {LAGS: CHOSEN}))
run = unrolled(chosen, STEPS)
graph = replace(run, outputs=tuple(at(h, k) for k in range(1, STEPS + 1)))
adjoint = reverse_sweep(graph)
bars = adjoint.cotangents
a_of = {k: at(quantities(chosen)["a_h"], k) for k in range(1, STEPS + 1)}
READ, WRITTEN = at(h, 2), "Over five steps with the lags 1 and 3"


def derived(title: str, about: Quantity, value: Expr, reason: str, name: str) -> Relation:
    """A cotangent of the unrolled graph, checked against central differences of that graph."""
    return cotangent(title, graph, about, value, reason=reason, name=name, section=WRITTEN)


def sent_back(step_number: int) -> Expr:
    """What later steps that read a state send back to it."""
    later = [(k, step_number + k) for k in CHOSEN if step_number + k <= STEPS]
    return sum(matvec(transpose(tap(W, k)), bars[a_of[t]]) for k, t in later)


DECK = "recurrent networks 2/26/2018, 'How about deeper recursion'"
q = quantities(cell("tanh"))

SPEC = Spec(
    id="rnn_multitap",
    class_name="RNNMultitap",
    title="Recurrent network with several taps",
    source="recurrent networks 2/26/2018, 'Types of recursion'; Lin et al. 1996",
    system={nonlinearity: cell(nonlinearity) for nonlinearity in NONLINEARITIES},
    option="nonlinearity",
    stacks=(Stack("weight_ih", (U,)), Stack("weight_hh", (W,)), Stack("bias", (b,))),
    relations=(
        derived(
            "what a state receives",
            READ,
            adjoint.seeds[READ] + sent_back(2),
            "steps 3 and 5 read this state, a lag later each; with one tap it would be the next step alone",
            "bar_state",
        ),
        derived(
            "the matrix of one lag",
            tap(W, 3),
            sum(outer(bars[a_of[t]], at(h, t - 3)) for t in range(1, STEPS + 1)),
            "every step reads the state three steps before, those before the first step included",
            "bar_W_3",
        ),
    ),
    claims=(DeckClaim("taps", DECK, "a_h", b + taps(W, earlier) + matvec(U, x), option="tanh", agrees=True),),
)
