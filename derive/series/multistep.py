r"""Order, local error and modified equation of linear multistep schemes.

Along a smooth solution of $\dot u = s f(u)$, $s = \sigma(1)/\rho'(1)$, it misses by $C_{p+1} h^{p+1} u^{(p+1)}$.
Its principal branch is the flow of a field b with $x(t + h) - \sum_j \alpha_j x(t - jh) = h \sum_j \beta_j
f(x(t - jh))$: at each tree this is linear in $b(\tau)$, with the coefficient $\rho'(1)$ (Hairer, Lubich, Wanner,
Geometric Numerical Integration, XV.2).
"""

from __future__ import annotations

from functools import cached_property
from math import factorial, prod

from sympy import Expr, Rational
from sympy.logic.boolalg import Boolean

from derive.schemes import LinearMultistep
from derive.series.bseries import BSeries
from derive.series.conditions import all_vanish
from derive.series.domains import Element, arithmetic_of, exact
from derive.series.modified import LieDerivatives
from derive.series.trees import Tree, density
from derive.series.verdicts import SeriesVerdicts


class MultistepVerdicts(SeriesVerdicts):
    """Order, local error and modified equation of a multistep scheme; each computed once.

    Attributes:
        scheme: the scheme.
    """

    def __init__(self, scheme: LinearMultistep) -> None:
        self.scheme = scheme
        alpha, beta = [exact(a) for a in scheme.alpha], [exact(b) for b in scheme.beta]
        self.arithmetic = arithmetic_of([*alpha, *beta])
        self._past = {-j: self.arithmetic.element(a) for j, a in enumerate(alpha)}
        self._slopes = {1 - j: self.arithmetic.element(b) for j, b in enumerate(beta)}
        one, zero = self.arithmetic.domain.one, self.arithmetic.domain.zero
        self._slope = one - sum((time * a for time, a in self._past.items()), zero)
        self._speed = sum(self._slopes.values(), zero) / self._slope

    def constant(self, q: int) -> Element:
        r"""C_q, the coefficient of h^q u^(q) in the residual along a solution of u' = s f, s = sigma(1)/rho'(1)."""
        total = self.arithmetic.rational(Rational(1, factorial(q)))
        for time, weight in self._past.items():
            total = total - weight * self.arithmetic.rational(Rational(time**q, factorial(q)))
        for time, weight in self._slopes.items():
            total = total - weight / self._speed * self.arithmetic.rational(Rational(time ** (q - 1), factorial(q - 1)))
        return total

    @property
    def limit(self) -> int:
        """An order that cannot be passed: as many conditions as weights, twice the number of steps."""
        return 2 * self.scheme.steps

    @cached_property
    def order(self) -> int:
        """The largest p with C_1 = ... = C_p = 0, for all values of the symbols."""
        reached = 0
        while not self.constant(reached + 1):
            reached += 1
        return reached

    def conditions(self, order: int) -> Boolean:
        """What the symbols must satisfy for an order: true, false, or equations, solved for a single symbol."""
        return all_vanish(self.arithmetic, (self.constant(q) for q in range(1, order + 1)))

    @cached_property
    def error_constant(self) -> Expr:
        """C_{p+1}."""
        return self.arithmetic.expression(self.constant(self.order + 1))

    @cached_property
    def error_constant_normalized(self) -> Expr:
        """C_{p+1}/rho'(1), which is C_{p+1}/sigma(1) of a scheme that is consistent with u' = f."""
        return self.arithmetic.expression(self.constant(self.order + 1) / self._slope)

    @cached_property
    def local_error(self) -> BSeries:
        """Exact minus numerical after one step from exact values of a solution of u' = s f."""

        def rule(tau: Tree) -> Element:
            scale = self.arithmetic.rational(Rational(factorial(tau.order), density(tau)))
            return scale * self.constant(tau.order) * self._speed**tau.order

        return BSeries(self.arithmetic, 1, rule)

    @cached_property
    def modified_field(self) -> BSeries:
        """The field (times h) whose flow the principal branch is."""

        def rule(tau: Tree) -> Element:
            right = self.arithmetic.domain.zero
            for time, weight in self._slopes.items():
                right = right + weight * prod((moved(branch, time) for branch in tau.branches), start=one)
            left = derivatives.beyond_first(tau)
            for time, weight in self._past.items():
                left = left - weight * derivatives.beyond_first(tau, time)
            return (right - left) / self._slope

        def moved(tau: Tree, time: int) -> Element:
            return time * field(tau) + derivatives.beyond_first(tau, time)

        one = self.arithmetic.domain.one
        field = BSeries(self.arithmetic, 1, rule, is_map=False)
        derivatives = LieDerivatives(field)
        return field
