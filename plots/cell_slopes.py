"""Cells whose state has a slope in the state before."""

from __future__ import annotations

from derive.linearization import forward_sweep
from derive.recurrence import Recurrence
from derive.systems import Spec


def variants_with_slopes(spec: Spec) -> dict[str, Recurrence]:
    """Variants that read a sequence and pass gradients from state to state: not those with jumps or without a state."""
    cells = {str(name): one for name, one in spec.variants.items() if isinstance(one, Recurrence) and not one.in_depth}
    return {name: one for name, one in cells.items() if _has_slopes(one)}


def _has_slopes(cell: Recurrence) -> bool:
    states = (*cell.old, *(q for q in cell.past if q.source in cell.old))
    tangents = forward_sweep(cell.step, states).tangents
    return any(new in tangents for new in cell.new)
