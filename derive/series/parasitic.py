r"""Parasitic roots of a multistep scheme: what its solutions hold besides the smooth one.

Near a simple root $\zeta \ne 1$ of $\rho$ errors grow like $\zeta^n e^{g f' t}$ with the growth parameter
$g = \sigma(\zeta)/(\zeta \rho'(\zeta))$ (Hairer, Norsett, Wanner, Solving ODEs I, III.9; Hairer, Lubich, Wanner,
Geometric Numerical Integration, XV.5).
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import CRootOf, Expr, Poly, Symbol, factor, roots

from derive.errors import UnsupportedError
from derive.schemes import LinearMultistep


@dataclass(frozen=True)
class ParasiticRoot:
    """A root of rho other than 1, and what it does to errors.

    Attributes:
        root: zeta.
        multiplicity: of the root.
        growth: sigma(zeta)/(zeta rho'(zeta)); None for a multiple root and for 0, which forgets errors at once.
    """

    root: Expr
    multiplicity: int
    growth: Expr | None


def parasitic_roots(scheme: LinearMultistep) -> tuple[ParasiticRoot, ...]:
    """The roots of rho besides the simple one at 1, with their growth parameters.

    Roots are rational, of square roots, or `CRootOf` where rho factors no further.

    Raises:
        UnsupportedError: an irreducible factor of degree three or more with symbols in it.
    """
    zeta = Symbol("zeta")
    rho = Poly(scheme.characteristic(zeta), zeta)
    sigma = Poly(scheme.characteristic(zeta) - scheme.characteristic(zeta, 1), zeta)
    rest, _ = rho.div(Poly(zeta - 1, zeta))  # constants are kept: 1 is a root
    slope = rho.diff(zeta)
    found = []
    for root, multiplicity in _all_roots(rest, scheme.title):
        alone = multiplicity == 1 and root not in (0, 1)
        growth = _shortened(_at(sigma, root) / (root * _at(slope, root))) if alone else None
        found.append(ParasiticRoot(root, multiplicity, growth))
    return tuple(found)


def _at(polynomial: Poly, root: Expr) -> Expr:
    """Its value: put in where the root is one of a polynomial, which SymPy would isolate anew for every term."""
    return polynomial.as_expr().xreplace({polynomial.gen: root}) if root.has(CRootOf) else polynomial.eval(root)


def _shortened(growth: Expr) -> Expr:
    """Factored, unless it holds roots of polynomials, which would be slow and no shorter."""
    return growth if growth.has(CRootOf) else factor(growth)


def _all_roots(polynomial: Poly, title: str) -> list[tuple[Expr, int]]:
    found: list[tuple[Expr, int]] = []
    for part, multiplicity in polynomial.factor_list()[1]:
        found += [(root, multiplicity) for root in _roots_of_irreducible(part, title)]
    return sorted(found, key=lambda pair: str(pair[0]))


def _roots_of_irreducible(polynomial: Poly, title: str) -> list[Expr]:
    if polynomial.degree() <= 2:
        return sorted(roots(polynomial), key=str)
    if polynomial.free_symbols_in_domain:
        raise UnsupportedError(f"{title}: no formula for the roots of {polynomial.as_expr()} in its symbols")
    return [CRootOf(polynomial, index) for index in range(polynomial.degree())]
