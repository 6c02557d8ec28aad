"""A feed-forward net as a splitting: an Euler step of the linear part, then one of the cubic part."""

from typing import Any

import mpmath
import numpy as np
from sympy import Expr, sqrt

from derive import (
    ODE,
    DeckClaim,
    IdentityCheck,
    Relation,
    Spec,
    Splitting,
    at_step,
    discretize,
    dot,
    forward_and_reverse,
    matvec,
    modified_equation,
    outer,
    parameter,
    pushforward,
    quantities,
    relation,
    state,
    step_size,
    transpose,
)
from derive.checks import bound_check
from derive.convergence import Values
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.schemes import SCHEMES
from derive.step_expansion import step_coefficients

x, h = state("x", "d", meaning="state"), step_size("h")
w = parameter("w", ("d", "d"), per_layer=True, meaning="linear coupling")
b = parameter("b", "d", per_layer=True, meaning="bias")
gamma = parameter("gamma", meaning="strength of the cubic damping")
W, B = parameter("W", ("d", "d")), parameter("B", "d")
affine, cubic = matvec(w, x) + b, -gamma * x**3
SCHEME = Splitting(
    ((0, 1), (1, 1)), substep=SCHEMES["forward_euler"], order=1, title="Lie-Trotter splitting with Euler substeps"
)
ode = ODE(state=(x,), velocity=(affine + cubic,), parts=((affine,), (cubic,)))

step, plain = discretize(ode, SCHEME), discretize(ode, "forward_euler")
both = forward_and_reverse(step.step)
q = quantities(step)
x_n, bar = at_step(x, 0), q["bar_x_next"]
at_x = {x: x_n}
A, g = affine.xreplace(at_x), cubic.xreplace(at_x)
z = x_n + h * matvec(w, x_n) + h * b
bar_z = (1 - 3 * gamma * h * z**2) * bar


def along(value: Expr, direction: Expr) -> Expr:
    """Derivative of a part of the field along a vector."""
    return pushforward(value, {x_n: direction})


PARTS = {"f": A, "g": g, "f'f": along(A, A), "f'g": along(A, g), "g'f": along(g, A), "g'g": along(g, g)}
correction = sum(weight * PARTS[name] for name, weight in modified_equation(SCHEME, 1)[1].items())
second, second_of_euler = (step_coefficients(made, 2)[2][0] for made in (step, plain))
net = matvec(W, x_n) + B
SIZES, NEAR = tuple(map(mpmath.mpf, ("0.01", "0.3", "2"))), mpmath.mpf("1e-9")


def of_the_net(known: Values, _: Sampler) -> Numeric:
    """The step of the ODE whose w and b are made of the net's matrices W and B."""
    eye = np.array([[mpmath.mpf(i == j) for j in range(len(known[B]))] for i in range(len(known[B]))], dtype=object)
    given = {**known, w: (known[W] - eye) / known[h], b: known[B] / known[h]}
    return evaluate(step.step, {each: given[each] for each in step.step.inputs})[step.new[0]]


def rises(bound: Any) -> bool:
    """Whether x - c x^3 rises at +-bound / sqrt(c), by difference quotients."""
    pairs = [(c, side * bound / mpmath.sqrt(c)) for c in SIZES for side in (1, -1)]
    return all(((x + NEAR) - c * (x + NEAR) ** 3) > ((x - NEAR) - c * (x - NEAR) ** 3) for c, x in pairs)


def keeps(bound: Any) -> bool:
    """Whether x - c x^3 maps |x| <= r = bound / sqrt(c) into itself."""
    pairs = [(c, bound / mpmath.sqrt(c)) for c in SIZES]
    return all(abs(x - c * x**3) <= r for c, r in pairs for x in (r * k / 200 for k in range(201)))


def in_the_net(name: str, latex: str, text: str, value: Expr) -> Relation:
    """A gradient in the net's own terms, against the reverse sweep over the splitting."""
    return relation(
        f"gradient of {name}, in the net's terms",
        "identity",
        latex,
        text=f"bar_{name} = {text}",
        reason="z = W x + B, bar_z = h'(z) * bar_x_next, h'(z) = 1 - 3 gamma h z^2",
        name=f"net.{name}",
        value=value,
        check=IdentityCheck(q[f"bar_{name}"], value, both.inputs, given=both),
        section="A feed-forward net",
    )


NET, CUBIC = "A feed-forward net", "The cubic as an activation"
SPEC = Spec(
    id="splitting_ffn",
    class_name="SplittingFFN",
    title="A feed-forward net as a splitting",
    source="Ruseckas; deck B, 'From differential equations to neural networks'",
    system=ode,
    scheme=SCHEME,
    defaults={"gamma": 1.0},
    relations=(
        relation(
            "what is changed of Euler's step",
            "identity",
            r"x_{n+1} - x_{n+1}^{\mathrm{Euler}} = h^2 g'(x)(w x + b) + O(h^3)",
            text=f"x_next - x_next of Euler = h^2 ({along(g, A)}) + O(h^3)",
            reason="the coefficients of h^2 of both steps; a local difference of second order, so both have order 1",
            name="difference",
            value=along(g, A),
            check=IdentityCheck(second - second_of_euler, along(g, A), (x_n, w, b, gamma)),
            section="Beside Euler's method",
        ),
        relation(
            "modified equation in the two parts, A = w x + b and g",
            "identity",
            r"\dot u = F + \tfrac{h}{2} \left(g' A - A' A - A' g - g' g\right) + O(h^2)",
            text="u' = F + h/2 (g'A - A'A - A'g - g'g) + O(h^2)",
            reason="coloured trees of the scheme; against the expansion of the step in h",
            name="correction",
            value=correction,
            check=IdentityCheck(second - along(A + g, A + g) / 2, correction, (x_n, w, b, gamma)),
            section="Beside Euler's method",
        ),
        relation(
            "the step is a layer",
            "identity",
            r"x_{n+1} = h_{\gamma}(W x_n + B), \quad h_{\gamma}(z) = z - \gamma h z^3, \quad W = I + h w,\ B = h b",
            text="x_next = z - gamma h z^3, z = W x + B, W = I + h w, B = h b",
            reason="the linear Euler step put into the cubic one",
            name="layer",
            value=z - gamma * h * z**3,
            check=IdentityCheck(step.new[0], z - gamma * h * z**3, step.step.inputs, given=step.step),
            section=NET,
        ),
        relation(
            "the ODE whose step a layer is",
            "identity",
            r"w = \frac{W - I}{h}, \quad b = \frac{B}{h}, \quad g = \frac{h_{\gamma} - \mathrm{id}}{h}",
            text="w = (W - I)/h, b = B/h, g = (h_gamma - id)/h",
            reason="the map above turned round; w stays bounded for h to 0 only where W is close to I",
            check=IdentityCheck(of_the_net, net - gamma * h * net**3, (x_n, W, B, gamma, h)),
            section=NET,
        ),
        in_the_net("x", r"\bar{x} = W^{\top} \bar{z}", "W^T bar_z", bar_z + h * matvec(transpose(w), bar_z)),
        in_the_net("w", r"\bar{w} = h\, \bar{z}\, x^{\top}", "h bar_z x^T", h * outer(bar_z, x_n)),
        in_the_net("b", r"\bar{b} = h\, \bar{z}", "h bar_z", h * bar_z),
        in_the_net("gamma", r"\bar\gamma = -h\, \bar{x}_{n+1} \cdot z^3", "-h bar_x_next . z^3", -h * dot(bar, z**3)),
        relation(
            "where the cubic rises",
            "inequality",
            r"h_{\gamma}'(z) > 0 \iff |z| < \frac{1}{\sqrt{3 \gamma h}}",
            text="z - gamma h z^3 rises for |z| < 1/sqrt(3 gamma h) only, up to 2/3 of that",
            reason="1 - 3 gamma h z^2 > 0 (E35); beyond, two inputs share a value, as under no flow",
            check=bound_check(rises, 1 / sqrt(3)),
            section=CUBIC,
        ),
        relation(
            "what the cubic keeps",
            "inequality",
            r"h_{\gamma}\left([-r, r]\right) \subseteq [-r, r] \iff r \le \sqrt{\frac{2}{\gamma h}}",
            text="|z| <= r is mapped into itself for r <= sqrt(2/(gamma h)); beyond, |z| grows",
            reason="|1 - gamma h r^2| <= 1",
            check=bound_check(keeps, sqrt(2)),
            section=CUBIC,
        ),
    ),
    claims=(
        DeckClaim(
            id="layer",
            deck="deck B, 'From differential equations to neural networks': x_{l+1} = h(W_l x_l + B_l)",
            about="layer",
            says=z + h * cubic.xreplace({x: z}),
            agrees=True,
            note="correct as printed",
        ),
        DeckClaim(
            id="second-order error",
            deck="deck B, 'From differential equations to neural networks': 'Let us make a second-order error'",
            about="difference",
            says=-3 * gamma * x_n**2 * (matvec(w, x_n) + b),
            agrees=True,
            note="second order locally: the solutions differ by O(h), as much as each of them from the ODE's",
        ),
    ),
)
