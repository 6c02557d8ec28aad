"""A cell with three states: an LSTM whose cell leaks into a slow memory, which the gates see."""

from derive import Builder, Recurrence, Spec, Stack, input_, matvec, parameter, sigmoid, state, tanh

GATES = "ifgo"
x, h, c, m = input_("x", "I"), state("h", "H"), state("c", "H"), state("m", "H")
W = {gate: parameter(f"W_{gate}", ("H", "I")) for gate in GATES}
R = {gate: parameter(f"R_{gate}", ("H", "H")) for gate in GATES}
b = {gate: parameter(f"b_{gate}", "H") for gate in GATES}
q = {gate: parameter(f"q_{gate}", "H") for gate in "if"}
rate = parameter("rate", ())

step = Builder()
a = {gate: matvec(W[gate], x) + matvec(R[gate], h) + b[gate] for gate in GATES}
i, f = (step.let(gate, sigmoid(a[gate] + q[gate] * m)) for gate in "if")
g = step.let("g", tanh(a["g"]))
c_next = step.let("c_next", f * c + i * g)
m_next = step.let("m_next", m + rate * (c_next - m))
o = step.let("o", sigmoid(a["o"]))
h_next = step.let("h_next", o * tanh(c_next + m_next))

SPEC = Spec(
    id="three_memories",
    class_name="ThreeMemories",
    title="LSTM with a slow memory",
    system=Recurrence(step.build((h_next, c_next, m_next)), (h, c, m), (h_next, c_next, m_next), (x,), h_next),
    stacks=(
        Stack("weight_ih", tuple(W.values())),
        Stack("weight_hh", tuple(R.values())),
        Stack("bias", tuple(b.values())),
        Stack("weight_mh", tuple(q.values()), separate=True),
    ),
)
