"""ResNet: forward Euler on an opaque field, one network per step."""

from derive import ODE, DeckClaim, Network, Spec, at_step, state
from derive.losses import SOFTMAX_CROSS_ENTROPY

x = state("x", "d", meaning="features")
f = Network("f", per_layer=True)
x_n = at_step(x, 0)

SPEC = Spec(
    id="resnet",
    class_name="ResNet",
    title="ResNet as forward Euler",
    source="He et al., Deep Residual Learning, CVPR 2016; deck A, 'Deep Residual Learning(@CVPR2016)'",
    system=ODE(state=(x,), velocity=(f(x),)),
    scheme="forward_euler",
    loss=SOFTMAX_CROSS_ENTROPY,
    claims=(
        DeckClaim(
            id="E07",
            deck="deck A, 'Neural ODE': h_{t+1} = h_t + f(h_t)",
            about="x_next",
            says=x_n + f(x_n),
            agrees=False,
            note="the literal net is h = 1; only with h = T/N has it an ODE as its limit: on x' = x/2, 100 layers "
            "multiply by 1.5^100 = 4.1e17, with h = 1/100 by 1.647, and e^(1/2) = 1.649",
        ),
    ),
)
