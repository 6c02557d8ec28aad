"""Cases and checks of continuous flows: the solver of the augmented ODE against the reference, and its order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.flow_rows import WHOLE, whole
from codegen.verification.measures import Measured, judged, row, uniform, worst_difference
from codegen.verification.reference import run_recurrence
from codegen.verification.report import Row
from codegen.verification.stand_in import stand_in
from codegen.verification.step_setting import RESIDUAL, numeric
from derive.discretization import discretize
from derive.evaluator import evaluate, value_of
from derive.flow import ContinuousFlow
from derive.operators import Numeric
from derive.sampling import TanhNetwork
from derive.schemes import scheme_by_name
from derive.symbols import Quantity, Role, by_name
from derive.systems import Spec
from derive.traces import named_divergence
from derive.truncation import truncation

DIM, SMALL_DIM, DIMS = 3, 2, (2, 3, 5)
BATCH, SMALL_BATCH = (2, 1), (1,)
STEPS, SMALL_STEPS = 2, 1
HIDDEN, SMALL_HIDDEN = 2, 1
INTERVAL = (0.3, 1.1)
HALVINGS = (8, 16, 32)
WITHIN = 0.2  # of the derived order
ADAPTIVE = {"solver": "adaptive", "rtol": 1e-12, "atol": 1e-14}
CLOSE, EXACT = 1e-9, 1e-12
POINTS = 121  # on a side of the square: the trapezoid rule converges faster than any power, implicit steps cost much


class _Augmented(Protocol):
    """The field and its divergence, as the network that moves the state and the log-determinant."""

    def build(self, kind: Callable[..., nn.Module], dim: int, **options: Any) -> nn.Module:
        """The module in float64 with these numbers."""

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """See `derive.evaluator.NetworkModel`; only values are asked for."""


@dataclass(frozen=True)
class _Opaque:
    """The stand-in for a network, with its divergence by a differential for every component."""

    model: TanhNetwork
    theta: Tensor

    def build(self, kind: Callable[..., nn.Module], dim: int, **options: Any) -> nn.Module:
        """With the stand-in as field."""
        return _solved_tightly(kind(dim, stand_in(self.model.shapes, self.theta), **options))

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """See `_Augmented`."""
        t, s, _ = point
        theta = self.theta.numpy()
        inner = [t, s[:-1], theta] if self.model.takes == "time" else [s[:-1], theta]
        units = np.eye(len(s) - 1)
        place = len(inner) - 2
        moved = [self.model.differential(inner, [(place, unit)], None, 0) for unit in units]
        divergence = sum(column[i] for i, column in enumerate(moved))
        return np.append(self.model.differential(inner, [], None, 0), divergence)


@dataclass(frozen=True)
class _Written:
    """A field that is written out, with the divergence that is read from its linearization."""

    flow: ContinuousFlow
    values: Mapping[Quantity, Tensor]

    def build(self, kind: Callable[..., nn.Module], dim: int, **options: Any) -> nn.Module:
        """With its parameters set."""
        module = _solved_tightly(kind(dim, dtype=torch.float64, **options))
        with torch.no_grad():
            for quantity, value in self.values.items():
                module.get_parameter(f"field.{quantity.name}").copy_(value)
        return module

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """See `_Augmented`."""
        t, s, _ = point
        program, (z,) = self.flow.field.field_program(), self.flow.field.state
        given = {q: numeric(value) for q, value in self.values.items()} | {z: s[:-1]}
        given |= {self.flow.field.time: t} if self.flow.field.time is not None else {}
        known = evaluate(program, given)
        return np.append(known[program.outputs[0]], value_of(named_divergence(self.flow.field), known))


def _solved_tightly(module: Any) -> Any:
    """With the equations of implicit steps solved to rounding: what is compared is the flow, not the solver."""
    if "tol" in signature(module.fixed).parameters:
        module.fixed = partial(module.fixed, tol=RESIDUAL)
    return module


def _model(flow: ContinuousFlow, dim: int, hidden: int = HIDDEN) -> _Augmented:
    generator = torch.Generator().manual_seed(37)
    if flow.field.networks:
        model = TanhNetwork(dim, flow.field.networks[0].takes_time, hidden)
        return _Opaque(model, uniform((model.parameter_count,), -0.9, 0.9, generator))
    learned = [q for q in by_name(flow.field.quantities) if q.role is Role.PARAMETER]
    return _Written(flow, {q: uniform([dim] * len(q.shape), -0.9, 0.9, generator) for q in learned})


def continuous_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """One case, with the exact trace."""
    (flow,) = (system for system in spec.variants.values() if isinstance(system, ContinuousFlow))
    dim, batch, steps = (SMALL_DIM, SMALL_BATCH, SMALL_STEPS) if small else (DIM, BATCH, STEPS)
    model = _model(flow, dim, SMALL_HIDDEN if small else HIDDEN)
    x = uniform((*batch, dim), -1.0, 1.0, torch.Generator().manual_seed(23))
    times = dict(zip(("t0", "t1"), (torch.tensor(t, dtype=torch.float64) for t in INTERVAL), strict=True))

    def call(module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (*module(*inputs), *module.inverse(*inputs), module.log_prob(*inputs))

    case = Case(
        label="",
        build=lambda given, memory, gradient: model.build(
            kind, dim, **{**times, **given}, steps=steps, memory=memory, gradient=gradient
        ),
        constructor=times,
        inputs={"x": x},
        call=call,
        reference=lambda: _reference(flow, model, x, steps),
        memory=("store",) if small else ("store", "recompute", "checkpoint"),
        rank=len(batch),
    )
    return [case]


def _reference(flow: ContinuousFlow, model: _Augmented, x: Tensor, steps: int) -> list[Tensor]:
    """Forward, inverse and density, sample by sample."""
    columns: list[list[Numeric]] = []
    for sample in x.reshape(-1, x.shape[-1]).numpy():
        ends = [_solved(flow, model, sample, steps, way) for way in (INTERVAL, INTERVAL[::-1])]
        (y, log_det), back = (((end[:-1], end[-1])) for end in ends)
        density = log_det - 0.5 * (y * y).sum() - 0.5 * len(y) * math.log(2 * math.pi)
        columns.append([y, log_det, *back, density])
    stacked = [torch.from_numpy(np.stack([np.asarray(v) for v in column])) for column in zip(*columns, strict=True)]
    return [value.reshape(*x.shape[:-1], *value.shape[1:]) for value in stacked]


def _solved(flow: ContinuousFlow, model: _Augmented, x: Numeric, steps: int, way: tuple[float, ...]) -> Numeric:
    """The augmented state at the other end."""
    recurrence = discretize(flow.augmented, scheme_by_name(flow.scheme))
    (network,) = recurrence.step.networks()
    h = (way[1] - way[0]) / steps
    given = [
        {
            q: h if q.role is Role.STEP_SIZE else way[0] + n * h if q.role is Role.TIME else np.zeros(1)
            for q in recurrence.step.inputs
            if q not in recurrence.old
        }
        for n in range(steps)
    ]
    networks: Any = {network: model}
    *_, last = run_recurrence(recurrence, None, [np.append(x, 0.0)], given, networks)
    return last[recurrence.new[0]]


def continuous_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """Log-determinant and inverse at the order of the scheme, and as close as adaptive steps can; the density."""
    (flow,) = (system for system in spec.variants.values() if isinstance(system, ContinuousFlow))
    order = truncation(flow.augmented, scheme_by_name(flow.scheme)).order
    for dim in DIMS:
        x = uniform((2, dim), -1.0, 1.0, torch.Generator().manual_seed(41))
        make = partial(_model(flow, dim).build, kind, dim, t0=INTERVAL[0], t1=INTERVAL[1])
        for check, gap in (
            ("log-det against slogdet of the autograd Jacobian", _slogdet_gap),
            ("inverse", _inverse_gap),
        ):
            measure = partial(_rate, make, gap, x)
            expected, least = f"{order}", f">= {order - WITHIN:g}"
            yield judged(spec.id, f"{check}, order of the gap [d={dim}]", expected, least, measure,
                         lambda rate: rate >= order - WITHIN)  # fmt: skip
            yield row(spec.id, f"{check}, adaptive with rtol 1e-12 [d={dim}]", CLOSE, partial(_close, make, gap, x))
        yield row(spec.id, f"derived gradient of adaptive steps against autograd on them [d={dim}]", EXACT,
                  partial(_on_accepted, make, x))  # fmt: skip
    module = _model(flow, 2).build(kind, 2, t0=INTERVAL[0], t1=INTERVAL[1])
    yield row(spec.id, "density adds up to 1 [d=2]", WHOLE, partial(whole, module, POINTS))


def _slogdet_gap(module: Any, x: Tensor) -> float:
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda v: module(v)[0], sample) for sample in x])
    with torch.no_grad():
        return float((module(x)[1] - torch.linalg.slogdet(jacobians).logabsdet).abs().max())


def _inverse_gap(module: Any, x: Tensor) -> float:
    with torch.no_grad():
        y, log_det = module(x)
        back, log_det_back = module.inverse(y)
        return max(float((back - x).abs().max()), float((log_det + log_det_back).abs().max()))


def _close(make: Callable[..., nn.Module], gap: Callable[[Any, Tensor], float], x: Tensor) -> Measured:
    """A gap with adaptive steps."""
    module: Any = make(**ADAPTIVE)
    return Measured(gap(module, x), f"{module.stats.accepted} steps")


def _on_accepted(make: Callable[..., nn.Module], x: Tensor) -> Measured:
    """Both gradients of the density at the steps that the control chose."""
    found = []
    for gradient in ("derived", "autograd"):
        ends = [torch.tensor(end, dtype=torch.float64, requires_grad=True) for end in INTERVAL]
        start = x.clone().requires_grad_()
        module: Any = make(t0=ends[0], t1=ends[1], solver="adaptive", memory="recompute", gradient=gradient)
        leaves = [start, *ends, *module.parameters()]
        found.append(torch.autograd.grad(module.log_prob(start).sum(), leaves))
        steps = module.stats.accepted
    names = ["x", "t0", "t1", *(f"parameter {n}" for n in range(len(found[0]) - 3))]
    derived, plain = found
    worst = worst_difference(derived, plain, names)
    return Measured(worst.value, f"{worst.detail}, {steps} steps")


def _rate(make: Callable[..., nn.Module], gap: Callable[[Any, Tensor], float], x: Tensor) -> Measured:
    """The rate at which a gap falls when steps are halved, and its last size; a symmetric scheme leaves none."""
    gaps = [gap(make(steps=steps), x) for steps in HALVINGS]
    if max(gaps) <= EXACT:
        return Measured(math.inf, f"at most {max(gaps):.1e}", "no gap")
    rates = [math.log2(big / small) for big, small in pairwise(gaps)]
    return Measured(rates[-1], f"{gaps[-1]:.1e} with {HALVINGS[-1]} steps")
