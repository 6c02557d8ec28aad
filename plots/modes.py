"""Eigenvalues of a linear recursion in the unit circle, and beside them the response to one impulse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sympy import Matrix, Rational

from derive.errors import UnsupportedError
from derive.program import symbols_of
from derive.recurrence import Recurrence
from derive.recursions.long_run import LongRun, long_run, transition
from derive.symbols import by_name
from derive.systems import Spec
from plots import style
from plots.runs import Array
from plots.subject import Subject

STEPS = 40
ROOM = 1.35


@dataclass(frozen=True)
class Modes:
    """One linear recursion with numbers.

    Attributes:
        name: of the variant.
        weights: of the numbers that are not 0, in LaTeX.
        eigenvalues: complex, (states,).
        response: (STEPS + 1,): the first component from a first component of 1.
        verdict: what becomes of it in the long run, exactly.
    """

    name: str
    weights: str
    eigenvalues: np.ndarray
    response: Array
    verdict: LongRun


def matrix_of(spec: Spec, system: object) -> Matrix | None:
    """The matrix of a linear step of two scalars or more with the spec's numbers; None of anything else."""
    if not isinstance(system, Recurrence) or len(system.old) < 2:
        return None
    try:
        found = transition(system)
    except UnsupportedError:
        return None
    free = {q for entry in found for q in symbols_of(entry)}
    if any(q.name not in spec.defaults for q in free):
        return None
    return found.xreplace({q: Rational(str(spec.defaults[q.name])) for q in free})


def data(subject: Subject) -> list[Modes]:
    """Every variant."""
    found = []
    for name, system in subject.spec.variants.items():
        matrix = matrix_of(subject.spec, system)
        assert matrix is not None and isinstance(system, Recurrence)
        W, state = np.array(matrix.tolist(), dtype=float), np.eye(len(system.old))[0]
        response = [state[0]]
        for _ in range(STEPS):
            state = W @ state
            response.append(state[0])
        used = by_name({q for entry in transition(system) for q in symbols_of(entry)})
        weights = ", ".join(f"{q.latex} = {float(subject.spec.defaults[q.name]):g}" for q in used)
        found.append(Modes(str(name), weights, np.linalg.eigvals(W), np.array(response), long_run(matrix)))
    return found


def draw(subject: Subject, found: list[Modes]) -> Figure:
    """A row for each variant: eigenvalues to the left, the response between +-rho^t to the right."""
    figure, axes = style.panels(2, rows=len(found), width=8.2, height=2.7 * len(found))
    for row, one in enumerate(found):
        plane, response = axes[2 * row : 2 * row + 2]
        _eigenvalues(plane, one)
        radius = float(np.abs(one.eigenvalues).max())
        times = np.arange(STEPS + 1)
        envelope = (np.abs(one.response) / radius**times).max() * radius**times
        response.fill_between(times, -envelope, envelope, color=style.PALE, linewidth=0, label=r"$\pm c\, \rho^t$")
        response.plot(
            times, one.response, "o-", color=style.BLUE, linewidth=1.0, markersize=2.8, label="impulse response"
        )
        response.axhline(0, color=style.GREY, linewidth=0.6)
        response.set(xlabel="$t$" if row == len(found) - 1 else "", xlim=(0, STEPS))
        style.title(plane, f"${one.weights}$")
        style.title(response, rf"$\rho = {radius:.4f}$: {_verdict(one.verdict)}")
    figure.suptitle(f"{subject.title}: eigenvalues and response", x=0.01, ha="left", fontsize=10.5)
    style.legend_below(figure, axes[1:2], 2)
    return figure


def _eigenvalues(axes: style.Axes, one: Modes) -> None:
    angles = np.linspace(0, 2 * np.pi, 241)
    axes.plot(np.cos(angles), np.sin(angles), color=style.INK, linewidth=0.9)
    style.cross(axes)
    inside = np.abs(one.eigenvalues) < 1
    for which, colour in ((inside, style.BLUE), (~inside, style.RED)):
        axes.plot(one.eigenvalues[which].real, one.eigenvalues[which].imag, "o", color=colour, markersize=5.5)
    reach = max(ROOM, 1.1 * float(np.abs(one.eigenvalues).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", ylabel=r"$\operatorname{Im} \lambda$")
    axes.set_xlabel(r"$\operatorname{Re} \lambda$", labelpad=1)


def _verdict(found: LongRun) -> str:
    if found.value:
        return "dies out"
    return "stays bounded" if found.bounded else "grows"
