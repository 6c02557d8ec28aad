"""Augmented neural ODE: the field acts on the input and q extra dimensions that start at zero (Dupont et al. 2019).

In d dimensions a flow cannot tear a ball out of the shell around it; with one more dimension it lifts it out.
"""

from derive import ODE, Network, Spec, concat, input_, state, time, zeros

x = input_("x", "d", meaning="input")
p = state("p", "q", meaning="augmentation")
z = state("z", "d+q", meaning="input and augmentation")
t = time("t")
f = Network("f", takes_time=True)

SPEC = Spec(
    id="augmented_node",
    class_name="AugmentedNODE",
    title="Augmented neural ODE",
    source="Dupont, Doucet, Teh, Augmented Neural ODEs, NeurIPS 2019",
    system=ODE(state=(z,), velocity=(f(t, z),), time=t, initial={z: concat(x, zeros(p))}),
    scheme="rk4",
)
