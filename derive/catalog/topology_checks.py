"""How the relations of `topology` are measured: flows by Taylor polynomials, steps, samples of points."""

from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer, Rational

from derive import ODE, Recurrence, constant, cos, discretize, dot, parameter, pushforward, solution, state, tanh, time
from derive.convergence import Values
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.sampling import Sampler

u, y, t = state("u", ()), state("y", ()), time("t")
a, c, T = parameter("a"), constant("c"), constant("T")
field = tanh(a * u) + u * cos(t)
line = ODE((u, y), (field, pushforward(field, {u: Integer(1)})), time=t)


def slope_of_the_flow(known: Values, sampler: Sampler) -> Numeric:
    """Difference quotient of the flow over [0, 1] over exp of the integral of f_u along it."""

    def arrive(start: Any) -> Values:
        times = [mpmath.mpf(j) / 16 for j in range(17)]
        *_, end = solution(line, {**known, u: start, y: mpmath.mpf(0)}, times, sampler)
        return end

    e = mpmath.mpf("1e-8")
    slope = (arrive(known[u] + e)[u] - arrive(known[u] - e)[u]) / (2 * e)
    return slope / mpmath.exp(arrive(known[u])[y])


def inside(share: Any) -> bool:
    """Whether a flow of the plane keeps |x| = share between all tangents of the image of |x| = 1."""
    angles = np.linspace(0, 2 * np.pi, 4001)
    far = []
    for r in (float(share), 1.0):
        turned = angles + 1 + r**2  # x' = (1 + |x|^2) J x, then x' = (0, x_1^2)
        image = np.stack([r * np.cos(turned), r * np.sin(turned) + (r * np.cos(turned)) ** 2])
        far.append((np.stack([np.cos(angles[::100]), np.sin(angles[::100])], axis=1) @ image).max(axis=1))
    return bool(np.all(far[0] < far[1]))


x, q = state("x", "d"), state("q", ())
augmented = ODE((x, q), (0 * x, dot(x, x) - c))


def lifted(known: Values, sampler: Sampler) -> Numeric:
    """q(T) of the augmented flow that starts from q = 0."""
    *_, end = solution(augmented, {**known, q: mpmath.mpf(0)}, [mpmath.mpf(0), known[T]], sampler)
    return end[q]


def separates(region: Any) -> int:
    """Values of c for which the sign of |x|^2 - c is the annulus function (radii 1/2, 1, 2) and c is not claimed."""
    classes = [(Rational(k, 8), -1) for k in range(5)] + [(Rational(k, 8), 1) for k in range(8, 17)]
    tried = map(Rational, ("0.1", "0.2499", "0.2501", "0.5", "0.9999", "1.0001", "2"))
    return sum(all((r**2 - each) * g > 0 for r, g in classes) != bool(region.contains(each)) for each in tried)


x_1, x_2 = state("x_1", ()), state("x_2", ())
mirror = discretize(ODE((x,), (-2 * x,)), "forward_euler")
fold = discretize(ODE((x_1, x_2), (x_1**2 + x_2**2 - x_1, 0 * x_1)), "forward_euler")


def one_step(known: Values, made: Recurrence) -> Numeric:
    """The unknowns after one step with h = 1: the first and twice the second, where there is one."""
    named = {quantity.name: value for quantity, value in known.items()}
    given = {each: named.get(each.name, mpmath.mpf(1)) for each in made.step.inputs}
    found = evaluate(made.step, given)
    return sum((found[new] * place for place, new in enumerate(made.new[1:], 2)), found[made.new[0]])


def distances(factor: Expr) -> int:
    """Pairs of points that one step with h Lip = s brings closer than factor (1 - s) times their distance."""
    wrong, scale = 0, float(factor)
    for s in (0.1, 0.5, 0.9):
        for step in (lambda z, s=s: z - s * z, lambda z, s=s: z + s * np.tanh(z), lambda z, s=s: z - s * np.sin(z)):
            for one, other in np.random.default_rng(0).standard_normal((50, 2, 3)):
                apart = np.linalg.norm(step(one) - step(other))
                wrong += bool(apart < scale * (1 - s) * np.linalg.norm(one - other) * (1 - 1e-12))
    return wrong


def injective(s: Any) -> bool:
    """Whether x - s sin x, a step with h Lip = s, keeps the order of the points of a grid."""
    grid = [mpmath.mpf(k) / 100 for k in range(-314, 315)]
    return all(low < high for low, high in pairwise(x - s * mpmath.sin(x) for x in grid))


def undone(known: Values, _: Sampler) -> Numeric:
    """x from y = x + tanh(x)/2 by 130 rounds of x <- y - tanh(x)/2."""

    def push(z: Numeric) -> Numeric:
        return np.array([mpmath.tanh(entry) / 2 for entry in z], dtype=object)

    target = known[x] + push(known[x])
    found = target
    for _round in range(130):
        found = target - push(found)
    return found
