r"""The forward sweep over a program: its linearization, a linear form in the perturbation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sympy import Expr, Integer, sign

from derive.functions import step
from derive.operators import fill, shape_of
from derive.program import Assignment, Program, Solve, blocks, symbols_of, unknowns_of
from derive.reverse_sweep import computed_values, elementwise_partials, free_prefix
from derive.symbols import Quantity, Role, by_name


@dataclass(frozen=True)
class Linearization:
    """The linearization of a program.

    Attributes:
        program: reads the primal's quantities and the tangents of its inputs, computes the tangents of all outputs.
        tangents: quantity of the primal -> its tangent.
    """

    program: Program
    tangents: Mapping[Quantity, Quantity]


def forward_sweep(program: Program, wrt: Iterable[Quantity], prefix: str = "") -> Linearization:
    """Linearization of `program` in the quantities `wrt`.

    Tangents are named `dot_<quantity>`, and `dot2_<quantity>` where names of the program begin so already (a sweep over
    a sweep), unless a prefix is given.
    """
    prefix = prefix or free_prefix("dot", program)
    tangents = {q: _tangent(prefix, q) for q in wrt}
    known = computed_values(program)
    lines: list[Assignment] = []
    for block in blocks(program.assignments):
        first = len(lines)
        unknowns = unknowns_of(block) if _moves(block, tangents) else ()
        tangents |= {q: _tangent(prefix, q) for q in unknowns}
        for line in block:
            value = pushforward(line.value, tangents, known)
            if value == 0 and line.target not in unknowns:
                continue
            tangents[line.target] = _tangent(prefix, line.target)
            lines.append(Assignment(tangents[line.target], value, f"linearization of {line.target.name}"))
        if unknowns:
            mark = Solve(tuple(tangents[q] for q in unknowns))
            lines[first:] = [replace(line, solve=mark) for line in lines[first:]]
    used = {q for line in lines for q in line.value.atoms(Quantity)}
    outputs = tuple(tangents[q] for q in program.outputs if q in tangents)
    inputs = (used | set(outputs)) - {line.target for line in lines}
    return Linearization(Program(tuple(by_name(inputs)), tuple(lines), outputs), tangents)


def is_affine(program: Program, wrt: Iterable[Quantity]) -> bool:
    """Whether a program is linear in the quantities `wrt` but for constants: its linearization depends on no sample."""
    if has_jumps(program):
        return False
    sweep = forward_sweep(program, wrt)
    tangents = set(sweep.tangents.values())
    return not any(q.role.batched for q in sweep.program.inputs if q not in tangents)


def has_jumps(program: Program) -> bool:
    """Whether a sample goes through a function that is constant between jumps: its linearization is zero there."""
    jumps = (node for line in program.assignments for node in line.value.atoms(step, sign))
    return any(q.role.batched for node in jumps for q in symbols_of(node))


def _moves(block: tuple[Assignment, ...], tangents: Mapping[Quantity, Quantity]) -> bool:
    """Whether a block reads anything that has a tangent."""
    return any(q in tangents for line in block for q in line.value.atoms(Quantity))


def _tangent(prefix: str, quantity: Quantity) -> Quantity:
    role = Role.TANGENT if quantity.role.batched else quantity.role
    return quantity.renamed(
        f"{prefix}_{quantity.name}", rf"\delta {quantity.latex}", role, f"tangent of {quantity.name}"
    )


def pushforward(value: Expr, tangents: Mapping[Quantity, Expr], known: Mapping[Expr, Expr] | None = None) -> Expr:
    """Directional derivative of an expression along the given tangents of its quantities."""
    result: Expr = Integer(0)
    for leaf, partial in elementwise_partials(value):
        if isinstance(leaf, Quantity):
            inner = tangents.get(leaf, Integer(0))
        else:
            inner = leaf.pushforward(lambda argument: _spread(pushforward(argument, tangents, known), argument))
        result += partial.xreplace(known or {}) * inner
    return result


def _spread(value: Expr, like: Expr) -> Expr:
    """A tangent that lost its shape (the tangent of `x + c` in a scalar c) gets it back."""
    return fill(value, like) if value != 0 and shape_of(value) != shape_of(like) else value
