"""What only flows promise: an inverse, log-determinants that are those of Jacobians, densities that add up to 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.flow_cases import FlowSetting, settings
from codegen.verification.measures import Measured, difference, row, uniform, worst_difference
from codegen.verification.report import Row
from derive.flow import Flow
from derive.flow_programs import flow_programs
from derive.systems import Spec

DIMS = (2, 3, 5)
ROUND_TRIP, SLOGDET, WHOLE = 1e-12, 1e-12, 1e-5
REACH, POINTS = 12.0, 801


class _NotZero(nn.Module):
    """A network whose values stay between 1/e and e."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """exp(tanh(inner(x)))."""
        return torch.exp(torch.tanh(self.inner(x)))


def flow_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """All of them, for each way to hold the parameters."""
    (flow,) = (system for system in spec.variants.values() if isinstance(system, Flow))
    points = {dim: uniform((6, dim), -1.5, 1.5, torch.Generator().manual_seed(41)) for dim in DIMS}
    for dim in DIMS:
        for setting in settings(spec, dim, points[dim]):
            title = partial(_titled, setting)
            if flow_programs(flow).backward is not None:
                check = title("inverse round trip")
                yield row(spec.id, check, ROUND_TRIP, partial(_round_trip, setting, kind, points[dim]))
            check = title("log-det against slogdet of the autograd Jacobian")
            yield row(spec.id, check, SLOGDET, partial(_slogdet, setting, kind, points[dim]))
    for setting in settings(spec, 2, points[2]):
        check = f"density adds up to {'what the base has in the image' if setting.bounds() else 1}"
        yield row(spec.id, _titled(setting, check), WHOLE, partial(_whole, setting, kind))


def _titled(setting: FlowSetting, check: str) -> str:
    return f"{check} [" + ", ".join(filter(None, (f"d={setting.dim}", setting.label))) + "]"


def _round_trip(setting: FlowSetting, kind: Callable[..., nn.Module], x: Tensor) -> Measured:
    """x -> y -> x, and the sum of both log-determinants."""
    module: Any = setting.build(kind)
    with torch.no_grad():
        y, log_det = module(x)
        back, log_det_back = module.inverse(y)
    gap = float((log_det + log_det_back).abs().max())
    return Measured(max(difference(back, x), gap), "x and the sum of both log-determinants")


def _slogdet(setting: FlowSetting, kind: Callable[..., nn.Module], x: Tensor) -> Measured:
    module: Any = setting.build(kind, "autograd")
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda v: module(v)[0], sample) for sample in x])
    expected = torch.linalg.slogdet(jacobians).logabsdet
    with torch.no_grad():
        found = module(x)[1]
    if found.shape != expected.shape:
        return worst_difference([found], [expected], ["log-determinant"])
    return Measured(float((found - expected).abs().max()), f"{len(x)} samples")


def _whole(setting: FlowSetting, kind: Callable[..., nn.Module]) -> Measured:
    """Networks are kept away from zero, so that the density has no long tails."""
    module = setting.build(kind, networks=[_NotZero(network) for network in setting.given_networks()])
    return whole(module, mass=_mass(setting), reach=(2 if len(setting.bounds()) == 1 else 1) * REACH)


def _mass(setting: FlowSetting) -> float:
    """What the normal base has in the image of the map."""
    bounds = [torch.as_tensor(np.asarray(bound, dtype=float)).expand(setting.dim) for bound in setting.bounds()]
    if not bounds:
        return 1.0
    below = torch.from_numpy(np.asarray(setting.run(np.zeros(setting.dim))[0], dtype=float)) < bounds[-1]
    last = torch.special.ndtr(bounds[-1])
    rest = torch.special.ndtr(bounds[0]) if len(bounds) == 2 else torch.where(below, 0.0, 1.0)
    return float((last - rest).abs().prod())


def whole(module: Any, points: int = POINTS, mass: float = 1.0, reach: float = REACH) -> Measured:
    """How far the integral of a density in the plane is from its mass, by the trapezoid rule over a square."""
    side = torch.linspace(-reach, reach, points, dtype=torch.float64)
    total = 0.0
    with torch.no_grad():
        for x_1 in side.split(200):
            grid = torch.cartesian_prod(x_1, side)
            total += float(module.log_prob(grid).exp().sum())
    cell = (2 * reach / (points - 1)) ** 2
    return Measured(abs(total * cell - mass), f"{points}^2 points within {reach:g}")
