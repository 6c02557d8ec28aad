r"""Stochastic differential equations $dX = f(t, X)\,dt + \sum_j g_j(t, X)\,dW^j$."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sympy import Expr, Integer

from derive.errors import SpecError, UnknownNameError
from derive.functions import as_expression
from derive.linearization import pushforward
from derive.networks import Network
from derive.operators import fill, matvec, shape_of, show_shape
from derive.program import Assignment, Program, check_numbers, name_functions, symbols_of, undeclared
from derive.schemes.stochastic import CALCULI, stochastic_scheme_id
from derive.symbols import Quantity, Role, Shape, by_name
from derive.system import System

NOISES = ("diagonal", "scalar", "additive", "general")
SCHEME = "euler_maruyama"


@dataclass(frozen=True)
class SDE(System):
    r"""A stochastic differential equation of one state.

    Attributes:
        state: the unknown X.
        drift: f, of the state's shape; a scalar drives every component alike.
        diffusion: what the Brownian motion is multiplied by. "diagonal": of the state's shape, component by component,
            with a Brownian motion for each; "scalar": of the state's shape, with one Brownian motion for all;
            "additive" and "general": a matrix (d, m) for m Brownian motions, which does not read the state where the
            noise is additive: a network is called at `zeros(state)`.
        time: the independent variable, where drift or diffusion depends on it.
        initial: state -> what it starts from, where that is not the module's input itself.
        noise: which of these.
        calculus: "ito" or "stratonovich": how the stochastic integral is meant.
        scheme: what solves it unless the module is told otherwise: an id, or a `StochasticRungeKutta` of its own.

    Raises:
        SpecError: undeclared symbols, a drift or diffusion whose shape does not fit, or a table whose title is empty or
            that of a shipped scheme.
        UnknownNameError: another noise, calculus or scheme.
    """

    state: Quantity
    drift: Expr
    diffusion: Expr
    time: Quantity | None = None
    initial: Mapping[Quantity, Expr] = field(default_factory=dict, hash=False)
    noise: str = "diagonal"
    calculus: str = "ito"
    scheme: Any = SCHEME

    def __post_init__(self) -> None:
        for what, given, allowed in (("noise", self.noise, NOISES), ("calculus", self.calculus, CALCULI)):
            if given not in allowed:
                raise UnknownNameError(what, given, allowed)
        stochastic_scheme_id(self.scheme)
        for name in ("drift", "diffusion"):
            value = as_expression(getattr(self, name))
            self._check_symbols(name, value)
            object.__setattr__(self, name, value)
        self._check_drift()
        self._check_diffusion()

    def _check_symbols(self, name: str, value: Expr) -> None:
        check_numbers(f"the {name}", value)
        if undeclared(value):
            raise SpecError(
                f"the {name} uses {', '.join(undeclared(value))}, which nobody declared; "
                "declare it with state, parameter, constant or time"
            )
        for quantity in by_name(symbols_of(value)):
            if quantity.role is Role.STATE and quantity != self.state:
                raise SpecError(f"the {name} reads {quantity.name}, a state that nothing moves")
            if quantity.role is Role.TIME and quantity != self.time:
                raise SpecError(
                    f"the {name} reads the time {quantity.name}: declare it as SDE(..., time={quantity.name})"
                )

    def _check_drift(self) -> None:
        object.__setattr__(self, "drift", self._spread(self.drift))
        if shape_of(self.drift) != self.state.shape:
            raise SpecError(
                f"the drift has shape {show_shape(shape_of(self.drift))}, {self.state.name} has "
                f"{show_shape(self.state.shape)}; allowed: the same shape, or a scalar"
            )

    def _check_diffusion(self) -> None:
        if not self.is_matrix:
            object.__setattr__(self, "diffusion", self._spread(self.diffusion))
        shape, wanted = shape_of(self.diffusion), show_shape(self.state.shape)
        fits = shape == self.state.shape if not self.is_matrix else len(shape) == 2 and shape[:1] == self.state.shape
        if not fits:
            size = self.state.shape[0] if self.state.shape else "d"
            allowed = f"a matrix ({size}, m)" if self.is_matrix else f"shape {wanted}, or a scalar"
            raise SpecError(
                f"the diffusion has shape {show_shape(shape)}; allowed where noise={self.noise!r} and "
                f"{self.state.name} has shape {wanted}: {allowed}"
            )
        way = self.state.renamed("way", role=Role.TANGENT)
        if self.noise == "additive" and pushforward(self.diffusion, {self.state: way}) != 0:
            raise SpecError(
                f"the diffusion reads {self.state.name}; additive noise does not: call a network at zeros(state), or "
                "give noise='general', 'diagonal' or 'scalar'"
            )

    def _spread(self, value: Expr) -> Expr:
        """A scalar drives every component alike."""
        return fill(value, self.state) if self.state.shape and not shape_of(value) else value

    @property
    def is_matrix(self) -> bool:
        """Whether the diffusion is a matrix, whose columns belong to the Brownian motions."""
        return self.noise in ("additive", "general")

    @property
    def noise_shape(self) -> Shape:
        """Shape of the Brownian motion."""
        if self.is_matrix:
            return shape_of(self.diffusion)[1:]
        return self.state.shape if self.noise == "diagonal" else ()

    @property
    def increment(self) -> Quantity:
        """The increment of the Brownian motion over a step."""
        return Quantity("dW", self.noise_shape, Role.INPUT, r"\Delta W_{n}", "increment of the Brownian motion")

    def driven(self, diffusion: Expr, increment: Expr) -> Expr:
        """The sum of the columns of a diffusion, each times its component of an increment."""
        return matvec(diffusion, increment) if self.is_matrix else diffusion * increment

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks in drift and diffusion, by name."""
        found = self.drift.atoms(Network) | self.diffusion.atoms(Network)
        return tuple(sorted(found, key=lambda network: network.name))

    @property
    def drift_name(self) -> Quantity:
        """The quantity that names the drift."""
        return Quantity("F", self.state.shape, Role.INTERMEDIATE, "F", "drift")

    @property
    def diffusion_name(self) -> Quantity:
        """The quantity that names the diffusion."""
        return Quantity("G", shape_of(self.diffusion), Role.INTERMEDIATE, "G", "diffusion")

    def field_program(self) -> Program:
        """Drift and diffusion as a program: `F = ...`, `G = ...`."""
        lines = (
            Assignment(self.drift_name, self.drift, "drift"),
            Assignment(self.diffusion_name, self.diffusion, "diffusion"),
        )
        inputs = by_name({*self.quantities, self.state})
        return name_functions(Program(tuple(inputs), lines, (self.drift_name, self.diffusion_name)))

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "sde_explanation", "explain_sde"

    @property
    def programs(self) -> tuple[Program, ...]:
        """Drift and diffusion, and a step of the equation's scheme."""
        steps = import_module("derive.stochastic_steps")  # which are made from this
        return self.field_program(), steps.stochastic_step(self, self.scheme).step

    @property
    def quantities(self) -> set[Quantity]:
        """Everything drift and diffusion read."""
        return symbols_of(self.drift) | symbols_of(self.diffusion) | {self.state}


def of_every_noise(
    state: Quantity, drift: Expr, time: Quantity, diffusion: str = "g", calculus: str = "ito", scheme: Any = SCHEME
) -> dict[str, SDE]:
    """An equation whose diffusion is a network of (t, x), for every kind of noise: what `Spec(option="noise")` takes.

    Args:
        state: of the equations.
        drift: of the equations.
        time: of the equations.
        diffusion: name of the network.
        calculus: of the equations.
        scheme: of the equations.
    """
    size = state.shape[0]
    vector = Network(diffusion, takes_time=True)
    matrix = Network(diffusion, takes_time=True, maps=(size, size, "m"))
    values = {
        "diagonal": vector(time, state),
        "scalar": vector(time, state),
        "additive": matrix(time, fill(Integer(0), state)),
        "general": matrix(time, state),
    }
    return {
        noise: SDE(state, drift, value, time, noise=noise, calculus=calculus, scheme=scheme)
        for noise, value in values.items()
    }
