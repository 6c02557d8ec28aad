"""A leaky network of neurons, x' = (tanh(W x + b + u sin(t)) - x) / tau. Replace it by an equation of your own.

Then:

derive show spec_template.py        what follows from it: the step, its adjoint, its order, its stability
derive generate spec_template.py    writes the PyTorch module my_system.py
derive verify spec_template.py      proves that module by numbers
"""

from sympy import sin

from derive import ODE, Spec, matvec, parameter, state, tanh, time

# Quantities. A name becomes code, a shape is a named dimension: "d" for vectors of length d, ("d", "d") for matrices,
# nothing for a number. LaTeX is guessed from the name; the meaning goes to the table of symbols.
t = time("t")
x = state("x", "d", meaning="potentials")
W = parameter("W", ("d", "d"), meaning="coupling")
b = parameter("b", "d", meaning="bias")
u = parameter("u", "d", meaning="amplitude of the drive")
tau = parameter("tau", meaning="time constant")

# The right-hand side. `*` is the elementwise product; a matrix times a vector is written matvec(W, x).
velocity = (tanh(matvec(W, x) + b + u * sin(t)) - x) / tau

SPEC = Spec(
    id="my_system",  # name of the emitted file: not that of this one
    class_name="MySystem",  # name of its main class
    title="Leaky network",
    source="where the equation is from",
    system=ODE(state=(x,), velocity=(velocity,), time=t),
    # heun, rk4, ... (`derive list --schemes`), or a ButcherTableau(A=..., b=..., c=...) of your own.
    scheme="heun",
    # What the parameters start from, where it is not given to the constructor.
    defaults={"tau": 1.0},
)
