r"""Elementary weights of Runge-Kutta, partitioned and additive schemes, exactly.

The stages are $X_i = x + h \sum_p \sum_j a^{[p]}_{ij} f_p(X_j)$. A tree $\tau = [\tau_1 \dots \tau_m]_p$ has the stage
values $g_i(\tau) = \prod_k \sum_j a^{[p_k]}_{ij} g_j(\tau_k)$, $p_k$ the colour of the root of $\tau_k$, and the weight
$\Phi(\tau) = \sum_i b^{[p]}_i g_i(\tau)$; the exact solution has $1/\gamma(\tau)$ (Hairer, Norsett, Wanner, II.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import QQ, Expr, Rational, S

from derive.errors import UnsupportedError
from derive.schemes import AdditiveTableau, ButcherTableau
from derive.series.domains import Element, arithmetic_of, dot, exact
from derive.series.trees import Tree, density, symmetry

OneStep = ButcherTableau | AdditiveTableau
Weights = tuple[tuple[Element, ...], ...]


class Stages:
    """A one-step scheme with its coefficients in a domain, and the elementary weights of its stages and steps.

    Attributes:
        scheme: the scheme.
        arithmetic: the field of its coefficients.
        colours: number of parts of the field.
        tolerance: how far a condition may miss for published decimals; 0 for exact entries.
        b: weights of the step, one tuple per part.
        b_error: those of the embedded scheme, or None.
        dense: `dense[j]` are the weights at theta^(j+1) of the dense output, or None.

    Raises:
        UnsupportedError: the scheme is no Runge-Kutta, partitioned or additive one.
    """

    def __init__(self, scheme: OneStep) -> None:
        parts = _parts(scheme)
        self.scheme = scheme
        self.colours = len(parts)
        self.arithmetic = arithmetic_of(exact(entry) for part in parts for entry in _entries(part))
        digits = scheme.digits
        self.tolerance = Rational(0) if digits is None else Rational(1, 10 ** max(digits - 2, 0))
        self.A = tuple(tuple(self._row(row) for row in part.A) for part in parts)
        self.b: Weights = tuple(self._row(part.b) for part in parts)
        self.c: Weights = tuple(self._row(part.c) for part in parts)
        self.b_error = self._embedded(parts)
        self.dense = self._dense(parts)
        self._values: dict[tuple[Tree, ...], tuple[Element, ...]] = {}
        self._increments: dict[Tree, tuple[Element, ...]] = {}

    @property
    def count(self) -> int:
        """Number of stages."""
        return len(self.b[0])

    def weight(self, tau: Tree, weights: Weights | None = None) -> Element:
        """Phi(tau) of the step, or of other weights of the same stages."""
        chosen = self.b if weights is None else weights
        return dot(chosen[tau.colour], self.values(tau.branches), self.arithmetic.domain.zero)

    def values(self, branches: tuple[Tree, ...]) -> tuple[Element, ...]:
        """g_i of a tree with these branches, for every stage i."""
        if branches not in self._values:
            self._values[branches] = self._product(branches)
        return self._values[branches]

    def residual(self, tau: Tree, weights: Weights | None = None) -> Element:
        """1/gamma(tau) - Phi(tau): what the order condition of a tree lacks."""
        return self.arithmetic.rational(Rational(1, density(tau))) - self.weight(tau, weights)

    def error_coefficient(self, tau: Tree, weights: Weights | None = None) -> Expr:
        """Coefficient of h^|tau| F(tau) in the local error, exact minus numerical; 0 within the tolerance."""
        residual = self.residual(tau, weights)
        if self.vanishes(residual):
            return S.Zero
        return self.arithmetic.expression(residual * self.arithmetic.rational(Rational(1, symmetry(tau))))

    def vanishes(self, residual: Element) -> bool:
        """Whether a residual is zero, or small enough for published decimals."""
        if not self.tolerance or self.arithmetic.symbols:
            return not residual
        if self.arithmetic.domain is QQ:
            return bool(abs(residual) <= QQ(int(self.tolerance.p), int(self.tolerance.q)))
        return bool(abs(self.arithmetic.expression(residual).evalf(30)) <= self.tolerance)

    def _product(self, branches: tuple[Tree, ...]) -> tuple[Element, ...]:
        if not branches:
            return (self.arithmetic.domain.one,) * self.count
        *others, last = branches
        return tuple(a * b for a, b in zip(self.values(tuple(others)), self._increment(last), strict=True))

    def _increment(self, tau: Tree) -> tuple[Element, ...]:
        if tau not in self._increments:
            values, zero = self.values(tau.branches), self.arithmetic.domain.zero
            self._increments[tau] = tuple(dot(row, values, zero) for row in self.A[tau.colour])
        return self._increments[tau]

    def _row(self, row: Sequence[Any]) -> tuple[Element, ...]:
        return tuple(self.arithmetic.element(exact(entry)) for entry in row)

    def _embedded(self, parts: Sequence[ButcherTableau]) -> Weights | None:
        rows = [part.b_error for part in parts if part.b_error is not None]
        return tuple(self._row(row) for row in rows) if len(rows) == len(parts) else None

    def _dense(self, parts: Sequence[ButcherTableau]) -> tuple[Weights, ...] | None:
        tables = [part.dense for part in parts if part.dense is not None]
        if len(tables) != len(parts):
            return None
        width = max(len(row) for table in tables for row in table)
        padded = [[[*map(S, row), *[S.Zero] * (width - len(row))] for row in table] for table in tables]
        return tuple(tuple(self._row([row[j] for row in table]) for table in padded) for j in range(width))


def _parts(scheme: OneStep) -> tuple[ButcherTableau, ...]:
    if isinstance(scheme, ButcherTableau):
        return (scheme,)
    if isinstance(scheme, AdditiveTableau):
        return tuple(scheme.parts)
    raise UnsupportedError(
        f"{getattr(scheme, 'title', scheme)}: rooted trees are for Runge-Kutta, partitioned and additive schemes; "
        "give a ButcherTableau or an AdditiveTableau"
    )


def _entries(part: ButcherTableau) -> list[Expr]:
    rows = [*part.A, part.b, part.c, part.b_error or (), *(part.dense or ())]
    return [S(entry) for row in rows for entry in row]
