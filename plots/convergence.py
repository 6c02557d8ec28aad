"""Error at a fixed time against the step, and the slope that the derived order predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from derive.analysis import Analysis
from derive.latex import latex
from derive.schemes import ButcherTableau, Scheme
from derive.systems import ODE
from plots import style
from plots.runs import Array, Problem, problem_of, speed_of
from plots.subject import PENDULUM, Subject

TIME = 2.0
STEPS = (4, 8, 16, 32, 64, 128, 256)
LEAST = 1e-17  # stands for no error at all on a logarithmic axis
ROUNDING = 1e-13  # smaller errors, relative to the solution, are rounding


@dataclass(frozen=True)
class Curve:
    """The errors of one scheme.

    Attributes:
        name: of the scheme.
        order: derived.
        h: steps, (points,), falling; `error` the largest components of the errors at the last time, the finite ones.
        error: see above.
    """

    name: str
    order: int
    h: Array
    error: Array

    @property
    def clean(self) -> Array:
        """Which errors are not rounding."""
        return np.asarray(self.error > ROUNDING)

    @property
    def slope(self) -> float:
        """Observed between the two smallest steps that rounding leaves alone; NaN where there are none."""
        h, error = self.h[self.clean][-2:], self.error[self.clean][-2:]
        return float(np.log(error[0] / error[1]) / np.log(h[0] / h[1])) if len(h) == 2 else float("nan")


def data(subject: Subject) -> list[Curve]:
    """The errors of the scheme, and of the embedded one where there is one."""
    assert subject.ode is not None and subject.typical is not None and subject.stepped is not None
    problem = problem_of(subject.ode, subject.spec.defaults)
    last = problem.reference(TIME, 1, speed_of(subject.typical))[-1]
    order = int(Analysis(subject.typical).order)
    return [_curve(problem, name, scheme, last, order) for name, scheme in _schemes(subject.stepped).items()]


def _schemes(scheme: Scheme) -> dict[str, Scheme]:
    """By what tells them apart in a legend."""
    if not isinstance(scheme, ButcherTableau) or scheme.b_error is None:
        return {"": scheme}
    bare = replace(scheme, b_error=None, dense=None, dense_stages=(), order=None, embedded_order=None, dense_order=None)
    return {"": scheme, "embedded: ": replace(bare, b=scheme.b_error)}


def _curve(problem: Problem, name: str, scheme: Scheme, last: Array, order: int) -> Curve:
    errors: list[tuple[float, float]] = []
    for steps in STEPS:
        error = float(np.abs(problem.states(scheme, steps, TIME)[-1] - last).max())
        if np.isfinite(error):
            errors.append((TIME / steps, error))
        if error < ROUNDING:
            break
    h, error = np.array(errors).T
    return Curve(name, int(Analysis(scheme).order) if name else order, h, np.maximum(error, LEAST))


def draw(subject: Subject, curves: list[Curve]) -> Figure:
    """Errors as points, the derived slopes as dashed lines through the last clean point."""
    figure, (axes,) = style.panels(width=5.2, height=4.2)
    for curve, colour in zip(curves, style.COLOURS, strict=False):
        diverges = curve.slope < 0
        observed = "diverges" if diverges else f"observed slope {curve.slope:.2f}"
        axes.loglog(curve.h, curve.error, "o-", color=colour, label=f"{curve.name}{observed}")
        anchor = np.flatnonzero(curve.clean)
        if len(anchor) and not diverges:
            line = curve.error[anchor[-1]] * (curve.h / curve.h[anchor[-1]]) ** curve.order
            label = rf"{curve.name}derived $h^{{{curve.order}}}$"
            axes.loglog(curve.h, line, "--", color=colour, alpha=0.55, linewidth=1.1, label=label)
    axes.set(xlabel="step $h$", ylabel=rf"error at $t = {TIME:g}$")
    axes.grid(visible=True, which="major", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    style.title(axes, f"{subject.title}: convergence", equation(subject))
    style.legend_below(figure, [axes], 2)
    return figure


def equation(subject: Subject) -> str:
    """The equation that is solved, and the values of the scheme's symbols, for a title."""
    assert subject.ode is not None
    name = "pendulum " if subject.ode is PENDULUM else ""
    return ",  ".join(filter(None, [name + equation_of(subject.ode), subject.note]))


def equation_of(ode: ODE) -> str:
    """An ODE in LaTeX between dollars, on one line."""
    sides = [
        rf"\dot {{{x.latex}}} = {latex(part, continuous=True)}" for x, part in zip(ode.state, ode.velocity, strict=True)
    ]
    text = r",\ ".join(sides).replace(r"\operatorname", r"\mathrm")
    return f"${text}$"
