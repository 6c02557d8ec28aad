"""A cell as a user writes it, for `benchmarks.recurrent`: the input gate is 1 - f; diagonal peepholes."""

from __future__ import annotations

from derive import Builder, Recurrence, Spec, Stack, input_, matvec, parameter, sigmoid, state, tanh

GATES = ("f", "g", "o")

x = input_("x", "I")
h = state("h", "H")
c = state("c", "H")
W = {gate: parameter(f"W_{gate}", ("H", "I")) for gate in GATES}
R = {gate: parameter(f"R_{gate}", ("H", "H")) for gate in GATES}
b = {gate: parameter(f"b_{gate}", "H") for gate in GATES}
p = {gate: parameter(f"p_{gate}", "H") for gate in ("f", "o")}

step = Builder()
f = step.let("f", sigmoid(matvec(W["f"], x) + matvec(R["f"], h) + b["f"] + p["f"] * c))
g = step.let("g", tanh(matvec(W["g"], x) + matvec(R["g"], h) + b["g"]))
c_next = step.let("c_next", f * c + (1 - f) * g)
o = step.let("o", sigmoid(matvec(W["o"], x) + matvec(R["o"], h) + b["o"] + p["o"] * c_next))
h_next = step.let("h_next", o * tanh(c_next))

SPEC = Spec(
    id="coupled_peephole",
    class_name="CoupledPeephole",
    title="LSTM with coupled gates and peepholes",
    system=Recurrence(step.build((h_next, c_next)), old=(h, c), new=(h_next, c_next), inputs=(x,), output=h_next),
    stacks=(
        Stack("weight_ih", tuple(W.values())),
        Stack("weight_hh", tuple(R.values())),
        Stack("bias", tuple(b.values())),
        Stack("weight_ch", tuple(p.values()), initial="zeros", separate=True),
    ),
)
