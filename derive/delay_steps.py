r"""One step of a scheme for a delay equation, by the method of steps.

Over a time no longer than its shortest delay a delay equation is an ODE whose inputs are past values. A Runge-Kutta
scheme reads them at the nodes of its stages; with $\tau = m h$ the value at node i of step n is stage i of step n - m,
which the scheme has computed: it acts as on the ODE of all such stretches side by side, and keeps its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sympy import Add, Expr, Integer, Mul

from derive.delay import LINEARLY_IMPLICIT, Delay, DelayODE
from derive.discretization import finished_step, runge_kutta_lines, stage_points
from derive.errors import SpecError, UnsupportedError
from derive.operators import fill, identity_like, linear_solve, matvec, shape_of
from derive.program import Builder, Program, symbols_of
from derive.schemes import ButcherTableau, scheme_by_name
from derive.series.rk import order
from derive.step_quantities import STEP_SIZE, at_step, time_at_step
from derive.symbols import Quantity, Role, with_index

Group = tuple[Quantity, ...]  # one for each unknown


@dataclass(frozen=True)
class Read:
    """Past values that a step reads.

    Attributes:
        values: of each unknown; not all of them are read.
        delay: how long ago.
        record: which of the records of that step.
    """

    values: Group
    delay: Delay
    record: int


@dataclass(frozen=True)
class DelayStep:
    """One step of a scheme for a delay equation.

    Attributes:
        step: reads the old values and the past ones, computes the `outputs`.
        old, new: the unknowns before and after it.
        outputs: groups of what it gives out: the new values, and what later steps read.
        reads: the past values.
        records: which of the outputs are kept for later steps: stage by stage.
        nodes: times of the records, in steps after the begin of theirs.
        order: with which it converges.
        title: of the scheme.
    """

    step: Program
    old: Group
    new: Group
    outputs: tuple[Group, ...]
    reads: tuple[Read, ...]
    records: tuple[int, ...]
    nodes: tuple[Expr, ...]
    order: int
    title: str


@cache
def delay_step(system: DelayODE) -> DelayStep:
    """One step of the system's own scheme.

    The past values are named as the delayed quantities, with the number of the stage where there are several. For the
    linearly implicit scheme $x_{n+1} = (I - hA)^{-1}(x_n + h g)$, A is what multiplies the unknown in its own equation,
    g the rest: at the old value where it is not linear, with past values and times of the end of the step.

    Raises:
        SpecError: the linearly implicit scheme, and no equation with a linear undelayed term of its unknown.
        UnsupportedError: linear terms by a matrix and by a number for each component in one equation.
    """
    return _linearly_implicit(system) if system.linearly_implicit else _runge_kutta(system)


def _runge_kutta(system: DelayODE) -> DelayStep:
    tableau = scheme_by_name(system.scheme)
    assert isinstance(tableau, ButcherTableau), "checked where the system is made"
    tableau = _without_spare_stages(tableau)
    old, new = (tuple(at_step(x, lag) for x in system.state) for lag in (0, -1))
    reads = [_reads(system, stage, tableau.stages > 1) for stage in range(tableau.stages)]
    tables = [_table(system, stage_reads) for stage_reads in reads]
    builder = Builder()
    made, _ = runge_kutta_lines(builder, system.frozen, tableau, Integer(1), old, tables)
    points = stage_points(tableau, old, new, last_is_new=True)
    outputs = tuple(dict.fromkeys([made, *points]))
    return DelayStep(
        step=_finished(builder, outputs, reads),
        old=old,
        new=new,
        outputs=outputs,
        reads=tuple(read for stage_reads in reads for read in stage_reads),
        records=tuple(outputs.index(point) for point in points),
        nodes=tuple(tableau.c),
        order=order(tableau),
        title=tableau.title,
    )


def _without_spare_stages(tableau: ButcherTableau) -> ButcherTableau:
    """Without last stages that only serve an error estimate: their slopes are not read."""
    count = max(place for place, weight in enumerate(tableau.b, 1) if weight != 0)
    if count == tableau.stages:
        return tableau
    rows = [row[:count] for row in tableau.A[:count]]
    return ButcherTableau(rows, tableau.b[:count], tableau.c[:count], digits=tableau.digits, title=tableau.title)


def _reads(system: DelayODE, record: int, several: bool) -> list[Read]:
    """What one stage reads: for each delay the past of every unknown."""
    found = []
    for delay in system.delays:
        declared = {unknown: q for q, (unknown, ago) in system.delayed.items() if ago == delay}
        values = [declared.get(x) or _unread(x, delay) for x in system.state]
        found.append(Read(tuple(_at_record(q, x, delay, record if several else None)
                                for q, x in zip(values, system.state, strict=True)), delay, record))  # fmt: skip
    return found


def _unread(unknown: Quantity, delay: Delay) -> Quantity:
    name = delay.name if isinstance(delay, Quantity) else f"lag{delay}"
    return unknown.renamed(f"{unknown.name}_{name}", role=Role.INPUT)


def _at_record(quantity: Quantity, unknown: Quantity, delay: Delay, record: int | None) -> Quantity:
    """The past value as the step reads it: at t_(n-m), or at a stage of that step."""
    index = with_index(unknown.latex, _index(delay, 0))
    if record is None:
        return quantity.renamed(quantity.name, index, meaning=quantity.meaning)
    meaning = f"{quantity.meaning}, stage {record + 1}"
    return quantity.renamed(f"{quantity.name}_{record + 1}", f"{index}^{{({record + 1})}}", meaning=meaning)


def _index(delay: Delay, ahead: int) -> str:
    """The index of what is so many steps ahead of a delay ago."""
    if not isinstance(delay, int):
        return f"n{f'+{ahead}' if ahead else ''}-{steps_latex(delay)}"
    return f"n{ahead - delay:+d}" if ahead != delay else "n"


def steps_latex(delay: Delay) -> str:
    """The number of steps of a delay."""
    return str(delay) if isinstance(delay, int) else f"m_{{{delay.latex}}}"


def steps_text(delay: Delay) -> str:
    """The same in plain characters."""
    return str(delay) if isinstance(delay, int) else f"m_{delay.name}"


def _table(system: DelayODE, reads: Sequence[Read]) -> dict[Quantity, Expr]:
    """Delayed quantity -> its name in the step."""
    found: dict[Quantity, Expr] = {}
    for read in reads:
        of_unknown = dict(zip(system.state, read.values, strict=True))
        found |= {q: of_unknown[x] for q, (x, delay) in system.delayed.items() if delay == read.delay}
    return found


def _finished(builder: Builder, outputs: tuple[Group, ...], reads: Sequence[Sequence[Read]]) -> Program:
    program = finished_step(builder, [q for group in outputs for q in group])
    taken = {q.name for q in program.targets}
    clash = [q.name for stage in reads for read in stage for q in read.values if q.name in taken]
    if clash:
        raise SpecError(f"{clash[0]} is how the scheme names a stage; give the delay another name")
    return program


def _linearly_implicit(system: DelayODE) -> DelayStep:
    old, new = (tuple(at_step(x, lag) for x in system.state) for lag in (0, -1))
    reads = [_read_at_end(read) for read in _reads(system, 0, several=False)]
    now = time_at_step(system.frozen)
    table: dict[Any, Expr] = {**dict(zip(system.state, old, strict=True)), **_table(system, reads)}
    if system.time is not None and now is not None:
        table[system.time] = now + STEP_SIZE
    split = [linear_part(x, velocity) for x, velocity in zip(system.state, system.velocity, strict=True)]
    if not any(coefficient != 0 for coefficient, _ in split):
        names = ", ".join(x.name for x in system.state)
        raise SpecError(f"nothing in the right-hand sides is linear in {names}; take scheme='forward_euler'")
    builder = Builder()
    for x, before, after, (coefficient, rest) in zip(system.state, old, new, split, strict=True):
        owner = f"_{x.name}" if len(system.state) > 1 else ""
        right: Expr = before
        if rest != 0:
            latex = with_index("g", *([x.latex] if owner else []), "n+1")
            right += STEP_SIZE * builder.let(f"g{owner}", _like(rest.xreplace(table), x), latex=latex,
                                             meaning="what is not linear", reason="explicit part")  # fmt: skip
        value = _resolvent(builder, owner, coefficient, right)
        builder.let(after.name, value, latex=after.latex, meaning=after.meaning, reason="implicit in the linear part")
    return DelayStep(
        step=_finished(builder, (new,), [reads]),
        old=old,
        new=new,
        outputs=(new,),
        reads=tuple(reads),
        records=(0,),
        nodes=(Integer(1),),
        order=1,
        title="linearly implicit Euler",
    )


def _read_at_end(read: Read) -> Read:
    """The same with the formulas of past values at the end of the step, t_(n+1-m)."""
    now, end = (_index(read.delay, ahead) for ahead in (0, 1))
    values = (q.renamed(q.name, q.latex.replace(f"{now}}}", f"{end}}}"), meaning=q.meaning) for q in read.values)
    return Read(tuple(values), read.delay, read.record)


def _like(value: Expr, unknown: Quantity) -> Expr:
    return fill(value, unknown) if unknown.shape and not shape_of(value) else value


def _resolvent(builder: Builder, owner: str, coefficient: Expr, right: Expr) -> Expr:
    """The solution of y - h A y = right; matrix and right side have names, which the sweep reuses."""
    if coefficient == 0:
        return right
    if len(shape_of(coefficient)) < 2:
        return right / (1 - STEP_SIZE * coefficient)
    index = [owner.removeprefix("_")] if owner else []
    matrix = builder.let(f"M_implicit{owner}", identity_like(coefficient) - STEP_SIZE * coefficient,
                         latex=with_index("M", *index), meaning="I - h A", reason="implicit part")  # fmt: skip
    known = builder.let(f"known{owner}", right, latex=with_index("k", *index, "n"), reason="what is known")
    return linear_solve(matrix, known)


def linear_part(unknown: Quantity, velocity: Expr) -> tuple[Expr, Expr]:
    """(A, rest) with velocity = A unknown + rest: A a matrix, or a factor of the components; 0 where there is none.

    Raises:
        UnsupportedError: terms of both kinds, and the factor has components.
    """
    matrix, factor, rest = Integer(0), Integer(0), []
    for term in Add.make_args(velocity.expand(deep=False)):
        scale, product = scalars_of(term)
        if isinstance(product, matvec) and product.args[1] == unknown and is_fixed(scale * product.args[0]):
            matrix += scale * product.args[0]
        elif unknown in symbols_of(term) and is_fixed(term / unknown):
            factor += term / unknown
        else:
            rest.append(term)
    if matrix != 0 and factor != 0:
        if shape_of(factor):
            raise UnsupportedError(
                f"the equation of {unknown.name} has {matrix} and the components of {factor} in front of it; "
                f"{LINEARLY_IMPLICIT} takes a matrix and a number, or numbers alone: write them as one matrix"
            )
        matrix += factor * identity_like(matrix)
    return (matrix if matrix != 0 else factor), Add(*rest)


def scalars_of(term: Expr) -> tuple[Expr, Expr]:
    """A term as (scalar factor, rest)."""
    factors = Mul.make_args(term)
    scalars = [one for one in factors if shape_of(one) == ()]
    return Mul(*scalars), Mul(*(one for one in factors if shape_of(one) != ()))


def is_fixed(coefficient: Expr) -> bool:
    """Whether a coefficient is made of parameters and constants alone."""
    return all(q.role in (Role.PARAMETER, Role.CONSTANT) for q in symbols_of(coefficient))
