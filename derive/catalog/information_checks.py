"""Numbers behind the relations of `information`: quadratures and covariances at 30 digits and more."""

from collections.abc import Callable

import mpmath
import numpy as np
from sympy import Expr, log

from derive import constant, parameter, state
from derive.checks import NUDGE, central_difference
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity

Values = dict[Quantity, Numeric]
F, F_x, P_x = state("F", ()), state("F_x", ()), state("P_x", ())
P = constant("P", meaning="density")
A, root = parameter("A", ("d", "d")), parameter("root", ("d", "d"), meaning="root of the covariance")
STRENGTH, TIME = mpmath.mpf(7) / 10, mpmath.mpf(1)
QUADRATURE_DIGITS = 30


def flux_and_divergence(known: Values, sampler: Sampler) -> Numeric:
    """d(F P log P)/dx + P dF/dx, the flux by central differences."""
    flux = central_difference(F * P * log(P), known, {F: known[F_x], P: known[P_x]}, sampler)
    return flux + known[P] * known[F_x]


def _covariance(factor: Numeric) -> Numeric:
    return mpmath.matrix((factor @ factor.T).tolist()) + mpmath.eye(len(factor))


def gaussian_rate(known: Values, sampler: Sampler) -> Numeric:
    """Central difference of log det S/2 in time."""
    nudge, matrix = mpmath.mpf(NUDGE), mpmath.matrix(known[A].tolist())
    logs = []
    for sign in (1, -1):
        flow = mpmath.expm(sign * nudge * matrix)
        logs.append(mpmath.log(mpmath.det(flow * _covariance(known[root]) * flow.T)) / 2)
    return (logs[0] - logs[1]) / (2 * nudge)


def _normal(x: Numeric, mean: int = 0) -> Numeric:
    return mpmath.exp(-((x - mean) ** 2) / 2) / mpmath.sqrt(2 * mpmath.pi)


def _origin(y: Numeric, amount: Numeric) -> tuple[Numeric, Numeric]:
    """Where the cubic flow of gamma T = amount brings to y, and the derivative of that."""
    rest = 1 - 2 * amount * y**2
    return y / mpmath.sqrt(rest), rest ** mpmath.mpf("-1.5")


def _over_the_image(density: Callable[[Numeric], Numeric], amount: Numeric) -> Numeric:
    """Integral over all that the flow reaches, in a variable that is dense at the ends."""
    edge = 1 / mpmath.sqrt(2 * amount)

    def inside(u: Numeric) -> Numeric:
        y = edge * mpmath.tanh(u)
        return density(y) * edge / mpmath.cosh(u) ** 2

    return mpmath.quad(inside, [-12, -6, -3, 0, 3, 6, 12])


def _entropy(amount: Numeric) -> Numeric:
    """Of the density that the cubic flow makes of N(0, 1)."""

    def density(y: Numeric) -> Numeric:
        x, slope = _origin(y, amount)
        p = _normal(x) * slope
        return -p * mpmath.log(p) if p > 0 else mpmath.mpf(0)

    return _over_the_image(density, amount)


def _mean(function: Callable[[Numeric], Numeric]) -> Numeric:
    """Over N(0, 1)."""
    return mpmath.quad(lambda x: function(x) * _normal(x), [-14, -7, -3, 0, 3, 7, 14])


def cubic_entropy(coefficients: tuple[Expr, ...]) -> float:
    """Change of entropy against the claimed multiple of E log(1 + 2 gamma x^2 T)."""
    with mpmath.workdps(QUADRATURE_DIGITS):
        amount = STRENGTH * TIME
        before = mpmath.log(2 * mpmath.pi * mpmath.e) / 2
        claimed = _number(coefficients[0]) * _mean(lambda x: mpmath.log(1 + 2 * amount * x**2))
        return float(abs(_entropy(amount) - before - claimed))


def cubic_rate(coefficients: tuple[Expr, ...]) -> float:
    """Rate of the entropy against the claimed multiple of gamma E x(T)^2, the mean over the transported density."""
    with mpmath.workdps(QUADRATURE_DIGITS):
        nudge, amount = mpmath.mpf("1e-6"), STRENGTH * TIME
        rate = (_entropy(amount + STRENGTH * nudge) - _entropy(amount - STRENGTH * nudge)) / (2 * nudge)

        def square(y: Numeric) -> Numeric:
            x, slope = _origin(y, amount)
            return y**2 * _normal(x) * slope

        return float(abs(rate - _number(coefficients[0]) * STRENGTH * _over_the_image(square, amount)))


def _number(value: Expr) -> Numeric:
    return mpmath.mpf(str(value.evalf(QUADRATURE_DIGITS)))


def _joint_information(covariance: Numeric, first: int) -> Numeric:
    """I of the first components and the others."""
    size = covariance.rows
    parts = [covariance[:first, :first], covariance[first:size, first:size], covariance]
    one, other, both = (mpmath.log(mpmath.det(part)) for part in parts)
    return (one + other - both) / 2


def gaussian_information(coefficients: tuple[Expr, ...]) -> float:
    """I of Y and exp(A) X against the claimed multiple of I of Y and X."""
    values = Sampler((A, root)).values()
    flow = mpmath.eye(6)
    flow[3:6, 3:6] = mpmath.expm(mpmath.matrix(values[A].tolist()))
    joint = _covariance(np.kron(np.array([[1, 0], [1, 1]]), values[root]))
    after, before = (_joint_information(covariance, 3) for covariance in (flow * joint * flow.T, joint))
    return float(abs(after - mpmath.mpf(str(coefficients[0].evalf(60))) * before) / before)


def label_information(coefficients: tuple[Expr, ...]) -> float:
    """I of a label and of what the cubic flow makes of X, against the claimed multiple of I of the label and X."""

    def integrand(one: Numeric, other: Numeric) -> Numeric:
        both = (one + other) / 2
        return sum(p * mpmath.log(p / both) / 2 for p in (one, other) if p > 0)

    def after(y: Numeric) -> Numeric:
        x, slope = _origin(y, STRENGTH / 2)
        return integrand(_normal(x, 1) * slope, _normal(x, -1) * slope)

    with mpmath.workdps(QUADRATURE_DIGITS):
        before = mpmath.quad(lambda x: integrand(_normal(x, 1), _normal(x, -1)), [-15, -7, -3, 0, 3, 7, 15])
        return float(abs(_over_the_image(after, STRENGTH / 2) - _number(coefficients[0]) * before) / before)


def lost_elsewhere(size: Expr) -> int:
    """Step sizes at which information is lost without being the claimed one, or the other way round."""
    steps = [mpmath.mpf(n) / 4 for n in (1, 2, 3, 4, 5, 8)]
    whole = _channel(mpmath.mpf(1))
    return sum((_channel(1 - h) < whole * (1 - mpmath.mpf("1e-20"))) != (h == _number(size)) for h in steps)


def _channel(gain: Numeric) -> Numeric:
    """I of Y = X + noise and gain X, for unit variances; nothing is known of Y where the gain is 0."""
    if gain == 0:
        return mpmath.mpf(0)
    return _joint_information(mpmath.matrix([[2, gain], [gain, gain**2]]), 1)
