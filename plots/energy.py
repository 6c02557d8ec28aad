"""How well schemes keep an invariant over a long time; of a symplectic one, its modified Hamiltonian too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure
from sympy import Expr, S

from derive.discretization import discretize
from derive.errors import DeriveError
from derive.geometry.modified_energy import modified_energy
from derive.geometry.symplectic import is_symplectic
from derive.latex import latex
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, Scheme, Splitting
from derive.symbols import Quantity
from plots import style
from plots.convergence import equation
from plots.runs import Array, Problem, problem_of
from plots.subject import Subject

BESIDE = ("forward_euler", "symplectic_euler", "rk4")
TIME, STEPS = 40.0, 400
TERMS = 2  # corrections of the modified Hamiltonian that are not zero
HIGHEST = 4  # power of h up to which they are looked for
LEAST, HUGE = 1e-17, 1e6  # what is shown
MODIFIED = (style.INK, style.PURPLE, style.SKY)


@dataclass(frozen=True)
class Drift:
    """Errors of an invariant over time.

    Attributes:
        h: the step.
        t: times, (steps + 1,).
        schemes: title -> the largest error of the invariant up to each time, the subject's own scheme first.
        corrected: last power of h -> the same for the modified Hamiltonian up to it, 0 for the invariant itself; empty
            where the scheme is not symplectic.
        name: of the invariant.
        invariant: the invariant in LaTeX.
    """

    h: float
    t: Array
    schemes: dict[str, Array]
    corrected: dict[int, Array]
    name: str
    invariant: str


def data(subject: Subject) -> Drift:
    """Runs of the scheme and of some others beside it, from the same start."""
    assert subject.ode is not None and subject.stepped is not None
    name, (energy, special) = next(iter(subject.spec.invariants.items()))
    problem = problem_of(subject.ode, subject.spec.defaults)
    still: dict[Quantity, float] = {q: float(value) for q, value in special.items()}
    problem = replace(problem, values={**problem.values, **still})
    own = problem.states(subject.stepped, STEPS, TIME)
    schemes = {subject.stepped.title: _drift(problem, energy, own)}
    for other in BESIDE:
        scheme = SCHEMES[other]
        if scheme.title not in schemes and _runs(subject, scheme):
            schemes[scheme.title] = _drift(problem, energy, problem.states(scheme, STEPS, TIME))
    h, t = TIME / STEPS, np.linspace(0, TIME, STEPS + 1)
    return Drift(h, t, schemes, _corrected(subject, problem, energy, own, h), name, latex(energy))


def _runs(subject: Subject, scheme: Scheme) -> bool:
    try:
        discretize(subject.ode, scheme) if subject.ode is not None else None
    except DeriveError:
        return False
    return True


def _drift(problem: Problem, energy: Expr, states: Array) -> Array:
    with np.errstate(all="ignore"):
        values = np.array([problem.value(energy, state) for state in states])
    return np.maximum(np.maximum.accumulate(np.abs(values - values[0])), LEAST)


def _corrected(subject: Subject, problem: Problem, energy: Expr, states: Array, h: float) -> dict[int, Array]:
    scheme = subject.typical
    if not isinstance(scheme, ButcherTableau | AdditiveTableau | Splitting) or is_symplectic(scheme).value != S.true:
        return {}
    assert subject.ode is not None
    try:
        terms = modified_energy(scheme, subject.ode, energy, HIGHEST)
    except DeriveError:
        return {}
    total, found = energy, {0: _drift(problem, energy, states)}
    for power, term in terms.items():
        if power > 0 and term != 0 and len(found) <= TERMS:
            total += h**power * term
            found[power] = _drift(problem, total, states)
    return found


def draw(subject: Subject, found: Drift) -> Figure:
    """Largest errors so far on a logarithmic axis; beside them those of the modified Hamiltonian."""
    figure, axes = style.panels(2 if found.corrected else 1, width=8.2 if found.corrected else 5.4, height=4.0)
    for colour, (name, drift) in zip(style.COLOURS, found.schemes.items(), strict=False):
        shown = drift < HUGE
        axes[0].semilogy(found.t[shown][1:], drift[shown][1:], color=colour, label=name)
    quantity = r"\max_{\tau \leq t}\, |H(\tau) - H(0)|"
    axes[0].set(xlabel="$t$", ylabel=f"${quantity}$", xlim=(0, found.t[-1]))
    style.title(axes[0], f"{subject.title}: {found.name}, $h = {found.h:g}$", f"$H = {found.invariant}$")
    if found.corrected:
        for place, (power, drift) in enumerate(found.corrected.items()):
            label = rf"$\tilde H$ up to $h^{{{power}}}$" if power else "$H$"
            axes[1].semilogy(found.t[1:], drift[1:], color=MODIFIED[place], label=label)
        axes[1].set(xlabel="$t$", xlim=(0, found.t[-1]))
        style.title(axes[1], "modified Hamiltonian", equation(subject))
    ends = [drift[-1] for drift in (*found.schemes.values(), *found.corrected.values()) if drift[-1] < HUGE]
    for one in axes:
        one.set_ylim(min(ends) / 30, max(ends) * 5)
    style.legend_below(figure, axes, 2 * len(axes))
    return figure
