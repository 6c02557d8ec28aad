"""Programs of one layer -> its forward and its derived backward as source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codegen.layers.printer import LayerPrinter
from codegen.steps.adjoint_lines import reduced
from codegen.steps.rules import Function, tuple_display
from derive.chains import input_of
from derive.program import Assignment, Program, symbols_of
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity

Numbers = Callable[[str, Quantity], str]


@dataclass(frozen=True)
class LayerWriter:
    """Writes one kind of layer.

    Attributes:
        name: what its functions are called after, as in `_forward_<name>`.
        title: what their docstrings call it.
        layer: its program.
        parameters: in the order of the module's.
        numbers: (kind of line, quantity) -> equation number.
    """

    name: str
    title: str
    layer: Program
    parameters: tuple[Quantity, ...]
    numbers: Numbers

    @property
    def operands(self) -> tuple[Quantity, ...]:
        """What the layer reads, in the order of the arguments."""
        return (input_of(self.layer), *self.parameters)

    @property
    def sweep(self) -> Program:
        """The reverse sweep; empty where the slope is zero almost everywhere."""
        return reverse_sweep(self.layer, self.operands).program

    def returned(self) -> tuple[Quantity, ...]:
        """The output, and what else the backward reads."""
        read = {quantity for line in self.sweep.assignments for quantity in symbols_of(line.value)}
        output = self.layer.outputs[0]
        return (output, *(q for q in self.layer.targets if q in read and q != output))

    def forward(self) -> Function:
        """(x, parameters) -> (output, what else the backward reads)."""
        printer = LayerPrinter()
        body = [self._line("graph", line, printer(line.value)) for line in self.layer.assignments]
        body.append(f"return {tuple_display([q.name for q in self.returned()])}")
        doc = f"{self.title}: the output, and what else its backward reads."
        parameters = ", ".join(f"{q.name}: Tensor" for q in self.operands)
        return Function(f"_forward_{self.name}", parameters, "tuple[Tensor, ...]", doc, tuple(body))

    def backward(self) -> Function | None:
        """(needs, cotangent, x, parameters, all that `forward` returned) -> cotangents of x and the parameters."""
        adjoint = reverse_sweep(self.layer, self.operands)
        bars = {q: adjoint.cotangents[q] for q in self.operands if q in adjoint.cotangents}
        if not bars:
            return None
        sweep = adjoint.program.needed_for(bars.values())
        inner = {q for line in sweep.assignments for q in symbols_of(line.value)}
        printer, body = LayerPrinter(), [f"{', '.join(f'needs_{q.name}' for q in self.operands)} = needs"]
        for line in sweep.assignments:
            about = next(q for q, bar in adjoint.cotangents.items() if bar == line.target)
            text = printer(line.value) if line.target.role.batched else reduced(line.value, about, printer)
            if about in self.operands and line.target not in inner:
                text = f"{text} if needs_{about.name} else None"
            body.append(self._line("adjoint", line, text))
        names = [bars[q].name if q in bars else "None" for q in self.operands]
        body.append(f"return {tuple_display(names)}")
        seed = adjoint.seeds[self.layer.outputs[0]]
        given = dict.fromkeys([seed, *self.operands, *self.returned()])
        parameters = ", ".join(["needs: Needs", *(f"{q.name}: Tensor" for q in given)])
        return Function(f"_backward_{self.name}", parameters, "Gradients", f"{self.title}: cotangents.", tuple(body))

    def _line(self, kind: str, line: Assignment, text: str) -> str:
        return f"{line.target.name} = {text}  # ({self.numbers(kind, line.target)})"
