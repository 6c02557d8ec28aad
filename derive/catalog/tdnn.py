"""Time-delay neural network: a layer that reads inputs of several steps, and no state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from derive import (
    Builder,
    DeckClaim,
    Expr,
    IdentityCheck,
    Integer,
    Kind,
    Recurrence,
    Spec,
    Stack,
    cotangent,
    identity,
    input_,
    lags,
    matvec,
    parameter,
    past,
    quantities,
    relation,
    relu,
    tanh,
    taps,
    transpose,
    unrolled,
    with_lags,
)
from derive.convergence import Values
from derive.operators import Numeric
from derive.past_values import tap
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.unrolling import at

LAGS = lags("lags", (1, 2, 3))
x = input_("x", "I", latex="x_t", meaning="input")
w = parameter("w", (LAGS.count, "H", "I"), latex="w_k", meaning="input k steps before to output")
b = parameter("b", "H", meaning="bias")
earlier = past(x, LAGS)

NONLINEARITIES = {"tanh": tanh, "relu": relu, "identity": lambda a: a}


def layer(nonlinearity: str) -> Recurrence:
    """One step with the given nonlinearity."""
    step = Builder()
    a = step.let("a_y", b + taps(w, earlier), latex="a_t", meaning="input of the units")
    y = step.let("y", NONLINEARITIES[nonlinearity](a), latex="y_t", meaning="output")
    return Recurrence(step.build((y,)), old=(), new=(), inputs=(x,), output=y)


STEPS, CHOSEN = 5, (1, 3)
chosen = replace(layer("tanh"), step=with_lags(layer("tanh").step, {LAGS: CHOSEN}))
graph = unrolled(chosen, STEPS)
bars = reverse_sweep(graph).cotangents
a_of = {k: at(quantities(chosen)["a_y"], k) for k in range(1, STEPS + 1)}
READ = at(x, 2)
SECTION = "Over five steps with the lags 1 and 3"


def sent_back() -> Expr:
    """What the second input receives."""
    return sum((matvec(transpose(tap(w, k)), bars[a_of[2 + k]]) for k in CHOSEN), Integer(0))


def convolved(known: Values, _: Sampler) -> Numeric:
    """The last input of the units by a convolution over time, component by component, with zeros between the taps."""
    kernel = {k: known[tap(w, k)] for k in CHOSEN}
    blank = 0 * kernel[1]
    every = np.stack([kernel.get(k, blank) for k in range(max(CHOSEN) + 1)])
    inputs = np.stack([known[at(x, t)] if at(x, t) in known else 0 * known[READ] for t in range(1, STEPS + 1)])
    found = known[b]
    for i in range(inputs.shape[1]):
        columns = [np.convolve(inputs[:, i], every[:, o, i])[STEPS - 1] for o in range(every.shape[1])]
        found = found + np.array(columns)
    return found


last = graph.value(a_of[STEPS])
DECK = "recurrent networks 2/26/2018, 'Returning to an old model'"
q = quantities(layer("tanh"))

SPEC = Spec(
    id="tdnn",
    class_name="TDNN",
    title="Time-delay neural network",
    source="Waibel et al. 1989; recurrent networks 2/26/2018, 'Returning to an old model'",
    system={nonlinearity: layer(nonlinearity) for nonlinearity in NONLINEARITIES},
    option="nonlinearity",
    stacks=(Stack("weight", (w,)), Stack("bias", (b,))),
    relations=(
        identity(
            "causal convolution",
            a_of[STEPS],
            last,
            reason="the kernel has the matrix of lag k at k and zeros elsewhere; conv1d, which correlates, takes it "
            "reversed",
            name="convolution",
            check=IdentityCheck(convolved, last, graph.inputs),
            section=SECTION,
        ),
        cotangent(
            "what an input receives",
            graph,
            READ,
            sent_back(),
            reason="only the steps that read it, a lag later each, know of it; its own step does not: 0 is no lag here",
            name="bar_input",
            section=SECTION,
        ),
        relation(
            "finite memory",
            Kind.DEFINITION,
            r"\frac{\partial y_t}{\partial x_s} = 0 \quad \text{unless } t - s \text{ is a lag}",
            text="d y_t / d x_s = 0 unless t - s is a lag",
            reason="the step reads nothing else, and keeps no state",
            section=SECTION,
        ),
    ),
    claims=(
        DeckClaim(
            "lags",
            DECK,
            "a_y",
            b + taps(w, earlier),
            option="tanh",
            note="the deck sums over 1..K, without the present input; a causal convolution has 0..K: both are `lags`",
            agrees=True,
        ),
    ),
)
