"""Perceptron: a weighted sum and a threshold, or the sigmoid that stands in for it."""

from collections.abc import Callable
from typing import Any

import mpmath
from sympy import Expr, Heaviside, Integer, Rational, Symbol, diff, integrate, oo, pi

from derive import (
    Builder,
    Chain,
    DeckClaim,
    IdentityCheck,
    Program,
    Quantity,
    ResidualCheck,
    SampledCheck,
    Spec,
    Stack,
    constant,
    dot,
    exp,
    gradient,
    input_,
    log,
    matvec,
    parameter,
    relation,
    sigmoid,
    step,
    target,
    total,
)
from derive.checks import PERTURBATION
from derive.losses import SQUARED_ERROR

DECK = "LSTM theory and workflows, 'First, there was a perceptron'"
STEEP, LOSSES = "Steep sigmoids and the step", "Gradients of two losses"

x = input_("x", "n", meaning="input")
w = parameter("w", (1, "n"), meaning="weights, one row")
b = parameter("b", 1, meaning="bias")
d = target("d", 1, meaning="what the output should be")
k, z = constant("k", meaning="steepness"), input_("z", ())


def unit(function: Callable[[Expr], Expr]) -> Chain:
    """f = phi(w . x + b)."""
    layer = Builder()
    a = layer.let("a", matvec(w, x) + b, meaning="weighted sum")
    f = layer.let("f", function(a), meaning="output")
    return Chain(last=layer.build([f]))


def judged(value: Callable[[Expr], Expr]) -> Program:
    """The sigmoid unit followed by a loss of its output f."""
    graph = Builder()
    f = graph.let("f", sigmoid(graph.let("a", matvec(w, x) + b)))
    return graph.build([graph.let("ell", value(f), latex=r"\ell")])


def distribution_residual(coefficients: tuple[Expr, ...]) -> float:
    """<H', phi> = -<H, phi'> for a test function phi, exactly."""
    (slope,) = coefficients
    u = next(iter(slope.free_symbols))
    phi = (1 + u + u**2) * exp(-(u**2))
    return float(abs(integrate(slope * phi, (u, -oo, oo)) + integrate(diff(phi, u), (u, 0, oo))))


def too_far(rate: Expr) -> int:
    """How often |sigma(k z) - H(z)| exceeds exp(-rate k |z|)."""
    with mpmath.workdps(60):
        products = [mpmath.mpf(n) / 4 for n in range(-400, 401) if n]
        return sum(1 / (1 + mpmath.exp(abs(u))) > mpmath.exp(-mpmath.mpf(rate.p) / rate.q * abs(u)) for u in products)


def integral(weight: Callable[[Any], Any]) -> Callable[[dict[Quantity, Any], Any], Any]:
    """Integral over the line of weight(z) times the slope of sigma(k z), by the trapezoid rule in v = k z.

    The integrand is analytic within |Im v| < pi, so the rule with step 1/8 is exact to exp(-2 pi^2 8).
    """

    def measure(known: dict[Quantity, Any], _: Any) -> Any:
        nodes = [mpmath.mpf(n) / 8 for n in range(-1280, 1281)]
        return sum(weight(v / known[k]) / (2 + mpmath.exp(v) + mpmath.exp(-v)) for v in nodes) / 8

    return measure


def slope_at_zero(known: dict[Quantity, Any], _: Any) -> Any:
    """Central difference of sigma(k z), with an error of 1e-40."""
    nudge = mpmath.mpf("1e-20")
    ahead, behind = (1 / (1 + mpmath.exp(-known[k] * u)) for u in (nudge, -nudge))
    return (ahead - behind) / (2 * nudge)


u = Symbol("z", real=True)
slope = diff(sigmoid(k * z), z).xreplace({z: Integer(0)}).replace(sigmoid, lambda _: Rational(1, 2))
spread = 2 * (pi / k) / (exp(pi / k) - exp(-pi / k))

RELATIONS = (
    relation(
        "slope of the step",
        "identity",
        r"\frac{d}{dz} H(z) = \delta(z)",
        text="d/dz H(z) = DiracDelta(z)",
        reason="as distributions: - int H phi' dz = phi(0); everywhere but at 0 the slope is 0, which is all that a "
        "program can compute, so gradient descent hears nothing",
        check=ResidualCheck(distribution_residual, (diff(Heaviside(u), u),), "against a test function, exactly"),
        section=STEEP,
    ),
    relation(
        "distance of the sigmoid from the step",
        "inequality",
        r"\left|\sigma(k z) - H(z)\right| \le e^{-k |z|}, \quad z \ne 0",
        text="|sigma(k z) - H(z)| <= exp(-k |z|) for z != 0",
        reason="it is 1/(1 + exp(k |z|)); sigma(k z) goes to H(z) wherever z is not 0, and sigma(0) = 1/2 stays",
        check=SampledCheck(too_far, Rational(1), lambda rate: rate * PERTURBATION),
        section=STEEP,
    ),
    relation(
        "steepest slope",
        "identity",
        r"\left.\partial_z\, \sigma(k z)\right|_{z = 0} = \frac{k}{4}",
        text=f"slope of sigma(k z) at 0 = {slope}",
        reason="sigma' = sigma (1 - sigma) and sigma(0) = 1/2",
        check=IdentityCheck(slope_at_zero, slope, (k,)),
        name="steepest",
        value=slope,
        section=STEEP,
    ),
    relation(
        "its slope is a density",
        "identity",
        r"\int \partial_z\, \sigma(k z)\, dz = 1",
        text="integral of the slope of sigma(k z) over all z = 1",
        reason="sigma runs from 0 to 1, whatever k",
        check=IdentityCheck(integral(lambda _: 1), Integer(1), (k,)),
        section=STEEP,
    ),
    relation(
        "its slope acts as a delta",
        "identity",
        r"\int \cos(z)\, \partial_z\, \sigma(k z)\, dz = \frac{\pi / k}{\sinh(\pi / k)} \to 1 = \cos 0",
        text="integral of cos(z) times the slope of sigma(k z) = (pi/k)/sinh(pi/k), which goes to cos(0) = 1",
        reason="shown for the test function cos; the error is pi^2/(6 k^2)",
        check=IdentityCheck(integral(mpmath.cos), spread, (k,)),
        section=STEEP,
    ),
    gradient(
        "half the squared distance",
        judged(lambda f: dot(f - d, f - d) / 2),
        w,
        reason="f is computed by the sigmoid; the factor f (1 - f) makes saturated units slow",
        name="gradient_of_the_distance",
        section=LOSSES,
    ),
    gradient(
        "binary cross-entropy",
        judged(lambda f: -total(d * log(f) + (1 - d) * log(1 - f))),
        w,
        reason="f is computed by the sigmoid, whose slope cancels",
        name="gradient_of_the_entropy",
        section=LOSSES,
    ),
    relation(
        "the perceptron rule",
        "statement",
        r"w_{\mathrm{new}} = w + (d - f)\, x, \qquad f = H(w \cdot x + b)",
        text="w_new = w + (d - f) x with f = H(w . x + b)",
        source="Rosenblatt 1958; the deck's 'impossible to train via gradient descent' (E004-3) is right, and leaves "
        "out that this rule trains the step unit and is no gradient method",
        section=LOSSES,
    ),
)

SPEC = Spec(
    id="perceptron",
    class_name="Perceptron",
    title="Perceptron",
    source=f"{DECK}; Rosenblatt 1958",
    system={"sigmoid": unit(sigmoid), "heaviside": unit(step)},
    option="activation",
    stacks=(Stack("weight", (w,)), Stack("bias", (b,))),
    loss=SQUARED_ERROR,
    relations=RELATIONS,
    claims=(
        DeckClaim(
            id="weighted sum",
            deck=DECK,
            about="last.a",
            says=matvec(w, x) + b,
            option="sigmoid",
            agrees=True,
            note="h of the deck's f(x) = h(w . x + b) is the activation, not a hidden state",
        ),
    ),
)
