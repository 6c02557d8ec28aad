"""Runs of a scheme on a field through the reference evaluator, in float64, and a reference solution beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, Integer, S

from derive.discretization import discretize
from derive.errors import DeriveError, UnsupportedError
from derive.evaluator import evaluate, value_of
from derive.networks import Network
from derive.operators import Numeric
from derive.program import symbols_of
from derive.recurrence import Recurrence
from derive.sampling import TanhNetwork
from derive.schemes import SCHEMES, LinearMultistep, Scheme
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import ODE

Array = NDArray[np.float64]
HIDDEN, GAIN = 6, 1.2  # of the stand-in for opaque networks
SEED = 5
REFERENCE = "dop853"
REFERENCE_STEPS = 12  # at least so many per unit of time


@dataclass(frozen=True)
class Problem:
    """An initial value problem with numbers for everything.

    Attributes:
        ode: the system.
        values: of parameters, constants and the networks' parameter vectors.
        networks: stand-ins for opaque networks.
        start: the initial value of every unknown.
    """

    ode: ODE
    values: Mapping[Quantity, Numeric]
    networks: Mapping[Network, TanhNetwork]
    start: tuple[Numeric, ...]

    def states(self, scheme: Scheme, steps: int, t1: float) -> Array:
        """The states of so many steps from time 0 to t1: (steps + 1, components).

        They are not finite from where they overflow, or from where an implicit step has no solution that is found.
        """
        recurrence = discretize(self.ode, scheme)
        state = dict(zip(recurrence.old, cycle(self.start), strict=False))
        unknowns = recurrence.old[: len(self.start)]
        visited, h = [_flat(self.start)], t1 / steps
        with np.errstate(all="ignore"):
            for n in range(steps):
                try:
                    state = self._step(recurrence, state, n, h)
                except UnsupportedError:
                    raise
                except (np.linalg.LinAlgError, DeriveError):
                    missing = np.full((steps - n, len(visited[0])), np.nan)
                    return np.concatenate([visited, missing])
                visited.append(_flat([state[q] for q in unknowns]))
        return np.array(visited)

    def _step(
        self, recurrence: Recurrence, state: dict[Quantity, Numeric], n: int, h: float
    ) -> dict[Quantity, Numeric]:
        first = recurrence.starts and n < recurrence.lags - 1
        program = next(iter(recurrence.starts.values())) if first else recurrence.step
        clock = {Role.STEP_SIZE: np.float64(h), Role.TIME: np.float64(n * h)}
        given = {q: clock[q.role] if q.role in clock else self.values[q] for q in program.inputs if q not in state}
        known = evaluate(program, {**given, **state}, self.networks)
        after = program.outputs if first else recurrence.new
        return {old: known[new] for old, new in zip(recurrence.old, after, strict=True)}

    def reference(self, t1: float, points: int, speed: Expr | float = 1) -> Array:
        """The solution of u' = speed * f at so many equal steps of time, by order 8 in small steps."""
        each = max(1, int(np.ceil(REFERENCE_STEPS * t1 / points)))
        scaled = replace(self.ode, velocity=tuple(speed * part for part in self.ode.velocity), parts=())
        return replace(self, ode=scaled).states(SCHEMES[REFERENCE], each * points, t1)[::each]

    def field(self, point: Array) -> Array:
        """The velocity at a state, at time 0."""
        known = {**self.values, **self._split(point)}
        if self.ode.time is not None:
            known[self.ode.time] = np.float64(0)
        parts = [value_of(part, known, self.networks) for part in self.ode.velocity]
        return _flat([part + 0 * known[x] for part, x in zip(parts, self.ode.state, strict=True)])

    def value(self, quantity: Expr, point: Array) -> float:
        """A quantity of the state, such as the energy."""
        return float(value_of(quantity, {**self.values, **self._split(point)}, self.networks))

    def moved(self, point: Array) -> Problem:
        """The same from another initial state."""
        return replace(self, start=tuple(self._split(point).values()))

    def _split(self, point: Array) -> dict[Quantity, Numeric]:
        parts = np.split(point, np.cumsum([np.size(one) for one in self.start])[:-1])
        return {x: p if x.shape else p[0] for x, p in zip(self.ode.state, parts, strict=True)}

    @cached_property
    def names(self) -> list[str]:
        """The components of the state in LaTeX."""
        return [
            rf"{x.latex}_{{{place + 1}}}" if np.size(one) > 1 else x.latex
            for x, one in zip(self.ode.state, self.start, strict=True)
            for place in range(np.size(one))
        ]

    @property
    def plane(self) -> tuple[int, int]:
        """The components that span the phase plane: the first of two unknowns, or two of one."""
        return (0, np.size(self.start[0])) if len(self.start) > 1 else (0, 1)

    @property
    def size(self) -> int:
        """Number of components of the state."""
        return len(self.names)


def problem_of(ode: ODE, defaults: Mapping[str, float], size: int = 2, beside: Expr = S.Zero) -> Problem:
    """A system with numbers: the defaults, and seeded random ones for what has none; named dimensions get `size`.

    Scalars and vectors are positive, as time constants must be. What is evaluated `beside` the field may read more.
    """
    random = np.random.default_rng(SEED)
    held = by_name({q for value in ode.initial.values() for q in symbols_of(value)})
    read = by_name(ode.quantities | symbols_of(beside))
    sizes = _sizes(ode, [*ode.state, *held, *read], size)

    def shape(quantity: Quantity) -> list[int]:
        return [one if isinstance(one, int) else sizes[one] for one in quantity.shape]

    networks = {n: TanhNetwork((shape(ode.state[0]) or [1])[0], n.takes_time, HIDDEN) for n in ode.networks}
    values: dict[Quantity, Numeric] = {}
    for network, model in networks.items():
        values[network.theta] = GAIN * random.standard_normal(model.parameter_count)
    for quantity in read:
        if quantity in values or quantity.role in (Role.STATE, Role.TIME):
            continue
        own = shape(quantity)
        drawn = random.standard_normal(own) if len(own) > 1 else random.uniform(0.3, 1.2, own or None)
        values[quantity] = np.float64(defaults[quantity.name]) if quantity.name in defaults else drawn
    begin = {q: _first(shape(q)) for q in (held if ode.initial else ode.state) if q.role is not Role.TIME}
    start = [value_of(ode.initial[x], begin) if x in ode.initial else begin.get(x, _zero(shape(x))) for x in ode.state]
    if not ode.initial and not ode.state[0].shape:
        start[1:] = [np.float64(0) for _ in start[1:]]
    return Problem(ode, values, networks, tuple(start))


def _sizes(ode: ODE, quantities: list[Quantity], size: int) -> dict[Dimension, int]:
    named = sorted({one for q in quantities for one in q.shape if isinstance(one, str)})
    plain: dict[Dimension, int] = {part: size for name in named for part in name.split("+")}
    return {**plain, **{name: sum(plain[part] for part in name.split("+")) for name in named}}


def _first(shape: list[int]) -> Numeric:
    """1.2 in the first component, 0 in the others."""
    return np.float64(1.2) if not shape else np.concatenate([[1.2], np.zeros(int(np.prod(shape)) - 1)]).reshape(shape)


def _zero(shape: list[int]) -> Numeric:
    return np.zeros(shape) if shape else np.float64(0)


def _flat(parts: Iterable[Numeric]) -> Array:
    return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])


def speed_of(scheme: Scheme) -> Expr:
    """s of the equation u' = s f that a scheme is consistent with."""
    return scheme.speed if isinstance(scheme, LinearMultistep) else Integer(1)
