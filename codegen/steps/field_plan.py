"""The field of an explicit system in the form that the sweeps in place run: which line is computed where, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sympy import Expr

from codegen.products import split_products
from derive.discretization import discretize
from derive.functions import ELEMENTWISE
from derive.operators import identity_like, linear_solve, matvec, outer
from derive.program import Assignment, Program, intermediate_role, symbols_of
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.schemes import ButcherTableau, MultistepFamily, Scheme
from derive.symbols import Dimension, Quantity, Role
from derive.systems import ODE


@dataclass(frozen=True)
class FieldPlan:
    """A written-out field and its adjoint.

    Attributes:
        program: the field, with every matrix product as a term; it returns the slopes of the unknowns.
        origins: line -> the line of the step that it was split off.
        states, slopes: the unknowns and their right-hand sides.
        lines: what is computed at every stage; the other lines depend on parameters and time alone.
        adjoint: its reverse sweep.
        loop: cotangents that are computed at every stage, the others (of parameters and times) after the loop.
        slots: line -> the line whose tensor it shares, the last one that is written there.
        bar_slots: the same for cotangents.
    """

    program: Program
    origins: Mapping[Quantity, Quantity]
    states: tuple[Quantity, ...]
    slopes: tuple[Quantity, ...]
    lines: tuple[Assignment, ...]
    adjoint: Adjoint
    loop: tuple[Assignment, ...]
    slots: Mapping[Quantity, Quantity]
    bar_slots: Mapping[Quantity, Quantity]

    @property
    def after(self) -> tuple[Assignment, ...]:
        """Cotangents without batch axes."""
        return tuple(line for line in self.adjoint.program.assignments if line not in self.loop)

    @property
    def values(self) -> tuple[Quantity, ...]:
        """The lines that have a tensor of their own."""
        return tuple(q for q in _owners(self.lines, self.slots) if q not in self.slopes)

    @property
    def bars(self) -> tuple[Quantity, ...]:
        """The cotangents that have a tensor of their own, but for those of slopes and states."""
        given = {*self.adjoint.seeds.values(), *(self.adjoint.cotangents.get(q) for q in self.states)}
        return tuple(q for q in _owners(self.loop, self.bar_slots) if q not in given)

    @property
    def sizes(self) -> Mapping[Dimension, tuple[Quantity, int]]:
        """Named dimension -> a parameter that has it, and at which axis from the last."""
        parameters = [q for q in self.program.inputs if not q.role.batched]
        return {size: (q, place - len(q.shape)) for q in parameters for place, size in enumerate(q.shape)}

    @property
    def read_after(self) -> set[Quantity]:
        """What is read once the loop is done: by the gradients."""
        return {q for line in self.after for q in symbols_of(line.value)}


def _owners(lines: Iterable[Assignment], slots: Mapping[Quantity, Quantity]) -> list[Quantity]:
    return list(dict.fromkeys(slots[line.target] for line in lines))


def plan_field(ode: ODE, scheme: Scheme | MultistepFamily) -> FieldPlan | None:
    """The plan; None where the sweeps in place do not serve: what the field is made of, or how it is discretized.

    They serve explicit tableaus of numbers, and fields of scalars and vectors whose matrices are parameters.
    """
    if not isinstance(scheme, ButcherTableau) or not scheme.explicit or ode.networks or ode.initial:
        return None
    if any(entry.free_symbols for entry in (*scheme.b, *scheme.c, *(a for row in scheme.A for a in row))):
        return None
    recurrence = discretize(ode, "forward_euler")
    slopes = tuple(_slope(recurrence.step.value(new)) for new in recurrence.new)
    if not all(slope.role.batched for slope in slopes):
        return None
    named = recurrence.step.needed_for(slopes)
    program, origins = _split(named)
    return planned(program, origins, recurrence.old, slopes)


def planned(
    program: Program, origins: Mapping[Quantity, Quantity], states: tuple[Quantity, ...], slopes: tuple[Quantity, ...]
) -> FieldPlan | None:
    """The plan of a program whose matrix products are terms; None where the sweeps in place do not serve it."""
    lines = tuple(line for line in program.assignments if line.target.role.batched)
    wanted = [*states, *(q for q in program.inputs if q not in states and q.role is not Role.CONSTANT)]
    adjoint = reverse_sweep(program, [q for q in wanted if q in program.inputs])
    loop = tuple(line for line in adjoint.program.assignments if line.target.role.batched)
    plan = FieldPlan(
        program, origins, states, slopes, lines, adjoint, loop, _slots(lines, adjoint.program.assignments, slopes), {}
    )
    return None if _unfit(plan) else replace(plan, bar_slots=_bar_slots(plan))


def _slope(value: Expr) -> Quantity:
    """The slope in `x + h * slope`."""
    (product,) = (term for term in value.args if term.args)
    (slope,) = (q for q in symbols_of(product) if q.role is not Role.STEP_SIZE)
    return slope


def _split(named: Program) -> tuple[Program, Mapping[Quantity, Quantity]]:
    """Matrix products as terms; those of parameters and times alone as lines of their own."""
    lines: list[Assignment] = []
    origins: dict[Quantity, Quantity] = {}
    split, found = split_products(named, named)
    for line in split:
        table: dict[Expr, Quantity] = {}
        for node in sorted((n for n in line.value.atoms(matvec) if not depends_on_state(n)), key=str):
            if node != line.value:
                name = f"{line.target.name}_product{len(table) or ''}"
                table[node] = Quantity(name, node.shape(), intermediate_role(node))
                lines.append(Assignment(table[node], node))
                origins[table[node]] = found[line.target]
        lines.append(replace(line, value=line.value.xreplace(table)))
    return Program(named.inputs, tuple(lines), named.outputs), {**found, **origins}


def depends_on_state(value: Expr) -> bool:
    """Whether an expression has batch axes."""
    return any(q.role.batched for q in symbols_of(value))


def _unfit(plan: FieldPlan) -> bool:
    """Whether something has axes that the columns of the sweeps have not."""
    quantities = [*plan.states, *(line.target for line in (*plan.lines, *plan.loop))]
    if any(len(q.shape) > 1 for q in quantities) or (len(plan.states) > 1 and any(q.shape for q in plan.states)):
        return True
    if any(not plan.states[0].shape and q.shape for q in quantities):
        return True
    for line in (*plan.program.assignments, *plan.loop):
        if line.value.atoms(linear_solve, identity_like) or (line in plan.loop and line.value.atoms(outer)):
            return True
        if any(_moves(node.args[0], plan) for node in line.value.atoms(matvec)):
            return True
    known = {*plan.sizes, *plan.states[0].shape}
    return any(not isinstance(size, int) and size not in known for q in quantities for size in q.shape)


def _moves(matrix: Expr, plan: FieldPlan) -> bool:
    """Whether a matrix depends on the state or on the time."""
    return depends_on_state(matrix) or depends_on_time(matrix, plan.program)


def depends_on_time(value: Expr, program: Program) -> bool:
    """Whether an expression in parameters and times has a time in it."""
    lines = {line.target: line.value for line in program.assignments}
    return any(
        q.role is Role.TIME or (q in lines and not q.role.batched and depends_on_time(lines[q], program))
        for q in symbols_of(value)
    )


def _slots(
    lines: Iterable[Assignment], adjoint: Iterable[Assignment], slopes: Iterable[Quantity]
) -> Mapping[Quantity, Quantity]:
    """A function's argument that nothing else reads lies where the function's value will."""
    lines, slopes = tuple(lines), set(slopes)
    read = {q for line in adjoint for q in symbols_of(line.value)}
    slots = {line.target: line.target for line in lines}
    for line in reversed(lines):
        if not isinstance(line.value, ELEMENTWISE):
            continue
        argument = line.value.args[0]
        others = [other for other in lines if other is not line and argument in symbols_of(other.value)]
        if argument in slots and argument not in read and argument not in slopes and not others:
            slots[argument] = slots[line.target]
    return {q: _last(slots, q) for q in slots}


def _bar_slots(plan: FieldPlan) -> Mapping[Quantity, Quantity]:
    """A cotangent that is only scaled, and not read otherwise, lies where the scaled one will."""
    slots = {line.target: line.target for line in plan.loop}
    outputs = {plan.adjoint.cotangents[q] for q in plan.states if q in plan.adjoint.cotangents}
    for line in plan.loop:
        bars = [q for q in symbols_of(line.value) if q.role is Role.COTANGENT]
        single = len(bars) == 1 and not line.value.is_Add and not line.value.atoms(matvec)
        if not single or bars[0] not in slots or bars[0] in outputs or bars[0].shape != line.target.shape:
            continue
        users = [other for other in plan.adjoint.program.assignments if bars[0] in symbols_of(other.value)]
        if len(users) == 1:
            slots[bars[0]] = line.target
    return {q: _last(slots, q) for q in slots}


def _last(slots: Mapping[Quantity, Quantity], quantity: Quantity) -> Quantity:
    while slots[quantity] != quantity:
        quantity = slots[quantity]
    return quantity
