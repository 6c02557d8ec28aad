"""Linear map, bias and a cubic damping: x' = w x + b - gamma x^3 (elementwise cube)."""

from functools import cache

import mpmath
from sympy import Integer

from derive import (
    ODE,
    DeckClaim,
    OrderCheck,
    Spec,
    at_step,
    constant,
    discretize,
    dot,
    forward_run,
    matvec,
    parameter,
    pushforward,
    relation,
    state,
    step_size,
    transpose,
)
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Role

x, h = state("x", "d", meaning="state"), step_size("h")
w = parameter("w", ("d", "d"), meaning="linear coupling")
b = parameter("b", "d", meaning="bias")
gamma = parameter("gamma", meaning="strength of the cubic damping")
a = x.renamed("a", "a", Role.COTANGENT)
F = matvec(w, x) + b - gamma * x**3
ode = ODE(state=(x,), velocity=(F,))
curvature = dot(a, pushforward(F, {x: F}))
first, last = constant("G_0", meaning="a . F'F at the first step"), constant("G_n", meaning="a . F'F at step n")
drift = -h / 2 * (last - first)


@cache
def beyond_the_drift(steps: int) -> Numeric:
    """|H_n - H_0 - drift| of the last step, forward Euler on [0, 1] and L = |x(1)|^2 / 2."""
    euler = discretize(ode, "forward_euler")
    backward = reverse_sweep(euler.step)
    x_n, x_next = at_step(x, 0), euler.new[0]
    sampler = Sampler({x, w, b, gamma})
    values = sampler.values()
    size = 1 / mpmath.mpf(steps)
    run = list(forward_run(euler, {**values, x_n: values[x], h: size}, steps, lambda n: {}, sampler))
    arriving, found = run[-1][x_next], []
    for known in reversed(run):
        here = {**values, x: known[x_n]}
        energy = value_of(dot(a, F), {**here, a: arriving})
        given = {**known, backward.seeds[x_next]: arriving}
        arriving = evaluate(backward.program, {q: given[q] for q in backward.program.inputs})[backward.cotangents[x_n]]
        found.append((energy, value_of(curvature, {**here, a: arriving})))
    (energy_n, at_n), (energy_0, at_0) = found[0], found[-1]
    return abs(energy_n - energy_0 - value_of(drift, {h: size, first: at_0, last: at_n}))


SPEC = Spec(
    id="cubic_ode",
    class_name="CubicODE",
    title="Linear ODE with cubic damping",
    source="Ruseckas, Differential equations and neural networks; deck B, 'Sum of linear and non-linear parts'",
    system=ode,
    scheme="forward_euler",
    defaults={"gamma": 1.0},
    may_vary=(w, b),
    relations=(
        relation(
            "drift of the Hamiltonian under forward Euler and its adjoint",
            "asymptotic",
            r"H_n - H_0 = -\tfrac{h}{2} \left[a \cdot F' F\right]_0^n + O(h^2), \quad H_n = \lambda_{n+1} \cdot F(x_n)",
            text=f"H_n - H_0 = {drift} + O(h^2), G = a . F'F, H_n = lambda_(n+1) . F(x_n)",
            reason="the pair of sweeps is symplectic Euler; what it keeps up to O(h^2) is H plus h/2 a . F'F",
            name="drift",
            value=drift,
            check=OrderCheck(beyond_the_drift, Integer(2), coarsest=64),
            section="What the steps do to the Hamiltonian",
        ),
    ),
    claims=(
        DeckClaim(
            id="adjoint equation",
            deck="deck B, 'Sum of linear and non-linear parts'",
            about="costate_velocity_x",
            says=-(matvec(transpose(w), a) - 3 * gamma * x**2 * a),
            note="correct as printed",
            agrees=True,
        ),
        DeckClaim(
            id="E38",
            deck="deck B, 'If the parameters q do not depend on t then a F(x, q) = const'",
            about="drift",
            says=Integer(0),
            note="true of the flow, not of the steps: they keep lambda . v for every tangent v, and H only to O(h)",
            agrees=False,
        ),
    ),
)
