"""How relations on optimal control are tested: pointwise with 60 digits, and along solutions by complex nudges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sympy import Expr, S

from derive.checks import IdentityCheck, central_difference, perturb, relative_difference, terms_of
from derive.control import OptimalControl
from derive.control_runs import ControlRun, Pass, Values
from derive.derivation import Outcome
from derive.evaluator import value_of
from derive.networks import Network
from derive.operators import Numeric
from derive.reverse_sweep import accented
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, by_name

Runs = Callable[[int], ControlRun]
Right = Callable[[Pass, Values, tuple[Expr, ...]], Any]
SEEDS = (0, 1)
ALONG = 1e-10


def runs_of(control: OptimalControl) -> Runs:
    """Seed -> a sample of the problem in numbers, each made once."""
    return cache(lambda seed: ControlRun(control, seed))


@dataclass(frozen=True)
class AlongCheck:
    """Formulas along solutions of random problems against what the cost functional itself does.

    Attributes:
        runs: seed -> problem in numbers.
        formulas: the expressions that the relation shows.
        left: a number or array by a route of its own.
        right: the same from the formulas.
        detail: how it is measured.
    """

    runs: Runs
    formulas: tuple[Expr, ...]
    left: Callable[[ControlRun], Numeric]
    right: Callable[[ControlRun, tuple[Expr, ...]], Numeric]
    detail: str = "complex nudges of the cost, integrated with order 8 in float64"
    tolerance: float = ALONG

    def run(self) -> Outcome:
        """Largest relative difference over the samples."""
        found = [(self.left(run), self.right(run, self.formulas)) for run in map(self.runs, SEEDS)]
        worst = max(relative_difference(*sides) for sides in found)
        return Outcome(worst, self.tolerance, f"{len(SEEDS)} random problems: {self.detail}")

    @property
    def terms(self) -> int:
        """Terms of all formulas."""
        return sum(map(terms_of, self.formulas))

    def perturbed(self, term: int = 0) -> AlongCheck:
        """With one term of one formula changed."""
        changed = list(self.formulas)
        for place, formula in enumerate(changed):
            if term < terms_of(formula):
                changed[place] = perturb(formula, term)
                break
            term -= terms_of(formula)
        return replace(self, formulas=tuple(changed))


def derivative_check(runs: Runs, about: Quantity, formulas: tuple[Expr, ...], right: Right) -> AlongCheck:
    """A derivative of the cost along a random change of one quantity; `right` computes it of the pass of one sample."""

    @cache
    def left(run: ControlRun) -> float:
        return run.derivative(run.direction.only(about))

    return AlongCheck(runs, formulas, left, lambda run, found: run.mean(lambda one, way: right(one, way, found)))


def variation(quantity: Quantity) -> Quantity:
    """What a quantity is changed by."""
    role = Role.TANGENT if quantity.role.batched else quantity.role
    return quantity.renamed(f"vary_{quantity.name}", rf"\delta {quantity.latex}", role)


def velocity(quantity: Quantity) -> Quantity:
    """The name of a quantity's derivative in time."""
    role = Role.TANGENT if quantity.role.batched else quantity.role
    return quantity.renamed(f"rate_{quantity.name}", accented(quantity.latex, r"\dot", r"\dot"), role)


def slope_check(value: Expr, moving: Mapping[Quantity, Quantity], right: Expr, less: Expr = S.Zero) -> IdentityCheck:
    """`right` against the derivative of a scalar along variations, by central differences, without what is `less`."""

    def left(values: Values, sampler: Sampler) -> Numeric:
        return slope(value, values, moving, sampler) - value_of(less, values, sampler.networks)

    return pointwise(left, right, value, less, *moving, *moving.values())


def slope(value: Expr, values: Values, moving: Mapping[Quantity, Quantity], sampler: Sampler) -> Numeric:
    """Derivative of a scalar along the sampled variations of its quantities, by central differences."""
    return central_difference(value, values, {q: values[way] for q, way in moving.items()}, sampler)


def pointwise(
    left: Expr | Callable[[dict[Quantity, Numeric], Sampler], Numeric], right: Expr, *mentioned: Expr
) -> IdentityCheck:
    """`left = right` at random points of everything that occurs in what is mentioned."""
    every = [right, *mentioned, *([left] if isinstance(left, Expr) else [])]
    quantities = set().union(*(value.atoms(Quantity) for value in every))
    networks = set().union(*(value.atoms(Network) for value in every))
    return IdentityCheck(left, right, tuple(by_name(quantities)), tuple(sorted(networks, key=lambda n: n.name)))
