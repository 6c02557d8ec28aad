"""The gates of a recurrent cell and what they let in, read from its step."""

from __future__ import annotations

from derive.functions import ELEMENTWISE, sigmoid
from derive.program import Program, name_functions
from derive.recurrence import Recurrence
from derive.symbols import Quantity


def gates_of(step: Program) -> tuple[Quantity, ...]:
    """What a step computes as a sigmoid of a vector."""
    lines = name_functions(step).assignments
    return tuple(line.target for line in lines if isinstance(line.value, sigmoid) and line.target.shape)


def candidates_of(cell: Recurrence) -> tuple[Quantity, ...]:
    """What a gated cell computes as another function of something new: neither a state nor made of a state alone."""
    found = []
    for line in name_functions(cell.step).assignments:
        known = line.target in cell.new or not {*line.value.args}.isdisjoint((*cell.old, *cell.new))
        if isinstance(line.value, ELEMENTWISE) and not isinstance(line.value, sigmoid) and not known:
            found.append(line.target)
    return tuple(q for q in found if q.shape)
