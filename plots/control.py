"""The optimal control of a problem that is linear in state and costate, and what it does; beside it, no control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from derive.control_feedback import Feedback, feedback_of
from derive.control_runs import ControlRun, Values, flat, unpacked
from derive.control_words import clock_of
from derive.symbols import Quantity
from derive.trajectories import advanced
from plots import style
from plots.runs import Array
from plots.subject import Subject

FIRST, LAST, POINTS = 0.0, 2.0, 81


@dataclass(frozen=True)
class Controlled:
    """The best control of one random problem.

    Attributes:
        times: (times,).
        controls: control -> (times, components).
        names: what the components of the state are called.
        states: (samples, times, components) under the best control.
        idle: the same without control.
        cost: of the best control.
        idle_cost: of none.
    """

    times: Array
    controls: dict[Quantity, Array]
    names: list[str]
    states: Array
    idle: Array
    cost: float
    idle_cost: float


class _Solved:
    """State and costate (of a population: their means) of the best control, by linear shooting."""

    def __init__(self, run: ControlRun, feedback: Feedback) -> None:
        self.run, self.feedback, self.times = run, feedback, np.linspace(FIRST, LAST, POINTS)
        samples = run.point.samples
        self.mean: Values = {q: sum(one[q] for one in samples) / len(samples) for q in samples[0]}
        self.names = (*feedback.costates, *feedback.costates.values())
        self.path = self._path()

    def _start(self) -> Array:
        return flat([self.mean[x] for x in self.feedback.costates])

    def _known(self, now: complex, packed: Array) -> Values:
        return self.run.known(self.run.point, self.mean, now, packed, self.names)

    def _velocity(self, now: complex, packed: Array) -> Array:
        known, found = self._known(now, packed), self.feedback.velocities
        return flat([self.run.value(velocity, known) + 0 * known[q] for q, velocity in found.items()])

    def _shoot(self, costate: Array) -> list[Array]:
        found = [np.concatenate([self._start(), costate])]
        for begin, end in zip(self.times[:-1], self.times[1:], strict=True):
            found.append(advanced(self._velocity, found[-1], begin, end, 1))
        return found

    def _missed(self, costate: Array) -> Array:
        last = self._shoot(costate)[-1]
        known = self._known(self.times[-1], last)
        ends = [self.run.value(value, known) + 0 * known[x] for x, value in self.feedback.gradients.items()]
        return last[len(costate) :] - flat(ends)

    def _path(self) -> list[Array]:
        size = len(self._start())
        origin = self._missed(np.zeros(size))
        columns = np.stack([self._missed(unit) - origin for unit in np.eye(size, dtype=float)], axis=1)
        return self._shoot(np.asarray(np.linalg.solve(columns, -origin)))

    def control(self, place: int, quantity: Quantity) -> Array:
        """The best value of a control at one of the times."""
        known = self._known(self.times[place], self.path[place])
        return np.asarray(self.run.value(self.feedback.controls[quantity], known))


def data(subject: Subject) -> Controlled:
    """A random problem on [0, 2], its best control, and the states with and without it."""
    assert subject.problem is not None
    feedback = feedback_of(subject.problem)
    assert feedback is not None
    run = ControlRun(subject.problem)
    ends = {subject.problem.begin: complex(FIRST), subject.problem.end: complex(LAST)}
    run.point = replace(run.point, times=ends)
    solved = _Solved(run, feedback)
    best = {q: [solved.control(place, q) for place in range(POINTS)] for q in feedback.controls}
    idle = {q: [0 * value for value in values] for q, values in best.items()}
    (states, cost), (free, idle_cost) = (_outcome(run, solved.times, held) for held in (best, idle))
    shown = {q: np.array([np.ravel(v).real for v in values]) for q, values in best.items()}
    names = [label for x in feedback.costates for label in style.components(x, np.size(solved.mean[x]))]
    return Controlled(solved.times, shown, names, states, free, cost, idle_cost)


def _outcome(run: ControlRun, times: Array, controls: dict[Quantity, list[Array]]) -> tuple[Array, float]:
    """States of every sample, and the mean cost, under controls that are held from one time to the next."""
    everyone, costs = [], []
    for sample in run.point.samples:
        packed = np.append(run.start(sample), 0)
        rows = [packed]
        for place in range(len(times) - 1):
            middle = {q: (values[place] + values[place + 1]) / 2 for q, values in controls.items()}
            packed = run.spent(run.point, sample, packed, times[place], times[place + 1], middle, steps=1)
            rows.append(packed)
        known = {**sample, **run.point.shared, **unpacked(packed[:-1], run.ode.state, sample)}
        costs.append(packed[-1] + run.value(run.control.terminal, known))
        everyone.append(np.array(rows)[:, :-1].real)
    return np.array(everyone), float(np.mean(costs).real)


def draw(subject: Subject, found: Controlled) -> Figure:
    """The control on the left, the states on the right: lines with it, dashes without."""
    figure, (left, right) = style.panels(columns=2, width=7.8, height=3.9)
    assert subject.problem is not None
    first = 0
    for quantity, rows in found.controls.items():
        _lines(left, found.times, rows, "-", first, style.components(quantity, rows.shape[1]))
        first += rows.shape[1]
    for place, (sample, free) in enumerate(zip(found.states, found.idle, strict=True)):
        _lines(right, found.times, sample, "-", first, [] if place else found.names)
        _lines(right, found.times, free, "--", first)
    left.set_title("best control")
    right.set_title(f"state under it (cost {found.cost:.3f})\nand without control (dashed, cost {found.idle_cost:.3f})")
    for one in (left, right):
        one.axhline(0, color=style.GREY, linewidth=0.6, zorder=1)
        one.set(xlabel=f"${clock_of(subject.problem).latex}$", xlim=(found.times[0], found.times[-1]))
        style.legend_under(one)
    figure.suptitle(subject.title, x=0.01, ha="left", fontsize=11)
    return figure


def _lines(axes: Axes, times: Array, rows: Array, dashes: str, first: int, labels: Sequence[str] = ()) -> None:
    """Components in the colours from the `first` on."""
    for place, row in enumerate(rows.T):
        label = labels[place] if labels else None
        axes.plot(times, row, dashes, color=style.colour(first + place), label=label)
