"""The linear recursion: what every recurrent network is close to its fixed points, solved in closed form."""

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
    forward_and_reverse,
    identity,
    input_,
    matvec,
    outer,
    parameter,
    relation,
    state,
    transpose,
    unrolled,
)
from derive.convergence import Values
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.unrolling import at

STEPS = 3
x = input_("x", "I", latex="x_k", meaning="input")
h = state("h", "H", latex="h_{k-1}", meaning="state before the step")
W = parameter("W", ("H", "H"), meaning="state to state")
C = parameter("C", ("H", "I"), meaning="input to state")

step = Builder()
after = step.let("h_next", matvec(W, h) + matvec(C, x), latex="h_k", meaning="state after the step")
RECURSION = Recurrence(step.build((after,)), old=(h,), new=(after,), inputs=(x,), output=after)

GRAPH = unrolled(RECURSION, STEPS)
both = forward_and_reverse(GRAPH)
bars = reverse_sweep(GRAPH).cotangents
h_k = [at(h, k) for k in range(STEPS + 1)]
x_k = {k: at(x, k) for k in range(1, STEPS + 1)}
last, bar_last = h_k[-1], bars[h_k[-1]]


def power(matrix: Expr, times: int, vector: Expr) -> Expr:
    """matrix^times vector."""
    for _ in range(times):
        vector = matvec(matrix, vector)
    return vector


def back(step_number: int) -> Expr:
    """The cotangent of the last state, carried back to the state after a step."""
    return power(transpose(W), STEPS - step_number, bar_last)


start = power(W, STEPS, h_k[0])
driven = sum(power(W, STEPS - j, matvec(C, x_k[j])) for j in range(1, STEPS + 1))
FORMULAS: dict[str, tuple[Quantity, Expr, str]] = {
    "closed_form": (last, start + driven, "the step put into itself"),
    "bar_start": (bars[h_k[0]], power(transpose(W), STEPS, bar_last), "every step multiplies by the transposed matrix"),
    "bar_first_input": (
        bars[x_k[1]],
        matvec(transpose(C), back(1)),
        "the first input enters through C, then as the start",
    ),
    "bar_W": (
        bars[W],
        sum(outer(back(j), h_k[j - 1]) for j in range(1, STEPS + 1)),
        "every step is one occurrence of W",
    ),
    "bar_C": (
        bars[C],
        sum(outer(back(j), x_k[j]) for j in range(1, STEPS + 1)),
        "every step is one occurrence of C",
    ),
}
response = power(W, STEPS - 1, matvec(C, x_k[1]))


def first_input_alone(known: Values, _: Sampler) -> Numeric:
    """The last state where nothing but the first input is given."""
    kept = (W, C, x_k[1])
    return evaluate(GRAPH, {quantity: known[quantity] * (quantity in kept) for quantity in GRAPH.inputs})[last]


def unrolled_relation(name: str, found: Quantity, formula: Expr, reason: str) -> Relation:
    """What three steps compute, beside the closed form."""
    check = IdentityCheck(found, formula, both.inputs, given=both)
    return identity(f"{found} in closed form", found, formula, reason=reason, name=name, check=check, section=CLOSED)


CLOSED = f"The closed form, and its adjoint, over {STEPS} steps"
DECK = "recurrent networks 2/26/2018, 'Analyzing recursion'"
w, scalar = parameter("w", (), meaning="a number"), parameter("c_scalar", (), latex="c", meaning="a number")

SPEC = Spec(
    id="linear_recursion",
    class_name="LinearRecursion",
    title="Linear recursion",
    source="recurrent networks 2/26/2018, 'Analyzing recursion'",
    system=RECURSION,
    relations=(
        *(unrolled_relation(name, *formula) for name, formula in FORMULAS.items()),
        relation(
            "closed form of any number of steps",
            "definition",
            r"h_k = W^{k+1} h_{-1} + \sum_{j=0}^{k} W^{k-j} C x_j, \qquad H_k(1_j) = W^{k-j} C",
            text="h_k = W^(k+1) h_(-1) + sum over j <= k of W^(k-j) C x_j",
            reason="induction over the step; responses to single inputs add up",
            section=CLOSED,
        ),
        identity(
            "response to the first input alone",
            last,
            response,
            reason="responses add up: here the start and all later inputs are zero",
            name="response",
            check=IdentityCheck(first_input_alone, response, both.inputs),
            section=CLOSED,
        ),
    ),
    claims=(
        DeckClaim(
            "E003-1",
            f"{DECK}, lines 269 and 281",
            "closed_form",
            power(transpose(W), STEPS, h_k[0]) + driven,
            note="h_{-1} H_k(1_{-1}): a row times a matrix is, in columns, its transpose; fine for numbers alone",
            agrees=False,
        ),
        DeckClaim(
            "E003-2",
            f"{DECK}, lines 296-395",
            "response",
            w ** (STEPS - 1) * matvec(C, x_k[1]),
            note="w^t and c on the slide of vectors: W^t C x(0) is meant, and the length of the response is its norm",
            agrees=False,
        ),
    ),
)
