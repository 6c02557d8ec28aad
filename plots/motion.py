"""A solution and the steps of a scheme that follow it: what the plots over time and in the phase plane share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plots.runs import Array, Problem, problem_of, speed_of
from plots.subject import Subject

TIME = 12.0
POINTS = 240  # of the solution
STEPS = (24, 48, 96, 192, 384)
FAR = 1.6  # a run that leaves the solution's surroundings by this factor is made with smaller steps,
OFF = 0.25  # and so is one that is off by this part of the solution's size in the mean


@dataclass(frozen=True)
class Motion:
    """A run beside the solution.

    Attributes:
        problem: what is solved.
        h: the step.
        t: times of the steps, (steps + 1,), `states` the states there, (steps + 1, components).
        states: see above.
        exact_t: times of the solution, (points + 1,), `exact` the states there.
        exact: see above.
    """

    problem: Problem
    h: float
    t: Array
    states: Array
    exact_t: Array
    exact: Array


def motion(subject: Subject) -> Motion:
    """The solution and a run in the fewest of some numbers of steps that stays near it."""
    assert subject.ode is not None and subject.stepped is not None
    problem = problem_of(subject.ode, subject.spec.defaults)
    exact = problem.reference(TIME, POINTS, speed_of(subject.stepped))
    bound = FAR * float(np.abs(exact).max())
    for steps in STEPS:
        states = problem.states(subject.stepped, steps, TIME)
        if _is_near(states, exact, bound):
            break
    shown = np.isfinite(states).all(axis=1) & (np.abs(states).max(axis=1) <= bound)
    last = len(states) if shown.all() else max(int(np.argmin(shown)), 2)
    t = np.linspace(0, TIME, steps + 1)
    return Motion(problem, TIME / steps, t[:last], states[:last], np.linspace(0, TIME, POINTS + 1), exact)


def _is_near(states: Array, exact: Array, bound: float) -> bool:
    if not np.isfinite(states).all() or float(np.abs(states).max()) > bound:
        return False
    times, nodes = np.linspace(0, 1, len(exact)), np.linspace(0, 1, len(states))
    between = np.array([np.interp(nodes, times, column) for column in exact.T]).T
    return float(np.sqrt(np.mean((states - between) ** 2))) <= OFF * float(np.sqrt(np.mean(exact**2)))
