"""Random polynomial fields around the origin, their elementary differentials, and fields with conserved quantities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from math import factorial, prod
from random import Random
from typing import Any

import mpmath

from derive.scheme_report.series_maps import Number, Point, VectorField
from derive.series.trees import Tree

Exponents = tuple[int, ...]


class PolynomialField:
    """A field whose components are random polynomials; callable on points.

    Args:
        dimension: number of components.
        degree: of the polynomials.
        seed: of the random coefficients.
        reads: numbers of the unknowns it reads; default: as many as components.
    """

    def __init__(self, dimension: int, degree: int, seed: int, reads: Sequence[int] | None = None) -> None:
        random = Random(seed)
        self.reads = list(range(dimension)) if reads is None else list(reads)
        self.degree = degree
        self.exponents = [e for e in product(range(degree + 1), repeat=len(self.reads)) if sum(e) <= degree]
        self.partials = [{e: _random(random) for e in self.exponents} for _ in range(dimension)]

    def __call__(self, point: Point) -> Point:
        """Values of the components."""
        return self.partial(point, (0,) * len(self.reads))

    def partial(self, point: Point, order: Exponents) -> Point:
        """The partial derivatives of the components."""
        powers = _monomials([point[i] for i in self.reads], self.degree - sum(order))
        places = [
            (power, tuple(a + b for a, b in zip(exponents, order, strict=True)), prod(map(factorial, exponents)))
            for exponents, power in powers.items()
        ]
        return [self._sum(component, places) for component in self.partials]

    @staticmethod
    def _sum(component: dict[Exponents, Number], places: Sequence[tuple[Any, Exponents, int]]) -> Any:
        total: Any = 0
        for power, raised, orders in places:
            total = power * (component[raised] / orders) + total
        return total


def _random(random: Random) -> Number:
    """A number of size about one, never small."""
    return mpmath.mpf(random.choice((-1, 1)) * random.randint(40, 160)) / 100


def _monomials(values: Sequence[Any], degree: int) -> dict[Exponents, Any]:
    """Exponents -> product of powers, up to a degree."""
    one = 0 * values[0] + 1
    found = {(0,) * len(values): one}
    for _ in range(degree):
        for exponents, value in list(found.items()):
            for place, factor in enumerate(values):
                raised = (*exponents[:place], exponents[place] + 1, *exponents[place + 1 :])
                if raised not in found and sum(raised) <= degree:
                    found[raised] = value * factor
    return found


def contracted(field: PolynomialField, point: Point, branches: Sequence[Point]) -> Point:
    """The derivative of a field, applied to as many vectors."""
    directions: dict[Exponents, Any] = {(0,) * len(field.reads): 1}
    for branch in branches:
        after: dict[Exponents, Any] = {}
        for exponents, value in directions.items():
            for place, unknown in enumerate(field.reads):
                raised = (*exponents[:place], exponents[place] + 1, *exponents[place + 1 :])
                after[raised] = branch[unknown] * value + after.get(raised, 0)
        directions = after
    total = [0 * point[0] for _ in field.partials]
    for exponents, weight in directions.items():
        if sum(exponents) <= field.degree:
            total = [t + part * weight for t, part in zip(total, field.partial(point, exponents), strict=True)]
    return total


class Differentials:
    """F(tau) of fields at a point, each computed once."""

    def __init__(self, fields: Sequence[PolynomialField], point: Point) -> None:
        self.fields, self.point = fields, point
        self._known: dict[Tree, Point] = {}

    def __call__(self, tau: Tree) -> Point:
        """F(tau), by the definition: derivatives contracted with the branches."""
        if tau not in self._known:
            branches = [self(branch) for branch in tau.branches]
            self._known[tau] = contracted(self.fields[tau.colour], self.point, branches)
        return self._known[tau]

    def combined(self, terms: Iterator[tuple[Number, Tree]]) -> Point:
        """The sum of coefficient times differential."""
        total = [0 * value for value in self.point]
        for weight, tau in terms:
            total = [t + part * weight for t, part in zip(total, self(tau), strict=True)]
        return total


@cache
def random_fields(parts: int, degree: int, dimension: int = 2, seed: int = 1) -> tuple[PolynomialField, ...]:
    """Fields of all unknowns, one per part."""
    return tuple(PolynomialField(dimension, degree, seed + part) for part in range(parts))


def hamiltonian_fields(
    parts: int, degree: int, seed: int = 13
) -> tuple[tuple[PolynomialField, ...], tuple[PolynomialField, ...]]:
    """Fields of two unknowns x, y and their Hamiltonians: of H(x, y), or of the parts of T(y) + U(x)."""
    if parts == 1:
        energy = PolynomialField(1, degree, seed, (0, 1))
        return (_gradient(energy, {0: ((0, 1), 1), 1: ((1, 0), -1)}),), (energy,)
    kinetic, potential = (PolynomialField(1, degree, seed + part, (1 - part,)) for part in range(2))
    return (_gradient(kinetic, {0: ((1,), 1)}), _gradient(potential, {1: ((1,), -1)})), (kinetic, potential)


def _gradient(energy: PolynomialField, components: dict[int, tuple[Exponents, int]]) -> PolynomialField:
    """A field with signed partial derivatives of an energy as components; the others are 0."""
    field = PolynomialField(2, energy.degree - 1, 0, energy.reads)
    field.partials = [dict.fromkeys(field.exponents, mpmath.mpf(0)) for _ in range(2)]
    for place, (unit, sign) in components.items():
        for exponents in field.exponents:
            raised = tuple(a + b for a, b in zip(exponents, unit, strict=True))
            field.partials[place][exponents] = sign * energy.partials[0][raised]
    return field


def rotation(degree: int, seed: int = 5) -> VectorField:
    """x' = w(x) cross x in three unknowns: |x|^2 is conserved."""
    spin = PolynomialField(3, degree, seed)

    def field(point: Point) -> Point:
        a, b, c = spin(point)
        x, y, z = point
        return [b * z - c * y, c * x - a * z, a * y - b * x]

    return field


def counter_rotation(degree: int, seed: int = 7) -> tuple[VectorField, VectorField]:
    """x' = A(y) y and y' = B(x) x with skew A and B in three unknowns each: x . y is conserved."""
    spins = [PolynomialField(3, degree, seed, (3, 4, 5)), PolynomialField(3, degree, seed + 1, (0, 1, 2))]

    def driven(spin: PolynomialField, place: int) -> VectorField:
        def field(point: Point) -> Point:
            a, b, c = spin(point)
            x, y, z = point[3 - place : 6 - place]
            moved = [b * z - c * y, c * x - a * z, a * y - b * x]
            still = [0 * x] * 3
            return [*moved, *still] if place == 0 else [*still, *moved]

        return field

    return driven(spins[0], 0), driven(spins[1], 3)


def variations(degree: int, seed: int = 9) -> tuple[VectorField, VectorField]:
    """Unknowns (x, d, l) of two components each with x' = f, d' = f_x d and l' = - f_x^T l: l . d is conserved.

    The first part moves x and d, the second one l.
    """
    (inner,) = random_fields(1, degree, 2, seed)

    def jacobian(point: Point) -> list[Point]:
        return [inner.partial(point, unit) for unit in ((1, 0), (0, 1))]

    def forward(point: Point) -> Point:
        columns, still = jacobian(point), 0 * point[0]
        moved = [columns[0][i] * point[2] + columns[1][i] * point[3] for i in range(2)]
        return [*inner(point), *moved, still, still]

    def costate(point: Point) -> Point:
        columns, still = jacobian(point), 0 * point[0]
        return [*[still] * 4, *(-(column[0] * point[4] + column[1] * point[5]) for column in columns)]

    return forward, costate
