"""The analysis of a scheme for stochastic equations: its orders by the structure of the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from sympy import Integer, Rational

from derive.latex import latex
from derive.schemes import ButcherTableau
from derive.schemes.stochastic import STRUCTURES, StochasticRungeKutta
from derive.series.rk import order
from derive.stochastic.orders import LARGEST_STRONG, LARGEST_WEAK, Obstruction, StochasticOrders, stochastic_orders

CALCULI = {"ito": "Ito", "stratonovich": "Stratonovich"}


class StochasticAnalysis:
    """Orders of a scheme for stochastic equations, exactly.

    Attributes:
        scheme: what is analysed.
        label: "exact".
    """

    label = "exact"

    def __init__(self, scheme: StochasticRungeKutta) -> None:
        self.scheme = scheme

    @cached_property
    def orders(self) -> StochasticOrders:
        """Strong and weak orders, and what keeps them from more."""
        return stochastic_orders(self.scheme)

    @property
    def strong_order(self) -> dict[str, Rational]:
        """Structure of the noise -> p: paths err by O(h^p) in the mean square."""
        return {name: Rational(value.numerator, value.denominator) for name, value in self.orders.strong.items()}

    @property
    def weak_order(self) -> dict[str, Rational]:
        """Structure of the noise -> q: means of smooth functions of the state err by O(h^q)."""
        return {name: Rational(value.numerator, value.denominator) for name, value in self.orders.weak.items()}

    @property
    def strong_obstructions(self) -> dict[str, Obstruction]:
        """Structure of the noise -> the first condition of a larger strong order that fails."""
        return self.orders.strong_obstructions

    @property
    def weak_obstructions(self) -> dict[str, Obstruction]:
        """Structure of the noise -> the first condition of a larger weak order that fails."""
        return self.orders.weak_obstructions

    @property
    def order_without_noise(self) -> Integer:
        """Order on x' = f(x), where the diffusion is zero."""
        return Integer(order(without_noise(self.scheme)))

    def rows(self) -> list[tuple[str, object]]:
        """Name and value of every verdict."""
        return [
            ("calculus", CALCULI[self.scheme.calculus]),
            ("strong order", grouped(self.strong_order)),
            ("weak order", grouped(self.weak_order)),
            ("order without noise", self.order_without_noise),
        ]

    def rows_shown(self) -> list[tuple[str, str]]:
        """`rows` as text."""
        return [(name, str(value)) for name, value in self.rows()]

    def reasons(self, structures: Sequence[str] = STRUCTURES) -> list[tuple[str, str]]:
        """Structures of the noise, and what stands in the way of more of both orders."""
        found: dict[str, list[str]] = {}
        for kind, why, largest in (
            ("strong", self.strong_obstructions, LARGEST_STRONG),
            ("weak", self.weak_obstructions, LARGEST_WEAK),
        ):
            for name in structures:
                text = f"no {kind} order {why[name].order}: {why[name]}" if name in why else ""
                found.setdefault(text or f"{kind} orders are looked for up to {largest}", []).append(name)
        return [(", ".join(names), text) for text, names in found.items()]

    def __str__(self) -> str:
        """A table for the terminal."""
        width = max(len(name) for name, _ in self.rows())
        lines = [f"{self.scheme.title} ({self.label})"]
        lines += [f"  {name:<{width}}  {value}" for name, value in self.rows_shown()]
        return "\n".join([*lines, *(f"  {names} noise: {text}" for names, text in self.reasons())])

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        """The same for notebooks."""
        lines = [f"**{self.scheme.title}** ({self.label})", "", "| | |", "|---|---|"]
        lines += [
            f"| {name} | {value if isinstance(value, str) else f'${latex(value)}$'} |" for name, value in self.rows()
        ]
        return "\n".join([*lines, *(f"| {names} noise | {text} |" for names, text in self.reasons())])


def without_noise(scheme: StochasticRungeKutta) -> ButcherTableau:
    """The Runge-Kutta scheme that is left where the diffusion is zero."""
    return ButcherTableau(A=scheme.A, b=scheme.alpha, c=scheme.nodes, title=f"{scheme.title} without noise")


def grouped(orders: Mapping[str, object]) -> str:
    """Orders with the structures of the noise that have them."""
    values = dict.fromkeys(orders.values())
    return ", ".join(f"{value} ({', '.join(n for n in STRUCTURES if orders[n] == value)})" for value in values)
