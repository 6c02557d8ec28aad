"""Section on optimal control: the Riccati equation of linear two-point problems, by a = P x + s, and what it gives."""

from __future__ import annotations

import mpmath
import numpy as np
from sympy import Expr

from derive.checks import NUDGE
from derive.control import OptimalControl
from derive.control_checks import pointwise, slope_check, variation
from derive.control_feedback import Feedback, feedback_of
from derive.control_runs import Values
from derive.control_sections import Results, at, formula
from derive.control_solution import write_solution
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.lagrangian import StepNames
from derive.linear_forms import distributed
from derive.numbering import Author
from derive.numeric import solve_linear
from derive.operators import Numeric, transpose
from derive.phase_space import paired
from derive.power_series import array_of
from derive.sampling import Sampler
from derive.symbols import Quantity


def write_riccati(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """Section: the Riccati equation, the feedback and the value of the best control; nothing unless all is linear."""
    found = feedback_of(control)
    if found is None or found.rate is None or found.last is None:
        return {}
    results: Results = {"riccati": found.shown_rate, "riccati_end": found.last}
    shown, text = (f"{found.matrix.latex} {found.unknown.latex}", f"{found.matrix} {found.unknown}")
    more = ("", "") if found.homogeneous else (f" + {found.offset.latex}", f" + {found.offset}")
    author.relation(
        "ansatz",
        Kind.DEFINITION,
        f"{found.costate.latex} = {shown}{more[0]}",
        text=f"{found.costate} = {text}{more[1]}",
        reason="state and costate of the optimal control solve a linear two-point problem"
        + (", and so do their means over the population" if control.population else ""),
        name=names.joined("ansatz"),
    )
    of_state, spoken = (rf"\quad\text{{for every }} {found.unknown.latex}", f" for every {found.unknown}")
    letter, rate = found.matrix.latex, formula(found.shown_rate)
    author.relation(
        "Riccati equation",
        Kind.IDENTITY,
        rf"\dot{{{letter}}} {found.unknown.latex} = {rate}{of_state}"
        if found.unknown.shape
        else rf"\dot{{{letter}}} = {rate}",
        text=f"{found.matrix}' {found.unknown} = {found.rate}{spoken}"
        if found.unknown.shape
        else f"{found.matrix}' = {found.shown_rate}",
        reason="derivative of the ansatz: P' x = a' - P x'; checked against the transport of the subspace a = P x by "
        "the phase flow",
        name=names.joined("riccati"),
        check=pointwise(
            _Transport(found).rate, found.shown_rate, *found.velocities, found.costate, found.offset, found.unknown
        ),
    )
    if not found.homogeneous:
        results |= _write_offset(author, found, names)
    way = variation(found.unknown)
    author.relation(
        "what the Riccati equation ends with",
        Kind.IDENTITY,
        at(rf"{shown}", control.end) + f" = {at(formula(found.last), control.end)}",
        text=f"{text} at {control.end} = {found.last}",
        reason="the part of the transversality condition that is linear in the state",
        name=names.joined("riccati_end"),
        check=slope_check(paired(way, found.gradient), {found.unknown: found.unknown}, paired(way, found.last)),
    )
    results |= _write_feedback(author, found, names)
    results |= write_solution(author, found, names)
    author.close(
        f"The Riccati equation{names.title}", "The two-point problem becomes one backward and one forward pass."
    )
    return results


def _write_offset(author: Author, found: Feedback, names: StepNames) -> Results:
    end, letter = distributed(found.gradient - (found.last or 0)), found.offset.latex
    author.relation(
        "offset",
        Kind.IDENTITY,
        rf"\dot {letter} = {formula(found.offset_rate)}, \quad {at(letter, found.control.end)} = {formula(end)}",
        text=f"{found.offset}' = {found.offset_rate}, {found.offset}({found.control.end}) = {end}",
        reason="the part without x of the same equation; checked by the transport of the affine subspace",
        name=names.joined("offset"),
        check=pointwise(
            _Transport(found).offset_rate,
            found.offset_rate,
            *found.velocities,
            found.unknown,
            found.costate,
            found.matrix,
            found.offset,
        ),
    )
    return {"offset": found.offset_rate, "offset_end": end}


def _write_feedback(author: Author, found: Feedback, names: StepNames) -> Results:
    results: Results = {}
    ansatz = {found.costate: found.acting(found.unknown) + (0 if found.homogeneous else found.offset)}
    for quantity, value in found.controls.items():
        results[f"feedback_{quantity.name}"] = distributed(value.xreplace(ansatz))
        author.relation(
            f"feedback {quantity.name}",
            Kind.IDENTITY,
            rf"{quantity.latex}^* = {formula(results[f'feedback_{quantity.name}'])}",
            text=f"{quantity}* = {results[f'feedback_{quantity.name}']}",
            reason="the optimal control as a function of the state",
            name=names.joined(f"feedback_{quantity.name}"),
            check=pointwise(value.xreplace(ansatz), results[f"feedback_{quantity.name}"]),
        )
    if not found.homogeneous:
        return results
    energy = distributed(found.control.hamiltonian.energy.xreplace(dict(found.controls)).xreplace(ansatz))
    symmetric = {found.matrix: (found.matrix + _turned(found.matrix)) / 2}
    left = (paired(found.unknown, found.rate) / 2).xreplace(symmetric)
    author.relation(
        "Hamilton-Jacobi-Bellman equation",
        Kind.IDENTITY,
        rf"V = \tfrac12 {found.unknown.latex} \cdot {found.matrix.latex} {found.unknown.latex}: \qquad"
        rf" \partial_t V = -H(x, \nabla V, q^*) = {formula(-energy)}",
        text=f"V = {found.unknown} . {found.matrix} {found.unknown}/2: dV/dt = -H(x, grad V, q*) = {-energy}",
        reason="V is what is still to be paid from x at time t; P is symmetric, as it ends symmetric; the Riccati "
        "equation on the left",
        name=names.joined("bellman"),
        check=pointwise(left, (-energy).xreplace(symmetric)),
    )
    return {**results, "bellman": -energy}


def _turned(matrix: Quantity) -> Expr:
    return transpose(matrix) if matrix.shape else matrix


class _Transport:
    """The affine subspace a = P x + s, moved by the phase flow for a short time: no ansatz is put into anything."""

    def __init__(self, found: Feedback) -> None:
        self.found = found

    def rate(self, values: Values, sampler: Sampler) -> Numeric:
        """P' x, of a number P', by central differences."""
        moved = [self._subspace(values, sampler, sign) for sign in (1, -1)]
        rate = (moved[0][0] - moved[1][0]) / (2 * mpmath.mpf(NUDGE))
        x = values[self.found.unknown]
        return rate @ x if np.ndim(x) else rate[0, 0]

    def offset_rate(self, values: Values, sampler: Sampler) -> Numeric:
        """s', by central differences."""
        moved = [self._subspace(values, sampler, sign) for sign in (1, -1)]
        return _like((moved[0][1] - moved[1][1]) / (2 * mpmath.mpf(NUDGE)), values[self.found.unknown])

    def _subspace(self, values: Values, sampler: Sampler, sign: int) -> tuple[Numeric, Numeric]:
        """P and s after a short time: the images of x = 0 and of the unit vectors."""
        size = max(1, np.size(values[self.found.unknown]))
        origin = self._moved(values, sampler, sign, None)
        images = [self._moved(values, sampler, sign, place) for place in range(size)]
        states = array_of([image[0][row] - origin[0][row] for row in range(size) for image in images])
        costates = [[image[1][row] - origin[1][row] for image in images] for row in range(size)]
        states = states.reshape(size, size)
        rows = [solve_linear(states.T.copy(), array_of(row)) for row in costates]
        matrix = array_of([entry for row in rows for entry in row]).reshape(size, size)
        return matrix, origin[1] - matrix @ origin[0]

    def _moved(self, values: Values, sampler: Sampler, sign: int, place: int | None) -> tuple[Numeric, Numeric]:
        found, like = self.found, values[self.found.unknown]
        zero = 0 * np.atleast_1d(like)
        x = zero.copy()
        if place is not None:
            x[place] += 1
        P = np.atleast_2d(values[found.matrix])
        s = zero if found.homogeneous else np.atleast_1d(values[found.offset])
        a = P @ x + s
        there = {**values, found.unknown: _like(x, like), found.costate: _like(a, like)}
        nudge = sign * mpmath.mpf(NUDGE)
        rates = [np.atleast_1d(value_of(v, there, sampler.networks) + 0 * like) for v in found.velocities]
        return x + nudge * rates[0], a + nudge * rates[1]


def _like(value: Numeric, like: Numeric) -> Numeric:
    return value if np.ndim(like) else value[0]
