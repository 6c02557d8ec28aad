"""Cases of modules that are loops over steps: nets in depth, integrators, explicit systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.measures import uniform
from codegen.verification.step_setting import Numbers, Setting, flat
from derive.inversion import invert
from derive.systems import ODE, Recurrence

STEPS = 3
BATCH = (3, 2)  # two axes: however many there are, they lead
LONG = 64
SHORT_STEP = 0.05
INTERVAL = (0.3, 1.1)


def step_cases(kind: Callable[..., nn.Module], ode: ODE, recurrence: Recurrence) -> list[Case]:
    """One case for each start, or a single one."""
    return [_case(kind, setting) for setting in _settings(ode, recurrence, STEPS, INTERVAL)]


def small_cases(kind: Callable[..., nn.Module], ode: ODE, recurrence: Recurrence) -> list[Case]:
    """The same with two steps and one sample, for second derivatives by differences."""
    steps = max(2, recurrence.lags)
    return [_case(kind, setting, batch=(1,)) for setting in _settings(ode, recurrence, steps, INTERVAL, hidden=1)]


def long_cases(kind: Callable[..., nn.Module], ode: ODE, recurrence: Recurrence) -> list[Case]:
    """The same with many short steps, for the modes whose errors add up."""
    return [_case(kind, setting) for setting in _settings(ode, recurrence, LONG, (0.0, SHORT_STEP * LONG))]


def _settings(
    ode: ODE, recurrence: Recurrence, steps: int, interval: tuple[float, float], hidden: int = 2
) -> list[Setting]:
    starts = list(recurrence.starts) or [""]
    settings = [Numbers().setting(ode, recurrence, steps, start, interval, hidden) for start in starts]
    return [_from_zero(setting) if setting.layered else setting for setting in settings]


def _from_zero(setting: Setting) -> Setting:
    """Layers count from time zero."""
    return replace(setting, t0=0.0, t1=setting.t1 - setting.t0)


def _case(kind: Callable[..., nn.Module], setting: Setting, batch: tuple[int, ...] = BATCH) -> Case:
    x = uniform((*batch, *setting.input_shape()), -1.0, 1.0, torch.Generator().manual_seed(5))
    numbers = {"step_size": setting.step_size} if setting.layered else {"t0": setting.t0, "t1": setting.t1}
    memory = ["store", "recompute", "checkpoint"] + ["invert"] * _rebuilds_states(setting)
    return Case(
        label=f"start={setting.start!r}" if setting.start else "",
        build=lambda tensors, mode, gradient: setting.build(kind, tensors, mode, gradient),
        constructor={name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        inputs={"x": x},
        call=_both,
        reference=lambda: _reference(setting, x),
        memory=tuple(memory),
    )


def _rebuilds_states(setting: Setting) -> bool:
    """Whether the states may be rebuilt by the inverse: it is explicit, and there are blocks whose graphs it saves."""
    return bool(setting.networks) and invert(setting.recurrence) is not None


def _both(module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The last state and the whole trajectory: two calls, with code of their own in the backward pass."""
    return module(*inputs), module.trajectory(*inputs)


def _reference(setting: Setting, x: Tensor) -> list[Tensor]:
    samples = x.reshape(-1, *setting.input_shape()).numpy()
    paths = [np.stack([flat(state) for state in setting.run(sample)]) for sample in samples]
    found = torch.from_numpy(np.stack(paths, 1))
    batch = x.shape[: x.dim() - len(setting.input_shape())]
    trajectory = found.reshape(len(found), *batch, *found.shape[2:])
    return [trajectory[-1], trajectory]
