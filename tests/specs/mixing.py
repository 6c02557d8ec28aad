"""A cell of everything that mixes the components of a vector: for tests, not for use."""

from derive import (
    Builder,
    Recurrence,
    Spec,
    dot,
    input_,
    layer_norm,
    logsumexp,
    matvec,
    parameter,
    sigmoid,
    softmax,
    state,
    tanh,
    total,
)
from derive.norms import components

x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W, R, S = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("S", ("H", "H"))
u, v, k = parameter("u", "H"), parameter("v", "H"), parameter("k", ())

step = Builder()
share = step.let("share", softmax((matvec(W, x) + matvec(R, h)) * v + c))
level = step.let("level", logsumexp(h * u))
gate = step.let("gate", sigmoid(dot(tanh(c), u) - k * level))
slow = step.let("slow", gate * c + (1 - gate) * tanh(matvec(S, layer_norm(share * h - c))))
c_next = step.let("c_next", slow + dot(tanh(c), u) * level * v)
h_next = step.let("h_next", share * slow - k * total(h * slow) / components(h))

SPEC = Spec(
    id="mixing",
    class_name="Mixing",
    title="A cell of mixing operators",
    system=Recurrence(step.build((h_next, c_next)), (h, c), (h_next, c_next), (x,), h_next),
)
