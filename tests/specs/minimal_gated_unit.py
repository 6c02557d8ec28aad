"""The minimal gated unit (Zhou et al. 2016): one gate forgets, and decides what the candidate sees."""

from derive import Builder, Recurrence, Spec, Stack, input_, matvec, parameter, sigmoid, state, tanh

x, h = input_("x", "I"), state("h", "H")
W_f, W_h = (parameter(name, ("H", "I")) for name in ("W_f", "W_h"))
U_f, U_h = (parameter(name, ("H", "H")) for name in ("U_f", "U_h"))
b_f, b_h = (parameter(name, "H") for name in ("b_f", "b_h"))

step = Builder()
f = step.let("f", sigmoid(matvec(W_f, x) + matvec(U_f, h) + b_f))
candidate = step.let("candidate", tanh(matvec(W_h, x) + matvec(U_h, f * h) + b_h))
h_next = step.let("h_next", (1 - f) * h + f * candidate)

SPEC = Spec(
    id="minimal_gated_unit",
    class_name="MGU",
    title="Minimal gated unit",
    source="Zhou, Wu, Zhang, Zhou 2016",
    system=Recurrence(step.build((h_next,)), (h,), (h_next,), (x,), h_next),
    stacks=(Stack("weight_ih", (W_f, W_h)), Stack("weight_hh", (U_f, U_h)), Stack("bias", (b_f, b_h))),
)
