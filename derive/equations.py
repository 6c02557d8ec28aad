"""Systems of equations inside a program: what is solved together, and the equations as a program of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from derive.program import Assignment, Program, Solve, blocks, symbols_of, unknowns_of
from derive.symbols import Quantity, by_name

Block = tuple[Assignment, ...]


def separated(program: Program) -> Program:
    """The same program with every system of equations as small as it can be.

    Lines that need no unknown come first, lines that no unknown needs come last, and equations that do not depend on
    one another are solved one after the other: the block structure of a diagonally implicit scheme is found here.
    """
    lines = [line for block in blocks(program.assignments) for line in _separated(block)]
    return Program(program.inputs, tuple(lines), program.outputs)


def _separated(block: Block) -> Iterator[Assignment]:
    solve = block[0].solve
    if solve is None:
        yield from block
        return
    guess = dict(zip(solve.unknowns, solve.guesses, strict=True))
    for part in _components(block):
        unknowns = _read_before_assigned(part)
        mark = Solve(unknowns, tuple(guess[q] for q in unknowns)) if unknowns else None
        yield from (replace(line, solve=mark) for line in part)


def _components(block: Block) -> list[Block]:
    """The strongly connected parts of the lines, those that others need first; else in the given order (Tarjan)."""
    place = {line.target: n for n, line in enumerate(block)}
    needs = [sorted(place[q] for q in symbols_of(line.value) if q in place) for line in block]
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    found: list[Block] = []

    def visit(n: int) -> None:
        index[n] = low[n] = len(index)
        stack.append(n)
        for m in needs[n]:
            if m not in index:
                visit(m)
                low[n] = min(low[n], low[m])
            elif m in stack:
                low[n] = min(low[n], index[m])
        if low[n] == index[n]:
            cut = stack.index(n)
            found.append(tuple(block[m] for m in sorted(stack[cut:])))
            del stack[cut:]

    for n in range(len(block)):
        if n not in index:
            visit(n)
    return found


def _read_before_assigned(lines: Block) -> tuple[Quantity, ...]:
    """What must be known before the lines can be computed in order, and is computed by them: in that order."""
    targets = [line.target for line in lines]
    early = {q for n, line in enumerate(lines) for q in symbols_of(line.value) if q in targets[n:]}
    return tuple(q for q in targets if q in early)


@dataclass(frozen=True)
class Equations:
    """One system z = g(z) as an explicit program.

    Attributes:
        program: reads the unknowns and what else the block reads; its outputs are the right-hand sides g(z).
        unknowns: z.
        guesses: what an iteration starts from; empty where the equations are linear.
    """

    program: Program
    unknowns: tuple[Quantity, ...]
    guesses: tuple[Quantity, ...]


@cache
def equations_of(block: Block) -> Equations:
    """The equations of a block; the right-hand side of z is named `new_z`."""
    solve = block[0].solve
    assert solve is not None
    fresh = {q: q.renamed(f"new_{q.name}", rf"g_{{{q.latex}}}") for q in solve.unknowns}
    lines = tuple(replace(line, target=fresh.get(line.target, line.target), solve=None) for line in block)
    used = {q for line in lines for q in symbols_of(line.value)} | {*solve.unknowns, *solve.guesses}
    inputs = by_name(used - {line.target for line in lines})
    program = Program(tuple(inputs), lines, tuple(fresh[q] for q in solve.unknowns))
    return Equations(program, solve.unknowns, solve.guesses)


def systems(program: Program) -> Sequence[Block]:
    """The blocks of a program that are systems of equations, in order."""
    return [block for block in blocks(program.assignments) if unknowns_of(block)]
