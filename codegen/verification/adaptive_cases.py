"""Cases of modules with adaptive steps: on steps of one size, which are known beforehand, against the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.functions_of_time import Wave, waves
from codegen.verification.measures import uniform
from codegen.verification.stand_in import stand_in
from codegen.verification.step_setting import numeric
from derive.adaptive import Adaptive
from derive.discretization import STEP_SIZE, time_at_step
from derive.embedded import EmbeddedStep, embedded_step
from derive.evaluator import evaluate
from derive.networks import Network
from derive.operators import Numeric
from derive.sampling import TanhNetwork
from derive.step_quantities import StageValue
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import Spec
from derive.time_dependence import moving

DIM, SMALL_DIM = 3, 2
BATCH, SMALL_BATCH = (2, 1), (1,)
HIDDEN, SMALL_HIDDEN = 2, 1
INTERVAL = (0.3, 1.1)
STEPS, SMALL_STEPS = 3, 2
MOMENTS, SMALL_MOMENTS = (0.0, 0.21, 0.5, 0.55, 1.0), (0.4,)  # of outputs, as shares of the interval
LOOSE = 1e9  # a tolerance that every step meets


@dataclass(frozen=True)
class Model:
    """Numbers for a spec with adaptive steps.

    Attributes:
        spec, system: what is emitted.
        values: parameters and constants of a field that is written out.
        network: the stand-in for an opaque one, with its parameters.
        functions: parameters that are functions of time.
    """

    spec: Spec
    system: Adaptive
    values: Mapping[Quantity, Tensor]
    network: tuple[Network, TanhNetwork, Tensor] | None
    dim: int
    functions: Mapping[Quantity, Wave] = field(default_factory=dict)

    def build(self, kind: Callable[..., nn.Module], **options: Any) -> nn.Module:
        """The module in float64 with these numbers."""
        if self.network is not None:
            _, model, theta = self.network
            return kind(stand_in(model.shapes, theta), **options)
        held: dict[str, Any] = {q.name: float(v) if q.role is Role.CONSTANT else v for q, v in self.values.items()}
        held |= {q.name: function.copied() for q, function in self.functions.items()}
        return kind(**held, **options)

    def build_even(self, kind: Callable[..., nn.Module], steps: int, **options: Any) -> nn.Module:
        """The same, with steps of one size."""
        span = (INTERVAL[1] - INTERVAL[0]) / steps
        ends = {"t0": INTERVAL[0], "t1": INTERVAL[1]}
        module: Any = self.build(kind, **ends, rtol=LOOSE, first_step=span, **options)
        module.options = module.options._replace(control=module.control._replace(smallest=1.0, largest=1.0))
        return module

    @property
    def step(self) -> EmbeddedStep:
        """One step, which reads functions of time at its stages."""
        return embedded_step(moving(self.system.ode, self.functions), self.system.pair)

    @property
    def label(self) -> str:
        """Which parameters are functions."""
        return f"{', '.join(q.name for q in self.functions)} of time" if self.functions else ""

    def of_time(self) -> list[Model]:
        """The same with functions of time, where the spec allows some."""
        varying = self.spec.may_vary
        functions = dict(zip(varying, waves([self.values[q] for q in varying]), strict=True))
        return [replace(self, functions=functions)] if functions else []

    @property
    def features(self) -> int:
        """Size of the last axis of the state."""
        states = self.system.ode.state
        return self.dim if states[0].shape else len(states)


def model_of(spec: Spec, dim: int = DIM, hidden: int = HIDDEN) -> Model:
    """Seeded numbers for a spec."""
    (system,) = (system for system in spec.variants.values() if isinstance(system, Adaptive))
    generator = torch.Generator().manual_seed(37)
    if system.ode.networks:
        (network,) = system.ode.networks
        model = TanhNetwork(dim, network.takes_time, hidden)
        return Model(spec, system, {}, (network, model, uniform((model.parameter_count,), -0.9, 0.9, generator)), dim)
    sizes = _sizes(system, dim)
    held = [q for q in by_name(system.ode.quantities) if q.role in (Role.PARAMETER, Role.CONSTANT)]
    values = {q: uniform([_size(n, sizes) for n in q.shape], 0.2, 0.9, generator) for q in held}
    return Model(spec, system, values, None, dim)


def _size(name: Dimension, sizes: Mapping[Dimension, int]) -> int:
    return name if isinstance(name, int) else sizes[name]


def _sizes(system: Adaptive, dim: int) -> dict[Dimension, int]:
    """A size for each named dimension, that of the state first."""
    own = {size: dim for q in system.ode.state for size in q.shape}
    names = sorted({n for q in system.ode.quantities for n in q.shape if isinstance(n, str) and n not in own})
    return own | {name: dim + 1 + place for place, name in enumerate(names)}


def adaptive_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """One case, and one with functions of time: the last state, and outputs inside the steps."""
    dim, batch, steps = (SMALL_DIM, SMALL_BATCH, SMALL_STEPS) if small else (DIM, BATCH, STEPS)
    model = model_of(spec, dim, SMALL_HIDDEN if small else HIDDEN)
    x = uniform((*batch, model.features), -1.0, 1.0, torch.Generator().manual_seed(23))
    stops = model.system.pair.is_crude  # outputs are ends of steps
    shares = [n / steps for n in range(steps + 1)] if stops else SMALL_MOMENTS if small else MOMENTS
    times = torch.tensor([INTERVAL[0] + share * (INTERVAL[1] - INTERVAL[0]) for share in shares], dtype=torch.float64)
    inner = times[1:-1] if len(times) > 1 else times  # differences at the ends would leave the interval

    def call(module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        x0, moving = (*inputs, inner)[:2]
        ends = times.to(moving)
        every = torch.cat((ends[:1], moving, ends[-1:])) if len(times) > 1 else moving
        return module(x0), module.trajectory(x0, every)

    def build(model: Model, given: Mapping[str, Tensor], memory: str, gradient: str) -> nn.Module:
        return model.build_even(kind, steps, **given, memory=memory, gradient=gradient)

    return [
        Case(
            label=one.label,
            build=partial(build, one),
            constructor={},
            inputs={"x": x} if stops else {"x": x, "times": inner},
            call=call,
            reference=partial(_reference, one, x, steps, times.tolist()),
            memory=("recompute", "store"),
            rank=len(batch),
            axes={"times": None},
        )
        for one in (model, *model.of_time())
    ]


def _reference(model: Model, x: Tensor, steps: int, times: Sequence[float]) -> list[Tensor]:
    """Last state and outputs, sample by sample."""
    found = [_solved(model, sample, steps, times) for sample in x.reshape(-1, x.shape[-1]).numpy()]
    last = torch.from_numpy(np.stack([end for end, _ in found])).reshape(x.shape)
    outputs = torch.from_numpy(np.stack([inside for _, inside in found], axis=1))
    return [last, outputs.reshape(len(times), *x.shape)]


def _solved(model: Model, x: Numeric, steps: int, times: Sequence[float]) -> tuple[Numeric, Numeric]:
    """One sample by the reference evaluator, on steps of one size."""
    system, step = model.system, model.step
    networks: Any = {model.network[0]: model.network[1]} if model.network else {}
    known: dict[Quantity, Numeric] = {q: numeric(value) for q, value in model.values.items()}
    if model.network:
        known[model.network[0].theta] = model.network[2].numpy()
    h, now = (INTERVAL[1] - INTERVAL[0]) / steps, time_at_step(system.ode)
    outputs: list[Numeric] = []
    for n in range(steps):
        t = INTERVAL[0] + n * h
        given = known | dict(zip(step.old, _parts(model, x), strict=True)) | {STEP_SIZE: h}
        given |= {now: t} if now is not None else {}
        at_stages = [q for q in step.program.inputs if isinstance(q, StageValue)]
        given |= {q: model.functions[q.parameter].numeric(t + float(q.node) * h, float) for q in at_stages}
        end = t + h * (1 + 1e-9) if n == steps - 1 else t + h
        while len(outputs) < len(times) and times[len(outputs)] <= end:
            place = {step.theta: (times[len(outputs)] - t) / h}
            found = evaluate(step.program, given | place, networks)
            outputs.append(_joined(model, [found[q] for q in step.inside]))
        found = evaluate(step.program, given | {step.theta: 1.0}, networks)
        x = _joined(model, [found[q] for q in step.new])
    return x, np.stack(outputs)


def _parts(model: Model, x: Numeric) -> list[Numeric]:
    return [x] if model.system.ode.state[0].shape else list(x)


def _joined(model: Model, parts: Sequence[Numeric]) -> Numeric:
    return parts[0] if model.system.ode.state[0].shape else np.stack([np.asarray(part) for part in parts])
