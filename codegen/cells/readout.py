"""The read-out of a cell: what the output needs and no later step does, computed for all steps at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from codegen.cells.interface import source_of
from codegen.printer import TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.program import Program, name_functions, symbols_of
from derive.recurrence import Recurrence
from derive.symbols import Dimension, Quantity, Role
from derive.systems import Stack


@dataclass(frozen=True)
class Readout:
    """Lines from the first new state to the output.

    Attributes:
        program: the lines; its inputs are the state and the parameters.
        state: what is read.
        names: parameter -> its name in the module.
    """

    program: Program
    state: Quantity
    names: Mapping[Quantity, str]

    @property
    def output(self) -> Quantity:
        """What is given out."""
        return self.program.outputs[0]

    def function(self, numbers: Mapping[Quantity, str]) -> Function:
        """readout(state, *parameters) -> output, both with any leading axes."""
        printer = TorchPrinter()
        lines = [
            f"{line.target.name} = {printer(line.value)}"
            + (f"  # ({numbers[line.target]})" if numbers.get(line.target) else "")
            for line in self.program.assignments
        ]
        return Function(
            "_readout",
            ", ".join(f"{q.name}: Tensor" for q in (self.state, *self.names)),
            "Tensor",
            f"Read-out: {self.state.name} (..., {self.state.shape[0]}) -> {self.output.name} "
            f"(..., {self.output.shape[0]}), for all steps at once.",
            (*lines, f"return {self.output.name}"),
        )

    def entries(self, features: str, size: str) -> list[tuple[str, str]]:
        """Text of name and shape of each parameter."""
        sizes: dict[Dimension, str] = {self.state.shape[0]: features, self.output.shape[0]: size}
        return [(repr(name), tuple_display([sizes[axis] for axis in q.shape])) for q, name in self.names.items()]


def split_readout(recurrence: Recurrence, stacks: Sequence[Stack]) -> tuple[Recurrence, Readout | None]:
    """A cell whose output is its first new state, and what is left of the step.

    Nothing is left where the output is part of the recurrence: where it is a state, where a state reads it, where a
    target stands for it, or where it reads more than the first new state and parameters of its own.
    """
    output = recurrence.output
    taught = any(source_of(recurrence, new) is not None for new in recurrence.new)
    if output is None or output in recurrence.new or not recurrence.new or taught:
        return recurrence, None
    state = recurrence.new[0]
    core = recurrence.step.needed_for(recurrence.new)
    left = recurrence.step.needed_for((output,)).assignments
    lines = tuple(line for line in left if line.target not in core.targets)
    known = {line.target for line in lines}
    read = [q for q in recurrence.step.inputs if any(q in symbols_of(line.value) for line in lines)]
    stray = sorted(
        {q.name for line in lines for q in symbols_of(line.value)} - {q.name for q in (*known, *read, state)}
    )
    stray += [q.name for q in read if q.role is not Role.PARAMETER or q in core.inputs]
    allowed = {state.shape[0], *output.shape}
    odd = [q for q in (*known, *read, output) if len(q.shape) == 0 or not allowed.issuperset(q.shape)]
    if stray or odd or not lines or len(output.shape) != 1 or output.shape == state.shape:
        return recurrence, None
    program = name_functions(Program((state, *read), lines, (output,)))
    names = {q: next((stack.name for stack in stacks if stack.rows == (q,)), q.name) for q in read}
    return replace(recurrence, step=core, output=state), Readout(program, state, names)
