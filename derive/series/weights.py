r"""Elementary weights of Runge-Kutta, partitioned and additive schemes, exactly.

The stages are $X_i = x + h \sum_p \sum_j a^{[p]}_{ij} f_p(X_j)$. A tree $\tau = [\tau_1 \dots \tau_m]_p$
has the stage values $g_i(\tau) = \prod_k \sum_j a^{[p_k]}_{ij} g_j(\tau_k)$, $p_k$ the colour of the root of $\tau_k$,
and the weight $\Phi(\tau) = \sum_i b^{[p]}_i g_i(\tau)$ (Hairer, Norsett, Wanner, Solving ODEs I, II.2 and II.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from sympy import Expr, Rational, S

from derive.errors import UnsupportedError
from derive.series.bseries import BSeries
from derive.series.domains import Element, arithmetic_of, dot, exact
from derive.series.trees import Tree, density

if TYPE_CHECKING:  # tables are read as plain ones: schemes check the orders they claim by these weights
    from derive.schemes.additive import AdditiveTableau
    from derive.schemes.runge_kutta import ButcherTableau

Tableau: TypeAlias = "ButcherTableau | AdditiveTableau"
Weights = tuple[tuple[Element, ...], ...]


class Stages:
    """The stages of a tableau with their coefficients in a domain, and elementary weights of what is made of them.

    Attributes:
        scheme: the scheme.
        arithmetic: the field of the coefficients.
        colours: number of parts of the field.
        b: weights of the step, one tuple per part.
        b_error: those of the embedded scheme, or None.
        dense: `dense[j]` are the weights at theta^(j+1) of the dense output, or None where there is none or it needs
            stages of its own (`dense_tableau` of the scheme has them).

    Raises:
        UnsupportedError: the scheme has no tableaus.
    """

    def __init__(self, scheme: Tableau) -> None:
        parts = _parts(scheme)
        self.scheme = scheme
        self.colours = len(parts)
        self.arithmetic = arithmetic_of((exact(entry) for part in parts for entry in _entries(part)), scheme.digits)
        self.A = tuple(tuple(self._row(row) for row in part.A) for part in parts)
        self.b: Weights = tuple(self._row(part.b) for part in parts)
        self.b_error = self._embedded(parts)
        self.dense = self._dense(parts)
        self._values: dict[tuple[Tree, ...], tuple[Element, ...]] = {}
        self._increments: dict[Tree, tuple[Element, ...]] = {}

    @property
    def count(self) -> int:
        """Number of stages."""
        return len(self.b[0])

    def series(self, weights: Weights | None = None) -> BSeries:
        """The B-series of the step, or of other weights of the same stages."""
        return BSeries(self.arithmetic, self.colours, partial(self.weight, weights=weights))

    def weight(self, tau: Tree, weights: Weights | None = None) -> Element:
        """Phi(tau) of the step, or of other weights of the same stages."""
        chosen = self.b if weights is None else weights
        return dot(chosen[tau.colour], self._stage_values(tau.branches), self.arithmetic.domain.zero)

    def residual(self, tau: Tree, weights: Weights | None = None) -> Element:
        """1/gamma(tau) - Phi(tau): what the order condition of a tree lacks."""
        return self.arithmetic.rational(Rational(1, density(tau))) - self.weight(tau, weights)

    def vanishes(self, residual: Element) -> bool:
        """Whether a residual is zero, or small enough for published decimals."""
        return self.arithmetic.vanishes(residual)

    def _stage_values(self, branches: tuple[Tree, ...]) -> tuple[Element, ...]:
        if branches not in self._values:
            self._values[branches] = self._product(branches)
        return self._values[branches]

    def _product(self, branches: tuple[Tree, ...]) -> tuple[Element, ...]:
        if not branches:
            return (self.arithmetic.domain.one,) * self.count
        *others, last = branches
        return tuple(a * b for a, b in zip(self._stage_values(tuple(others)), self.increments(last), strict=True))

    def increments(self, tau: Tree) -> tuple[Element, ...]:
        """The B-series of X_i - x at a tree, for every stage i."""
        if tau not in self._increments:
            values, zero = self._stage_values(tau.branches), self.arithmetic.domain.zero
            self._increments[tau] = tuple(dot(row, values, zero) for row in self.A[tau.colour])
        return self._increments[tau]

    def _row(self, row: Sequence[Any]) -> tuple[Element, ...]:
        return tuple(self.arithmetic.element(exact(S(entry))) for entry in row)

    def _embedded(self, parts: Sequence[ButcherTableau]) -> Weights | None:
        rows = [part.b_error for part in parts if part.b_error is not None]
        return tuple(self._row(row) for row in rows) if len(rows) == len(parts) else None

    def _dense(self, parts: Sequence[ButcherTableau]) -> tuple[Weights, ...] | None:
        tables = [part.dense for part in parts if part.dense is not None and not part.dense_stages]
        if len(tables) != len(parts):
            return None
        width = max(len(row) for table in tables for row in table)
        padded = [[[*row, *[0] * (width - len(row))] for row in table] for table in tables]
        return tuple(tuple(self._row([row[j] for row in table]) for table in padded) for j in range(width))


def _parts(scheme: Tableau) -> tuple[ButcherTableau, ...]:
    parts = getattr(scheme, "parts", (scheme,))
    if isinstance(parts, tuple) and all(hasattr(part, "A") for part in parts):
        return parts
    raise UnsupportedError(
        f"{getattr(scheme, 'title', scheme)}: elementary weights are for Runge-Kutta, partitioned and additive "
        "schemes; give a ButcherTableau or an AdditiveTableau"
    )


def _entries(part: ButcherTableau) -> list[Expr]:
    rows = [*part.A, part.b, part.b_error or (), *(part.dense or ())]
    return [S(entry) for row in rows for entry in row]
