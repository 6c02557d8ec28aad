"""Langevin flow: dz = F dt + G dW moves densities by the Fokker-Planck equation."""

from derive import Network, Spec, of_every_noise, state, time

DECK = "deck A, 'Langevin Flow'"

z, t = state("z", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)

SPEC = Spec(
    id="langevin_flow",
    class_name="LangevinFlow",
    title="Langevin flow",
    source=f"{DECK}; Rezende, Mohamed 2015; Risken, The Fokker-Planck Equation",
    option="noise",
    system=of_every_noise(z, f(t, z), t),
)
