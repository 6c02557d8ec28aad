"""Responses of scalar recursions: every variant, several weights, a positive and a negative start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sympy import diff

from derive.program import symbols_of
from derive.recurrence import Recurrence
from derive.recursions.scalar import ScalarRecursion
from derive.symbols import Quantity, Role, by_name
from plots import style
from plots.runs import Array
from plots.subject import Subject

WEIGHTS = (-7.0, -1.0, 0.5, 0.9, 1.0, 1.1, 2.0)
STARTS = (1.0, -1.0)
STEPS, FAR = 20, 2.5


@dataclass(frozen=True)
class Responses:
    """Runs from several starts.

    Attributes:
        names: of the variants.
        weight: the parameter that varies.
        states: (variants, starts, weights, steps + 1).
    """

    names: tuple[str, ...]
    weight: Quantity
    states: Array


def recursion_of(recurrence: Recurrence) -> ScalarRecursion:
    """The step of one scalar state, with its inputs at 0."""
    (old,), (new,) = recurrence.old, recurrence.new
    values = {q: q * 0 for q in recurrence.inputs}
    for line in recurrence.step.assignments:
        values[line.target] = line.value.xreplace(values)
    return ScalarRecursion(values[new], old)


def weight_of(recursion: ScalarRecursion) -> Quantity | None:
    """The first parameter on which the multiplier depends."""
    found = by_name(q for q in symbols_of(recursion.step) if q.role is Role.PARAMETER)
    return next((q for q in found if diff(recursion.multiplier, q) != 0), None)


def is_scalar(system: object) -> bool:
    """Whether it is a recurrence of one number whose multiplier has a parameter."""
    if not isinstance(system, Recurrence) or len(system.old) != 1 or any(q.shape for q in system.step.inputs):
        return False
    return not system.step.networks() and weight_of(recursion_of(system)) is not None


def data(subject: Subject) -> Responses:
    """STEPS steps of each variant without input."""
    spec = subject.spec
    made = {str(name): recursion_of(one) for name, one in spec.variants.items() if isinstance(one, Recurrence)}
    weight = weight_of(next(iter(made.values())))
    assert weight is not None
    states = [[_runs(one, weight, start, spec.defaults) for start in STARTS] for one in made.values()]
    return Responses(tuple(made), weight, np.array(states))


def _runs(recursion: ScalarRecursion, weight: Quantity, start: float, defaults: Mapping[str, Any]) -> list[list[float]]:
    others = {q: np.float64(defaults.get(q.name, 1.0)) for q in symbols_of(recursion.step) if q != recursion.state}
    return [
        [float(value) for value in recursion.run(np.float64(start), STEPS, {**others, weight: np.float64(one)})]
        for one in WEIGHTS
    ]


def draw(subject: Subject, found: Responses) -> Figure:
    """A column for each variant, a row for each start; what leaves the panel is cut off."""
    columns = len(found.names)
    figure, axes = style.panels(columns, rows=len(STARTS), width=2.4 * columns + 0.6, height=5.2)
    shades = [style.RED, style.PURPLE, *style.shades(len(WEIGHTS) - 2)]
    for row, start in enumerate(STARTS):
        for column, name in enumerate(found.names):
            one = axes[row * columns + column]
            for colour, weight, states in zip(shades, WEIGHTS, found.states[column, row], strict=True):
                inside = np.where(np.abs(states) > 2 * FAR, np.nan, states)
                mark = "o--" if weight < 0 else "o-"
                label = f"${found.weight.latex} = {weight:g}$"
                one.plot(inside, mark, color=colour, label=label, linewidth=1.0, markersize=2.4)
            reach = np.abs(found.states[column]).max()
            one.set(xlim=(0, STEPS), ylim=(-min(FAR, 1.15 * reach), min(FAR, 1.15 * reach)))
            one.set_xlabel("$t$" if row else "")
            style.title(one, *([name or subject.title] if not row else []))
        axes[row * columns].set_ylabel(f"$h_t$ from $h_0 = {start:g}$")
    figure.suptitle(f"{subject.title}: responses without input", x=0.01, ha="left", fontsize=10.5)
    style.legend_below(figure, axes[:1], len(WEIGHTS))
    return figure
