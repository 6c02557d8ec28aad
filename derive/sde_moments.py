r"""Moments of an equation whose components go their own ways: the generator on monomials.

$\frac{d}{dt} E\,\varphi(X) = E[L\varphi(X)]$ with $L\varphi = F\varphi' + \frac12 G^2 \varphi''$ for each component.
Where drift and diffusion are polynomials of degree at most 1, $L x^k$ has degree k: the equations of the moments are
closed, a triangular linear system, whose solution is a sum of $t^p e^{rt}$.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import factorial
from typing import Any

from sympy import Expr, Integer, Poly, Rational, Symbol, exp, expand, factor_terms

from derive.errors import UnsupportedError
from derive.networks import Network
from derive.operator_base import Operator
from derive.operators import fill
from derive.program import Program
from derive.recurrence import Recurrence
from derive.sde import SDE
from derive.sde_calculus import drift_in
from derive.symbols import Quantity, Role, constant, time

Terms = dict[tuple[Expr, int], Expr]  # (r, p) -> coefficient of t^p exp(r t)
ELAPSED = time("t", meaning="time since the start")


@dataclass(frozen=True)
class MomentEquations:
    """E x^k of one component, k = 1, ..., order.

    Attributes:
        sde: the equation, whose components do not see each other.
        order: the highest moment.
    """

    sde: SDE
    order: int = 2

    def symbol(self, k: int) -> Quantity:
        """The name of E x^k."""
        x = self.sde.state
        power = x.latex if k == 1 else f"{x.latex}^{{{k}}}"
        return Quantity(f"m_{k}", (), Role.PARAMETER, rf"\mathbb E {power}", f"mean of {_power(x, k)}")

    def initial(self, k: int) -> Quantity:
        """The name of E x^k at the start."""
        x = self.sde.state
        power = x.latex if k == 1 else f"{x.latex}^{{{k}}}"
        return constant(f"m_{k}_start", latex=rf"\mathbb E {power}(0)", meaning=f"mean of {_power(x, k)} at the start")

    @cached_property
    def rates(self) -> dict[int, dict[int, Expr]]:
        """k -> {j: coefficient of E x^j in the rate of E x^k}.

        Raises:
            UnsupportedError: a rate needs a higher moment, or is no polynomial in moments.
        """
        return {k: self._rate(k) for k in range(1, self.order + 1)}

    def _rate(self, k: int) -> dict[int, Expr]:
        x = self.sde.state
        found = coefficients(generator(self.sde, x**k), x)
        degree = max(found, default=0)
        if degree > k:
            raise UnsupportedError(
                f"the moments of {x.name} are not closed: the rate of the mean of {x.name}^{k} needs that of "
                f"{x.name}^{degree}; they are for a drift and a diffusion of degree 1 at most"
            )
        return found

    @property
    def equations(self) -> dict[int, Expr]:
        """k -> the rate of E x^k in the moments."""
        return {k: sum((c * self._moment(j) for j, c in rate.items()), Integer(0)) for k, rate in self.rates.items()}

    def _moment(self, j: int) -> Expr:
        return self.symbol(j) if j else Integer(1)

    @cached_property
    def solutions(self) -> dict[int, Expr]:
        """k -> E x^k at a time after the start, for rates that differ where they are not the same symbols.

        Raises:
            UnsupportedError: coefficients depend on time.
        """
        moving = self.sde.time
        if moving is not None and any(c.has(moving) for rate in self.rates.values() for c in rate.values()):
            raise UnsupportedError(
                f"the coefficients of the moments depend on {moving.name}: no closed form is derived"
            )
        known: dict[int, Terms] = {0: {(Integer(0), 0): Integer(1)}}
        for k, rate in self.rates.items():
            known[k] = _solved(rate, k, known, self.initial(k))
        return {k: _written(terms) for k, terms in known.items() if k}

    def after_step(self, recurrence: Recurrence) -> dict[int, Expr]:
        """k -> E x_next^k after a step of a scheme, in the moments before it: the mean over the increment.

        Raises:
            UnsupportedError: the step is no polynomial.
        """
        x, increment = recurrence.old[0], recurrence.inputs[0]
        value = flattened(recurrence.step, recurrence.new[0])
        found = {}
        for k in range(1, self.order + 1):
            polynomial = _polynomial(expand(value**k), x, increment)
            (h,) = [q for q in recurrence.step.inputs if q.role is Role.STEP_SIZE]
            terms = [c * _gaussian(n, h) * self._moment(j) for (j, n), c in polynomial.terms()]
            found[k] = sum(terms, Integer(0))
        return found


def _power(x: Quantity, k: int) -> str:
    return x.name if k == 1 else f"{x.name}^{k}"


def component(sde: SDE, value: Expr) -> Expr:
    """An expression of a vector as that of one component.

    Raises:
        UnsupportedError: components are mixed, or a network is in it.
    """
    plain = value.replace(fill, lambda scalar, _: scalar)
    if plain.atoms(Operator) or plain.atoms(Network) or sde.is_matrix:
        raise UnsupportedError(f"the components of {value} are not independent: moments are derived of those that are")
    return plain


def generator(sde: SDE, value: Expr) -> Expr:
    """L of a function of one component, in Ito's form.

    Raises:
        UnsupportedError: components are mixed, or a network is in drift, diffusion or the function.
    """
    x = sde.state
    drift, diffusion, plain = (component(sde, term) for term in (drift_in(sde, "ito"), sde.diffusion, value))
    return drift * plain.diff(x) + Rational(1, 2) * diffusion**2 * plain.diff(x, 2)


def coefficients(value: Expr, x: Symbol) -> dict[int, Expr]:
    """Power of x -> coefficient.

    Raises:
        UnsupportedError: no polynomial.
    """
    return {power: factor_terms(c) for (power,), c in _polynomial(expand(value), x).terms() if c != 0}


def _polynomial(value: Expr, *variables: Symbol) -> Any:
    if not value.is_polynomial(*variables):
        names = ", ".join(variable.name for variable in variables)
        raise UnsupportedError(f"{value} is no polynomial in {names}; its mean is not one of moments")
    return Poly(value, *variables)


def flattened(program: Program, target: Quantity) -> Expr:
    """The value of a quantity of one component in what the program reads."""
    known: dict[Expr, Expr] = {}
    for line in program.assignments:
        known[line.target] = line.value.xreplace(known).replace(fill, lambda scalar, _: scalar)
    return known[target]


def _gaussian(power: int, variance: Expr) -> Expr:
    """E z^n of a normal number of mean zero."""
    if power % 2:
        return Integer(0)
    half = power // 2
    return Rational(factorial(power), 2**half * factorial(half)) * variance**half


def _solved(rate: Mapping[int, Expr], k: int, known: Mapping[int, Terms], start: Expr) -> Terms:
    """The solution of m' = r m + sources by variation of constants."""
    own = rate.get(k, Integer(0))
    found: Terms = {(own, 0): start}

    def add(key: tuple[Expr, int], value: Expr) -> None:
        found[key] = found.get(key, Integer(0)) + value

    for j, weight in rate.items():
        if j == k:
            continue
        for (r, p), value in known[j].items():
            gap = expand(r - own)
            if gap == 0:
                add((own, p + 1), weight * value / (p + 1))
                continue
            for i in range(p + 1):
                share = (-1) ** i * Rational(factorial(p), factorial(p - i)) / gap ** (i + 1)
                add((r, p - i), weight * value * share)
            add((own, 0), -weight * value * (-1) ** p * factorial(p) / gap ** (p + 1))
    return found


def _written(terms: Terms) -> Expr:
    return sum((value * ELAPSED**p * exp(r * ELAPSED) for (r, p), value in terms.items() if value != 0), Integer(0))
