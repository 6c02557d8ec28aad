"""The constant error carousel: a memory without weights and activation, and what its gates let through."""

from typing import Any

import mpmath
from sympy import Expr, Integer, Mul, log

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Spec,
    forward_and_reverse,
    identity,
    input_,
    number,
    parameter,
    pushforward,
    relation,
    softplus,
    state,
)
from derive.convergence import Values
from derive.operators import Numeric

DECK = "recurrent networks 2/26/2018, 'Exploding/Vanishing gradients', 'Constant Error Carousel'"
THROUGH, LONG = "What comes through", "How long"
N, K = 4, 1
gates = [state(f"sigma_{j}", "H", latex=rf"\sigma_{j}", meaning=f"gate of step {j}") for j in range(1, N + 1)]
news = [input_(f"z_{j}", "H", meaning=f"what step {j} adds") for j in range(1, N + 1)]
C_0, v, bias = state("C_0", "H", meaning="memory at the start"), state("v", "H"), parameter("b", meaning="bias")
graph = Builder()
memory: list[Expr] = [C_0]
for j, (gate, new) in enumerate(zip(gates, news, strict=True), 1):
    memory.append(graph.let(f"C_{j}", gate * memory[-1] + new, latex=f"C_{j}", meaning=f"memory after step {j}"))
system = graph.build([memory[-1]])
both = forward_and_reverse(system)
q = {quantity.name: quantity for quantity in (*both.inputs, *both.targets)}

passed: Expr = v
for j in range(K, N):
    passed = pushforward(gates[j] * memory[j], {memory[j]: passed})
closed = Mul(*gates) * C_0 + sum(Mul(*gates[j:]) * new for j, new in enumerate(news, 1))


def last(known: Values, begin: Numeric, first: int) -> Numeric:
    """C_N from C_first."""
    for gate, new in zip(gates[first:], news[first:], strict=True):
        begin = known[gate] * begin + known[new]
    return begin


def quotient(known: Values) -> Numeric:
    """Difference quotient of C_N in C_K along v."""
    e = mpmath.mpf("1e-20")
    up, down = (last(known, known[C_0] + sign * e * known[v], K) for sign in (1, -1))
    return (up - down) / (2 * e)


def lasting(known: Values) -> Any:
    """The t at which the t-th power of a gate with this bias is 1/e."""
    gate = 1 / (1 + mpmath.exp(-known[bias]))
    return mpmath.findroot(lambda t: gate**t - mpmath.exp(-1), 1 / -mpmath.log(gate))


SPEC = Spec(
    id="cec",
    class_name="",
    title="The constant error carousel",
    source=f"{DECK}; Hochreiter, Schmidhuber 1997; four steps stand for any number",
    system=system,
    relations=(
        relation(
            "Jacobian of the memory",
            "identity",
            r"\frac{\partial C_N}{\partial C_k} = \operatorname{diag}\left(\prod_{j=k+1}^{N} \sigma_j\right)",
            text=f"d C_{N} / d C_{K} along v = {passed}",
            reason="gates given: no weights, no activation, nothing but gates from step k + 1 on",
            name="passed",
            value=passed,
            check=IdentityCheck(lambda known, _: quotient(known), passed, (*system.inputs, v)),
            section=THROUGH,
        ),
        identity(
            "the same backwards",
            q["bar_C_0"],
            Mul(*gates) * q[f"bar_C_{N}"],
            reason="a diagonal Jacobian is its own transpose",
            name="back",
            check=IdentityCheck(q["bar_C_0"], Mul(*gates) * q[f"bar_C_{N}"], both.inputs, given=both),
            section=THROUGH,
        ),
        relation(
            "the memory is a weighted sum",
            "identity",
            r"C_N = \left(\prod_{j=1}^{N} \sigma_j\right) C_0 + \sum_{k=1}^{N} \left(\prod_{j=k+1}^{N} \sigma_j\right) "
            r"z_k",
            text=f"C_{N} = {closed}",
            reason="what step k adds passes the gates after it",
            name="closed",
            value=closed,
            check=IdentityCheck(lambda known, _: last(known, known[C_0], 0), closed, system.inputs),
            section=THROUGH,
        ),
        relation(
            "memory of a forget gate",
            "identity",
            r"\sigma(b)^{\tau} = e^{-1}: \qquad \tau = \frac{1}{\operatorname{softplus}(-b)} \approx e^{b}",
            text="sigma(b)^tau = 1/e: tau = 1/softplus(-b), about e^b",
            reason="a gate held at sigma(b) forgets like sigma(b)^t; -log sigma(b) = softplus(-b)",
            name="tau",
            value=1 / softplus(-bias),
            check=IdentityCheck(lambda known, _: lasting(known), 1 / softplus(-bias), (bias,)),
            section=LONG,
        ),
        number(
            "steps that an open gate of bias log 99 remembers",
            -1 / log(Integer(99) / 100),
            lambda: 1 / mpmath.log1p(mpmath.mpf(1) / 99),
            r"b = \ln 99: \qquad \sigma(b) = 0.99, \quad \tau \approx 99.5",
            reason="gates at 1 keep everything; an open gate forgets, at a rate that is learnt",
            name="tau_open",
            section=LONG,
        ),
    ),
    claims=(
        DeckClaim(
            "E003-19",
            f"{DECK}, line 806: nabla D C sigma_N C sigma_(N-1) C ... sigma_k",
            "passed",
            gates[K - 1] * passed,
            agrees=False,
            note="the last factor is sigma_(k+1); C stands for the identity, as the deck itself says: no weights",
        ),
    ),
    no_module="`derive generate lstm_peephole` emits a cell with this memory; its gates depend on the state, and the "
    "derived backward has those paths too",
)
