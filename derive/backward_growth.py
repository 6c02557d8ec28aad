"""How much one inverse step of a multistep scheme amplifies an error, where the weights are numbers."""

from __future__ import annotations

from functools import partial

import mpmath
import numpy as np
import sympy
from sympy import Expr, Integer, Symbol

from derive.checks import ResidualCheck
from derive.derivation import Kind
from derive.latex import latex, plain
from derive.numbering import Author
from derive.schemes import LinearMultistep

POINTS = ("0", "0.3", "-0.4", "-5")  # h lambda at which the two sides are compared


def backward_polynomial(scheme: LinearMultistep) -> list[Expr]:
    """Coefficients by falling powers of a polynomial in w = 1/zeta: one inverse step amplifies by its largest root."""
    zeta, z = Symbol("zeta"), Symbol("z")
    return list(reversed(sympy.Poly(scheme.characteristic(zeta, z), zeta).all_coeffs()))


def write_backward_growth(author: Author, scheme: LinearMultistep) -> None:
    """Relation on the growth of errors from one rebuilt state to the next, on x' = lambda x."""
    coefficients = backward_polynomial(scheme)
    w, z = Symbol("w"), Symbol("z")
    polynomial = sum((c * w**power for power, c in enumerate(reversed(coefficients))), Integer(0))
    still = np.roots([float(c.subs(z, 0)) for c in coefficients])
    author.relation(
        "how far the inverse can be trusted",
        Kind.IDENTITY,
        rf"\varepsilon\, \max |w|^N \le \mathrm{{tol}}, \qquad {latex(sympy.collect(polynomial, w))} = 0, "
        r"\quad z = h \lambda",
        text=f"eps max|w|^N <= tol for N steps, w the roots of {plain(sympy.collect(polynomial, w))}, z = h lambda",
        reason="the characteristic polynomial in w = 1/zeta: the eigenvalues of the inverse step on x' = lambda x; "
        f"an error grows by the largest of them, {max(abs(still)):.4g} for h to 0",
        name="inverse_trust",
        check=ResidualCheck(
            partial(_residual, scheme, z), tuple(coefficients), "eigenvalues of the inverse of the companion matrix"
        ),
    )


def _residual(scheme: LinearMultistep, z: Symbol, coefficients: tuple[Expr, ...]) -> float:
    """Largest relative value of the polynomial at the eigenvalues of the inverse step."""
    worst = mpmath.mpf(0)
    for point in map(mpmath.mpf, POINTS):
        size = len(coefficients) - 1
        beta = [_number(b) for b in scheme.beta]
        step = mpmath.zeros(size)
        for lag, alpha in enumerate(scheme.alpha[:size]):
            step[0, lag] = (_number(alpha) + point * beta[lag + 1]) / (1 - point * beta[0])
        for lag in range(size - 1):
            step[lag + 1, lag] = 1
        found, _ = mpmath.eig(mpmath.inverse(step))
        given = [_number(c.subs(z, sympy.Float(str(point), 60))) for c in coefficients]
        for root in found:
            terms = [c * root ** (size - place) for place, c in enumerate(given)]
            worst = max(worst, abs(mpmath.fsum(terms)) / mpmath.fsum(map(abs, terms)))
    return float(worst)


def _number(value: Expr) -> mpmath.mpf:
    return mpmath.mpf(str(sympy.N(value, 60)))
