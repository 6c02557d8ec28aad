"""A program cut at its network calls: what torch differentiates, and the stretches whose adjoint is derived."""

from __future__ import annotations

from dataclasses import dataclass

from derive.networks import Call
from derive.program import Assignment, Program, symbols_of
from derive.symbols import Quantity, by_name


@dataclass(frozen=True)
class Segment:
    """Consecutive lines without network calls.

    Attributes:
        program: reads what is known before; its outputs are read after it, or are outputs of the whole.
    """

    program: Program


Piece = Segment | Assignment


def pieces(program: Program) -> tuple[Piece, ...]:
    """The program as network calls, plain copies and segments, in order; calls come as early as they can."""
    cutter = _Cutter(program)
    for line in program.assignments:
        cutter.take(line)
    cutter.flush()
    return tuple(cutter.pieces)


class _Cutter:
    """The pieces so far, and the lines of the segment that is open."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pieces: list[Piece] = []
        self.lines: list[Assignment] = []

    def take(self, line: Assignment) -> None:
        """A line goes into the open segment unless it is a call, or a copy that a segment does not need."""
        if not isinstance(line.value, Call | Quantity):
            self.lines.append(line)
            return
        if symbols_of(line.value) & {each.target for each in self.lines}:
            self.flush()
        self.pieces.append(line)

    def flush(self) -> None:
        """Close the segment."""
        if not self.lines:
            return
        made = [line.target for line in self.lines]
        after = self.program.assignments[self._last() + 1 :]
        read = {q for line in after for q in symbols_of(line.value)} | set(self.program.outputs)
        used = {q for line in self.lines for q in symbols_of(line.value)}
        marks = {guess for line in self.lines if line.solve for guess in line.solve.guesses}
        given = by_name((used | marks) - set(made))
        ordered = (*(q for q in given if q.role.batched), *(q for q in given if not q.role.batched))
        outputs = tuple(q for q in made if q in read)
        self.pieces.append(Segment(Program(ordered, tuple(self.lines), outputs)))
        self.lines = []

    def _last(self) -> int:
        """Place of the last line of the open segment."""
        return self.program.assignments.index(self.lines[-1])
