"""The gates of a recurrent cell, read from its step."""

from __future__ import annotations

from derive.functions import sigmoid
from derive.program import Program, name_functions
from derive.symbols import Quantity


def gates_of(step: Program) -> tuple[Quantity, ...]:
    """What a step computes as a sigmoid of a vector."""
    lines = name_functions(step).assignments
    return tuple(line.target for line in lines if isinstance(line.value, sigmoid) and line.target.shape)
