"""Logistic growth whose limit is felt a delay later: it oscillates for r tau > pi/2 (Hutchinson 1948).

For r tau < 1/e the way to the capacity K has no overshoot.
"""

from derive import DelayODE, Spec, constant, delayed, parameter, state

x = state("x", "d", meaning="population")
r = parameter("r", meaning="rate of growth")
K = parameter("K", meaning="capacity")
tau = constant("tau", meaning="delay")
x_tau = delayed(x, tau)

SPEC = Spec(
    id="delayed_logistic",
    class_name="DelayedLogistic",
    title="Delayed logistic equation",
    source="Hutchinson, Circular causal systems in ecology, 1948",
    system=DelayODE((x,), (r * x * (1 - x_tau / K),), {x_tau: (x, tau)}, scheme="rk4"),
    defaults={"r": 1.0, "K": 1.0, "tau": 10},
)
