"""ResNet with more and more layers: states, costates and gradients converge to those of an ODE, with order 1."""

from functools import cache

import mpmath
from sympy import Integer

from derive import (
    ODE,
    DeckClaim,
    IdentityCheck,
    Illustration,
    Network,
    OrderCheck,
    Relation,
    Spec,
    at_step,
    constant,
    discretize,
    distance,
    forward_run,
    relation,
    solution,
    state,
    step_size,
    time,
)
from derive.convergence import Values
from derive.evaluator import evaluate, value_of
from derive.operators import Numeric
from derive.phase_space import hamiltonian
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler

POINTS = 8
x, t, h = state("x", "d", meaning="features"), time("t"), step_size("h")
f = Network("f", per_layer=True)
x_n = at_step(x, 0)
ode = ODE(state=(x,), velocity=(f(x),))
layer = discretize(ode, "forward_euler")
backward = reverse_sweep(layer.step)
seed, bar_x, bar_theta = backward.seeds[layer.new[0]], backward.cotangents[x_n], backward.cotangents[f.theta]

form = hamiltonian(ode)
a = form.costates[x]
theta_0 = f.theta.renamed("theta_0", r"\theta_0")
theta_1 = f.theta.renamed("theta_1", r"\theta_1")
path = {f.theta: theta_0 + t**2 * theta_1}
continuous = ODE((x, a), tuple(v.xreplace(path) for v in (f(x), form.costate_velocity(x))), time=t)
density = form.gradient_density(f.theta).xreplace(path)


@cache
def limit() -> tuple[Sampler, Values, list[tuple[Numeric, ...]]]:
    """Values of the sample, and (state, costate, density of the gradient) at equidistant times of [0, 1]."""
    sampler = Sampler({x, f.theta, theta_0, theta_1}, (f,))
    values = sampler.values()
    times = [mpmath.mpf(j) / POINTS for j in range(POINTS + 1)]
    ahead = list(solution(ODE((x,), continuous.velocity[:1], time=t), values, times, sampler))
    end = {**values, x: ahead[-1][x], a: ahead[-1][x]}
    back = list(solution(continuous, end, times[::-1], sampler))[::-1]
    found = [
        (now[x], now[a], value_of(density, {**values, **now, t: moment}, sampler.networks))
        for now, moment in zip(back, times, strict=True)
    ]
    return sampler, values, found


def net(layers: int) -> list[tuple[Numeric, ...]]:
    """(x_n, lambda_n, (1/h) dL/dtheta_n) of every layer for L = |x_N|^2 / 2, with h = 1/N."""
    sampler, values, _ = limit()
    size = 1 / mpmath.mpf(layers)

    def reads(n: int) -> Values:
        return {f.theta: values[theta_0] + (mpmath.mpf(n) / layers) ** 2 * values[theta_1]}

    steps = list(forward_run(layer, {**values, x_n: values[x], h: size}, layers, reads, sampler))
    arriving = steps[-1][layer.new[0]]
    found = []
    for known in reversed(steps):
        needed = {**known, seed: arriving}
        bars = evaluate(backward.program, {q: needed[q] for q in backward.program.inputs}, sampler.networks)
        arriving = bars[bar_x]
        found.append((known[x_n], arriving, bars[bar_theta] / size))
    return found[::-1]


@cache
def errors(layers: int) -> list[Numeric]:
    """Largest distances from the limit at the common times, of states, costates and gradients."""
    found = net(layers)
    pairs = list(zip(found[:: layers // POINTS], limit()[2], strict=False))
    return [max(distance(mine[part], exact[part]) for mine, exact in pairs) for part in range(3)]


def converges(part: int, title: str, formula: str, text: str) -> Relation:
    """The relation that one of the three converges with order 1."""
    return relation(
        title,
        "asymptotic",
        formula + " = O(1/N)",
        text=text + " = O(1/N)",
        reason="forward Euler on state and costate; the gradient of one layer is h times a density in time",
        check=OrderCheck(lambda layers: errors(layers)[part], Integer(1)),
        section="The limit of many layers",
    )


a_1, x_0 = constant("a_1", latex="a"), state("x_0", (), latex="x_0")
z = state("z", ())
linear = discretize(ODE((z,), (a_1 * z,)), "forward_euler")


def eight_layers(known: Values, sampler: Sampler) -> Numeric:
    """The last state of eight linear layers with a step of any size."""
    start = {**known, linear.old[0]: known[x_0]}
    return list(forward_run(linear, start, 8, lambda n: {}, sampler))[-1][linear.new[0]]


SPEC = Spec(
    id="resnet_deep_limit",
    class_name="",
    title="The limit of deep ResNets",
    source="Thorpe and van Gennip, Deep Limits of Residual Neural Networks, arXiv:1810.11741; deck A, 'Theoretical "
    "results'",
    system=ode,
    scheme="forward_euler",
    illustration=Illustration("resnet", ("convergence", "trajectory", "phase")),
    no_module="`derive generate resnet` emits the net of N layers, with h = T/N as its step size",
    relations=(
        relation(
            "parameters along a path, steps of T/N",
            "definition",
            r"x_{n+1} = x_n + \tfrac{T}{N} f\left(x_n, \theta(t_n)\right), \quad t_n = n T/N; \qquad "
            r"\dot x = f(x, \theta(t)), \quad \dot\lambda = -f_x^{\top} \lambda, \quad \lambda(T) = \nabla L(x(T))",
            text="x_(n+1) = x_n + T/N f(x_n, theta(t_n)), t_n = n T/N; in the limit x' = f(x, theta(t)), "
            "lambda' = -f_x^T lambda, lambda(T) = grad L(x(T))",
            reason="f continuously differentiable in x and theta, theta(t) Lipschitz",
            section="The limit of many layers",
        ),
        converges(0, "states converge", r"\sup_n \left|x_n - x(t_n)\right|", "sup |x_n - x(t_n)|"),
        converges(
            1, "costates converge", r"\sup_n \left|\lambda_n - \lambda(t_n)\right|", "sup |lambda_n - lambda(t_n)|"
        ),
        converges(
            2,
            "gradients converge",
            r"\sup_n \left|\tfrac{1}{h} \frac{\partial L}{\partial \theta_n} - f_\theta^{\top} \lambda(t_n)\right|",
            "sup |(1/h) dL/dtheta_n - f_theta^T lambda(t_n)|",
        ),
        relation(
            "the factor 1/N is essential",
            "identity",
            r"f(x) = a x: \qquad x_N = (1 + a h)^N x_0; \qquad h = \tfrac{T}{N}: x_N \to e^{a T} x_0, \qquad "
            r"h = 1: |x_N| \to \infty \ (a > 0)",
            text="f(x) = a x: x_N = (1 + a h)^N x_0; h = T/N: x_N -> e^(a T) x_0; h = 1: |x_N| -> oo for a > 0",
            reason="checked at N = 8; a = 1/2, 100 layers: 1.5^100 = 4.1e17 without 1/N, 1.005^100 = 1.647 with it, "
            "e^(1/2) = 1.649",
            check=IdentityCheck(eight_layers, (1 + a_1 * h) ** 8 * x_0, (a_1, h, x_0)),
            section="The limit of many layers",
        ),
    ),
    statements=(
        (
            r"\text{the regularized training problems converge (}\Gamma\text{) with a penalty of the type }"
            r"N \textstyle\sum_n |\theta_n - \theta_{n-1}|^2 \to \int_0^T |\dot\theta|^2 \, dt",
            "Thorpe and van Gennip, arXiv:1810.11741",
        ),
    ),
    claims=(
        DeckClaim(
            id="E07",
            deck="deck A, 'Theoretical results': x_{n+1} = x_n + f(x_n) beside x' = f(x)",
            about="x_next",
            says=x_n + f(x_n),
            agrees=False,
            note="only with h = T/N has the net an ODE as its limit",
        ),
    ),
)
