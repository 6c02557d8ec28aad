"""Numbers for one run of a module that is a loop over steps, and what the reference makes of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sympy import Expr
from torch import Tensor, nn

from codegen.verification.functions_of_time import Wave, number
from codegen.verification.measures import uniform
from codegen.verification.reference import run_recurrence, split
from codegen.verification.stand_in import stand_in
from derive.errors import DeriveError
from derive.evaluator import evaluate, value_of
from derive.inversion import Inverse
from derive.networks import Network
from derive.operators import Numeric
from derive.program import symbols_of
from derive.recurrence import Recurrence
from derive.sampling import TanhNetwork
from derive.step_quantities import StageValue
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import ODE

SMALLEST_SIZE = 2
RESIDUAL = 1e-14  # to which implicit modules solve their equations here, so that all else can be compared to 1e-12
Lift = Callable[[Any], Any]


@dataclass(frozen=True)
class Setting:
    """One run: numbers of everything but the input.

    Attributes:
        ode: the system, where it is one.
        recurrence: one step of it.
        steps: how many; `t0`, `t1` the times of the first and the last.
        start: name of the start, where the recurrence has several past values.
        values: parameters and constants; one of each layer has a leading axis with its rows.
        thetas: network -> its parameter vectors, (rows, parameters): one row for a field that serves all steps.
        networks: the stand-ins.
        sizes: of the named dimensions.
        option: the variant of the module, by the name of the constructor's argument.
        functions: parameters that are functions of time, which the recurrence reads at its stages.
    """

    ode: ODE | None
    recurrence: Recurrence
    steps: int
    start: str
    values: Mapping[Quantity, Tensor]
    thetas: Mapping[Network, Tensor]
    networks: Mapping[Network, TanhNetwork]
    sizes: Mapping[Dimension, int]
    t0: float = 0.0
    t1: float = 1.0
    option: Mapping[str, str | int] = field(default_factory=dict)
    functions: Mapping[Quantity, Wave] = field(default_factory=dict)

    @property
    def unknowns(self) -> tuple[Quantity, ...]:
        """The unknowns, under their names at t_n."""
        return self.recurrence.old[: len(self.recurrence.old) // self.recurrence.lags]

    @property
    def streams(self) -> int:
        """How many tensors hold one state."""
        return len(self.unknowns) if self.unknowns[0].shape else 1

    @property
    def starts_from(self) -> Mapping[Quantity, Expr]:
        """What the unknowns start from, where that is not the input."""
        return self.ode.initial if self.ode is not None else {}

    @property
    def layered(self) -> bool:
        """Whether the steps are layers, each with values of its own; otherwise they divide a time interval."""
        return any(network.per_layer for network in self.networks) or any(per_layer(q) for q in self.values)

    @property
    def step_size(self) -> float:
        """Length of a step."""
        return (self.t1 - self.t0) / self.steps

    def build(
        self, kind: Callable[..., nn.Module], tensors: Mapping[str, Tensor], memory: str, gradient: str
    ) -> nn.Module:
        """The module of class `kind` in float64 with exactly these numbers; `tensors` replace constructor arguments."""
        positional = self._given_networks()
        wanted = {"steps": self.steps, "start": self.start, "t0": self.t0, "t1": self.t1, "step_size": self.step_size}
        wanted |= {str(name): size for name, size in self.sizes.items()}
        wanted |= {q.name: _argument(q, value) for q, value in self.values.items()}
        wanted |= {q.name: function.copied() for q, function in self.functions.items()}
        known = inspect.signature(kind).parameters
        wanted |= {"tol": RESIDUAL} if "solver" in known else {}
        keywords = {name: value for name, value in {**wanted, **tensors}.items() if name in known} | dict(self.option)
        module = kind(*positional, **keywords, memory=memory, gradient=gradient)
        if any(parameter.dtype != torch.float64 for parameter in module.parameters()):
            module = module.double()
        with torch.no_grad():
            for q, value in self.values.items():
                if not q.role.fixed and q not in self.functions:
                    _set(module, q.name, value)
        return module

    def _given_networks(self) -> list[Any]:
        """The networks as the constructor takes them: blocks of a net as one argument, of several as one of tuples."""
        found = [self._blocks(network) for network in self.networks]
        return [list(zip(*found, strict=True))] if len(found) > 1 and self.layered else found

    def _blocks(self, network: Network) -> Any:
        blocks = [stand_in(self.networks[network].shapes, theta) for theta in self.thetas[network]]
        return blocks if network.per_layer else blocks[0]

    def run(self, x: Numeric, lift: Lift = lambda value: value) -> list[list[Numeric]]:
        """States of one sample, the initial one first: lists of the unknowns' values.

        Args:
            x: the input of the module, for one sample.
            lift: takes the numbers into another arithmetic.
        """
        initial = self.initial(lift(np.asarray(x)))
        start = self.recurrence.starts[self.start] if self.recurrence.starts else None
        given = [self.given(n, lift) for n in range(self.steps)]
        visited = run_recurrence(self.recurrence, start, initial, given, self.networks)
        return [list(initial), *([known[q] for q in self.unknowns] for known in visited)]

    def run_back(self, inverse: Inverse, x: Numeric) -> list[Numeric]:
        """The initial state from a last one, by the inverse of every step."""
        state = dict(zip(self.recurrence.new, split(self.unknowns, x).values(), strict=True))
        rebuilt = {q.name: q for q in inverse.program.targets}
        for n in reversed(range(self.steps)):
            known = evaluate(inverse.program, {**self.given(n, lambda value: value), **state}, self.networks)
            pairs = zip(self.recurrence.old, self.recurrence.new, strict=True)
            state = {new: known[rebuilt.get(old.name, old)] for old, new in pairs}
        return list(state.values())

    def initial(self, x: Numeric) -> list[Numeric]:
        """What the unknowns start from, given the module's input for one sample."""
        initial = self.starts_from
        if self.ode is None or not initial:
            return list(split(self.unknowns, x if self.unknowns[0].shape or x.ndim else x[None]).values())
        held = {q: x for value in initial.values() for q in symbols_of(value) if q.role is Role.INPUT}
        zero = {q: np.zeros(self.shape(q)) for v in initial.values() for q in symbols_of(v) if q not in held}
        return [value_of(initial[unknown], {**held, **zero}) for unknown in self.ode.state]

    def given(self, n: int, lift: Lift) -> dict[Quantity, Numeric]:
        """What step n reads besides the state."""
        programs = [self.recurrence.step, *self.recurrence.starts.values()]
        h, t0 = lift(np.float64(self.step_size)), lift(np.float64(self.t0))
        known = {q: h for p in programs for q in p.inputs if q.role is Role.STEP_SIZE}
        known |= {q: t0 + n * h for p in programs for q in p.inputs if q.role is Role.TIME}
        for q, value in self.values.items():
            known[q] = lift(numeric(value[_row(n, self.steps, len(value))] if has_rows(q, value) else value))
        for q in {q for p in programs for q in p.inputs if isinstance(q, StageValue)}:
            known[q] = self.functions[q.parameter].numeric(t0 + (n + number(q.node, h)) * h, lift)
        for network, theta in self.thetas.items():
            known[network.theta] = lift(numeric(theta[n if network.per_layer else 0]))
        return known

    def shape(self, quantity: Quantity) -> tuple[int, ...]:
        """Numeric shape of a quantity."""
        return tuple(size if isinstance(size, int) else self.sizes[size] for size in quantity.shape)

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the module's inputs for one sample, by name."""
        values = self.starts_from.values()
        held = [q for value in values for q in by_name(symbols_of(value)) if q.role is Role.INPUT]
        if held:
            return {"x": self.shape(held[0])}
        if self.streams > 1:
            return {q.name: self.shape(q) for q in self.unknowns}
        return {"x": self.shape(self.unknowns[0]) if len(self.unknowns) == 1 else (len(self.unknowns),)}

    def joined(self, streams: Sequence[Numeric]) -> Numeric:
        """The inputs of one sample as one array, from those of the streams."""
        return streams[0] if len(streams) == 1 else np.concatenate([np.ravel(one) for one in streams])

    def packed(self, unknowns: Sequence[Numeric]) -> list[Numeric]:
        """One state as the module has it: every vector by itself, or scalars side by side."""
        return list(unknowns) if self.streams > 1 else [flat(unknowns)]


@dataclass
class Numbers:
    """Seeded numbers for the quantities of a system; scalars are positive, so that none divides by nearly zero."""

    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(3))

    def setting(
        self,
        ode: ODE | None,
        recurrence: Recurrence,
        steps: int,
        start: str,
        interval: tuple[float, float],
        hidden: int = 2,
    ) -> Setting:
        """A run of so many steps with random numbers for everything."""
        programs = [recurrence.step, *recurrence.starts.values()]
        quantities = by_name({q for p in programs for q in (*p.inputs, *p.targets)} | _initial_quantities(ode))
        named = sorted({s for q in quantities for s in q.shape if isinstance(s, str)})
        plain = sorted({part for s in named for part in s.split("+") if not s.startswith("theta_")})
        sizes: dict[Dimension, int] = {s: SMALLEST_SIZE + place for place, s in enumerate(plain)}
        sizes |= {s: sum(sizes[part] for part in s.split("+")) for s in named if "+" in s}
        width = _width(recurrence, sizes)
        networks = {n: TanhNetwork(width, n.takes_time, hidden) for n in recurrence.step.networks()}
        layered_rows = steps - (recurrence.lags - 1 if networks else 0)
        inputs = by_name({q for p in programs for q in p.inputs} | recurrence.quantities)
        values = {q: self._value(q, sizes, layered_rows) for q in inputs if _is_free(q, networks)}
        thetas = {n: self._theta(model, steps if n.per_layer else 1) for n, model in networks.items()}
        return Setting(ode, recurrence, steps, start, values, thetas, networks, sizes, *interval)

    def _value(self, quantity: Quantity, sizes: Mapping[Dimension, int], rows: int) -> Tensor:
        shape = [size if isinstance(size, int) else sizes[size] for size in quantity.shape]
        low, high = (-0.8, 0.8) if shape else (0.5, 0.9)
        return uniform([rows, *shape] if per_layer(quantity) else shape, low, high, self.generator)

    def _theta(self, network: TanhNetwork, rows: int) -> Tensor:
        return uniform((rows, network.parameter_count), -0.9, 0.9, self.generator)


def per_layer(quantity: Quantity) -> bool:
    """Whether it has a value for each step, which is given."""
    return quantity.role in (Role.LAYER_PARAMETER, Role.LAYER_CONSTANT)


def has_rows(quantity: Quantity, value: Tensor) -> bool:
    """Whether a value is one for each step."""
    return value.dim() > len(quantity.shape)


def _is_free(quantity: Quantity, networks: Mapping[Network, TanhNetwork]) -> bool:
    kinds = (Role.PARAMETER, Role.LAYER_PARAMETER, Role.CONSTANT, Role.LAYER_CONSTANT)
    return quantity.role in kinds and all(quantity != network.theta for network in networks)


def _initial_quantities(ode: ODE | None) -> set[Quantity]:
    return {q for value in (ode.initial.values() if ode is not None else ()) for q in symbols_of(value)}


def _width(recurrence: Recurrence, sizes: Mapping[Dimension, int]) -> int:
    """Size of the vectors that networks map to vectors of the same size: of the states."""
    (size,) = recurrence.old[0].shape or (1,)
    return size if isinstance(size, int) else sizes[size]


def _row(n: int, steps: int, rows: int) -> int:
    """Rows belong to the last steps; the first steps of a multistep scheme read the first row."""
    return max(0, n - steps + rows)


def _argument(quantity: Quantity, value: Tensor) -> Any:
    return float(value) if quantity.role is Role.CONSTANT else value


def numeric(value: Tensor) -> Numeric:
    """A tensor as the evaluator takes it."""
    return value.numpy() if value.dim() else np.float64(value.item())


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    parameter = module.get_parameter(name)
    if parameter.shape != value.shape:
        raise DeriveError(f"parameter {name} has shape {tuple(parameter.shape)}, the spec's {tuple(value.shape)}")
    parameter.copy_(value)


def flat(unknowns: Sequence[Numeric]) -> Numeric:
    """The unknowns of one state as the module packs them: one vector, or scalars side by side."""
    return unknowns[0] if len(unknowns) == 1 else np.stack(unknowns)
