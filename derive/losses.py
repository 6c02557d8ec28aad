"""Losses that specs choose from; a user's own is made the same way."""

from __future__ import annotations

from derive.functions import softplus
from derive.operators import dot, logsumexp, matvec, total
from derive.symbols import parameter, state, target
from derive.systems import Loss

o = state("output", "K", latex="o", meaning="output or logits")
y = target("target", "K", latex="y", meaning="target: probabilities or one-hot, or values")
x_last = state("x_last", "d", latex="x_N", meaning="last state")
V = parameter("V", ("K", "d"), meaning="read-out weight")
c = parameter("c", "K", meaning="read-out bias")

SOFTMAX_CROSS_ENTROPY = Loss(
    output=o,
    target=y,
    value=total(y) * logsumexp(o) - dot(y, o),
    readout=matvec(V, x_last) + c,
    title="softmax cross-entropy on a linear read-out",
    classes=True,
)

SQUARED_ERROR = Loss(output=o, target=y, value=dot(o - y, o - y) / 2, title="half the squared distance")

BINARY_CROSS_ENTROPY = Loss(
    output=o, target=y, value=total(softplus(o) - o * y), title="binary cross-entropy on logits"
)
