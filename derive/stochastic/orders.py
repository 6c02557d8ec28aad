r"""Strong and weak order of a scheme, from its stochastic Taylor series against that of the solution.

Both sides are series over stochastic trees whose coefficients are iterated Stratonovich integrals. An Ito equation
enters by its Stratonovich form, whose drift is $f - \frac12 \sum_k Dg_k[g_k]$: a scheme for Ito equations evaluates
$f + \frac12 \sum_k Dg_k[g_k]$ where f is the drift of the trees.

Strong order p: the coefficients of all trees of order at most p are equal, and those of trees of order p + 1/2 are so
in the mean (Milstein, Tretyakov, Stochastic Numerics, theorem 1.1). Weak order q: the means of all products of
coefficients of total order at most q are equal (theorem 2.1 there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from sympy import Expr, Integer, Rational

from derive.schemes.stochastic import STRUCTURES, StochasticRungeKutta, stochastic_scheme
from derive.series.domains import arithmetic_of, exact
from derive.series.trees import Tree
from derive.stochastic.integrals import TIME, Integral, added, integrated, mean, product
from derive.stochastic.relations import conditions, conditions_on_means
from derive.stochastic.trees import written

MOTIONS = 2  # two Brownian motions show whatever any number of them shows in two pairs of increments
LARGEST_STRONG, LARGEST_WEAK = Fraction(3, 2), 2


@dataclass(frozen=True)
class Obstruction:
    """The first condition that does not hold.

    Attributes:
        order: what is not reached for it.
        differentials: the elementary differentials, several where a mean of a product differs.
        scheme, solution: what their coefficients are, in words.
        in_the_mean: whether means are compared.
    """

    order: Fraction
    differentials: tuple[str, ...]
    scheme: str
    solution: str
    in_the_mean: bool

    def __str__(self) -> str:
        what = "mean coefficient" if self.in_the_mean else "coefficient"
        return (
            f"{what} of {', '.join(self.differentials)}: {self.scheme} in the scheme, {self.solution} in the solution"
        )


@dataclass(frozen=True)
class StochasticOrders:
    """Orders by structure of the noise.

    Attributes:
        strong, weak: structure -> order.
        strong_obstructions, weak_obstructions: structure -> what keeps it from more; absent where nothing was found.
    """

    strong: dict[str, Fraction]
    weak: dict[str, Fraction]
    strong_obstructions: dict[str, Obstruction]
    weak_obstructions: dict[str, Obstruction]


@cache
def stochastic_orders(scheme: StochasticRungeKutta | str) -> StochasticOrders:
    """Strong and weak order of a scheme, for every structure of the noise."""
    series = Series(stochastic_scheme(scheme))
    strong, weak = ({name: search(series, name) for name in STRUCTURES} for search in (_strong, _weak))
    return StochasticOrders(
        {name: found for name, (found, _) in strong.items()},
        {name: found for name, (found, _) in weak.items()},
        {name: why for name, (_, why) in strong.items() if why},
        {name: why for name, (_, why) in weak.items() if why},
    )


class Series:
    """The coefficients of one step of a scheme and of the solution, tree by tree."""

    def __init__(self, scheme: StochasticRungeKutta) -> None:
        self.scheme = scheme
        self.arithmetic = arithmetic_of(map(exact, scheme.entries))

        def convert(entry: Expr) -> Any:
            return self.arithmetic.element(exact(entry))

        self.zero, self.one = self.arithmetic.domain.zero, self.arithmetic.domain.one
        self.half = self.arithmetic.rational(Rational(1, 2))
        self.A, self.B = ([[convert(e) for e in row] for row in rows] for rows in (scheme.A, scheme.B))
        self.alpha, self.beta = ([convert(e) for e in row] for row in (scheme.alpha, scheme.beta))
        self.gamma = convert(scheme.gamma)
        self.known: dict[tuple[Tree, int | None], Integral] = {}
        self.solved: dict[Tree, Integral] = {}

    def solution(self, tau: Tree) -> Integral:
        """The coefficient of a tree in the solution: the integral of the product of its branches'."""
        if tau not in self.solved:
            inner = product((self.solution(branch) for branch in tau.branches), self.one)
            self.solved[tau] = integrated(inner, tau.colour)
        return self.solved[tau]

    def of_scheme(self, tau: Tree, stage: int | None = None) -> Integral:
        """The coefficient of a tree in the value after the step, or in a stage."""
        if (tau, stage) not in self.known:
            drift, noise = (self.alpha, self.beta) if stage is None else (self.A[stage], self.B[stage])
            terms = [(w, self._drift(tau, j, TIME)) for j, w in enumerate(drift) if w != self.zero]
            if tau.colour:
                increment: Integral = {(tau.colour,): self.one}
                terms += [(w, self._at(tau.branches, j, increment)) for j, w in enumerate(noise) if w != self.zero]
            if stage is None and self.gamma != self.zero:
                terms += self._second(tau)
            self.known[tau, stage] = added(terms, self.zero)
        return self.known[tau, stage]

    def _at(self, branches: tuple[Tree, ...], stage: int, front: Integral) -> Integral:
        """A factor times the coefficients of all branches in a stage."""
        return product([front, *(self.of_scheme(branch, stage) for branch in branches)], self.one)

    def _drift(self, tau: Tree, stage: int, letter: tuple[int, ...]) -> Integral:
        """Coefficient in h times the drift that the scheme evaluates."""
        front = {letter: self.one}
        if tau.colour == 0:
            return self._at(tau.branches, stage, front)
        if self.scheme.calculus == "stratonovich":
            return {}
        return added(((self.half, self._at(rest, stage, front)) for rest in _corrections(tau)), self.zero)

    def _second(self, tau: Tree) -> list[tuple[Any, Integral]]:
        """The term with the second iterated integrals, which has trees of two vertices only."""
        if not tau.colour or len(tau.branches) != 1 or tau.branches[0].branches or not tau.branches[0].colour:
            return []
        pair = tau.branches[0].colour, tau.colour
        increments = product([{(letter,): self.one} for letter in pair], self.one)
        found = [(self.gamma * self.half, increments)]
        if self.scheme.calculus == "ito" and pair[0] == pair[1]:
            found.append((-self.gamma * self.half, {TIME: self.one}))
        return found

    def mean_of(self, side: Callable[[Tree], Integral], forest: Sequence[Tree]) -> Any:
        """The mean of the product of the coefficients of trees."""
        return mean(product(map(side, forest), self.one), self.arithmetic)

    def shown(self, integral: Integral) -> str:
        """A sum of iterated integrals as text."""
        terms = []
        for word, value in sorted(integral.items()):
            number = self.arithmetic.expression(value)
            name = "J_" + "".join(map(str, word)) if word else "1"
            terms.append(name if number == 1 else f"{number}*{name}")
        return " + ".join(terms) or "0"


def _corrections(tau: Tree) -> Iterator[tuple[Tree, ...]]:
    """The branches of Dg_k[g_k] at a tree: those of the root but one of its colour, and those of that one."""
    for place, branch in enumerate(tau.branches):
        if branch.colour == tau.colour:
            yield (*tau.branches[:place], *tau.branches[place + 1 :], *branch.branches)


def _strong(series: Series, structure: str) -> tuple[Fraction, Obstruction | None]:
    return _climb(lambda order: _strong_obstruction(series, structure, order), Fraction(1, 2), LARGEST_STRONG)


def _weak(series: Series, structure: str) -> tuple[Fraction, Obstruction | None]:
    return _climb(lambda order: _weak_obstruction(series, structure, order), Fraction(1), LARGEST_WEAK)


def _climb(
    obstruction: Callable[[Fraction], Obstruction | None], step: Fraction, largest: Fraction | int
) -> tuple[Fraction, Obstruction | None]:
    """The largest order that nothing stands in the way of."""
    reached = Fraction(0)
    while reached < largest:
        found = obstruction(reached + step)
        if found is not None:
            return reached, found
        reached += step
    return reached, None


def _motions(structure: str) -> int:
    return 1 if structure == "scalar" else MOTIONS


def _strong_obstruction(series: Series, structure: str, order: Fraction) -> Obstruction | None:
    last = int(2 * order)
    for size in range(1, last + 2):
        for condition in conditions(size, _motions(structure), structure):
            ours, exact = (
                added(((series.arithmetic.rational(c), side(tau)) for tau, c in condition), series.zero)
                for side in (series.of_scheme, series.solution)
            )
            gap = added([(series.one, ours), (-series.one, exact)], series.zero)
            in_the_mean = size == last + 1
            wrong = mean(gap, series.arithmetic) if in_the_mean else gap
            if wrong not in (series.zero, {}):
                words = tuple(_times(c, written(tau)) for tau, c in condition)
                return Obstruction(order, words, series.shown(ours), series.shown(exact), in_the_mean)
    return None


def _weak_obstruction(series: Series, structure: str, order: Fraction) -> Obstruction | None:
    for size in range(1, int(2 * order) + 1):
        for condition in conditions_on_means(size, _motions(structure), structure):
            ours, exact = (
                sum((series.arithmetic.rational(c) * series.mean_of(side, one) for one, c in condition), series.zero)
                for side in (series.of_scheme, series.solution)
            )
            if ours != exact:
                words = tuple(_times(c, " ".join(map(written, one))) for one, c in condition)
                return Obstruction(order, words, _power(series, ours, size), _power(series, exact, size), True)
    return None


def _times(factor: Any, name: str) -> str:
    return name if factor == 1 else f"{factor}*{name}"


def _power(series: Series, value: Any, size: int) -> str:
    """A mean, with the power of h that belongs to it."""
    number: Expr = series.arithmetic.expression(value)
    return f"{number}*h**{Integer(size) / 2}" if number else "0"
