r"""Stability functions: what one step does to the test problem of its kind, as polynomials over an exact domain.

* Runge-Kutta on $x' = \lambda x$, z = h lambda: $R = P/Q$ with $Q = \det(I - zA)$, $P = \det(I - zA + z 1 b^T)$;
* multistep on the same: $\rho(\zeta) - z \sigma(\zeta)$;
* two parts (additive, partitioned, splitting) on the oscillator $x' = \omega y$, $y' = -\omega x$, part 0 driving x and
  part 1 driving y: the propagation matrix M(z) with z = h omega, and $\det(\zeta I - M(z))$.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sympy import QQ, Expr, ImmutableMatrix, S
from sympy.polys.domains.domain import Domain
from sympy.polys.matrices import DomainMatrix

from derive.linear_stability.fields import GenericField, RealField, common_domain, rational_if_possible
from derive.linear_stability.formulas import polynomial_expression
from derive.linear_stability.polynomials import (
    Coefficients,
    add,
    divide,
    gcd,
    multiply,
    scale,
    shift,
    subtract,
    trim,
)
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Splitting

Scheme = ButcherTableau | LinearMultistep | AdditiveTableau | Splitting


@dataclass(frozen=True)
class Polynomials:
    """What decides about stability: polynomials over a domain, constant term first.

    Attributes:
        domain: of the coefficients.
        coefficients: the polynomials, in the order of the class.
        noise: coefficients of published decimals that should vanish may be as large as this; 0 for exact schemes.
    """

    domain: Domain
    coefficients: tuple[Coefficients, ...]
    noise: Any = 0


class RationalFunction(Polynomials):
    """R(z) = P(z)/Q(z) with Q(0) = 1; common factors may remain."""

    @property
    def numerator(self) -> Coefficients:
        """P."""
        return self.coefficients[0]

    @property
    def denominator(self) -> Coefficients:
        """Q."""
        return self.coefficients[1]


class Multistep(Polynomials):
    """rho and sigma, both of formal degree K."""

    @property
    def rho(self) -> Coefficients:
        """The polynomial of the values."""
        return self.coefficients[0]

    @property
    def sigma(self) -> Coefficients:
        """The polynomial of the slopes."""
        return self.coefficients[1]


class Propagation(Polynomials):
    r"""Step of the oscillator times a common denominator, as polynomials in W = (h omega)^2.

    The polynomials are $m_{xx}, m_{xy}/(h\omega), m_{yx}/(h\omega), m_{yy}$ times the denominator, and the denominator,
    which is 1 at W = 0.
    """

    @property
    def matrix(self) -> tuple[Coefficients, ...]:
        """The four entries."""
        return self.coefficients[:4]

    @property
    def denominator(self) -> Coefficients:
        """The common denominator."""
        return self.coefficients[4]

    @property
    def characteristic(self) -> tuple[Coefficients, Coefficients, Coefficients]:
        r"""Coefficients of $\zeta^0, \zeta^1, \zeta^2$ of the characteristic polynomial, as polynomials in W.

        The determinant is divided by the denominator once where that is possible.
        """
        xx, xy, yx, yy, bottom = (trim(p) for p in self.coefficients)
        determinant = subtract(multiply(xx, yy), shift(multiply(xy, yx)))
        minus_trace = scale(add(xx, yy), -self.domain.one)
        quotient, rest = divide(determinant, bottom)
        if rest:
            return determinant, multiply(minus_trace, bottom), multiply(bottom, bottom)
        return quotient, minus_trace, bottom


def rational_function(tableau: ButcherTableau) -> RationalFunction:
    """P and Q of a tableau."""
    size = tableau.stages
    domain, flat = common_domain([entry for row in tableau.A for entry in row] + list(tableau.b))
    rows = [flat[i * size : (i + 1) * size] for i in range(size)]
    weights = flat[size * size :]
    less = [[a - b for a, b in zip(row, weights, strict=True)] for row in rows]
    numerator, denominator = (_resolvent_determinant(domain, matrix) for matrix in (less, rows))
    domain, both = rational_if_possible(domain, [*numerator, *denominator])
    numerator, denominator = trim(both[: len(numerator)]), trim(both[len(numerator) :])
    noise = QQ.zero if tableau.digits is None else QQ(1, 10 ** max(tableau.digits - 2, 0))
    return RationalFunction(domain, (_without_noise(numerator, denominator, noise), denominator), noise)


def _resolvent_determinant(domain: Domain, rows: Sequence[Sequence[Any]]) -> Coefficients:
    """det(I - z A): the characteristic polynomial read backwards."""
    return list(DomainMatrix([list(row) for row in rows], (len(rows), len(rows)), domain).charpoly())


def _without_noise(numerator: Coefficients, denominator: Coefficients, noise: Any) -> Coefficients:
    """P of published decimals: a top coefficient that is zero to the digits given, beside one of Q, is zero."""
    while noise and len(numerator) == len(denominator) > 1 and abs(numerator[-1]) <= noise * abs(denominator[-1]):
        numerator = trim(numerator[:-1])
    return numerator


def lowest_terms(field: RealField, function: RationalFunction) -> RationalFunction:
    """P and Q without their common factor, Q(0) = 1."""
    both = [trim(p) for p in function.coefficients]
    common = gcd(field, *both)
    top, bottom = (divide(p, common)[0] for p in both)
    reduced = [a / bottom[0] for a in top], [a / bottom[0] for a in bottom]
    return replace(function, coefficients=reduced)


def multistep_polynomials(scheme: LinearMultistep) -> Multistep:
    """rho and sigma of a multistep scheme."""
    top = scheme.steps
    domain, flat = common_domain([*scheme.alpha, *scheme.beta])
    alpha, beta = flat[:top], flat[top:]
    return Multistep(domain, ([*(-a for a in reversed(alpha)), domain.one], list(reversed(beta))))


def root_polynomial(scheme: LinearMultistep) -> Multistep:
    """rho alone, over the domain of its own weights."""
    domain, alpha = common_domain(scheme.alpha)
    return Multistep(domain, ([*(-a for a in reversed(alpha)), domain.one], []))


def propagation(scheme: AdditiveTableau | Splitting) -> Propagation | None:
    """The step of the oscillator by a scheme of two parts; None for more parts."""
    if isinstance(scheme, Splitting):
        return _of_splitting(scheme) if scheme.parts == 2 else None
    return _of_tableaus(scheme) if len(scheme.parts) == 2 else None


def _of_splitting(scheme: Splitting) -> Propagation:
    """Flows of the parts of the oscillator are shears, and every Runge-Kutta substep of a shear is exact."""
    domain, fractions = common_domain([fraction for _, fraction in scheme.stages])
    step: list[list[Coefficients]] = [[[domain.one], []], [[], [domain.one]]]
    for (part, _), fraction in zip(scheme.stages, fractions, strict=True):
        factor = fraction if part == 0 else -fraction
        pairs = zip(step[part], step[1 - part], strict=True)
        step[part] = [add(own, shift(scale(other, factor))) for own, other in pairs]
    return _in_square(domain, [entry for row in step for entry in row], [domain.one])


def _of_tableaus(scheme: AdditiveTableau) -> Propagation:
    r"""The step by the determinant lemma.

    Stages are $(X, Y) = e + w J (X, Y)$ with $J = ((0, A_0), (-A_1, 0))$, and
    $\delta + w\, r^T (I - w J)^{-1} e = \det(I - w (J - e r^T))/\det(I - w J) + \delta - 1$.
    """
    size = scheme.stages
    entries = [entry for part in scheme.parts for row in part.A for entry in row]
    domain, flat = common_domain(entries + [entry for part in scheme.parts for entry in part.b])
    zeros, square = [domain.zero] * size, size * size
    rows = [zeros + flat[i * size : (i + 1) * size] for i in range(size)]
    rows += [[-a for a in flat[square + i * size : square + (i + 1) * size]] + zeros for i in range(size)]
    weights = [zeros + flat[2 * square : 2 * square + size], [-b for b in flat[2 * square + size :]] + zeros]
    denominator = _resolvent_determinant(domain, rows)
    step = []
    for row in range(2):
        for column in range(2):
            less = [
                [a - b for a, b in zip(line, weights[row], strict=True)] if i // size == column else line
                for i, line in enumerate(rows)
            ]
            entry = _resolvent_determinant(domain, less)
            step.append(entry if row == column else subtract(entry, denominator))
    return _in_square(domain, step, denominator)


def _in_square(domain: Domain, step: Sequence[Coefficients], denominator: Coefficients) -> Propagation:
    """The diagonal of M and the denominator are even in w, the rest is odd."""
    xx, xy, yx, yy = (trim(entry[place::2]) for entry, place in zip(step, (0, 1, 1, 0), strict=True))
    return Propagation(domain, (xx, xy, yx, yy, trim(denominator[::2])))


def stability_function(scheme: Scheme, z: Expr) -> Expr | ImmutableMatrix | None:
    """R(z) of a Runge-Kutta scheme; the propagation matrix of the oscillator, z = h omega, of one in two parts.

    Returns:
        An expression in lowest terms, or a 2 x 2 matrix; None for multistep schemes (see `stability_polynomial`) and
        for schemes of more than two parts.
    """
    if isinstance(scheme, LinearMultistep):
        return None
    if isinstance(scheme, ButcherTableau):
        found = rational_function(scheme)
        found = lowest_terms(GenericField(found.domain), found)
        return _quotient(found.domain, found.numerator, found.denominator, z)
    step = propagation(scheme)
    if step is None:
        return None
    entries = [_quotient(step.domain, entry, step.denominator, z**2) for entry in step.matrix]
    return ImmutableMatrix([[entries[0], z * entries[1]], [z * entries[2], entries[3]]])


def stability_polynomial(scheme: Scheme, zeta: Expr, z: Expr) -> Expr | None:
    r"""The polynomial in zeta whose roots are the factors of one step.

    Returns:
        $\rho(\zeta) - z \sigma(\zeta)$ of a multistep scheme, $Q(z) \zeta - P(z)$ of Runge-Kutta, $\det(\zeta I - M)$
        times its denominator for two parts (z = h omega); None for more parts.
    """
    if isinstance(scheme, LinearMultistep):
        found = multistep_polynomials(scheme)
        rho, sigma = (polynomial_expression(found.domain, p, zeta) for p in (found.rho, found.sigma))
        return rho - z * sigma
    if isinstance(scheme, ButcherTableau):
        quotient = rational_function(scheme)
        quotient = lowest_terms(GenericField(quotient.domain), quotient)
        domain, top, bottom = quotient.domain, quotient.numerator, quotient.denominator
        return zeta * polynomial_expression(domain, bottom, z) - polynomial_expression(domain, top, z)
    step = propagation(scheme)
    if step is None:
        return None
    return sum(
        (polynomial_expression(step.domain, p, z**2) * zeta**power for power, p in enumerate(step.characteristic)),
        start=S.Zero,
    )


def _quotient(domain: Domain, numerator: Coefficients, denominator: Coefficients, z: Expr) -> Expr:
    top, bottom = (polynomial_expression(domain, p, z) for p in (numerator, denominator))
    return top / bottom
