"""Gradients over time: how much of the gradient at the end of a sequence reaches the state at every step before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from codegen.diagnostics import gradient_profile, state_jacobians
from derive.recurrence import Recurrence
from plots import style
from plots.cell_slopes import variants_with_slopes
from plots.modules import recurrent_module
from plots.runs import Array
from plots.subject import Subject

STEPS, BATCH, FEATURES, HIDDEN = 60, 16, 8, 32
FLOOR = 1e-12
COLUMNS = 2  # of the legend


@dataclass(frozen=True)
class Gradients:
    """One variant of a cell at initialization.

    Attributes:
        name: of the variant.
        norms: state -> (STEPS + 1,): median over sequences of the length of the gradient of the last output's sum.
        radius: median over steps and sequences of the spectral radius of the state Jacobian.
        largest: the same of its largest singular value.
    """

    name: str
    norms: dict[str, Array]
    radius: float
    largest: float


def data(subject: Subject) -> list[Gradients]:
    """Every variant whose states have slopes, with weights as the constructor draws them and normal inputs.

    Of variants that are the same cell the first.
    """
    spec, found = subject.spec, []
    distinct = set(map(str, spec.twins.values()))
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(STEPS, BATCH, n, generator=generator, dtype=torch.float64) for n in (FEATURES, HIDDEN))
    for name, cell in variants_with_slopes(spec).items():
        if name not in distinct:
            continue
        states = {q.name for q in cell.old}
        torch.manual_seed(0)
        module = recurrent_module(spec, name, FEATURES, HIDDEN)
        targets = y if len(cell.inputs) > 1 else None
        profile = gradient_profile(module, x, targets=targets)
        norms = {
            row.partition(",")[0]: v.median(-1).values.numpy()
            for row, v in zip(profile.names, profile.norms, strict=True)
            if row.partition(",")[0] in states
        }
        (jacobians,) = state_jacobians(module, x[::10], targets=None if targets is None else targets[::10])
        radius, largest = jacobians.spectral_radius.median().item(), jacobians.singular_values[..., 0].median().item()
        found.append(Gradients(name, norms, radius, largest))
    return found


def draw(subject: Subject, found: list[Gradients]) -> Figure:
    """A panel for each state, a curve for each variant."""
    states = list(dict.fromkeys(state for one in found for state in one.norms))
    letters = {
        q.name: q.latex for one in subject.spec.variants.values() if isinstance(one, Recurrence) for q in one.old
    }
    height = 3.4 + 0.2 * math.ceil(len(found) / COLUMNS)
    figure, axes = style.panels(len(states), width=4.2 * len(states) + 2.4, height=height)
    for state, one in zip(states, axes, strict=True):
        for place, variant in enumerate(found):
            values = variant.norms[state]
            shown = np.where(values > FLOOR, values, np.nan)
            label = rf"{variant.name}: $\rho = {variant.radius:.2f}$, $\sigma_1 = {variant.largest:.2f}$".removeprefix(
                ": "
            )
            one.semilogy(np.arange(STEPS + 1), shown, style.line(place), color=style.colour(place), label=label)
        one.set(xlabel="$t$", xlim=(0, STEPS))
        style.title(one, rf"gradient in the state ${_now(letters.get(state, state))}$ after $t$ steps")
    text = f"gradient of the last of {STEPS} outputs, as initialized; $\\rho$ and $\\sigma_1$ are of the state Jacobian"
    figure.suptitle(f"{subject.title}\n{text}", x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, axes[:1], COLUMNS)
    return figure


def _now(latex: str) -> str:
    """The letter of a state, with the index t in place of that of the step before."""
    return latex.replace("{t-1}", "t").replace("{k-1}", "t").replace("[n-1]", "[t]")
