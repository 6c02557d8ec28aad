"""Numeric solution of the equations inside a program, on any field the reference evaluator knows.

Damped Newton iterations find the solution in floats; then chord iterations with that one matrix carry it over to the
arithmetic of the values: every one gains about fifteen digits of mpmath numbers, and one order of a power series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import mpmath
import numpy as np

from derive.equations import Equations
from derive.errors import DeriveError
from derive.linearization import Linearization, forward_sweep
from derive.numeric import Numeric
from derive.power_series import Series, array_of
from derive.program import Program
from derive.symbols import Quantity

Values = Mapping[Quantity, Numeric]
Evaluate = Callable[[Program, Values], dict[Quantity, Numeric]]

ITERATIONS, HALVINGS = 100, 40
SHARES = 20  # of the way from the guess, where Newton's iteration does not come to a solution at once
SOLVED = 1e-9  # residual in floats below which chord iterations converge
DIGITS_PER_CHORD = 12


def solve_equations(equations: Equations, known: Values, evaluate: Evaluate) -> dict[Quantity, Numeric]:
    """The unknowns, given what else the equations read.

    Args:
        equations: z = g(z).
        known: values of everything but the unknowns.
        evaluate: computes all quantities of an explicit program.

    Raises:
        DeriveError: no solution was found from the guess.
    """
    given = {q: known[q] for q in equations.program.inputs if q not in equations.unknowns}
    packing = _Packing(equations, known)
    floats = {q: _shadow(value) for q, value in given.items()}
    start = packing.flat({q: _shadow(value) for q, value in packing.guess.items()}, float)
    solution, inverse = _solved(equations, packing, floats, start, evaluate)
    exact = any(np.asarray(value).dtype == object for value in given.values())
    kind: Any = object if exact else np.result_type(float, *given.values())
    z = solution.astype(kind)
    matrix = inverse.astype(kind)
    for _ in range(_chords(given) if exact else 3):
        z = z + matrix.dot(_residual(equations, packing, given, z, kind, evaluate))
    return packing.split(z)


class _Packing:
    """The unknowns as one flat vector."""

    def __init__(self, equations: Equations, known: Values) -> None:
        self.unknowns = equations.unknowns
        guesses = dict(zip(equations.unknowns, equations.guesses, strict=False))
        self.guess = {q: known[guesses[q]] if q in guesses else _like(q, known) for q in self.unknowns}
        self.shapes = {q: np.shape(value) for q, value in self.guess.items()}

    def flat(self, values: Values, kind: Any) -> Any:
        """One vector."""
        return np.concatenate([np.asarray(values[q], dtype=kind).ravel() for q in self.unknowns])

    def split(self, z: Any) -> dict[Quantity, Numeric]:
        """The unknowns again."""
        found, first = {}, 0
        for q, shape in self.shapes.items():
            part = z[first : first + math.prod(shape)]
            first += len(part)
            found[q] = (array_of(list(part)) if z.dtype == object else part).reshape(shape) if shape else part[0]
        return found


def _like(unknown: Quantity, known: Values) -> Numeric:
    """Zeros of the shape of an unknown, taken from another quantity of that shape."""
    like = next((value for q, value in known.items() if q.shape == unknown.shape), 0.0)
    return 0 * _shadow(like)


def _residual(equations: Equations, packing: _Packing, given: Values, z: Any, kind: Any, evaluate: Evaluate) -> Any:
    found = evaluate(equations.program, {**given, **packing.split(z)})
    right = {q: found[new] + 0 * found[q] for q, new in zip(equations.unknowns, equations.program.outputs, strict=True)}
    return packing.flat(right, kind) - z


def _solved(equations: Equations, packing: _Packing, given: Values, start: Any, evaluate: Evaluate) -> tuple[Any, Any]:
    """The solution in floats and the inverse of I - g'(z) there; by way of z = start + share (g(z) - start) if need be.

    Raises:
        DeriveError: neither leads to a solution.
    """
    z, inverse, residual = _newton(equations, packing, given, start, 1.0, start, evaluate)
    for share in () if _is_solution(residual, z) else np.arange(1, SHARES + 1) / SHARES:
        z = start if share == 1 / SHARES else z
        z, inverse, residual = _newton(equations, packing, given, z, share, start, evaluate)
    if not _is_solution(residual, z):
        names = ", ".join(q.name for q in equations.unknowns)
        raise DeriveError(
            f"the equations in {names} were not solved: residual {np.linalg.norm(residual):.2g} after "
            f"{ITERATIONS} damped Newton iterations; a smaller step size brings the solution nearer to its guess"
        )
    return z, inverse


def _is_solution(residual: Any, z: Any) -> bool:
    return bool(np.linalg.norm(residual) <= SOLVED * (1 + np.linalg.norm(z)))


def _newton(
    equations: Equations, packing: _Packing, given: Values, z: Any, share: float, start: Any, evaluate: Evaluate
) -> tuple[Any, Any, Any]:
    """(z, inverse of the matrix, residual) of the equations with that share of their right-hand side."""

    def residual_at(point: Any) -> Any:
        full = _residual(equations, packing, given, point, float, evaluate)
        return full if share == 1 else start - point + share * (full + point - start)

    residual = residual_at(z)
    for _ in range(ITERATIONS):
        size, solved = np.linalg.norm(residual), _is_solution(residual, z)
        inverse = np.linalg.inv(np.eye(len(z)) - share * _jacobian(equations, packing, given, z, evaluate))
        step = inverse @ residual
        for halving in range(1 if solved else HALVINGS):
            trial = z + step / 2**halving
            after = residual_at(trial)
            if np.linalg.norm(after) < size:
                break
        else:
            break  # rounding decides near a solution, where no part of a step helps; or there is no way down
        z, residual = trial, after
    return z, inverse, residual


def _jacobian(equations: Equations, packing: _Packing, given: Values, z: Any, evaluate: Evaluate) -> Any:
    """g'(z), column by column through the forward sweep."""
    tangent = _tangent(equations)
    known = evaluate(equations.program, {**given, **packing.split(z)})
    columns = []
    for entry in range(len(z)):
        unit = np.zeros(len(z))
        unit[entry] = 1.0
        along = {tangent.tangents[q]: value for q, value in packing.split(unit).items()}
        found = {**along, **evaluate(tangent.program, {**known, **along})}
        moved = [
            found.get(tangent.tangents[new]) if new in tangent.tangents else None for new in equations.program.outputs
        ]
        parts = [
            np.zeros(shape) if value is None else value + np.zeros(shape)
            for value, shape in zip(moved, packing.shapes.values(), strict=True)
        ]
        columns.append(np.concatenate([np.ravel(part) for part in parts]))
    return np.stack(columns, axis=1)


@cache
def _tangent(equations: Equations) -> Linearization:
    return forward_sweep(equations.program, equations.unknowns)


def _shadow(value: Numeric) -> Numeric:
    """Real floats for numbers of any kind: the constant term of a series, the real part of a complex one."""
    if not np.ndim(value):
        return _as_float(value)
    return np.array([_as_float(entry) for entry in np.ravel(value)]).reshape(np.shape(value))


def _as_float(entry: Any) -> Any:
    while isinstance(entry, Series):
        entry = entry.coefficients[0]
    return np.float64(entry.real)


def _chords(given: Values) -> int:
    """Iterations until digits and orders are complete."""
    terms = max((_terms(entry) for value in given.values() for entry in np.ravel(np.asarray(value, object))), default=0)
    return mpmath.mp.dps // DIGITS_PER_CHORD + 3 + 2 * terms


def _terms(entry: Any) -> int:
    """Number of coefficients of a series, those of its coefficients included."""
    if not isinstance(entry, Series):
        return 0
    return len(entry.coefficients) + max(_terms(coefficient) for coefficient in entry.coefficients)
