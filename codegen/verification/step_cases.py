"""Cases of modules that are loops over steps: nets in depth, integrators, explicit systems."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.functions_of_time import waves
from codegen.verification.given_draws import GivenDraws, given_draws
from codegen.verification.measures import uniform
from codegen.verification.step_setting import Numbers, Setting, has_rows, per_layer
from codegen.verification.tame import gentle, tame_steps
from derive.equations import systems
from derive.error_growth import line_growth
from derive.exact_reversal import split_off_oldest
from derive.explanation import recurrences
from derive.inversion import invert, replayed
from derive.operators import Numeric
from derive.schemes import scheme_by_name
from derive.symbols import Quantity
from derive.systems import ODE, Spec
from derive.time_dependence import step_of_time

SMALL = 2
STEPS = 3  # or as many as it takes to get past the start
BATCH = (3, 2)  # two axes: however many there are, they lead
LONG = 64
SHORT_STEP = 0.05
STEEPEST = 1.0  # slope of the field times the step size
INTERVAL = (0.3, 1.1)


def step_cases(kind: Callable[..., nn.Module], spec: Spec) -> list[Case]:
    """One case for each start or variant, or a single one."""
    return _cases(kind, _settings(spec, STEPS, INTERVAL), BATCH)


def small_cases(kind: Callable[..., nn.Module], spec: Spec) -> list[Case]:
    """The same with two steps and one sample, for second derivatives by differences."""
    return _cases(kind, _settings(spec, SMALL, INTERVAL, hidden=1), (1,))


def long_cases(kind: Callable[..., nn.Module], spec: Spec, modes: Set[str]) -> list[Case]:
    """The same with many short steps, of settings that have one of these memory modes."""
    settings = _settings(spec, LONG, (0.0, SHORT_STEP * LONG))
    return _cases(kind, [setting for setting in settings if modes & set(memory_modes(kind, setting))], BATCH)


def _cases(kind: Callable[..., nn.Module], settings: Sequence[Setting], batch: tuple[int, ...]) -> list[Case]:
    """One case for each setting; of steps with random draws, for each kind of draws."""
    return [_case(kind, setting, batch, draws) for setting in settings for draws in given_draws(setting, batch)]


def _settings(spec: Spec, steps: int, interval: tuple[float, float], hidden: int = 2) -> list[Setting]:
    settings = []
    for option, recurrence in recurrences(spec).items():
        system = spec.system if isinstance(spec.system, ODE) else None
        few = max(steps, recurrence.lags + (steps > SMALL))
        for start in list(recurrence.starts) or [""]:
            made = Numbers().setting(system, recurrence, few, start, interval, hidden)
            made = replace(made, option={spec.option: option} if spec.option else {})
            settings.append(made)
            if spec.may_vary:
                settings += [_varied(made, spec.may_vary), *of_time(made, spec)]
    return [_from_zero(setting) if setting.layered else setting for setting in settings]


def _varied(setting: Setting, parameters: Sequence[Quantity]) -> Setting:
    """The same with a value of these parameters for each step."""
    generator = torch.Generator().manual_seed(11)
    given = {q: setting.values[q] for q in parameters}
    rows = {q: v * uniform([setting.steps, *(1 for _ in v.shape)], 0.5, 1.0, generator) for q, v in given.items()}
    return replace(setting, values={**setting.values, **rows})


def of_time(setting: Setting, spec: Spec) -> list[Setting]:
    """The same with functions of time in the place of these parameters, where the scheme takes them."""
    if setting.ode is None:
        return []
    driven = step_of_time(setting.ode, scheme_by_name(spec.scheme), spec.may_vary)
    functions = dict(zip(spec.may_vary, waves([setting.values[q] for q in spec.may_vary]), strict=True))
    return [] if driven is None else [replace(setting, recurrence=driven, functions=functions)]


def _from_zero(setting: Setting) -> Setting:
    """Layers count from time zero."""
    return replace(setting, t0=0.0, t1=setting.t1 - setting.t0)


def _case(kind: Callable[..., nn.Module], setting: Setting, batch: tuple[int, ...], draws: GivenDraws) -> Case:
    generator = torch.Generator().manual_seed(5)
    shapes = setting.input_shapes()
    inputs = {name: uniform((*batch, *shape), -1.0, 1.0, generator) for name, shape in shapes.items()}
    if setting.ode is not None:
        scale = gentle(setting, _samples(setting, list(inputs.values()), batch), STEEPEST * setting.steps)
        inputs = {name: scale * x for name, x in inputs.items()}
        setting = tame_steps(setting, _samples(setting, list(inputs.values()), batch), STEEPEST * setting.steps)
    numbers = {"step_size": setting.step_size} if setting.layered else {"t0": setting.t0, "t1": setting.t1}
    known = inspect.signature(kind).parameters
    return Case(
        label=", ".join(part for part in (_label(setting), draws.label) if part),
        build=lambda tensors, mode, gradient: setting.build(kind, tensors, mode, gradient),
        constructor={n: torch.tensor(v, dtype=torch.float64) for n, v in numbers.items() if n in known},
        inputs=inputs,
        call=partial(_outputs, len(inputs), draws),
        reference=lambda: _reference(setting, list(inputs.values()), batch, draws),
        memory=memory_modes(kind, setting),
        solves=any(systems(program) for program in (setting.recurrence.step, *setting.recurrence.starts.values())),
        differentiable=draws.as_drawn,
        rank=len(batch),
    )


def _label(setting: Setting) -> str:
    parts = [f"start={setting.start!r}"] if setting.start else []
    varied = [q.name for q, value in setting.values.items() if has_rows(q, value) and not per_layer(q)]
    parts += [f"{', '.join(varied)} of each step"] if varied else []
    parts += [f"{', '.join(q.name for q in setting.functions)} of time"] if setting.functions else []
    return ", ".join([*parts, *(f"{name}={value!r}" for name, value in setting.option.items())])


def memory_modes(kind: Callable[..., nn.Module], setting: Setting) -> tuple[str, ...]:
    """The memory modes that a module has."""
    # A module whose weights are arguments may be given a two-step scheme, but has no rules for its exact reversal.
    known = inspect.signature(kind).parameters
    exact = "q" in known and len(setting.networks) == 1 and split_off_oldest(setting.recurrence) is not None
    inverted = not setting.functions and rebuilds_states(setting)
    exact = exact and not setting.functions
    return ("store", "recompute", "checkpoint", *["invert"] * inverted, *["exact"] * exact)


def rebuilds_states(setting: Setting) -> bool:
    """Whether states may be rebuilt by the inverse: it is explicit, and how it amplifies errors can be told."""
    inverse = replayed(setting.recurrence)
    if inverse is None:
        return False
    bounded = setting.recurrence.lags > 1 or line_growth(inverse, setting.recurrence) is not None
    return bounded or not setting.networks


def _outputs(streams: int, draws: GivenDraws, module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The last state and the whole trajectory, by two calls with code of their own in the backward pass.

    A module of several streams gives a tuple of each, and where its steps have an inverse, that is a third call.
    """
    if streams == 1:
        given = draws.arguments(inputs[0].device)
        return module(*inputs, **given), module.trajectory(*inputs, **given)
    back = module.inverse(*inputs) if hasattr(module, "inverse") else ()
    return (*module(*inputs), *module.trajectory(*inputs), *back)


def _reference(setting: Setting, inputs: Sequence[Tensor], batch: tuple[int, ...], draws: GivenDraws) -> list[Tensor]:
    samples = _samples(setting, inputs, batch)
    runs = [draws.of_sample(setting, place).run(sample) for place, sample in enumerate(samples)]
    paths = [[setting.packed(state) for state in run] for run in runs]
    trajectories = []
    for stream in range(len(inputs)):
        found = torch.from_numpy(np.stack([np.stack([state[stream] for state in path]) for path in paths], 1))
        trajectories.append(found.reshape(len(found), *batch, *found.shape[2:]))
    outputs = [*(one[-1] for one in trajectories), *trajectories]
    return [*outputs, *_initial_states(setting, samples, batch)] if len(inputs) > 1 else outputs


def _samples(setting: Setting, inputs: Sequence[Tensor], batch: tuple[int, ...]) -> list[Numeric]:
    """The inputs of each sample as one array."""
    flat_inputs = [x.reshape(math.prod(batch), *x.shape[len(batch) :]).numpy() for x in inputs]
    return [setting.joined(values) for values in zip(*flat_inputs, strict=True)]


def _initial_states(setting: Setting, samples: Sequence[Numeric], batch: tuple[int, ...]) -> list[Tensor]:
    """What the inverse must find: for each sample taken as a last state, the first one; nothing where there is none."""
    inverse = invert(setting.recurrence)
    if inverse is None or setting.recurrence.lags > 1:
        return []
    found = [setting.packed(setting.run_back(inverse, sample)) for sample in samples]
    streams = [torch.from_numpy(np.stack(values)) for values in zip(*found, strict=True)]
    return [one.reshape(*batch, *one.shape[1:]) for one in streams]
