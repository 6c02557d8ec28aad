"""Equilibrium models: a layer whose output is the fixed point of a map."""

from __future__ import annotations

from dataclasses import dataclass, replace

from derive.errors import SpecError
from derive.operators import show_shape
from derive.program import Assignment, Program, Solve, name_functions, symbols_of, unknowns_of
from derive.symbols import Quantity, Role, by_name
from derive.system import System


@dataclass(frozen=True)
class FixedPoint(System):
    """The solution z of z = f(z; x, theta), one for every sample.

    Attributes:
        map: the program of f. It reads the state, inputs with batch axes and parameters; its one output is the image
            of the state.
        state: z, a vector.

    Raises:
        SpecError: the image is no vector of the state's shape, or the map does not read the state, or something else
            that is no input or parameter.
    """

    map: Program
    state: Quantity

    def __post_init__(self) -> None:
        object.__setattr__(self, "map", name_functions(self.map))
        if any(unknowns_of((line,)) for line in self.map.assignments):
            raise SpecError("the map holds equations of its own; a map computes its image line by line")
        shapes = ", ".join(f"{q.name} {show_shape(q.shape)}" for q in self.map.outputs)
        if len(self.map.outputs) != 1 or len(self.state.shape) != 1 or self.map.outputs[0].shape != self.state.shape:
            raise SpecError(
                f"the map takes {self.state.name} {show_shape(self.state.shape)} to {shapes or 'nothing'}; one vector "
                "of the same shape is needed"
            )
        if self.state not in self.map.inputs or self.map.outputs[0] == self.state:
            raise SpecError(f"the map does not read the state {self.state.name}: there is nothing to iterate")
        allowed = (Role.INPUT, Role.STATE, Role.PARAMETER)
        stray = [q for q in self.map.inputs if q.role not in allowed]
        if stray:
            raise SpecError(
                f"the map reads {stray[0].name}, a {stray[0].role.value}; allowed: its state, inputs with batch axes, "
                "and parameters that the whole net shares"
            )

    @property
    def image(self) -> Quantity:
        """What the map makes of the state."""
        return self.map.outputs[0]

    @property
    def inputs(self) -> tuple[Quantity, ...]:
        """What it reads with batch axes beside the state, by name."""
        return tuple(q for q in self.map.inputs if q.role.batched and q != self.state)

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is learned, but for networks' own parameters, by name."""
        of_networks = {network.theta for network in self.map.networks()}
        return tuple(q for q in self.map.inputs if q.role is Role.PARAMETER and q not in of_networks)

    @property
    def guess(self) -> Quantity:
        """What an iteration starts from."""
        return self.state.renamed(f"{self.state.name}_0", meaning="what the iteration starts from")

    @property
    def equilibrium(self) -> Program:
        """The state as the solution of the equation z = f(z), of which the lines of the map are the right-hand side."""
        mark = Solve((self.state,), (self.guess,))
        lines: list[Assignment] = []
        for line in self.map.assignments:
            target = self.state if line.target == self.image else line.target
            lines.append(replace(line, target=target, value=line.value.xreplace({self.image: self.state}), solve=mark))
        used = {q for line in lines for q in symbols_of(line.value)} | {self.guess}
        inputs = by_name(used - {line.target for line in lines})
        return Program(tuple(inputs), tuple(lines), (self.state,))

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written."""
        return "fixed_point_explanation", "explain_fixed_point"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The map."""
        return (self.map,)

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the map reads."""
        return set(self.map.inputs)
