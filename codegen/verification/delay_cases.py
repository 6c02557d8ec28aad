"""Cases of modules of delay equations: with the initial value as history, and with one of their own; observed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.convergence import CLEAR, EXACT, WITHIN
from codegen.verification.measures import Measured, judged, uniform
from codegen.verification.reference import BIG_STEPS, solve, velocity
from codegen.verification.report import Row
from codegen.verification.step_setting import Numbers, Setting, numeric
from codegen.verification.tame import is_tame, shortened
from derive.delay import Delay, DelayODE
from derive.delay_checks import SHOWN, Record, ranks, run, stretches
from derive.delay_steps import DelayStep, delay_step
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.symbols import Quantity, Role, constant
from derive.systems import Spec

INTERVAL = (0.3, 1.1)
BATCH, SMALL_BATCH = (3, 2), (1,)
SHORTEST, STEPS = 2, 2  # of the delays that are told, in steps; steps after the longest delay
HIDDEN, SMALL_HIDDEN = 2, 1
STRETCHES = (0.5, 1.0, 2.0)  # lengths of the shortest delay where orders are observed
VISIBLE = 1e-5  # an error with the fewest steps that leaves room for smaller ones
COARSEST, FINEST = 4, 128  # steps on such a stretch


@dataclass(frozen=True)
class DelaySetting:
    """A run of a module: numbers for everything but the input.

    Attributes:
        system: the equation.
        numbers: parameters, networks, sizes, times, number of steps.
        lags: delay -> its number of steps.
    """

    system: DelayODE
    numbers: Setting
    lags: Mapping[Delay, int]

    @property
    def made(self) -> DelayStep:
        """One step."""
        return delay_step(self.system)

    def module(self, kind: Callable[..., nn.Module], given: Mapping[str, Any], memory: str, gradient: str) -> nn.Module:
        """The module with exactly these numbers."""
        return self.numbers.build(kind, given, memory, gradient)

    @property
    def rows(self) -> int:
        """Values of a history."""
        return max(self.lags.values()) * len(self.made.records)

    def states(self, x: Numeric, history: Numeric | None) -> list[list[Numeric]]:
        """The states of one sample from the initial one on, as the module packs them."""
        initial = self.numbers.initial(x)
        count, longest = len(self.made.records), max(self.lags.values())

        def before(n: int, record: int) -> Record:
            return list(initial) if history is None else self.numbers.initial(history[(longest + n) * count + record])

        given = partial(self.numbers.given, lift=lambda value: value)
        found = run(self.made, given, initial, before, self.lags, self.numbers.steps, self.numbers.networks)
        return [self.numbers.packed(state) for state in found]


def delay_setting(system: DelayODE, hidden: int) -> DelaySetting:
    """A seeded run over a few steps more than the longest delay has."""
    made = delay_step(system)
    lags = {d: d if isinstance(d, int) else SHORTEST + place for place, d in enumerate(system.delays)}
    steps = max(lags.values()) + STEPS
    recurrence = Recurrence(made.step, made.old, made.new)
    numbers = Numbers().setting(system.frozen, recurrence, steps, "", INTERVAL, hidden)
    options = {f"{d.name}_steps": lag for d, lag in lags.items() if isinstance(d, Quantity)}
    return DelaySetting(system, replace(numbers, option=options), lags)


def delay_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """Without a history and with one."""
    (system,) = spec.variants.values()
    assert isinstance(system, DelayODE)
    setting = delay_setting(system, SMALL_HIDDEN if small else HIDDEN)
    return [_case(kind, setting, given, SMALL_BATCH if small else BATCH, small) for given in (False, True)]


def _case(
    kind: Callable[..., nn.Module], setting: DelaySetting, given: bool, batch: tuple[int, ...], small: bool
) -> Case:
    generator = torch.Generator().manual_seed(37)
    shapes = setting.numbers.input_shapes()
    inputs = {name: uniform((*batch, *shape), -0.7, 0.7, generator) for name, shape in shapes.items()}
    if given:
        past = {n: uniform((setting.rows, *batch, *s), -0.7, 0.7, generator) for n, s in shapes.items()}
        inputs |= {f"history_{name}" if len(shapes) > 1 else "history": value for name, value in past.items()}
    numbers = shortened(setting.numbers, partial(_fits, setting, inputs, len(shapes), batch))
    setting = replace(setting, numbers=numbers)
    times = {"t0": numbers.t0, "t1": numbers.t1}
    return Case(
        label="history given" if given else "",
        build=lambda tensors, memory, gradient: setting.module(kind, tensors, memory, gradient),
        constructor={name: torch.tensor(value, dtype=torch.float64) for name, value in times.items()},
        inputs=inputs,
        call=partial(_outputs, len(shapes)),
        reference=lambda: _reference(setting, list(inputs.values()), len(shapes), batch),
        memory=("store",) if small else ("store", "recompute", "checkpoint"),
        rank=len(batch),
        axes={name: int(name not in shapes) for name in inputs},
    )


def _fits(
    setting: DelaySetting, inputs: Mapping[str, Tensor], streams: int, batch: tuple[int, ...], numbers: Setting
) -> bool:
    found = _reference(replace(setting, numbers=numbers), list(inputs.values()), streams, batch)[streams:]
    return all(is_tame(path[-1].numpy(), path[0].numpy()) for path in found)


def _outputs(streams: int, module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The last state and the whole trajectory, by two calls."""
    x, past = inputs[:streams], tuple(inputs[streams:])
    history = None if not past else past if streams > 1 else past[0]
    last, path = module(*x, history=history), module.trajectory(*x, history=history)
    return (*last, *path) if streams > 1 else (last, path)


def _reference(setting: DelaySetting, inputs: Sequence[Tensor], streams: int, batch: tuple[int, ...]) -> list[Tensor]:
    samples = math.prod(batch)
    flat = [x.reshape(samples, *x.shape[len(batch) :]).numpy() for x in inputs[:streams]]
    past = [h.reshape(len(h), samples, *h.shape[1 + len(batch) :]).numpy() for h in inputs[streams:]]
    paths = []
    for place in range(samples):
        x = setting.numbers.joined([one[place] for one in flat])
        rows = [setting.numbers.joined([h[n, place] for h in past]) for n in range(setting.rows)] if past else None
        paths.append(setting.states(x, None if rows is None else np.stack(rows)))
    found = []
    for stream in range(streams):
        values = np.stack([np.stack([state[stream] for state in path]) for path in paths], 1)
        found.append(torch.from_numpy(values).reshape(len(values), *batch, *values.shape[2:]))
    return [*(one[-1] for one in found), *found]


def delay_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """The order that shows against the exact solution, stretch by stretch, whose history is exp(t) x_0.

    A delay of a fixed number of steps goes to zero with them: of such a module there is no order at a fixed delay.
    A high order shows over too few steps; the derivation says that the step is the scheme's on the stretches.
    """
    (system,) = spec.variants.values()
    assert isinstance(system, DelayODE)
    if any(isinstance(delay, int) for delay in system.delays):
        return
    order = delay_step(system).order
    if order > SHOWN:
        return
    problem = _Problem(system, kind)
    yield judged(spec.id, "observed order", str(order), f"{WITHIN:g}", partial(problem.observed, order),
                 partial(_is_near, order))  # fmt: skip


def _is_near(order: int, observed: float) -> bool:
    return abs(observed - order) <= WITHIN


@dataclass(frozen=True)
class _Problem:
    """One initial value problem for every number of steps."""

    system: DelayODE
    kind: Callable[..., nn.Module]

    @cached_property
    def setting(self) -> DelaySetting:
        """Numbers of everything; the time is set for each number of steps."""
        return delay_setting(self.system, HIDDEN)

    @cached_property
    def start(self) -> list[Numeric]:
        """The initial value of one sample, one array for each input."""
        generator = torch.Generator().manual_seed(41)
        shapes = self.setting.numbers.input_shapes().values()
        return [uniform(shape, 0.2, 0.7, generator).numpy() for shape in shapes]

    def exact(self, stretch: float) -> Numeric:
        """The solution one stretch after the longest delay."""
        numbers = self.setting.numbers
        initial = self._vector(numbers.initial(numbers.joined(self.start)))
        begins, size, known = initial, len(initial), self._known(stretch)
        for count in range(1, len(self.system.delays) + 2):
            ode, _ = stretches(self.system, count)
            field = velocity(ode, 1.0, lambda _: known, numbers.networks)
            begins = np.concatenate([initial, solve(field, 0.0, stretch, begins, 4 * BIG_STEPS)])
        return begins[-size:]

    def _vector(self, unknowns: Sequence[Numeric]) -> Numeric:
        return np.concatenate([np.ravel(value) for value in unknowns])

    def _known(self, stretch: float) -> dict[Quantity, Numeric]:
        numbers = self.setting.numbers
        known: dict[Quantity, Numeric] = {q: numeric(value) for q, value in numbers.values.items()}
        known |= {network.theta: numeric(theta[0]) for network, theta in numbers.thetas.items()}
        unknowns = zip(self.system.state, numbers.initial(numbers.joined(self.start)), strict=True)
        known |= {x.renamed(f"{x.name}_begin", role=Role.PARAMETER): value for x, value in unknowns}
        return {**known, constant("stretch_length"): np.float64(stretch)}

    def error(self, stretch: float, count: int) -> float:
        """Norm of the error of the module with so many steps on a stretch."""
        lags = {delay: rank * count for delay, rank in ranks(self.system).items()}
        steps = (len(lags) + 1) * count
        options = {f"{d.name}_steps": lag for d, lag in lags.items() if isinstance(d, Quantity)}
        numbers = replace(self.setting.numbers, steps=steps, t0=0.0, t1=(len(lags) + 1) * stretch, option=options)
        module: Any = numbers.build(self.kind, {}, "store", "autograd")
        x = [torch.from_numpy(np.asarray(value)) for value in self.start]
        rise = module.history_times().exp()
        past = tuple(rise.reshape(-1, *(1 for _ in one.shape)) * one for one in x)
        with torch.no_grad():
            found = module(*x, history=past if len(x) > 1 else past[0])
        ends = found if isinstance(found, tuple) else (found,)
        return float(np.linalg.norm(self._vector([end.numpy() for end in ends]) - self.exact(stretch)))

    def observed(self, order: int) -> Measured:
        """Slope between two numbers of steps: over a time long enough, the last that rounding leaves alone."""
        stretch = next((s for s in STRETCHES if self.error(s, COARSEST) > VISIBLE), STRETCHES[-1])
        few, errors = COARSEST, [self.error(stretch, COARSEST)]
        while few == COARSEST or (few < FINEST and errors[-1] > CLEAR * 2**order):
            few *= 2
            errors.append(self.error(stretch, few))
        if max(errors[-2:]) < EXACT:
            return Measured(order, f"errors {errors[-2]:.1e}, {errors[-1]:.1e}: no order shows", "exact to rounding")
        detail = f"errors {errors[-2]:.2e} and {errors[-1]:.2e} with {few // 2} and {few} steps on the shortest delay"
        return Measured(math.log2(errors[-2] / errors[-1]), detail)
