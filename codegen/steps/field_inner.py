"""Fields x' = V z(W x + b) + u as fields of y = W x + b, whose slope is G z + g with G = W V and g = W u."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Add, Expr, Integer

from codegen.steps.field_numbers import FieldNumbers
from codegen.steps.field_plan import FieldPlan, depends_on_state, planned
from derive.operators import matvec, shape_of
from derive.program import Assignment, Program, symbols_of
from derive.symbols import Quantity, Role, by_name

Affine = tuple[Expr, Quantity, Expr]
"""(M, v, r) of a line M v + r, where M and r do not depend on the state."""


@dataclass(frozen=True)
class InnerPlan:
    """The field of y.

    Attributes:
        plan: the field and its adjoint; it returns z besides the slope.
        maps: W, b, V, u; zero where there is none.
        added: G and g, which the field reads besides the parameters.
        output: z.
    """

    plan: FieldPlan
    maps: tuple[Expr, Expr, Expr, Expr]
    added: tuple[Quantity, ...]
    output: Quantity


def inner_plan(outer: FieldPlan) -> InnerPlan | None:
    """The plan for y; None where the state is read in other ways, or the slope is no such product."""
    program = outer.program
    if len(outer.states) > 1 or not outer.states[0].shape or any(q.role is Role.TIME for q in program.inputs):
        return None
    (x,), (f,) = outer.states, outer.slopes
    readers = [line for line in program.assignments if x in symbols_of(line.value)]
    last = next(line for line in program.assignments if line.target == f)
    entry, leaving = (_affine(readers[0]) if len(readers) == 1 else None), _affine(last)
    rest = [line for line in program.assignments if line not in (*readers, last) and line.target.role.batched]
    if entry is None or leaving is None or leaving[1] not in [line.target for line in rest]:
        return None
    fixed = {q for value in (*entry, *leaving) for q in symbols_of(value) if q not in (x, leaving[1])}
    if not fixed <= set(program.inputs) or any(q.role is not Role.PARAMETER for q in fixed):
        return None
    (matrix, _, bias), (exit, z, drift) = entry, leaving
    if drift != 0 and shape_of(drift) != f.shape:
        return None
    y = readers[0].target.renamed(readers[0].target.name, role=Role.STATE)
    taken = {q.name for q in (*program.inputs, *program.targets)}
    product = Quantity(_free("inner_matrix", taken), (shape_of(matrix)[0], shape_of(exit)[1]), Role.PARAMETER)
    moved = Quantity(_free("inner_drift", taken), y.shape, Role.PARAMETER)
    added = (product, moved) if drift != 0 else (product,)
    slope = Quantity(f.name, y.shape, f.role, f.latex)
    value = matvec(product, z) + (moved if drift != 0 else Integer(0))
    fixed_lines = [line for line in program.assignments if not line.target.role.batched]
    lines = [Assignment(line.target, line.value.xreplace({readers[0].target: y})) for line in (*fixed_lines, *rest)]
    whole = Program((*program.inputs, *added, y), (*lines, Assignment(slope, value)), (slope, z))
    plan = planned(whole.needed_for((slope, z)), {**outer.origins, slope: slope}, (y,), (slope,))
    return None if plan is None else InnerPlan(plan, (matrix, bias, exit, drift), added, z)


def _affine(line: Assignment) -> Affine | None:
    """A line that is one matrix product with a quantity that depends on the state, and what does not."""
    terms = Add.make_args(line.value)
    moving = [term for term in terms if depends_on_state(term)]
    if len(moving) != 1 or not isinstance(moving[0], matvec) or not isinstance(moving[0].args[1], Quantity):
        return None
    matrix, vector = moving[0].args
    return matrix, vector, Add(*(term for term in terms if term not in moving))


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name


class InnerNumbers:
    """Equation numbers of the lines of the field of y: those of the field's own lines of the same names.

    A cotangent of G or g has the numbers of those of V or u.
    """

    def __init__(self, outer: FieldNumbers, inner: InnerPlan) -> None:
        self.outer = outer
        plan, adjoint = outer.plan, outer.plan.adjoint
        quantities = (*plan.program.inputs, *plan.program.targets, *adjoint.program.inputs, *adjoint.program.targets)
        self.known = {q.name: [q] for q in quantities}
        for quantity, value in zip(inner.added, inner.maps[2:], strict=False):
            bars = [adjoint.cotangents[q] for q in by_name(symbols_of(value)) if q in adjoint.cotangents]
            self.known[inner.plan.adjoint.cotangents[quantity].name] = bars

    def comment(self, lines: Iterable[Quantity]) -> str:
        """As of the field itself."""
        return self.outer.comment([q for line in lines for q in self.known.get(line.name, ())])
