"""The total derivatives of a loss in the states at every step, as emitted text."""

from __future__ import annotations

from dataclasses import replace

from codegen.cells.lowering import CellText, tuple_text
from codegen.cells.lowering_backward import BackwardWriter
from codegen.cells.plan_adjoint import BackwardOperation, Carry, Gather, KeepPivot, SendBack
from codegen.steps.source import Function
from derive.symbols import Quantity


def totals_function(cell: CellText) -> Function:
    """totals(x, before, paths, operands, activations, workspace, bars) -> totals, cotangents of the initial states."""
    writer, program = BackwardWriter(cell), cell.program
    bars = [cell.names("bar_output"), *writer.state_bars()]
    kept = [KeepPivot((bar,), bar) for bar in (_total(cell, place) for place in range(len(program.old)))]
    loop = [op for op in cell.plan.adjoint.loop if not isinstance(op, KeepPivot)]
    later = [op for op in loop if isinstance(op, Carry | SendBack)]
    first = [op for op in loop if op not in later]
    order: list[BackwardOperation] = [*first, *dict.fromkeys(kept), *later]
    lines = writer.sweep(replace(cell.plan.adjoint, loop=tuple(order), gradients=()))
    paths = [cell.names(f"{op.pivot.name}_path", op.pivot) for op in kept]
    lines.append(f"return {tuple_text([*paths, *writer.handed_back()])}{cell.comment(['initial_state'])}")
    shapes = cell.shapes(program.old)
    named = ", ".join(old.name for old in program.old)
    return Function(
        f"_totals{cell.suffix}",
        writer.arguments().replace(", sums: Sums", ""),
        "Values",
        f"Adjoint sweep: the cotangents of {named} after every step {shapes}, then of the initial states.",
        writer.whole(bars, lines),
    )


def _total(cell: CellText, place: int) -> Quantity:
    """The cotangent of a state's new value, through everything that reads it."""
    adjoint = cell.plan.adjoint
    bar = adjoint.bars.get(cell.program.new[place], adjoint.seeds[place])
    computed = {op.target for op in adjoint.loop if isinstance(op, Gather)}
    return bar if bar in computed else adjoint.seeds[place]
