"""An equilibrium: the residual of each solver step by step, truncated gradients, and the rate that J at z* predicts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from codegen.verification.fixed_point_cases import SOLVERS, EquilibriumSetting, drawn_settings
from derive.errors import DeriveError
from derive.fixed_point import FixedPoint
from plots import style
from plots.modules import module_class
from plots.runs import Array
from plots.subject import Subject

STEPS, TERMS = 60, 24
RADII = (0.55, 0.85)  # of the Jacobian at the solution that is shown
LEAST, ROUNDING = 1e-17, 1e-14


@dataclass(frozen=True)
class Convergence:
    """One map.

    Attributes:
        size: components of the state.
        radius: spectral radius of the Jacobian at the equilibrium.
        residuals: solver -> |f(z) - z| / (1 + |z|) after each step.
        truncated: relative error of the gradient of all parameters with 1, 2, ... terms.
    """

    size: int
    radius: float
    residuals: Mapping[str, Array]
    truncated: Array


def data(subject: Subject) -> Convergence:
    """Residuals and truncated gradients of the first map of a suitable radius.

    Raises:
        DeriveError: there is none among some random ones.
    """
    fixed, kind = subject.spec.system, module_class(subject.spec)
    assert isinstance(fixed, FixedPoint)
    for setting, inputs in drawn_settings(fixed):
        given = [value[:1] for value in inputs.values()]
        start = torch.zeros(1, setting.size_of(fixed.state), dtype=torch.float64)
        module: Any = setting.build(kind, solver="picard", tol=ROUNDING / 10, max_iter=2000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of maps that are not taken
            z = module(*given, z0=start)
        radius = _radius(setting, module, z.detach(), given)
        if bool(module.info.converged.all()) and RADII[0] < radius < RADII[1]:
            residuals = {solver: _residuals(setting, kind, solver, given, start) for solver in SOLVERS}
            return Convergence(start.numel(), radius, residuals, _truncated(module, given, start))
    raise DeriveError(f"{subject.label}: no random parameters give a spectral radius between {RADII[0]} and {RADII[1]}")


def _image(setting: EquilibriumSetting, module: Any, z: Tensor, given: list[Tensor]) -> Tensor:
    networks = [network for _, network in module.named_children()]
    held = [module.get_parameter(q.name) for q in setting.fixed.parameters]
    image: Tensor = module.image(False, networks, z, *given, *held)
    return image


def _radius(setting: EquilibriumSetting, module: Any, z: Tensor, given: list[Tensor]) -> float:
    jacobian = torch.autograd.functional.jacobian(lambda v: _image(setting, module, v, given)[0], z)[:, 0]
    return float(torch.linalg.eigvals(jacobian).abs().max())


def _residuals(setting: EquilibriumSetting, kind: Any, solver: str, given: list[Tensor], start: Tensor) -> Array:
    """After 0, 1, ... steps: each solver is run to so many."""
    found = []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)  # that so many are not enough is what is shown
        for steps in range(1, STEPS + 1):
            module: Any = setting.build(kind, solver=solver, tol=ROUNDING, max_iter=steps)
            module(*given, z0=start)
            found.append(float(module.info.residual))
            if bool(module.info.converged.all()):
                break
    return np.maximum(np.array(found), LEAST)


def _truncated(module: Any, given: list[Tensor], start: Tensor) -> Array:
    def gradient(terms: int | None) -> Tensor:
        module.phantom = terms
        tensors = [p for p in module.parameters() if isinstance(p, nn.Parameter)]
        found = torch.autograd.grad(module(*given, z0=start).sin().sum(), tensors)
        return torch.cat([one.reshape(-1) for one in found])

    exact = gradient(None)
    errors = [float((gradient(terms) - exact).norm() / exact.norm()) for terms in range(1, TERMS + 1)]
    return np.maximum(np.array(errors), LEAST)


def draw(subject: Subject, found: Convergence) -> Figure:
    """Residuals to the left, truncated gradients to the right, each with the derived rate."""
    figure, (left, right) = style.panels(2, width=8.4, height=4.0)
    for colour, (solver, residuals) in zip(style.COLOURS, found.residuals.items(), strict=False):
        left.semilogy(np.arange(1, len(residuals) + 1), residuals, "o-", color=colour, markersize=3, label=solver)
    rate = rf"derived: $\rho(J)^k$, $\rho = {found.radius:.2f}$"
    for axes, values in ((left, found.residuals["picard"]), (right, found.truncated)):
        clean = np.flatnonzero(values > ROUNDING)
        place = np.arange(1, len(values) + 1)
        line = values[clean[-1]] * found.radius ** (place - place[clean[-1]])
        if axes is right:
            axes.semilogy(place, values, "o-", color=style.PURPLE, markersize=3, label="truncated gradient")
        axes.semilogy(place, line, "--", color=style.INK, linewidth=1.1, alpha=0.7, label=rate)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True, which="major", color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)
    left.set(xlabel="steps $k$", ylabel="residual $|f(z) - z|\\, /\\, (1 + |z|)$")
    right.set(xlabel="terms $k$", ylabel="relative error of the gradient")
    dimension = f"a random map in {found.size} dimensions"
    style.title(left, f"{subject.title}: solvers", dimension)
    style.title(right, "truncated gradients", "the same map")
    style.legend_below(figure, [left, right], 5)
    return figure
