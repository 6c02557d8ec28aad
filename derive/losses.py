"""Losses that specs choose from; a user's own is made the same way."""

from __future__ import annotations

from dataclasses import replace

from derive.functions import softplus, xlogx
from derive.operators import dot, logsumexp, matvec, total
from derive.symbols import parameter, state, target
from derive.systems import Loss

o = state("output", "K", latex="o", meaning="output or logits")
y = target("target", "K", latex="y", meaning="target: probabilities or one-hot, or values")
x_last = state("x_last", "d", latex="x_N", meaning="last state")
V = parameter("V", ("K", "d"), meaning="read-out weight")
c = parameter("c", "K", meaning="read-out bias")

CROSS_ENTROPY = Loss(
    output=o,
    target=y,
    value=total(y) * logsumexp(o) - dot(y, o),
    title="softmax cross-entropy on logits",
    classes=True,
)

SOFTMAX_CROSS_ENTROPY = replace(
    CROSS_ENTROPY, readout=matvec(V, x_last) + c, title="softmax cross-entropy on a linear read-out"
)

KL_DIVERGENCE = replace(
    CROSS_ENTROPY, value=CROSS_ENTROPY.value + total(xlogx(y)), title="Kullback-Leibler divergence on logits"
)

SQUARED_ERROR = Loss(output=o, target=y, value=dot(o - y, o - y) / 2, title="half the squared distance")

BINARY_CROSS_ENTROPY = Loss(
    output=o,
    target=y,
    value=total(y * softplus(-o) + (1 - y) * softplus(o)),
    title="binary cross-entropy on logits",
)

SEQUENCE_LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "kl_divergence": KL_DIVERGENCE,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "squared_error": SQUARED_ERROR,
}
