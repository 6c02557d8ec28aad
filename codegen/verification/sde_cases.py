"""Cases of modules of stochastic differential equations: given increments, every scheme and every kind of noise."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
from sympy import Expr, Rational
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.measures import Measured, judged, uniform
from codegen.verification.reference import run_recurrence
from codegen.verification.report import Row
from codegen.verification.stand_in import stand_in
from codegen.verification.step_setting import numeric
from derive.errors import UnsupportedError
from derive.evaluator import NetworkModel, value_of
from derive.networks import Call, Network
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.sampling import TanhNetwork
from derive.sde import SDE
from derive.sde_calculus import CORRECTION, is_network
from derive.sde_moments import MomentEquations
from derive.sde_schemes import SchemeStep, scheme_steps, schemes_of
from derive.stochastic_steps import stochastic_step
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import Spec

STEPS, SMALL_STEPS = 2, 2
BATCH, SMALL_BATCH = (2, 1), (1,)
HIDDEN, SMALL_HIDDEN = 1, 1
INTERVAL = (0.3, 1.1)
SMALLEST = 2
PATHS, MANY, SIGMAS = 20_000, 8, 5.0
SLOPES = (Rational(-7, 10), Rational(3, 5), Rational(1, 5))  # of linear fields in the place of networks
ALONE = ("diagonal", "scalar")  # noise under which components may be independent


class MatrixStandIn(nn.Module):
    """A stand-in whose value is a matrix, or a column."""

    def __init__(self, inner: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.inner, self.shape = inner, tuple(shape)

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Value at (t, x)."""
        value: Tensor = self.inner(t, x)
        return value.unflatten(-1, self.shape)


class AtZero(nn.Module):
    """A stand-in that does not read the state, which additive noise asks for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Value at (t, 0)."""
        value: Tensor = self.inner(t, torch.zeros_like(x))
        return value


@dataclass(frozen=True)
class CorrectionModel:
    """c = 1/2 sum of Dg_j[g_j] from the differentials of a stand-in for the diffusion, column by column."""

    diffusion: TanhNetwork
    theta: Numeric
    noise: str

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """See `derive.evaluator.NetworkModel`; only values are asked for."""
        t, x, _ = point
        inner = [t, x, self.theta] if self.diffusion.takes == "time" else [x, self.theta]
        place = len(inner) - 2

        def along(way: Numeric) -> Numeric:
            return self.diffusion.differential(inner, [(place, way)], None, 0)

        value = self.diffusion.differential(inner, [], None, 0)
        if self.noise == "scalar":
            return 0.5 * along(value)
        columns = np.diag(value) if self.noise == "diagonal" else value
        slopes = [along(column) for column in columns.T]
        if self.noise == "diagonal":
            return 0.5 * np.array([slope[j] for j, slope in enumerate(slopes)])
        return 0.5 * sum(slope[:, j] for j, slope in enumerate(slopes))


@dataclass(frozen=True)
class Numbers:
    """Seeded numbers for one equation.

    Attributes:
        sde: the equation.
        sizes: of the named dimensions.
        values: parameters and constants.
        models, thetas: the stand-ins of the networks, and their parameters.
    """

    sde: SDE
    sizes: Mapping[Dimension, int]
    values: Mapping[Quantity, Tensor]
    models: Mapping[Network, TanhNetwork]
    thetas: Mapping[Network, Tensor]

    @classmethod
    def made(cls, sde: SDE, hidden: int) -> Numbers:
        """For an equation."""
        generator = torch.Generator().manual_seed(31)
        networks = sde.networks
        shapes = [
            sde.state.shape,
            sde.noise_shape,
            *(n.maps for n in networks),
            *(q.shape for q in by_name(sde.quantities)),
        ]
        named = sorted({s for shape in shapes for s in shape if isinstance(s, str) and not s.startswith("theta_")})
        sizes: dict[Dimension, int] = {name: SMALLEST + place for place, name in enumerate(named)}
        full = {
            size: size if isinstance(size, int) else sizes[size]
            for shape in shapes
            for size in shape
            if size in sizes or isinstance(size, int)
        }
        width = full[sde.state.shape[0]]
        models = {n: TanhNetwork(width, n.takes_time, hidden, [full[s] for s in n.maps[1:]]) for n in networks}
        thetas = {n: uniform((model.parameter_count,), -0.9, 0.9, generator) for n, model in models.items()}
        known = {n.theta for n in networks}
        free = [q for q in by_name(sde.quantities) if q.role in (Role.PARAMETER, Role.CONSTANT) and q not in known]
        values = {}
        for q in free:
            low = -0.8 if q.shape else 0.5
            values[q] = uniform([full[s] for s in q.shape], low, 0.9, generator)
        return cls(sde, full, values, models, thetas)

    @property
    def dim(self) -> int:
        """Components of the state."""
        return self.sizes[self.sde.state.shape[0]]

    @property
    def motions(self) -> int:
        """Brownian motions of a sample."""
        return self.sizes[self.sde.noise_shape[0]] if self.sde.noise_shape else 1

    def build(self, kind: Callable[..., nn.Module], **options: Any) -> nn.Module:
        """The module in float64 with these numbers."""
        given = {q.name: float(v) if q.role is Role.CONSTANT else v for q, v in self.values.items()}
        known = inspect.signature(kind).parameters
        module = kind(*map(self._net, self.ordered()), **{n: v for n, v in {**given, **options}.items() if n in known})
        with torch.no_grad():
            for q, value in self.values.items():
                if q.role is Role.PARAMETER:
                    module.get_parameter(q.name).copy_(value)
        return module

    def ordered(self) -> list[Network]:
        """In the order of the constructor: of the drift, then of the diffusion."""
        found = [sorted(term.atoms(Network), key=lambda n: n.name) for term in (self.sde.drift, self.sde.diffusion)]
        return list(dict.fromkeys(network for networks in found for network in networks))

    def argument(self, network: Network) -> str:
        """What the constructor calls a network."""
        for name, term in (("drift", self.sde.drift), ("diffusion", self.sde.diffusion)):
            if is_network(term, self.sde) and term.network == network:
                return name
        return f"field_{network.name}"

    def _net(self, network: Network) -> nn.Module:
        model = self.models[network]
        net: nn.Module = stand_in(model.shapes, self.thetas[network])
        if self.argument(network) == "diffusion" and self.sde.noise == "additive":
            net = AtZero(net)
        if self.argument(network) == "diffusion" and self.sde.noise == "scalar":
            return MatrixStandIn(net, (self.dim, 1))
        return MatrixStandIn(net, model.out) if len(model.out) > 1 else net

    def reference(self, one: SchemeStep, x: Tensor, increments: Tensor) -> list[Tensor]:
        """Last state and trajectory, sample by sample."""
        steps = len(increments)
        h = (INTERVAL[1] - INTERVAL[0]) / steps
        models: dict[Network, NetworkModel] = dict(self.models)
        if CORRECTION in one.recurrence.step.networks():
            diffusion = self.sde.diffusion.network
            models[CORRECTION] = CorrectionModel(self.models[diffusion], self.thetas[diffusion].numpy(), self.sde.noise)
        paths = []
        samples = x.reshape(-1, x.shape[-1]).numpy()
        drawn = increments.reshape(steps, len(samples), -1).numpy()
        for place, sample in enumerate(samples):
            given = [self._given(one, h, n, drawn[n, place]) for n in range(steps)]
            networks: Any = models
            visited = run_recurrence(one.recurrence, None, [sample], given, networks)
            paths.append(np.stack([sample, *(known[one.recurrence.new[0]] for known in visited)]))
        found = torch.from_numpy(np.stack(paths, 1)).reshape(steps + 1, *x.shape)
        return [found[-1], found]

    def _given(self, one: SchemeStep, h: float, n: int, drawn: Numeric) -> dict[Quantity, Numeric]:
        """What a step reads besides the state."""
        step = one.recurrence.step
        known: dict[Quantity, Numeric] = {q: numeric(value) for q, value in self.values.items()}
        known |= {network.theta: theta.numpy() for network, theta in self.thetas.items()}
        known |= {q: h for q in step.inputs if q.role is Role.STEP_SIZE}
        known |= {q: INTERVAL[0] + n * h for q in step.inputs if q.role is Role.TIME}
        known |= {q: np.zeros(1) for q in step.inputs if q == CORRECTION.theta}
        increment = self.sde.increment
        known[increment] = drawn if increment.shape else drawn[0]
        return known


def equations_of(spec: Spec) -> Iterator[tuple[Mapping[str, Any], SDE]]:
    """Options and equation of every variant."""
    for option, sde in spec.variants.items():
        if isinstance(sde, SDE):
            yield ({spec.option: option} if spec.option else {}), sde


def sde_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """A case for every scheme, calculus and kind of noise; of the small ones each kind of noise in its own calculus."""
    found = []
    for chosen, sde in equations_of(spec):
        numbers = Numbers.made(sde, SMALL_HIDDEN if small else HIDDEN)
        steps = [one for one in scheme_steps(sde) if not small or one.calculus == sde.calculus]
        found += [_case(kind, numbers, one, chosen, small) for one in steps]
    return found


def _case(
    kind: Callable[..., nn.Module], numbers: Numbers, one: SchemeStep, chosen: Mapping[str, Any], small: bool
) -> Case:
    steps, batch = (SMALL_STEPS, SMALL_BATCH) if small else (STEPS, BATCH)
    generator = torch.Generator().manual_seed(29)
    x = uniform((*batch, numbers.dim), -1.0, 1.0, generator)
    spread = math.sqrt((INTERVAL[1] - INTERVAL[0]) / steps)
    increments = uniform((steps, *batch, numbers.motions), -1.5 * spread, 1.5 * spread, generator)
    times = dict(zip(("t0", "t1"), (torch.tensor(t, dtype=torch.float64) for t in INTERVAL), strict=True))
    options = {**chosen, "calculus": one.calculus, "scheme": one.scheme, "steps": steps}
    label = ", ".join(f"{name}={options[name]!r}" for name in (*chosen, "calculus", "scheme"))
    return Case(
        label=label,
        build=lambda given, memory, gradient: numbers.build(
            kind, **{**times, **given}, **options, memory=memory, gradient=gradient
        ),
        constructor=times,
        inputs={"x": x, "increments": increments},
        call=_outputs,
        reference=partial(numbers.reference, one, x, increments),
        memory=("store",) if small else ("store", "recompute", "checkpoint"),
        rank=len(batch),
        axes={"increments": 1},
    )


def _outputs(module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The last state and the whole trajectory, by two calls."""
    return module(*inputs), module.trajectory(*inputs)


def sde_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """Means of powers of the end, of a linear equation, by many paths against the exact ones of the scheme."""
    for chosen, sde in equations_of(spec):
        if sde.noise not in ALONE:
            continue
        for one in scheme_steps(sde):
            if one.calculus != sde.calculus:
                continue
            try:
                linear = Linear.made(sde, one)
            except UnsupportedError:  # components that see each other, or powers that are not closed
                continue
            options = ", ".join(f"{name}={value!r}" for name, value in (*chosen.items(), ("scheme", one.scheme)))
            measure = partial(linear.deviation, kind, chosen)
            check = f"mean and second moment of {PATHS} paths [{options}]"
            yield judged(spec.id, check, "within 5 standard errors", "5", measure, lambda value: value <= SIGMAS)


class Slope(nn.Module):
    """A number times the state, or that as a column."""

    def __init__(self, slope: float, column: bool) -> None:
        super().__init__()
        self.slope, self.column = slope, column

    def forward(self, *point: Any) -> Tensor:
        """Value at (t, x) or (x)."""
        x: Tensor = point[-1]
        return self.slope * (x.unsqueeze(-1) if self.column else x)


@dataclass(frozen=True)
class Linear:
    """An equation whose components are linear and alone, and one of its schemes.

    Attributes:
        sde: networks are replaced by a number times the state.
        numbers: of the equation as it is.
        scheme: id; `step` one step of it.
        growth: power -> its mean after a step, in the means before.
        slopes: of what takes the place of the networks.
    """

    sde: SDE
    numbers: Numbers
    scheme: str
    recurrence: Recurrence
    growth: Mapping[int, Expr]
    slopes: Mapping[Network, Expr]

    @classmethod
    def made(cls, sde: SDE, one: SchemeStep) -> Linear:
        """For a scheme.

        Raises:
            UnsupportedError: no linear equation of independent components.
        """
        numbers = Numbers.made(sde, HIDDEN)
        slopes = dict(zip(numbers.ordered(), cycle(SLOPES)))
        calls = {call for term in (sde.drift, sde.diffusion) for call in term.atoms(Call)}
        table = {call: slopes[call.network] * call.point[-2] for call in calls}
        linear = replace(sde, drift=sde.drift.xreplace(table), diffusion=sde.diffusion.xreplace(table))
        recurrence = stochastic_step(linear, schemes_of(sde)[one.scheme])
        return cls(linear, numbers, one.scheme, recurrence, MomentEquations(linear).after_step(recurrence), slopes)

    def deviation(self, kind: Callable[..., nn.Module], chosen: Mapping[str, Any]) -> Measured:
        """The largest deviation of a sample mean, in standard errors."""
        module = self.numbers.build(kind, **chosen, calculus=self.sde.calculus, scheme=self.scheme, steps=MANY,
                                    t0=INTERVAL[0], t1=INTERVAL[1])  # fmt: skip
        for network, slope in self.slopes.items():
            name = self.numbers.argument(network)
            column = name == "diffusion" and self.sde.noise == "scalar"
            setattr(module, name, Slope(float(slope), column))
        start = torch.full((PATHS, self.numbers.dim), 0.8, dtype=torch.float64)
        with torch.no_grad():
            end = module(start, generator=torch.Generator().manual_seed(43))
        found = 0.0
        for power, wanted in self._means().items():
            sample = end**power
            errors = (sample.mean(0) - torch.as_tensor(wanted)).abs() / (sample.std(0) / PATHS**0.5)
            found = max(found, float(errors.max()))
        return Measured(found, f"{MANY} steps, seed fixed; every component")

    def _means(self) -> dict[int, Numeric]:
        """The exact means after all steps, for every component."""
        moments = MomentEquations(self.sde)
        h = (INTERVAL[1] - INTERVAL[0]) / MANY
        known: dict[Quantity, Numeric] = {q: numeric(value) for q, value in self.numbers.values.items()}
        known |= {q: h for q in self.recurrence.step.inputs if q.role is Role.STEP_SIZE}
        state = {k: 0.8**k for k in self.growth}
        for _ in range(MANY):
            now = {**known, **{moments.symbol(k): value for k, value in state.items()}}
            state = {k: value_of(value, now) for k, value in self.growth.items()}
        return state
