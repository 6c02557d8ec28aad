"""How relations are tested: each by a route other than the one that produced it, at 60 digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import mpmath
import numpy as np
from sympy import Add, Expr, Rational

from derive.derivation import Check, Outcome
from derive.evaluator import evaluate, value_of
from derive.functions import step
from derive.networks import Network
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.reverse_sweep import Adjoint
from derive.sampling import Sampler, TanhNetwork
from derive.symbols import Quantity

DIGITS = 60
NUDGE = "1e-20"
IDENTITY_TOLERANCE = 1e-30
SMALLEST_SIZE = mpmath.mpf("1e-6")
PERTURBATION = Rational(1001, 1000)
POINTS_AT_KINKS = 4  # at one all slopes may be zero


def terms_of(expression: Expr) -> int:
    """How many coefficients of an expression can be changed: one per term of a sum."""
    return len(Add.make_args(expression))


def perturb(expression: Expr, term: int = 0) -> Expr:
    """One coefficient of an expression changed by a thousandth: that of one term of a sum, or of anything else."""
    terms = list(Add.make_args(expression))
    terms[term] = terms[term] * PERTURBATION if terms[term] != 0 else Rational(1, 1000)
    return Add(*terms)


def relative_difference(left: Numeric, right: Numeric) -> float:
    """Norm of the difference over the norm of both sides, which counts as 1e-6 at least (samples are of size 1)."""
    a, b = (np.ravel(np.asarray(side, dtype=object)) for side in (left, right))
    difference, size = (mpmath.sqrt(sum(abs(entry) ** 2 for entry in side)) for side in (a - b, [*a, *b]))
    return float(difference / max(size, SMALLEST_SIZE))


def central_difference(
    expression: Expr, values: Mapping[Quantity, Numeric], moving: Mapping[Quantity, Numeric], sampler: Sampler
) -> Numeric:
    """Derivative of an expression along velocities of its quantities, by central differences (error 1e-40)."""
    nudge = mpmath.mpf(NUDGE)
    ahead, behind = (
        value_of(
            expression, {**values, **{q: values[q] + sign * nudge * v for q, v in moving.items()}}, sampler.networks
        )
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * nudge)


@dataclass(frozen=True)
class StationarityCheck:
    """A line of an adjoint program against central differences of the seeded outputs of the primal (error 1e-40).

    Attributes:
        primal, adjoint: the two programs.
        line: the line under test; it stands in for the adjoint's own.
        about: the primal quantity whose cotangent the line computes.
    """

    primal: Program
    adjoint: Adjoint
    line: Assignment
    about: Quantity

    def run(self) -> Outcome:
        """Measure <bar_v, w> against the difference quotient along a random w; beside a kink at several points."""
        points = POINTS_AT_KINKS if self.line.value.has(step) else 1
        with mpmath.workdps(DIGITS):
            worst = max(self._at(seed) for seed in range(points))
        return Outcome(worst, IDENTITY_TOLERANCE, "central differences, 60 digits")

    def _at(self, seed: int) -> float:
        point = _point(self.primal, self.adjoint.program, seed)
        seeds = tuple(self.adjoint.seeds.items())
        direction, quotient = _difference_quotient(self.primal, self.adjoint.program, seeds, self.about, seed)
        return relative_difference(np.sum(self._bar(point) * direction), quotient)

    def _bar(self, point: _Point) -> Numeric:
        """What the line gives with the lines before it; one of a system of equations is solved anew with the others."""
        program = self.adjoint.program
        if self.line in program.assignments:
            return point.bars[self.line.target]
        if self.line.solve is None:
            read = {**point.known, **point.bars}
            alone = Program(tuple(q for q in read if q != self.line.target), (self.line,), ())
            return evaluate(alone, read, point.networks)[self.line.target]
        lines = tuple(self.line if line.target == self.line.target else line for line in program.assignments)
        changed = Program(program.inputs, lines, program.outputs)
        return evaluate(changed, point.known, point.networks)[self.line.target]

    @property
    def terms(self) -> int:
        """Coefficients of the line."""
        return terms_of(self.line.value)

    def perturbed(self, term: int = 0) -> StationarityCheck:
        """With one coefficient of the line changed."""
        return replace(self, line=replace(self.line, value=perturb(self.line.value, term)))


@dataclass(frozen=True)
class _Point:
    """A random point: quantities of the primal, cotangents by its adjoint, and where the sampler stands then."""

    known: Mapping[Quantity, Numeric]
    bars: Mapping[Quantity, Numeric]
    networks: Mapping[Network, TanhNetwork]
    sampler: Sampler

    def direction(self, about: Quantity) -> Numeric:
        """The next value of the sampler, the same for everyone who asks."""
        return deepcopy(self.sampler).value(about)


@lru_cache(maxsize=POINTS_AT_KINKS)
def _point(primal: Program, adjoint: Program, seed: int) -> _Point:
    """Kept for the other lines of the adjoint."""
    sampler = _sampler(primal, adjoint, seed=seed)
    values = sampler.values()
    known = {**values, **evaluate(primal, values, sampler.networks)}
    return _Point(known, evaluate(adjoint, known, sampler.networks), sampler.networks, sampler)


@lru_cache(maxsize=POINTS_AT_KINKS)
def _difference_quotient(
    primal: Program, adjoint: Program, seeds: tuple[tuple[Quantity, Quantity], ...], about: Quantity, seed: int
) -> tuple[Numeric, Numeric]:
    """A direction and the derivative of the seeded outputs along it; kept for other values of the same line."""
    point, nudge = _point(primal, adjoint, seed), mpmath.mpf(NUDGE)
    direction = point.direction(about)

    def functional(amount: Any) -> Any:
        outputs = _evaluate_nudged(primal, point.known, about, amount * direction, point.networks)
        return sum(np.sum(point.known[bar] * outputs[q]) for q, bar in seeds)

    return direction, (functional(nudge) - functional(-nudge)) / (2 * nudge)


def _evaluate_nudged(
    program: Program,
    values: Mapping[Quantity, Numeric],
    about: Quantity,
    nudge: Numeric,
    networks: Mapping[Network, TanhNetwork],
) -> dict[Quantity, Numeric]:
    """All quantities when `about` is pushed by `nudge` right after it is formed, or where it stands in an equation."""
    given = {q: values[q] for q in program.inputs}
    if about in program.inputs:
        return evaluate(program, {**given, about: values[about] + nudge}, networks)
    extra = about.renamed(f"nudge_{len(program.targets)}")
    lines = (replace(line, value=line.value + extra) if line.target == about else line for line in program.assignments)
    return evaluate(Program((*program.inputs, extra), tuple(lines), ()), {**given, extra: nudge}, networks)


Left: TypeAlias = Expr | Callable[[dict[Quantity, Numeric], Sampler], Numeric]


@dataclass(frozen=True)
class IdentityCheck:
    """Two sides at random points, the left one by a route of its own.

    Attributes:
        left: an expression, or a function of the sampled values and the sampler.
        right: the expression the relation shows.
        quantities: what is sampled.
        networks: opaque networks that get a stand-in.
        given: quantities that are computed from the sampled ones first.
        changed: whether a coefficient of the right side is; the left one, the same for all such, is then kept.
    """

    left: Left
    right: Expr
    quantities: tuple[Quantity, ...]
    networks: tuple[Network, ...] = ()
    given: Program | None = None
    tolerance: float = IDENTITY_TOLERANCE
    points: int = 3
    changed: bool = False

    def run(self) -> Outcome:
        """Largest relative difference over the points."""
        with mpmath.workdps(DIGITS):
            worst = max(self._at(seed) for seed in range(self.points))
        return Outcome(worst, self.tolerance, f"{self.points} random points, {DIGITS} digits")

    def _at(self, seed: int) -> float:
        side = _kept_left_side if self.changed else _left_side
        sampler, values, left = side(_Itself(self.left), self.quantities, self.networks, self.given, seed)
        return relative_difference(left, value_of(self.right, values, sampler.networks))

    @property
    def terms(self) -> int:
        """Coefficients of the right side."""
        return terms_of(self.right)

    def perturbed(self, term: int = 0) -> IdentityCheck:
        """With one coefficient of the right side changed."""
        return replace(self, right=perturb(self.right, term), changed=True)


class _Itself:
    """Something that equals itself alone, whatever it is."""

    def __init__(self, value: Left) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _left_side(
    of: _Itself, quantities: tuple[Quantity, ...], networks: tuple[Network, ...], given: Program | None, seed: int
) -> tuple[Sampler, dict[Quantity, Numeric], Numeric]:
    """A random point and the left side there."""
    left = of.value
    sampler = Sampler(quantities, networks, seed)
    values: dict[Quantity, Numeric] = sampler.values()
    if given is not None:
        values = {**values, **evaluate(given, values, sampler.networks)}
    side = value_of(left, values, sampler.networks) if isinstance(left, Expr) else left(values, sampler)
    return sampler, values, side


_kept_left_side = lru_cache(maxsize=8)(_left_side)


@dataclass(frozen=True)
class ProgramCheck:
    """Two programs computed from one sample must give the same quantities.

    Attributes:
        left: computes the first of each of the `pairs` from the sample.
        right: computes the second of each, and may read what `left` computed.
        pairs: what must be equal.
    """

    left: Program
    right: Program
    pairs: tuple[tuple[Quantity, Quantity], ...]
    tolerance: float = IDENTITY_TOLERANCE

    def run(self) -> Outcome:
        """Largest relative difference over the pairs."""
        with mpmath.workdps(DIGITS):
            sampler = _sampler(self.left, self.right)
            given = {q: v for q, v in sampler.values().items() if q not in self.left.targets}
            first = {**given, **evaluate(self.left, given, sampler.networks)}
            second = evaluate(self.right, first, sampler.networks)
            worst = max(relative_difference(first[a], second[b]) for a, b in self.pairs)
            return Outcome(worst, self.tolerance, f"round trip at a random point, {DIGITS} digits")

    @property
    def terms(self) -> int:
        """Coefficients of the right program's last line."""
        return terms_of(self.right.assignments[-1].value)

    def perturbed(self, term: int = 0) -> ProgramCheck:
        """With one coefficient of the right program's last line changed."""
        *lines, last = self.right.assignments
        changed = (*lines, replace(last, value=perturb(last.value, term)))
        return replace(self, right=Program(self.right.inputs, changed, self.right.outputs))


@dataclass(frozen=True)
class ResidualCheck:
    """A claim that a truncated power series vanishes, coefficient by coefficient.

    Attributes:
        residual: coefficients -> norm of what should vanish, relative to what is in it.
        coefficients: the expressions the relation shows.
        detail: how it is measured.
    """

    residual: Callable[[tuple[Expr, ...]], float]
    coefficients: tuple[Expr, ...]
    detail: str = "truncated power series with a network of random weights, 60 digits"
    tolerance: float = IDENTITY_TOLERANCE

    def run(self) -> Outcome:
        """Measure the residual."""
        with mpmath.workdps(DIGITS):
            return Outcome(self.residual(self.coefficients), self.tolerance, self.detail)

    @property
    def terms(self) -> int:
        """Terms of all coefficients."""
        return sum(terms_of(coefficient) for coefficient in self.coefficients)

    def perturbed(self, term: int = 0) -> ResidualCheck:
        """With one term of one coefficient changed."""
        changed = list(self.coefficients)
        for place, coefficient in enumerate(changed):
            if term < terms_of(coefficient):
                changed[place] = perturb(coefficient, term)
                break
            term -= terms_of(coefficient)
        return replace(self, coefficients=tuple(changed))


@dataclass(frozen=True)
class SampledCheck:
    """An inequality, sampled on both sides of its boundary and on it.

    Attributes:
        disagreements: number of samples at which the claimed region and the property differ.
        region: the claimed region as data; perturbing moves its boundary.
        move: how the boundary is moved.
    """

    disagreements: Callable[[Any], int]
    region: Any
    move: Callable[[Any], Any] = field(repr=False)

    def run(self) -> Outcome:
        """Count disagreements."""
        with mpmath.workdps(DIGITS):
            return Outcome(float(self.disagreements(self.region)), 0.0, "sampled, boundary included")

    @property
    def terms(self) -> int:
        """The boundary is moved as a whole."""
        return 1

    def perturbed(self, term: int = 0) -> SampledCheck:
        """With the boundary moved."""
        return replace(self, region=self.move(self.region))


def bound_check(holds: Callable[[Any], bool], bound: Expr, *, at_bound: bool | None = None) -> SampledCheck:
    """That a property of positive numbers holds up to a bound and not beyond: sampled half and a thousandth away.

    Args:
        holds: the property.
        bound: the number.
        at_bound: whether it holds there too; not sampled if nothing is said of it.
    """

    def disagreements(claimed: Expr) -> int:
        with mpmath.workdps(DIGITS):
            edge = mpmath.mpf(str(claimed.evalf(DIGITS)))
            shares = map(mpmath.mpf, ("0.5", "0.999", "1.001", "2"))
            wrong = 0 if at_bound is None else int(holds(edge) != at_bound)
            return wrong + sum(holds(share * edge) != (share < 1) for share in shares)

    return SampledCheck(disagreements, bound, lambda claimed: claimed * Rational(51, 50))


@dataclass(frozen=True)
class DeferredCheck:
    """A check whose programs are derived only when it is run: showing and emitting do not need them."""

    build: Callable[[], Check]

    @cached_property
    def _built(self) -> Check:
        return self.build()

    def run(self) -> Outcome:
        """Build and measure."""
        return self._built.run()

    @property
    def terms(self) -> int:
        """Coefficients of the check that is built."""
        return self._built.terms

    def perturbed(self, term: int = 0) -> Check:
        """Build, and change one coefficient."""
        return self._built.perturbed(term)


def _sampler(*programs: Program, seed: int = 0) -> Sampler:
    computed = {q for program in programs for q in program.targets}
    inputs: Iterable[Quantity] = (q for program in programs for q in program.inputs)
    every = {*inputs, *computed}
    networks = {n for program in programs for n in program.networks()}
    return Sampler(every, networks, seed)
