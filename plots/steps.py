"""Steps whose size an embedded pair chooses: their sizes over time, their estimated errors, and what limits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from derive.adaptive import Adaptive
from derive.analysis import Analysis
from derive.discretization import STEP_SIZE, time_at_step
from derive.embedded import EmbeddedPair, EmbeddedStep, embedded_pair, embedded_step
from derive.errors import SpecError
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.schemes import ButcherTableau
from derive.step_control import CONTROL
from derive.symbols import Quantity, state
from derive.systems import ODE
from plots import style
from plots.runs import Array, Problem, problem_of
from plots.subject import Subject

RTOL, ATOL = 1e-4, 1e-6
START = 1.2  # of the first component of a system; the others are fractions of it
TIME, MOST = 20.0, 1500  # a run that takes more attempts ends earlier
FIRST = 1e-3  # the first step, as a part of the time
NUDGE = 1e-6
HEADROOM = 4.0  # of the panel of the step sizes, as a factor
STIFFNESS = 8
POSITION, RATE = state("x", (), latex="x"), state("v", (), latex="v")
VAN_DER_POL = ODE(
    state=(POSITION, RATE), velocity=(RATE, STIFFNESS * (1 - POSITION**2) * RATE - POSITION)
)  # slow and stiff, then fast, again and again


@dataclass(frozen=True)
class Attempt:
    """A step that was tried.

    Attributes:
        t, h: where it begins and its size.
        error: its estimated error in units of the tolerance.
    """

    t: float
    h: float
    error: float

    @property
    def accepted(self) -> bool:
        """Whether it was kept."""
        return self.error <= 1


@dataclass(frozen=True)
class Steps:
    """A run.

    Attributes:
        problem: what is solved.
        title: of the pair.
        attempts: all steps in their order.
        t: times of the accepted steps and the end; `states` the states there, (times, components).
        states: see above.
        limit: the largest step at which the fastest decaying mode of the linearization decays in the numerical
            solution too, at the times without the end; NaN where none decays. None where the field reads the time.
    """

    problem: Problem
    title: str
    attempts: list[Attempt]
    t: Array
    states: Array
    limit: Array | None


def pair_of(subject: Subject) -> EmbeddedPair | None:
    """The pair of a system with adaptive steps, or of a scheme alone; None where there is none."""
    if subject.given is None:
        return subject.spec.system.pair if isinstance(subject.spec.system, Adaptive) else None
    if not isinstance(subject.given, ButcherTableau):
        return None
    try:
        return embedded_pair(subject.given)
    except SpecError:
        return None


def data(subject: Subject) -> Steps:
    """A run with the derived control; a scheme alone and networks are shown on van der Pol's oscillator."""
    pair, system = pair_of(subject), subject.spec.system
    assert pair is not None
    problem = problem_of(VAN_DER_POL, {})
    if isinstance(system, Adaptive) and not system.ode.networks:
        problem = problem_of(system.ode, subject.spec.defaults)
        problem = problem.moved(START / np.arange(1, problem.size + 1))
    attempts, t, states = run(problem, pair)
    limit = None if problem.ode.time is not None else _limits(problem, pair, states[:-1])
    return Steps(problem, pair.given.title, attempts, t, states, limit)


def run(problem: Problem, pair: EmbeddedPair) -> tuple[list[Attempt], Array, Array]:
    """All attempts from time 0 on, the times of the accepted ones, and the states there."""
    step = embedded_step(problem.ode, pair)
    attempts: list[Attempt] = []
    times, states = [0.0], [list(problem.start)]
    h, earlier, rejected = FIRST * TIME, 1.0, False
    while times[-1] < TIME and len(attempts) < MOST:
        h = min(h, TIME - times[-1])
        after, error = _tried(problem, step, states[-1], times[-1], h)
        attempts.append(Attempt(times[-1], h, error))
        if error <= 1:
            times.append(times[-1] + h)
            states.append(after)
        h *= _factor(error, earlier, pair.power, rejected or error > 1)
        rejected = error > 1
        earlier = earlier if rejected else error
    return attempts, np.array(times), np.array([np.concatenate([np.ravel(x) for x in row]) for row in states])


def _tried(
    problem: Problem, step: EmbeddedStep, before: list[Numeric], t: float, h: float
) -> tuple[list[Numeric], float]:
    """The state after a step, and the size of its estimated error."""
    program, now = step.program.needed_for((*step.new, *step.error)), time_at_step(problem.ode)
    known: dict[Quantity, Numeric] = {**problem.values, **dict(zip(step.old, before, strict=True))}
    known |= {STEP_SIZE: np.float64(h)} | ({} if now is None else {now: np.float64(t)})
    with np.errstate(all="ignore"):
        found = evaluate(program, {q: known[q] for q in program.inputs}, problem.networks)
        shares = [_share(found, e, x, y) for e, x, y in zip(step.error, before, step.new, strict=True)]
    error = float(np.sqrt(np.mean(np.concatenate(shares) ** 2)))
    return [found[y] for y in step.new], error if np.isfinite(error) else np.inf


def _share(found: Mapping[Quantity, Numeric], error: Quantity, before: Numeric, after: Quantity) -> Array:
    """The estimated error of one unknown in units of its tolerance."""
    largest = np.maximum(np.abs(np.ravel(before)), np.abs(np.ravel(found[after])))
    return np.asarray(np.ravel(found[error]) / (ATOL + RTOL * largest), dtype=float)


def _factor(error: float, earlier: float, power: int, shrinking: bool) -> float:
    """What the next step is multiplied by, as the emitted modules do it."""
    low, high = float(CONTROL.smallest), 1.0 if shrinking else float(CONTROL.largest)
    if not np.isfinite(error):
        return low
    exponents = -float(CONTROL.alpha) / power, float(CONTROL.beta) / power
    wanted = float(CONTROL.safety) * max(error, 1e-10) ** exponents[0] * max(earlier, 1e-4) ** exponents[1]
    return float(np.clip(wanted, low, high))


def _limits(problem: Problem, pair: EmbeddedPair, states: Array) -> Array:
    left = Analysis(pair.given).real_interval
    assert left is not None
    end = -float(left[0])

    def limit(point: Array) -> float:
        ways = NUDGE * np.eye(len(point))
        slopes = np.array([(problem.field(point + w) - problem.field(point - w)) / (2 * NUDGE) for w in ways]).T
        fastest = float(np.linalg.eigvals(slopes).real.min())
        return end / -fastest if fastest < 0 else np.nan

    return np.array([limit(point) for point in states])


def draw(subject: Subject, found: Steps) -> Figure:
    """Three panels over time: the solution with its steps, their sizes, their estimated errors."""
    figure, (top, middle, bottom) = style.panels(rows=3, width=7.0, height=6.6)
    kept = [one for one in found.attempts if one.accepted]
    lost = [one for one in found.attempts if not one.accepted]
    for colour, place in zip(style.COLOURS, range(found.problem.size), strict=False):
        name = found.problem.names[place]
        top.plot(found.t, found.states[:, place], ".-", color=colour, markersize=3.5, linewidth=0.8, label=f"${name}$")
    top.set(ylabel="state")
    sizes = [one.h for one in found.attempts]
    if found.limit is not None and (found.limit < HEADROOM * max(sizes)).any():
        middle.plot(found.t[:-1], found.limit, color=style.ORANGE, linewidth=1.0, label="stability limit", zorder=1)
    _points(middle, kept, lost, [one.h for one in kept], [one.h for one in lost])
    middle.set(ylabel="step size $h$", ylim=(min(sizes) / HEADROOM, HEADROOM * max(sizes)))
    finite = [one for one in lost if np.isfinite(one.error)]
    _points(bottom, kept, finite, [one.error for one in kept], [one.error for one in finite])
    bottom.axhline(1, color=style.GREY, linewidth=0.8, zorder=1)
    style.title(bottom, "estimated errors")
    bottom.set(xlabel="$t$", ylabel="error / tolerance")
    for axes in (top, middle, bottom):
        axes.set_xlim(0, found.t[-1])
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    example = f"van der Pol's oscillator, $\\mu = {STIFFNESS}$" if found.problem.ode is VAN_DER_POL else ""
    pair = "" if subject.given is not None else f"by {found.title}"
    style.title(top, subject.title, ", ".join(filter(None, [example, pair])))
    style.title(middle, f"{len(kept)} steps and {len(lost)} rejected, rtol = {RTOL:g}")
    style.legend_below(figure, [top, middle], 5)
    return figure


def _points(axes: Axes, kept: list[Attempt], lost: list[Attempt], values: list[float], others: list[float]) -> None:
    """Accepted steps as points, rejected ones as crosses, on a logarithmic axis."""
    axes.semilogy([one.t for one in kept], values, ".", color=style.INK, markersize=4, label="accepted")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if lost:
        axes.semilogy([one.t for one in lost], others, "x", color=style.PURPLE, markersize=5, label="rejected")
