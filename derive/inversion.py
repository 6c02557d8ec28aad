"""Inverse of a step: its lines solved backwards; where that needs no new solve, the step is reversible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sympy
from sympy import Expr, Integer, Mul, denom, solve, together
from sympy.combinatorics import Permutation

from derive.displayed import Displayed, Line, lines_of
from derive.equations import systems
from derive.latex import latex, plain
from derive.operators import Operator, shape_of
from derive.program import Assignment, Program, symbols_of, unknowns_of
from derive.recurrence import Recurrence
from derive.symbols import Quantity, Role, by_name


@dataclass(frozen=True, repr=False)
class Inverse(Displayed):
    """The inverse of a step.

    Attributes:
        program: reads the new state (and the newer part of the old one), computes the oldest state.
        conditions: expressions that must not vanish.
        solved: lines of the step that were solved, with the quantity each was solved for.
    """

    program: Program
    conditions: tuple[Expr, ...]
    solved: tuple[tuple[Quantity, Assignment], ...] = ()

    def lines(self) -> Iterator[Line]:
        """The lines of its program, and what must not vanish."""
        yield from lines_of(self.program.assignments)
        for condition in self.conditions:
            yield f"{plain(condition)} != 0", rf"{latex(condition)} &\neq 0"

    def determinant_base(self, recurrence: Recurrence) -> Expr | None:
        """b, where the Jacobian of the step has determinant b^d for parts of d components each; None elsewhere.

        Each solved line changes one quantity and keeps the others, so that its Jacobian is triangular with its slope
        on the diagonal; what is left is the order in which the new state lists its parts.
        """
        if systems(recurrence.step):  # its lines change several quantities at once
            return None
        base = Mul(*(sympy.diff(line.value, unknown) for unknown, line in self.solved))
        became = {unknown: line.target for unknown, line in self.solved}
        ends = [_followed(became, q) for q in recurrence.old]
        places = [recurrence.new.index(q) if q in recurrence.new else -1 for q in ends]
        alike = len({q.shape for q in recurrence.old}) == 1
        if shape_of(base) or not alike or sorted(places) != list(range(len(places))):
            return None
        return base * Permutation(places).signature()


def invert(recurrence: Recurrence) -> Inverse | None:
    """The explicit inverse of a step, or None where it needs the solution of an equation.

    The lines of the step are taken in turn: one whose right side is known is computed as the step computes it; one
    whose left side is known is solved for the one quantity on its right that is not, where that enters elementwise.
    All that is evaluated is then what the forward step evaluates, at states that are known.
    """
    oldest = [q for q in recurrence.old if q not in recurrence.new]
    sweep = _BackwardSweep(recurrence, oldest)
    if not sweep.run():
        return None
    names = {q: _as_intermediate(q) for q in oldest}
    outputs = tuple(names.values())
    lines = [
        Assignment(names.get(line.target, line.target), line.value.xreplace(names), line.reason) for line in sweep.lines
    ]
    used = {q for line in lines for q in symbols_of(line.value)}
    inputs = tuple(by_name(used - {line.target for line in lines}))
    program = Program(inputs, tuple(lines), outputs).needed_for(outputs)
    return Inverse(program, tuple(sweep.conditions), tuple(sweep.solved))


def replayed(recurrence: Recurrence) -> Inverse | None:
    """The explicit inverse of a step, where it also finds what the step's equations were solved for.

    Then the adjoint of the step needs no new solve of them either.
    """
    inverse = invert(recurrence)
    if inverse is None:
        return None
    known = {q.name for q in (*recurrence.new, *inverse.program.targets)}
    solved = {q.name for block in systems(recurrence.step) for q in unknowns_of(block)}
    return inverse if solved <= known else None


class _BackwardSweep:
    """The lines of a step in the order in which its inverse can take them."""

    def __init__(self, recurrence: Recurrence, oldest: list[Quantity]) -> None:
        self.oldest = oldest
        self.known = {*recurrence.step.inputs, *recurrence.new} - set(oldest)
        self.waiting = list(recurrence.step.assignments)
        self.lines: list[Assignment] = []
        self.conditions: list[Expr] = []
        self.solved: list[tuple[Quantity, Assignment]] = []

    def run(self) -> bool:
        """Whether all of the oldest state was found."""
        while self._compute() or self._solve():
            pass
        return self.known.issuperset(self.oldest)

    def _compute(self) -> bool:
        """Take the first line whose right side is known."""
        for line in self.waiting:
            if line.target not in self.known and symbols_of(line.value) <= self.known:
                return self._take(line, line)
        return False

    def _solve(self) -> bool:
        """Solve the first line that has one unknown left."""
        for line in self.waiting:
            missing = symbols_of(line.value) - self.known
            if line.target not in self.known or len(missing) != 1:
                continue
            (unknown,) = missing
            if unknown.shape != line.target.shape or _has_operator(line.value, unknown):
                continue
            solution = _solved(line.value, unknown, line.target)
            if solution is None:
                continue
            self.conditions += _must_not_vanish(solution)
            self.solved.append((unknown, line))
            return self._take(line, Assignment(unknown, solution, f"the step solved for {unknown.name}"))
        return False

    def _take(self, line: Assignment, made: Assignment) -> bool:
        self.waiting.remove(line)
        self.lines.append(made)
        self.known.add(made.target)
        return True


def _followed(became: Mapping[Quantity, Quantity], quantity: Quantity) -> Quantity:
    while quantity in became:
        quantity = became[quantity]
    return quantity


def _solved(value: Expr, unknown: Quantity, target: Quantity) -> Expr | None:
    """The one solution of value = target; terms stay as the step has them where the unknown enters linearly."""
    slope = sympy.diff(value, unknown)
    if unknown not in slope.free_symbols:
        return (target - value.xreplace({unknown: Integer(0)})) / slope
    functions = [node for node in value.atoms(sympy.Function) if node.has(unknown)]
    if functions and value.xreplace({node: sympy.Dummy() for node in functions}).has(unknown):
        return None  # inside functions and outside: no closed form that has a torch form
    try:
        solutions = solve(target - value, unknown)
    except NotImplementedError:
        return None
    return solutions[0] if len(solutions) == 1 else None


def _as_intermediate(quantity: Quantity) -> Quantity:
    return quantity.renamed(quantity.name, quantity.latex, Role.INTERMEDIATE)


def _must_not_vanish(solution: Expr) -> list[Expr]:
    bottom = denom(together(solution))
    return [] if bottom.is_number else [sympy.factor(bottom)]


def _has_operator(value: Expr, inside: Quantity) -> bool:
    """Whether a quantity occurs inside an operator of an expression."""
    return any(inside in node.atoms(Quantity) for node in value.atoms(Operator))
