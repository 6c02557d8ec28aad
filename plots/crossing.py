"""Trajectories in one dimension: under the flow they keep their order, under large steps they may cross."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from derive.symbols import state
from derive.systems import ODE
from plots import style
from plots.convergence import equation_of
from plots.runs import Array, Problem, problem_of, speed_of
from plots.subject import PENDULUM, Subject

X = state("x", ())
DEMONSTRATION = ODE(state=(X,), velocity=(X - X**3,))  # of a scheme alone
STARTS = np.linspace(-1.6, 1.6, 11)
STEPS, FINE = 6, 40
SIZES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
CLEAR = 0.1  # an order that is reversed by less is not seen
FAR = 3.0


@dataclass(frozen=True)
class Fan:
    """Trajectories from ordered starts.

    Attributes:
        problem: what is solved.
        h: the step.
        t: times of the steps, (steps + 1,), `steps` the states, (steps + 1, starts).
        steps: see above.
        flow_t: times of the flow, `flow` the states there, (points, starts).
        flow: see above.
    """

    problem: Problem
    h: float
    t: Array
    steps: Array
    flow_t: Array
    flow: Array


def crossings(states: Array) -> int:
    """How many pairs of neighbouring starts are, at some time, in the other order."""
    return int((np.diff(states, axis=1) < -CLEAR).any(axis=0).sum())


def data(subject: Subject) -> Fan:
    """The flow, and steps of the smallest of some sizes at which trajectories cross; the largest tame one if none."""
    assert subject.ode is not None and subject.typical is not None
    ode = DEMONSTRATION if subject.ode is PENDULUM else subject.ode
    problem = problem_of(ode, subject.spec.defaults, size=1)
    starts = [problem.moved(np.array([x])) for x in STARTS]
    chosen = SIZES[0]
    for h in SIZES:
        steps = _together([one.states(subject.typical, STEPS, STEPS * h) for one in starts])
        if not np.isfinite(steps).all() or np.abs(steps).max() > FAR * np.abs(STARTS).max():
            break
        chosen = h
        if crossings(steps):
            break
    last = STEPS * chosen
    steps = _together([one.states(subject.typical, STEPS, last) for one in starts])
    flow = _together([one.reference(last, FINE, speed_of(subject.typical)) for one in starts])
    return Fan(problem, chosen, np.linspace(0, last, STEPS + 1), steps, np.linspace(0, last, FINE + 1), flow)


def _together(runs: list[Array]) -> Array:
    return np.stack([run[:, 0] for run in runs], axis=1)


def draw(subject: Subject, found: Fan) -> Figure:
    """The flow to the left, the steps to the right, each trajectory in the colour of its start."""
    figure, axes = style.panels(2, width=7.4, height=3.7)
    shades = style.shades(len(STARTS))
    for one, t, states, mark in ((axes[0], found.flow_t, found.flow, "-"), (axes[1], found.t, found.steps, "o-")):
        for colour, column in zip(shades, states.T, strict=True):
            one.plot(t, column, mark, color=colour, markersize=3, linewidth=1.1)
        one.set(xlabel="$t$", xlim=(0, t[-1]))
        one.set_ylim(_limits(found))
    axes[0].set_ylabel(f"${found.problem.names[0]}$")
    count = crossings(found.steps)
    verdict = f"{count} of {len(STARTS) - 1} neighbours cross" if count else "no crossing"
    style.title(axes[0], f"{subject.title}", f"flow of {equation_of(found.problem.ode)}: no crossing")
    style.title(axes[1], "", f"steps of $h = {found.h:g}$: {verdict}")
    return figure


def _limits(found: Fan) -> tuple[float, float]:
    both = np.concatenate([found.steps.ravel(), found.flow.ravel()])
    room = 0.06 * float(np.ptp(both))
    return float(both.min()) - room, float(both.max()) + room
