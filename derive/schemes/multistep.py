r"""Linear multistep schemes $x_{n+1} = \sum_j \alpha_j x_{n-j} + h \sum_{j \ge -1} \beta_j f_{n-j}$."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sympy import Expr, Rational, factor, factorial, sympify

from derive.errors import SpecError
from derive.schemes.arguments import check_counts, keep_rows
from derive.schemes.claims import multistep_claims
from derive.schemes.consistency import multistep_findings
from derive.schemes.findings import Finding, refuse
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.tables.explicit import forward_euler


@dataclass(frozen=True)
class Start:
    """How the first steps of a multistep scheme are made.

    Attributes:
        scheme: the one-step scheme.
        effective: step along the field that the multistep scheme is consistent with, where that is not f itself.

    Raises:
        SpecError: the scheme is no Butcher tableau.
    """

    scheme: ButcherTableau = field(default_factory=forward_euler)
    effective: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, ButcherTableau):
            raise SpecError(
                f"a start's scheme is {self.scheme!r}; give a ButcherTableau: one of your own, "
                "or a shipped one by scheme_by_name, as in Start(scheme_by_name('heun'))"
            )


@dataclass(frozen=True)
class LinearMultistep:
    """A linear multistep scheme.

    Attributes:
        alpha: weights of x_n, x_{n-1}, ...
        beta: weights of f_{n+1}, f_n, f_{n-1}, ...: one more than alpha.
        start: name -> how the first steps are made; the first is the default. Without any, they are made by the
            smallest shipped one-step scheme that keeps the order (`derive.starts`).
        order: the order it claims, where it claims one.
        title: its usual name.

    Raises:
        SpecError: sizes that do not fit, weights alpha that do not sum to 1, weights beta that are all 0, or a claimed
            order that is not reached.
    """

    alpha: Sequence[Any]
    beta: Sequence[Any]
    start: Mapping[str, Start] = field(default_factory=dict, hash=False)
    order: int | None = None
    title: str = "linear multistep"

    def __post_init__(self) -> None:
        wrong = [f"{name!r}: {start!r}" for name, start in self.start.items() if not isinstance(start, Start)]
        if wrong:
            raise SpecError(
                f"{self.title}: start is {', '.join(wrong)}; give names with Start(...), as {{'own': Start()}}"
            )
        keep_rows(self, "alpha", "beta")
        check_counts(self)
        refuse(self.title, self.findings())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the weights: how many, their sum, a claimed order that they have not."""
        wrong = list(multistep_findings(self))
        yield from wrong
        if not wrong:
            yield from multistep_claims(self)

    @property
    def explicit(self) -> bool:
        """Whether f_{n+1} does not enter."""
        return self.beta[0] == 0

    @property
    def steps(self) -> int:
        """Number of past values."""
        return len(self.alpha)

    @property
    def lags(self) -> int:
        """How many consecutive times enter the step before the new one: weights that vanish at the end do not count."""
        return 1 + max((j for j, (a, b) in enumerate(zip(self.alpha, self.beta[1:], strict=True)) if a != 0 or b != 0))

    @cached_property
    def derived_order(self) -> int:
        """The largest p with C_1 = ... = C_p = 0, identically in its symbols."""
        p = 0
        while self.error_constant(p + 1) == 0:
            p += 1
        return p

    def characteristic(self, zeta: Expr, z: Expr | int = 0) -> Expr:
        """rho(zeta) - z sigma(zeta), the characteristic polynomial on x' = lambda x with z = h lambda."""
        top = self.steps
        left = zeta**top - sum(weight * zeta ** (top - 1 - j) for j, weight in enumerate(self.alpha))
        right = sum(weight * zeta ** (top - j) for j, weight in enumerate(self.beta))
        return sympify(left - z * right)

    @cached_property
    def speed(self) -> Expr:
        """sigma(1)/rho'(1): the scheme is consistent with x' = speed * f."""
        return factor(sum(self.beta) / self.slope)

    @cached_property
    def slope(self) -> Expr:
        """rho'(1)."""
        return factor(self.steps - sum(weight * (self.steps - 1 - j) for j, weight in enumerate(self.alpha)))

    def error_constant(self, q: int) -> Expr:
        """C_q: the coefficient of h^q u^(q) in the local residual along a solution of u' = speed * f."""
        past = sum(weight * Rational(-j) ** q for j, weight in enumerate(self.alpha))
        if q == 0:
            return factor(1 - past)
        slopes = sum(weight * (Rational(1 - j) ** (q - 1) if q > 1 else 1) for j, weight in enumerate(self.beta))
        return factor((1 - past) / factorial(q) - slopes / (self.speed * factorial(q - 1)))
