"""Elimination: polynomials in two variables over a domain, as lists of lists, the outer variable eliminated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Poly, Symbol
from sympy.polys.domains.domain import Domain

from derive.linear_stability.polynomials import Coefficients, trim

OUTER, INNER = Symbol("v"), Symbol("t")
Bivariate = Sequence[Sequence[Any]]
"""Coefficients of v^0, v^1, ..., each a polynomial in t, constant term first."""


def bivariate(domain: Domain, p: Bivariate) -> Poly:
    """As a SymPy polynomial in v and t."""
    terms = {(i, j): a for i, row in enumerate(p) for j, a in enumerate(row) if a}
    return Poly.from_dict(terms, OUTER, INNER, domain=domain)


def univariate(domain: Domain, p: Any) -> Coefficients:
    """A SymPy polynomial or expression in t as a list."""
    return trim(list(reversed(Poly(p, INNER, domain=domain).rep.to_list())))


def resultant(domain: Domain, p: Bivariate, q: Bivariate) -> Coefficients:
    """The polynomial in t that vanishes where p and q have a common root v (or both lose degree)."""
    return univariate(domain, bivariate(domain, p).resultant(bivariate(domain, q)))


def discriminant(domain: Domain, p: Bivariate) -> Coefficients:
    """The polynomial in t that vanishes where p, without its repeated factors, has a double root v or loses degree."""
    single = bivariate(domain, p).sqf_part()
    if single.degree(OUTER) < 1:
        return univariate(domain, single.as_expr())
    return univariate(domain, single.resultant(single.diff(OUTER)))
