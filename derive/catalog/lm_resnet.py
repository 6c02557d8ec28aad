"""LM-ResNet: a two-step scheme on an opaque field, with a learnable weight k per layer."""

from derive import (
    ODE,
    DeckClaim,
    LinearMultistep,
    Network,
    Spec,
    Start,
    Symbol,
    at_step,
    parameter,
    solution_derivative,
    state,
    step_size,
)
from derive.losses import SOFTMAX_CROSS_ENTROPY

x = state("x", "d", meaning="features")
k = parameter("k", per_layer=True, latex="k_n", meaning="weight of the older state")
f = Network("f", per_layer=True)
h = step_size("h")
x_n, x_prev = at_step(x, 0), at_step(x, 1)
field = Symbol("f")

SPEC = Spec(
    id="lm_resnet",
    class_name="LMResNet",
    title="LM-ResNet: a linear two-step net",
    source="Lu et al., Beyond Finite Layer Neural Networks, ICML 2018; deck A, 'LM-ResNet(@ICML2018)'",
    system=ODE(state=(x,), velocity=(f(x),)),
    scheme=LinearMultistep(
        alpha=(1 - k, k),
        beta=(0, 1, 0),
        start={"plain": Start(), "matched": Start(effective=True)},
        title="LM-ResNet",
    ),
    loss=SOFTMAX_CROSS_ENTROPY,
    defaults={"k": 0.0},
    claims=(
        DeckClaim(
            id="E12",
            deck="deck A line 180: 'Linear Multi-step Scheme' of u' = f",
            about="effective_field",
            says=field,
            agrees=False,
            note="sigma(1)/rho'(1) = 1/(1+k): the net follows u' = f/(1+k)",
        ),
        DeckClaim(
            id="modified equation",
            deck="deck A line 201",
            about="modified_equation",
            says=(1 + k) * solution_derivative(1) + (1 - k) * h / 2 * solution_derivative(2),
            agrees=True,
            note="correct as printed, to O(h^2) and for k that varies smoothly with depth",
        ),
        DeckClaim(
            id="step",
            deck="deck A line 201: x_{n+1} = (1-k_n) x_n + k_n x_{n-1} + dt f(x_n, t_n)",
            about="x_next",
            says=(1 - k) * x_n + k * x_prev + h * f(x_n),
            agrees=True,
            note="the start x_1 is not specified there",
        ),
    ),
)
