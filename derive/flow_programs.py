"""Everything that is derived of a flow, as programs: the map with its log-determinant, its inverse, their adjoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from sympy import Add, Expr

from derive.determinants import Factor, determinant, log_determinant
from derive.flow import Flow
from derive.flow_inverse import FlowInverse, explicit, invert_flow
from derive.injectivity import SignChange, image_bounds, sign_change
from derive.invertibility import Condition, conditions
from derive.operators import shape_of
from derive.program import Assignment, Program, intermediate_role, name_functions, symbols_of
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role, by_name

LOG_DET = Quantity("log_det", (), Role.INTERMEDIATE, r"\log\left|\det J\right|", "log-determinant of the map")
LOG_DET_INVERSE = Quantity(
    "log_det_inverse", (), Role.INTERMEDIATE, r"\log\left|\det J^{-1}\right|", "log-determinant of the inverse"
)


@dataclass(frozen=True)
class FlowPrograms:
    """What is derived of a flow.

    Attributes:
        factors: of the determinant, in quantities of the map.
        named: the same with a name for each that is an expression; `lines` compute these.
        forward: the map and its log-determinant, the last output.
        conditions: when the flow is invertible.
        inverse: how the inverse was found; None where it was not.
        backward: the inverse and its log-determinant, the last output.
        sign_change: points that show that the map is not one to one; None where none were found.
        bounds: finite ends of the image, where the map is not onto.
    """

    factors: tuple[Factor, ...]
    named: tuple[Factor, ...]
    lines: tuple[Assignment, ...]
    forward: Program
    conditions: tuple[Condition, ...]
    inverse: FlowInverse | None
    backward: Program | None
    sign_change: SignChange | None = None
    bounds: tuple[Expr, ...] = ()


@cache
def flow_programs(flow: Flow) -> FlowPrograms:
    """Derive all of it.

    Raises:
        UnsupportedError: the determinant is not read from the linearization.
    """
    factors = determinant(flow.map, flow.parts)
    named, lines = _named(factors, {q.name for q in (*flow.map.inputs, *flow.map.targets)})
    log_det = Assignment(LOG_DET, log_determinant(named), "the sum over the factors of the determinant")
    forward = Program(flow.map.inputs, (*flow.map.assignments, *lines, log_det), (*flow.images, LOG_DET))
    change = sign_change(flow, factors)
    inverse = None if change else invert_flow(flow)
    return FlowPrograms(
        factors,
        named,
        lines,
        name_functions(forward),
        conditions(flow, factors),
        inverse,
        None if inverse is None else _backward(flow, inverse, named, lines),
        change,
        () if change else image_bounds(flow),
    )


def adjoint_of(program: Program, wrt: Iterable[Quantity] | None = None) -> Adjoint:
    """The reverse sweep with the equations of multipliers solved."""
    return explicit(program, reverse_sweep(program, wrt))


def _named(factors: tuple[Factor, ...], taken: set[str]) -> tuple[tuple[Factor, ...], tuple[Assignment, ...]]:
    """A name for every factor that has none."""
    compound = [factor for factor in factors if not (factor.value.is_number or isinstance(factor.value, Quantity))]
    lines: list[Assignment] = []
    named = []
    for factor in factors:
        target: Expr = factor.value
        if factor in compound:
            index = f"_{compound.index(factor) + 1}" if len(compound) > 1 else ""
            name = f"det{index}"
            while name in taken:
                name += "_"
            latex = rf"\Delta{index}"
            meaning = "factor of the determinant" if index else "determinant"
            role = intermediate_role(factor.value)
            target = Quantity(name, shape_of(factor.value), role, latex, meaning)
            lines.append(Assignment(target, factor.value, factor.rule))
        named.append(Factor(target, factor.power, factor.rule))
    return tuple(named), tuple(lines)


def _backward(
    flow: Flow, inverse: FlowInverse, factors: tuple[Factor, ...], factor_lines: tuple[Assignment, ...]
) -> Program:
    """The inverse followed by minus the log-determinant, at the vector that it found."""
    lines = list(inverse.program.assignments)
    done = {q.name for q in (*inverse.program.inputs, *inverse.program.targets)}
    log_det = log_determinant(factors)
    wanted = [*(line.value for line in factor_lines), log_det]
    needed = flow.map.needed_for(q for q in flow.map.targets if any(q in symbols_of(value) for value in wanted))
    names = dict(inverse.parts)
    for line in (*needed.assignments, *factor_lines):
        if line.target.name not in done:
            lines.append(Assignment(line.target, line.value.xreplace(names), line.reason))
    minus = Add(*(-term for term in Add.make_args(log_det.xreplace(names))))
    lines.append(Assignment(LOG_DET_INVERSE, minus, "minus the log-determinant of the map"))
    used = {q for line in lines for q in symbols_of(line.value)} | set(flow.images)
    inputs = by_name(used - {line.target for line in lines})
    outputs = (*(inverse.parts[q] for q in flow.parts), LOG_DET_INVERSE)
    kept = Program(tuple(inputs), tuple(lines), outputs).needed_for(outputs)
    given = by_name({*kept.inputs, *flow.images})
    return name_functions(Program(tuple(given), kept.assignments, outputs))
