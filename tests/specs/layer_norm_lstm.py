"""An LSTM with layer normalization of the argument of every gate and of the cell (Ba, Kiros, Hinton 2016)."""

from derive import Builder, Recurrence, Spec, Stack, input_, layer_norm, matvec, parameter, sigmoid, state, tanh

GATES = "ifgo"
x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W = [parameter(f"W_{gate}", ("H", "I")) for gate in GATES]
R = [parameter(f"R_{gate}", ("H", "H")) for gate in GATES]
gain = [parameter(f"gain_{name}", "H") for name in (*GATES, "c")]
bias = [parameter(f"b_{name}", "H") for name in (*GATES, "c")]

step = Builder()
i, f, g, o = (
    step.let(gate, squash(gain[k] * layer_norm(matvec(W[k], x) + matvec(R[k], h)) + bias[k]))
    for k, (gate, squash) in enumerate(zip(GATES, (sigmoid, sigmoid, tanh, sigmoid), strict=True))
)
c_next = step.let("c_next", f * c + i * g)
h_next = step.let("h_next", o * tanh(gain[4] * layer_norm(c_next) + bias[4]))

SPEC = Spec(
    id="layer_norm_lstm",
    class_name="LayerNormLSTM",
    title="LSTM with layer normalization",
    source="Ba, Kiros, Hinton 2016",
    system=Recurrence(step.build((h_next, c_next)), (h, c), (h_next, c_next), (x,), h_next),
    stacks=(
        Stack("weight_ih", tuple(W)),
        Stack("weight_hh", tuple(R)),
        Stack("gain", tuple(gain)),
        Stack("bias", tuple(bias)),
    ),
)
