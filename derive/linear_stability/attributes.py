"""Linear stability as attributes of an analysis: each is computed, with its proof, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from sympy import Expr, ImmutableMatrix, Symbol

from derive.linear_stability.functions import Scheme, stability_function, stability_polynomial
from derive.linear_stability.verdicts import (
    a_stability,
    alpha_stability,
    imaginary_interval,
    l_stability,
    real_interval,
    zero_stability,
)
from derive.verdict import Verdict, decided

DECISIONS: dict[str, Callable[[Scheme], Verdict]] = {
    "real_interval": real_interval,
    "imaginary_interval": imaginary_interval,
    "is_a_stable": a_stability,
    "is_l_stable": l_stability,
    "alpha_stability": alpha_stability,
    "is_zero_stable": zero_stability,
}


class StabilityAttributes:
    """Verdicts of linear stability on a scheme; None where a notion does not apply or is not decided.

    Not decided is what depends on two symbols or more in a way that no rule covers, and ends of intervals or sectors
    that are roots of high degree in a symbol: then `stability_verdict(name).undecided` says why.

    Attributes:
        scheme: what is analysed.
    """

    scheme: Scheme

    @property
    def stability_function(self) -> Expr | ImmutableMatrix | None:
        """R(z) of a Runge-Kutta scheme; the propagation matrix of the oscillator in z = h omega of one in two parts."""
        return stability_function(self.scheme, Symbol("z"))

    @property
    def stability_polynomial(self) -> Expr | None:
        """The polynomial in zeta whose roots are the factors of one step at z; rho - z sigma of a multistep scheme."""
        return stability_polynomial(self.scheme, Symbol("zeta"), Symbol("z"))

    @cached_property
    def _stability(self) -> dict[str, Verdict]:
        return {}

    def stability_verdict(self, name: str) -> Verdict:
        """Value and proof of one of the verdicts below, by its name."""
        if name not in self._stability:
            self._stability[name] = decided(partial(DECISIONS[name], self.scheme))
        return self._stability[name]

    @property
    def real_interval(self) -> Any:
        """(left, 0): closure of the component of the stability region on the real axis that contains 0."""
        return self.stability_verdict("real_interval").value

    @property
    def imaginary_interval(self) -> Any:
        """(-w, w): the same on the imaginary axis, of h omega in two parts."""
        return self.stability_verdict("imaginary_interval").value

    @property
    def is_a_stable(self) -> Any:
        """Whether the region contains Re z <= 0, or where it does."""
        return self.stability_verdict("is_a_stable").value

    @property
    def is_l_stable(self) -> Any:
        """A-stable with all factors 0 at infinity."""
        return self.stability_verdict("is_l_stable").value

    @property
    def alpha_stability(self) -> Any:
        """Largest alpha of A(alpha)-stability; pi/2 for A-stable schemes, 0 where no sector is stable."""
        return self.stability_verdict("alpha_stability").value

    @property
    def is_zero_stable(self) -> Any:
        """The root condition of rho; one-step schemes satisfy it."""
        return self.stability_verdict("is_zero_stable").value
