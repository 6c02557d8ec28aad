"""Verdicts on one-step schemes by rooted trees: orders, local error, modified equation."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations_with_replacement
from math import factorial

from sympy import Expr, Rational
from sympy.logic.boolalg import Boolean

from derive.schemes import AdditiveTableau, ButcherTableau, Splitting
from derive.series.bseries import BSeries, difference, exact_flow, order_of
from derive.series.conditions import all_vanish
from derive.series.differentials import DifferentialTable
from derive.series.modified import modified_field
from derive.series.one_step import OneStep, step_series
from derive.series.trees import density, tree, trees, trees_up_to
from derive.series.verdicts import SeriesVerdicts
from derive.series.weights import Stages


class OneStepVerdicts(SeriesVerdicts):
    """Orders and local error of a Runge-Kutta, partitioned, additive or splitting scheme; each computed once.

    Attributes:
        scheme: the scheme.
        stages: its stages, where it has a tableau.
        series: the B-series of one step.
    """

    def __init__(self, scheme: OneStep) -> None:
        self.scheme = scheme
        self.stages = Stages(scheme) if isinstance(scheme, ButcherTableau | AdditiveTableau) else None
        self.series = step_series(scheme) if self.stages is None else self.stages.series()

    @cached_property
    def local_error(self) -> BSeries:
        """Exact minus numerical after one step."""
        return difference(exact_flow(self.series.arithmetic, self.series.colours), self.series)

    @property
    def limit(self) -> int:
        """An order that cannot be passed: twice the number of stages."""
        stages = self.scheme.stages
        return 2 * (stages if isinstance(stages, int) else len(stages))

    @cached_property
    def order(self) -> int:
        """The largest p for which every condition up to p holds, for all values of the symbols."""
        return order_of(self.series, self.limit)

    @cached_property
    def embedded_order(self) -> int | None:
        """Order of the embedded scheme; None where there is none."""
        if self.stages is None or self.stages.b_error is None:
            return None
        return order_of(self.stages.series(self.stages.b_error), self.limit)

    @cached_property
    def stage_order(self) -> int | None:
        r"""The largest q, at most the order, for which stages and step integrate polynomials of degree q - 1 exactly.

        $\sum_j a^{[p]}_{ij} \prod_l c^{[p_l]}_j = \bigl(c^{[p]}_i\bigr)^k / k$ for every k up to q, all parts p and
        $p_1, ..., p_{k-1}$; None for splittings.
        """
        if self.stages is None:
            return None
        reached = 0
        while reached < self.order and self._stages_reach(self.stages, reached + 1):
            reached += 1
        return reached

    @staticmethod
    def _stages_reach(stages: Stages, degree: int) -> bool:
        arithmetic, parts = stages.arithmetic, range(stages.colours)
        per_degree = arithmetic.rational(Rational(1, degree))
        for part in parts:
            nodes = stages.increments(tree(colour=part))
            for leaves in combinations_with_replacement(parts, degree - 1):
                found = stages.increments(tree(*(tree(colour=leaf) for leaf in leaves), colour=part))
                gaps = (value - node**degree * per_degree for value, node in zip(found, nodes, strict=True))
                if not all(arithmetic.vanishes(gap) for gap in gaps):
                    return False
        return True

    @cached_property
    def dense_order(self) -> int | None:
        """The largest p for which the dense output errs by O(h^(p+1)) at every theta; None where there is none."""
        if isinstance(self.scheme, Splitting):
            return None
        whole = self.scheme.dense_tableau
        stages = self.stages if whole is self.scheme else Stages(whole)
        if stages is None or stages.dense is None:
            return None
        powers = [stages.series(weights) for weights in stages.dense]
        reached = 0
        while reached < self.limit and _dense_holds(powers, reached + 1):
            reached += 1
        return reached

    @cached_property
    def error_constant(self) -> Expr | None:
        """C with a principal error of C h^(p+1) u^(p+1); None where it is no multiple of that derivative.

        The derivative is the sum of q!/gamma F/sigma over the trees of q = p + 1 vertices, of all colours.
        """
        arithmetic, q = self.series.arithmetic, self.order + 1
        constants = (
            self.local_error(tau) * arithmetic.rational(Rational(density(tau), factorial(q)))
            for tau in trees(q, self.series.colours)
        )
        first = next(constants)
        if not all(arithmetic.vanishes(constant - first) for constant in constants):
            return None
        return arithmetic.expression(first)

    @property
    def error_constant_normalized(self) -> Expr | None:
        """The same: sigma(1) of a one-step scheme is 1."""
        return self.error_constant

    def conditions(self, order: int) -> Boolean:
        """What the symbols must satisfy for an order: true, false, or equations, solved for a single symbol."""
        taus = trees_up_to(order, self.series.colours)
        return all_vanish(self.series.arithmetic, (self.local_error(tau) for tau in taus))

    @cached_property
    def modified_field(self) -> BSeries:
        """The field (times h) whose flow is the step."""
        return modified_field(self.series)


def _dense_holds(powers: list[BSeries], size: int) -> bool:
    """Whether sum_j theta^j (series j) is theta^size/gamma on all trees of that size."""
    if len(powers) < size:
        return False
    arithmetic, colours = powers[0].arithmetic, powers[0].colours
    for tau in trees(size, colours):
        wanted = arithmetic.rational(Rational(1, density(tau)))
        for power, series in enumerate(powers, start=1):
            gap = series(tau) - wanted if power == size else series(tau)
            if not arithmetic.vanishes(gap):
                return False
    return True


def order(scheme: OneStep) -> int:
    """The largest p for which every order condition up to p holds, for all values of the scheme's symbols."""
    return OneStepVerdicts(scheme).order


def stage_order(scheme: OneStep) -> int | None:
    """Order to which every stage, seen as a step of its own, is exact on polynomials; None for splittings."""
    return OneStepVerdicts(scheme).stage_order


def embedded_order(scheme: OneStep) -> int | None:
    """Order of the embedded scheme; None where there is none."""
    return OneStepVerdicts(scheme).embedded_order


def dense_order(scheme: OneStep) -> int | None:
    """Order of the dense output at every theta; None where there is none."""
    return OneStepVerdicts(scheme).dense_order


def error_terms(scheme: OneStep, power: int) -> DifferentialTable:
    """Coefficients of h^power in the local error, exact minus numerical."""
    return OneStepVerdicts(scheme).error_terms(power)


def principal_error(scheme: OneStep) -> DifferentialTable:
    """Coefficients of h^(p+1) in the local error, p the order."""
    return OneStepVerdicts(scheme).principal_error


def modified_equation(scheme: OneStep, order: int) -> dict[int, DifferentialTable]:
    """Power of h -> its terms in the field whose flow is the step, up to h^order."""
    return OneStepVerdicts(scheme).modified_equation(order)


def conditions(scheme: OneStep, order: int) -> Boolean:
    """What the scheme's symbols must satisfy for an order: true, false, or equations, solved for a single symbol."""
    return OneStepVerdicts(scheme).conditions(order)
