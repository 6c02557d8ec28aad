"""An LSTM whose input gate is one less its forget gate (Greff et al. 2015, CIFG), with a peephole."""

from derive import Builder, Recurrence, Spec, Stack, input_, matvec, parameter, sigmoid, state, tanh

GATES = "fgo"
x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W = {gate: parameter(f"W_{gate}", ("H", "I")) for gate in GATES}
R = {gate: parameter(f"R_{gate}", ("H", "H")) for gate in GATES}
b = {gate: parameter(f"b_{gate}", "H") for gate in GATES}
p = parameter("p_f", "H")

step = Builder()
a = {gate: matvec(W[gate], x) + matvec(R[gate], h) + b[gate] for gate in GATES}
f = step.let("f", sigmoid(a["f"] + p * c))
g = step.let("g", tanh(a["g"]))
c_next = step.let("c_next", f * c + (1 - f) * g)
o = step.let("o", sigmoid(a["o"]))
h_next = step.let("h_next", o * tanh(c_next))

SPEC = Spec(
    id="coupled_gates",
    class_name="CoupledGates",
    title="LSTM with coupled input and forget gates",
    source="Greff et al. 2015",
    system=Recurrence(step.build((h_next, c_next)), (h, c), (h_next, c_next), (x,), h_next),
    stacks=(
        Stack("weight_ih", tuple(W.values())),
        Stack("weight_hh", tuple(R.values())),
        Stack("bias", tuple(b.values())),
    ),
)
