"""A recurrent net in continuous time whose units hear each other after two delays (Marcus and Westervelt 1989).

The leak A is taken at the end of the step: x_next = (I - h A)^(-1) (x + h (B_1 tanh(...) + B_2 tanh(...) + b)).
"""

from derive import DelayODE, Spec, constant, delay_terms, parameter, state, tanh

x = state("x", "d", meaning="potential of each unit")
A, B_1, B_2 = (parameter(name, ("d", "d"), meaning=meaning) for name, meaning in
               (("A", "leak"), ("B_1", "near couplings"), ("B_2", "far couplings")))  # fmt: skip
b = parameter("b", "d", meaning="input")
near, far = (constant(name, meaning=f"delay of {name} units") for name in ("near", "far"))

leak, none = delay_terms(x, [(A, 0)])
coupled, past = delay_terms(x, [(B_1, near), (B_2, far)], through=tanh)

SPEC = Spec(
    id="delayed_feedback",
    class_name="DelayedFeedback",
    title="Net with delayed couplings",
    source="Marcus and Westervelt, Stability of analog neural networks with delay, 1989",
    system=DelayODE((x,), (leak + coupled + b,), {**none, **past}, scheme="linearly_implicit_euler"),
    defaults={"near": 1, "far": 4},
)
