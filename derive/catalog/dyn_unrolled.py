"""A dynamical system unrolled over a finite number of steps, and the derivative of its last state by its parameters."""

import mpmath
import numpy as np

from derive import (
    Builder,
    DeckClaim,
    Expr,
    IdentityCheck,
    Network,
    Program,
    Quantity,
    Recurrence,
    Spec,
    dot,
    forward_and_reverse,
    identity,
    input_,
    matvec,
    parameter,
    pushforward,
    relation,
    state,
    tanh,
    transpose,
    unrolled,
)
from derive.convergence import Values
from derive.operators import Numeric
from derive.sampling import Sampler

STEPS = 3
s = state("s", "d", latex="s_n", meaning="state")
f = Network("f")
step = Builder()
after = step.let("s_next", f(s), latex="s_{n+1}", meaning="state")
graph = unrolled(Recurrence(step.build([after]), old=(s,), new=(after,)), STEPS)
both = forward_and_reverse(graph)
q = {quantity.name: quantity for quantity in (*both.inputs, *both.targets)}
states = [q[f"s_{k}"] for k in range(STEPS + 1)]
nested = f(f(f(states[0])))
v = f.theta.renamed("v", "v", meaning="a direction of the parameters")


def along(k: int) -> Expr:
    """What step k contributes to the derivative along v, carried on by the Jacobians of the later steps."""
    found = pushforward(f(states[k - 1]), {f.theta: v})
    for s_j in states[k:STEPS]:
        found = pushforward(f(s_j), {s_j: found})
    return found


products = sum(along(k) for k in range(1, STEPS + 1))


def difference_quotient(known: Values, sampler: Sampler) -> Numeric:
    """The nested formula at theta + e v and theta - e v."""
    e = mpmath.mpf("1e-20")
    sides = [{**known, f.theta: known[f.theta] + sign * e * known[v]} for sign in (1, -1)]
    up, down = (nested_value(values, sampler) for values in sides)
    return (up - down) / (2 * e)


def nested_value(known: Values, sampler: Sampler) -> Numeric:
    """f(f(f(s_0))) by the stand-in itself."""
    value = known[states[0]]
    for _ in range(STEPS):
        value = sampler.networks[f].differential([value, known[f.theta]], [], None, 0)
    return value


x = input_("x", "H", meaning="signal")
h = state("h", "H", latex="h_n", meaning="hidden layer")
U, W, b = parameter("U", ("H", "H")), parameter("W", ("H", "H")), parameter("b", "H")


def layer(into: Quantity) -> tuple[Program, dict[str, Quantity]]:
    """The hidden layer with the matrix `into` for its input, and its adjoint; also every quantity by name."""
    line = Builder()
    found = line.let("h_next", tanh(matvec(transpose(into), x) + matvec(transpose(W), h) + b), latex="h_{n+1}")
    both_ways = forward_and_reverse(line.build([found]))
    return both_ways, {quantity.name: quantity for quantity in (*both_ways.inputs, *both_ways.targets)}


def joined(known: Values, _: Sampler) -> Numeric:
    """One product of joined rows with joined matrices."""
    row = np.concatenate([known[x], known[h]]).dot(np.concatenate([known[U], known[W]])) + known[b]
    return np.array([mpmath.tanh(entry) for entry in row], dtype=object)


general, g = layer(U)
literal, one = layer(W)
as_printed = tanh(matvec(transpose(W), x) + matvec(transpose(W), h) + b)
as_meant = tanh(matvec(transpose(U), x) + matvec(transpose(W), h) + b)
ONE_MATRIX = "One matrix or two"

SPEC = Spec(
    id="dyn_unrolled",
    class_name="",
    title="A dynamical system, unrolled",
    source="lecture October 16, 'Finite # of time steps T': s(t) = f(s(t-1); theta), T = 3",
    system=graph,
    no_module="`derive generate resnet` emits loops of layers, `derive generate lstm_peephole` a driven one: they loop "
    "over the step and its adjoint and unroll nothing",
    relations=(
        identity(
            "three steps are three applications",
            states[STEPS],
            nested,
            reason="the step put into itself",
            name="s_3_nested",
            check=IdentityCheck(states[STEPS], nested, both.inputs, (f,), given=both),
            section="The unrolled formula",
        ),
        relation(
            "derivative of the last state: a sum of products",
            "identity",
            r"\frac{d s_T}{d \theta} = \sum_{k=1}^{T} \left(\prod_{j=T}^{k+1} \partial_s f \big|_{s_{j-1}}\right) "
            r"\partial_\theta f \big|_{s_{k-1}}",
            text=f"d s_3 / d theta along v = {products}",
            reason="every step is one occurrence of theta; later steps carry its effect on",
            name="derivative",
            value=products,
            check=IdentityCheck(difference_quotient, products, (*both.inputs, v), (f,), given=both),
            section="The unrolled formula",
        ),
        relation(
            "the reverse sweep is the same sum read from the other end",
            "identity",
            r"\left\langle \bar{s}_3, \frac{d s_3}{d \theta} v\right\rangle = \left\langle \bar\theta, v\right\rangle",
            text="<bar_s_3, (d s_3 / d theta) v> = <bar_theta_f, v>",
            reason="one pass over the graph for all parameters, in the place of one pass for every direction v",
            check=IdentityCheck(dot(q["bar_s_3"], products), dot(q["bar_theta_f"], v), (*both.inputs, v), (f,), both),
            section="The unrolled formula",
        ),
        relation(
            "hidden layer, in rows h(t) = f(x(t) U + h(t-1) W + b)",
            "identity",
            r"h_{n+1} = \tanh\left(U^{\top} x + W^{\top} h_n + b\right) = f\left([x\ h_n] \begin{pmatrix} U \\ W "
            r"\end{pmatrix} + b\right)^{\top}",
            text="h_next = tanh(U^T x + W^T h + b), one matrix product of the joined rows",
            reason="tanh stands for any elementwise f",
            name="hidden",
            value=as_meant,
            check=IdentityCheck(joined, as_meant, general.inputs),
            section=ONE_MATRIX,
        ),
        relation(
            "one matrix for both hears from both",
            "identity",
            r"U = W: \qquad \nabla_W = x\, \delta^{\top} + h_n\, \delta^{\top}",
            text="U = W: bar_W = bar_U + bar_W of the layer with two matrices",
            reason="the deck's line is the special case U = W, possible only where input and state are of one size",
            check=IdentityCheck(
                one["bar_W"], general.value(g["bar_U"]) + general.value(g["bar_W"]), literal.inputs, given=literal
            ),
            section=ONE_MATRIX,
        ),
    ),
    claims=(
        DeckClaim(
            id="E002-2",
            deck="lecture October 16, lines 46-48: s(3) = f(s(2)) = f(f(s^0))",
            about="s_3_nested",
            says=f(f(states[0])),
            agrees=False,
            note="two applications to s_0 are s_2; a third f is missing, or s(1) inside",
        ),
        DeckClaim(
            id="E002-3",
            deck="lecture October 16, line 64: h(t) = f(x(t) W + s(t-1) W + b)",
            about="hidden",
            says=as_printed,
            agrees=False,
            note="one W for input and state, and s for h: x(t) U + h(t-1) W + b is meant; as printed it is U = W",
        ),
    ),
)
