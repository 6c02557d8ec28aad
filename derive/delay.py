r"""Delay differential equations $\dot x = F(t, x(t), x(t-\tau_1), \dots)$."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from sympy import Expr, Integer

from derive.errors import SpecError, UnsupportedError, shown
from derive.functions import as_expression
from derive.networks import Network
from derive.operators import matvec, shape_of
from derive.program import Program, symbols_of
from derive.schemes import ButcherTableau, scheme_by_name
from derive.symbols import Quantity, Role, by_name
from derive.system import System
from derive.systems import ODE

LINEARLY_IMPLICIT = "linearly_implicit_euler"
SCHEME = "forward_euler"
Delay = Quantity | int
Past = Mapping[Quantity, tuple[Quantity, Delay]]


def delayed(unknown: Quantity, delay: Delay) -> Quantity:
    """The value of an unknown a delay ago, as a quantity that right-hand sides are written in.

    Args:
        unknown: what is read.
        delay: a `constant`, whose number of steps the module is told, or that whole number of steps itself, 1 or more.
    """
    check_delay(unknown.name, delay)
    index, ago = (f"lag{delay}", f"{delay} h") if isinstance(delay, int) else (delay.name, delay.latex)
    meaning = f"{unknown.name} a delay {index if isinstance(delay, Quantity) else f'of {delay} step(s)'} ago"
    return Quantity(f"{unknown.name}_{index}", unknown.shape, Role.INPUT, rf"{unknown.latex}(t-{ago})", meaning)


def delay_terms(
    unknown: Quantity, terms: Iterable[tuple[Any, Delay]], through: Callable[[Expr], Expr] = lambda value: value
) -> tuple[Expr, Past]:
    r"""The sum $\sum_k A_k\, G(x(t-\tau_k))$ of a list of (matrix, delay), and the delayed quantities in it.

    Args:
        unknown: x.
        terms: (matrix or number A_k, delay); a delay of 0 reads the present.
        through: the function G of the unknown, applied before the matrix.

    Raises:
        SpecError: a delay that is neither a constant nor a whole number of steps.
    """
    total: Expr = Integer(0)
    past: dict[Quantity, tuple[Quantity, Delay]] = {}
    for factor, delay in terms:
        value: Expr = unknown
        if not (isinstance(delay, int) and not isinstance(delay, bool) and delay == 0):
            value = delayed(unknown, delay)
            past[value] = (unknown, delay)
        weight = as_expression(factor)
        total += matvec(weight, through(value)) if len(shape_of(weight)) == 2 else weight * through(value)
    return total, past


def check_delay(what: str, delay: Any) -> None:
    """Refuse what is no delay.

    Raises:
        SpecError: neither a constant without shape nor a whole number of steps, 1 or more.
    """
    if isinstance(delay, Quantity) and delay.role is Role.CONSTANT and not delay.shape:
        return
    if isinstance(delay, int) and not isinstance(delay, bool) and delay >= 1:
        return
    raise SpecError(
        f"the delay of {what} is {shown(delay)}; allowed: a constant such as constant('tau'), whose whole number of "
        "steps the module is told, or that number itself, 1 or more: grid and delay have to match"
    )


@dataclass(frozen=True)
class DelayODE(System):
    r"""A delay differential equation `d/dt state = velocity`, written in unknowns and in what they were a delay ago.

    Every delay is a whole number of steps: then the kinks that it carries on from the initial time fall on the grid,
    and a scheme reads past values that it has made itself.

    Attributes:
        state: the unknowns.
        velocity: right-hand side of each, in the same order.
        delayed: delayed quantity -> (the unknown, its delay), see `delayed` and `delay_terms`.
        inputs: given functions of time that the right-hand side reads, now or a delay ago; they need the linearly
            implicit scheme, which reads them at the ends of its steps.
        delayed_inputs: delayed quantity -> (the input, its delay).
        time: the independent variable, where the right-hand side depends on it.
        scheme: the discretization: id of an explicit Runge-Kutta scheme or such a `ButcherTableau`, or
            "linearly_implicit_euler", which takes what is linear in an undelayed unknown at the end of the step.

    Raises:
        SpecError: undeclared symbols, shapes that do not fit, a delay that is none, delayed quantities that are not
            declared or not read, or nothing linear for the implicit scheme.
        UnsupportedError: a scheme of another kind.
    """

    state: tuple[Quantity, ...]
    velocity: tuple[Expr, ...]
    delayed: Past = field(hash=False)
    time: Quantity | None = None
    scheme: Any = SCHEME
    inputs: tuple[Quantity, ...] = ()
    delayed_inputs: Past = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        ode = ODE(tuple(self.state), tuple(self.velocity), self.time)  # checks what is no matter of delays
        object.__setattr__(self, "state", ode.state)
        object.__setattr__(self, "velocity", ode.velocity)
        object.__setattr__(self, "delayed", dict(self.delayed))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "delayed_inputs", dict(self.delayed_inputs))
        self._check_delayed()
        self._check_scheme()

    def _check_delayed(self) -> None:
        if not self.delayed:
            raise SpecError("no delayed quantity: give delayed={x_tau: (x, tau)}, or an ODE where there is no delay")
        past = {**self.delayed, **self.delayed_inputs}
        for owners, what, table in (
            (self.state, "unknowns", self.delayed),
            (self.inputs, "inputs", self.delayed_inputs),
        ):
            for quantity, (owner, delay) in table.items():
                check_delay(quantity.name, delay)
                if owner not in owners:
                    raise SpecError(f"{quantity.name} is the past of {owner.name}, which is none of the {what}")
                if quantity.shape != owner.shape or quantity.role is not Role.INPUT:
                    raise SpecError(f"{quantity.name} is no past value of {owner.name}: make it with delayed(x, tau)")
        read = {quantity for velocity in self.velocity for quantity in symbols_of(velocity)}
        strange = by_name({q for q in read if q.role is Role.INPUT} - {*past, *self.inputs})
        if strange:
            raise SpecError(
                f"the right-hand sides read {', '.join(q.name for q in strange)}; declare past values as "
                "delayed={x_tau: (x, tau)}, and given functions of time as inputs=(u,)"
            )
        late = {owner for owner, _ in self.delayed_inputs.values()}
        unread = by_name({*past, *(q for q in self.inputs if q not in late)} - read)
        if unread:
            raise SpecError(f"no right-hand side reads {', '.join(q.name for q in unread)}; leave it out")
        times = by_name(read & {delay for _, delay in past.values()})
        if times:
            raise SpecError(
                f"a right-hand side reads the delay {times[0].name} as a number; it is a number of steps: write what "
                "depends on it with a constant of its own"
            )

    def _check_scheme(self) -> None:
        if self.linearly_implicit:
            return
        if self.inputs:
            raise UnsupportedError(
                f"{self.inputs[0].name} is a given function of time, known at the ends of steps; take the scheme "
                f"{LINEARLY_IMPLICIT!r}"
            )
        found = scheme_by_name(self.scheme)
        if not isinstance(found, ButcherTableau) or not found.explicit:
            raise UnsupportedError(
                f"the scheme {found.title} of a delay equation; allowed: an explicit Runge-Kutta scheme, whose past "
                f"stages are known, or {LINEARLY_IMPLICIT!r}"
            )

    @property
    def linearly_implicit(self) -> bool:
        """Whether the linear undelayed part is taken at the end of the step."""
        return isinstance(self.scheme, str) and self.scheme == LINEARLY_IMPLICIT

    @cached_property
    def frozen(self) -> ODE:
        """The equation with its past values as given inputs: what a step over one delay's time sees."""
        return ODE(self.state, self.velocity, self.time)

    @property
    def delays(self) -> tuple[Delay, ...]:
        """The different delays of unknowns: constants by name, then numbers of steps."""
        return _sorted_delays(delay for _, delay in self.delayed.values())

    @property
    def every_delay(self) -> tuple[Delay, ...]:
        """Those of inputs as well."""
        return _sorted_delays(delay for _, delay in (*self.delayed.values(), *self.delayed_inputs.values()))

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks in the right-hand sides, by name."""
        return self.frozen.networks

    def field_program(self) -> Program:
        """The right-hand side as a program: `F_x = velocity of x` for each unknown x."""
        return self.frozen.field_program()

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "delay_explanation", "explain_delay"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The right-hand side and a step."""
        steps = import_module("derive.delay_steps")  # which are made from this
        return self.field_program(), steps.delay_step(self).step

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What the programs read and compute, and the delays."""
        return (*super().listed, *(delay for delay in self.every_delay if isinstance(delay, Quantity)))

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the right-hand sides mention, and the delays that a module is told."""
        return self.frozen.quantities | {delay for delay in self.every_delay if isinstance(delay, Quantity)}


def _sorted_delays(delays: Iterable[Delay]) -> tuple[Delay, ...]:
    found = set(delays)
    named = by_name({delay for delay in found if isinstance(delay, Quantity)})
    return (*named, *sorted(delay for delay in found if isinstance(delay, int)))
