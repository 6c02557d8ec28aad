"""Normalizing flows: invertible maps between data and a base density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from sympy import Expr

from derive.determinants import determinant
from derive.errors import SpecError
from derive.functions import as_expression
from derive.networks import Network
from derive.operators import Operator, shape_of, show_shape
from derive.program import Assignment, Program, check_numbers, name_functions, symbols_of, undeclared
from derive.symbols import Quantity, Role, by_name, state, time
from derive.system import System
from derive.systems import ODE


@dataclass(frozen=True)
class Flow(System):
    """A normalizing flow y = f(x) from data to base: p(x) = q(f(x)) |det df/dx|.

    Attributes:
        map: the program of f. It reads one vector with batch axes, or several that are parts of one (a coupling), and
            parameters; its outputs are the image, in the same parts.
        constrained: parameter -> expression in the parameters that takes its place where the module is asked to keep
            the map invertible.

    Raises:
        SpecError: parts that do not fit, or something that is neither a vector nor a parameter.
        UnsupportedError: the determinant is not read from the linearization.
    """

    map: Program
    constrained: Mapping[Quantity, Expr] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "map", name_functions(self.map))
        object.__setattr__(self, "constrained", {q: as_expression(v) for q, v in self.constrained.items()})
        self._check_map()
        self._check_constrained()
        determinant(self.map, self.parts)  # refused where it stands in a user's file

    def _check_map(self) -> None:
        others = [q.name for q in self.map.inputs if not q.role.batched and q.role is not Role.PARAMETER]
        if others:
            raise SpecError(f"the map reads {', '.join(others)}; a flow reads vectors with batch axes and parameters")
        parts, images = self.parts, self.images
        shown = [", ".join(f"{q.name} {show_shape(q.shape)}" for q in side) or "nothing" for side in (parts, images)]
        if not parts or any(len(q.shape) != 1 for q in (*parts, *images)):
            raise SpecError(f"the map takes {shown[0]} to {shown[1]}; vectors are needed")
        if [q.shape for q in parts] != [q.shape for q in images]:
            raise SpecError(f"the map takes {shown[0]} to {shown[1]}; parts of the same shapes, in the same order")
        if len({q.shape for q in parts}) != len(parts):
            raise SpecError(f"the map takes {shown[0]}: name the sizes of the parts differently")

    def _check_constrained(self) -> None:
        for quantity, value in self.constrained.items():
            check_numbers(f"the constrained {quantity.name}", value)
            stray = [q.name for q in by_name(symbols_of(value)) if q not in self.parameters] + undeclared(value)
            if quantity not in self.parameters or stray:
                raise SpecError(
                    f"constrained: {quantity.name} = {value} uses {', '.join(stray) or quantity.name}; allowed: "
                    f"the parameters of the map, {', '.join(q.name for q in self.parameters)}"
                )
            if shape_of(value) != quantity.shape:
                raise SpecError(f"constrained: {quantity.name} has shape {show_shape(quantity.shape)}, its value not")

    @property
    def parts(self) -> tuple[Quantity, ...]:
        """The vectors that go in, in the order of what comes out."""
        return tuple(q for q in self.map.inputs if q.role.batched)

    @property
    def images(self) -> tuple[Quantity, ...]:
        """The vectors that come out."""
        return self.map.outputs

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is learned, but for networks' own parameters, by name."""
        of_networks = {network.theta for network in self.map.networks()}
        return tuple(q for q in self.map.inputs if not q.role.batched and q not in of_networks)

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "flow_explanation", "explain_flow"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The map, and its inverse where it has one."""
        derived = import_module("derive.flow_programs").flow_programs(self)  # which are made from this
        return (derived.forward, *([derived.backward] if derived.backward else []))

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """Everything that its sections name: what the map and its inverse compute, and the constrained parameters."""
        programs = (*self.programs, self.constraint())
        return tuple(q for program in programs for q in (*program.inputs, *program.targets))

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the map reads."""
        return set(self.map.inputs)

    @property
    def effective(self) -> Mapping[Quantity, Quantity]:
        """Constrained parameter -> the quantity that the map reads in its place."""
        return {q: q.renamed(f"{q.name}_hat", rf"\hat{{{q.latex}}}", meaning=f"constrained {q.name}")
                for q in self.constrained}  # fmt: skip

    def constraint(self) -> Program:
        """The parameters that the constrained map reads, as a program in those that are learned."""
        lines = [Assignment(self.effective[q], v, "keeps the map invertible") for q, v in self.constrained.items()]
        inputs = by_name({q for line in lines for q in symbols_of(line.value)})
        plain = Program(tuple(inputs), tuple(lines), tuple(line.target for line in lines))
        named = name_functions(plain, beside=(q for q in self.map.targets if q not in plain.inputs))
        known: dict[Expr, Expr] = {}
        reused = []
        for line in named.assignments:
            reused.append(replace(line, value=line.value.xreplace(known)))
            if isinstance(line.value, Operator):
                known[line.value] = line.target
        return Program(named.inputs, tuple(reused), named.outputs)


@dataclass(frozen=True)
class ContinuousFlow(System):
    """A flow whose map is the solution of an ODE of one vector, from data at t0 to base at t1.

    Attributes:
        field: the ODE.
        scheme: what solves it, together with the integral of its divergence.

    Raises:
        SpecError: more than one unknown, or one that is no vector.
    """

    field: ODE
    scheme: Any = "rk4"

    def __post_init__(self) -> None:
        shown = ", ".join(f"{q.name} {show_shape(q.shape)}" for q in self.field.state)
        if len(self.field.state) != 1 or len(self.field.state[0].shape) != 1:
            raise SpecError(f"the field moves {shown}; a continuous flow moves one vector")

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "flow_explanation", "explain_continuous"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The field."""
        return (self.field.field_program(),)

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the field reads."""
        return self.field.quantities

    @property
    def augmented(self) -> ODE:
        """The ODE of s = (z, l): the state and the integral of the divergence, moved by one network."""
        moment = self.field.time or time()
        taken = {q.name for q in (*self.quantities, moment)}
        name = next(name for name in ("s", "s_z", "state_and_log_det") if name not in taken)
        s = state(name, "d+1", meaning="state, and in the last component the log-determinant")
        field = Network("g", takes_time=True)
        return ODE(state=(s,), velocity=(field(moment, s),), time=moment)
