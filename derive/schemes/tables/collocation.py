r"""Implicit schemes derived from their nodes: Gauss, Radau and Lobatto (Hairer, Wanner, Solving ODEs II, IV.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sympy import Expr, Poly, Rational, Symbol, construct_domain, roots

from derive.schemes.runge_kutta import ButcherTableau

x = Symbol("x")
Matrix = list[list[Any]]


def gauss(stages: int, title: str = "") -> ButcherTableau:
    """Collocation at the zeros of the shifted Legendre polynomial: order 2s."""
    domain, _, matrix, weights = _collocation(_zeros(stages, stages, stages))
    return _tableau(domain, matrix, weights, order=2 * stages, title=title or f"Gauss, order {2 * stages}")


def radau2a(stages: int) -> ButcherTableau:
    """Collocation at the right Radau nodes: order 2s - 1."""
    domain, _, matrix, weights = _collocation(_zeros(stages - 1, stages, stages - 1))
    return _tableau(domain, matrix, weights, order=2 * stages - 1, title=f"Radau IIA, order {2 * stages - 1}")


def lobatto3a(stages: int) -> ButcherTableau:
    """Collocation at the Lobatto nodes: order 2s - 2."""
    return _lobatto(stages, "A", lambda domain, nodes, matrix, weights: matrix)


def lobatto3b(stages: int) -> ButcherTableau:
    """The symplectic partner of Lobatto IIIA: b_i a'_ij + b_j a_ji = b_i b_j; its c are its row sums."""

    def partner(domain: Any, nodes: Sequence[Any], matrix: Matrix, weights: Sequence[Any]) -> Matrix:
        places = range(len(weights))
        return [[weights[j] - weights[j] * matrix[j][i] / weights[i] for j in places] for i in places]

    return _lobatto(stages, "B", partner)


def lobatto3c(stages: int) -> ButcherTableau:
    """Every a_i1 is b_1, and the rows integrate polynomials of degree s - 2 exactly."""

    def stiffly_accurate(domain: Any, nodes: Sequence[Any], matrix: Matrix, weights: Sequence[Any]) -> Matrix:
        later = _lagrange(nodes[1:], domain)
        return [
            [weights[0], *(_integral(basis, node) - weights[0] * basis.rep.eval(domain.zero) for basis in later)]
            for node in nodes
        ]

    return _lobatto(stages, "C", stiffly_accurate)


def _lobatto(stages: int, kind: str, matrix_of: Callable[..., Matrix]) -> ButcherTableau:
    domain, nodes, matrix, weights = _collocation(_zeros(stages - 1, stages - 1, stages - 2))
    chosen = matrix_of(domain, nodes, matrix, weights)
    return _tableau(domain, chosen, weights, order=2 * stages - 2, title=f"Lobatto III{kind}, {stages} stages")


def _zeros(left: int, right: int, derivatives: int) -> list[Expr]:
    """Zeros of the given derivative of x^left (x - 1)^right in increasing order: the nodes of all four families."""
    polynomial = Poly(x**left * (x - 1) ** right, x)
    for _ in range(derivatives):
        polynomial = polynomial.diff(x)
    return sorted(roots(polynomial, multiple=True), key=float)


def _collocation(nodes: Sequence[Expr]) -> tuple[Any, list[Any], Matrix, list[Any]]:
    """Domain and nodes, matrix a_ij and weights b_j: integrals of the Lagrange polynomials up to c_i and up to 1."""
    domain, exact = construct_domain([*nodes, Rational(1, 2)], extension=True)
    nodes = exact[:-1]
    bases = _lagrange(nodes, domain)
    matrix = [[_integral(basis, node) for basis in bases] for node in nodes]
    return domain, list(nodes), matrix, [_integral(basis, domain.one) for basis in bases]


def _lagrange(nodes: Sequence[Any], domain: Any) -> list[Poly]:
    bases = []
    for place, node in enumerate(nodes):
        basis = Poly(1, x, domain=domain)
        for other in (*nodes[:place], *nodes[place + 1 :]):
            scale = domain.one / (node - other)
            basis *= Poly.from_list([scale, -other * scale], x, domain=domain)
        bases.append(basis)
    return bases


def _integral(basis: Poly, end: Any) -> Any:
    """Integral from 0 to an end in the polynomial's domain, as an element of it."""
    return basis.integrate(x).rep.eval(end)


def _tableau(domain: Any, matrix: Matrix, weights: Sequence[Any], order: int, title: str) -> ButcherTableau:
    sums = [sum(row, start=domain.zero) for row in matrix]
    return ButcherTableau(
        A=[[domain.to_sympy(entry) for entry in row] for row in matrix],
        b=[domain.to_sympy(entry) for entry in weights],
        c=[domain.to_sympy(entry) for entry in sums],
        order=order,
        title=title,
    )


gauss2, gauss4, gauss6 = (partial(gauss, stages) for stages in (1, 2, 3))
radau2a_3, radau2a_5 = (partial(radau2a, stages) for stages in (2, 3))
lobatto3a_s2, lobatto3a_s3 = (partial(lobatto3a, stages) for stages in (2, 3))
lobatto3b_s2, lobatto3b_s3 = (partial(lobatto3b, stages) for stages in (2, 3))
lobatto3c_s2, lobatto3c_s3 = (partial(lobatto3c, stages) for stages in (2, 3))
