"""Operators of a step that mix the components of a vector, each on a line of its own."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer, preorder_traversal

from derive.layer_norms import layer_norm, per_deviation
from derive.norms import components
from derive.operators import Operator, dot, fill, logsumexp, shape_of, softmax, total
from derive.program import Assignment, Program, intermediate_role, symbols_of
from derive.symbols import LONGEST_NAME, Quantity

MIXING: tuple[type[Operator], ...] = (softmax, logsumexp, total, dot, fill, layer_norm, per_deviation)
"""What a line may do to the components of vectors, beside products with matrices; none of them has parameters."""


def named_values(program: Program) -> Mapping[Expr, Quantity]:
    """Operator -> the line that it is the value of."""
    return {line.value: line.target for line in program.assignments if isinstance(line.value, MIXING)}


def varies(value: Expr) -> bool:
    """Whether an expression changes from step to step; how many components there are does not."""
    fixed = {node: Integer(1) for node in value.atoms(components)}
    return any(quantity.role.batched for quantity in symbols_of(value.xreplace(fixed)))


def with_named_operators(program: Program) -> Program:
    """The program with every such operator on a line of its own, of arguments that have names."""
    if not any(isinstance(node, MIXING) for line in program.assignments for node in preorder_traversal(line.value)):
        return program
    namer = _Namer(program)
    for line in program.assignments:
        namer.line(line)
    return Program(program.inputs, tuple(namer.lines), program.outputs)


class _Namer:
    """The lines so far, and what they have named."""

    def __init__(self, program: Program) -> None:
        self.taken = {quantity.name for quantity in (*program.inputs, *program.targets)}
        self.named: dict[Expr, Quantity] = {}
        self.lines: list[Assignment] = []

    def line(self, line: Assignment) -> None:
        """One line; what stands inside is named before it."""
        value = self._argued(line.value, line.target) if isinstance(line.value, MIXING) else line.value
        value = value if isinstance(value, MIXING) else self._replaced(value, line.target)
        if isinstance(value, MIXING):
            self.named.setdefault(value, line.target)
        self.lines.append(Assignment(line.target, value, line.reason))

    def _replaced(self, value: Expr, target: Quantity) -> Expr:
        """The value with the names of the operators in it."""
        if isinstance(value, MIXING):
            node = self._argued(value, target)
            return self._name(node, "_".join([type(node).__name__, *(q.name for q in node.args if _is_name(q))]))
        if not value.args:
            return value
        return value.func(*(self._replaced(part, target) for part in value.args))

    def _argued(self, node: Expr, target: Quantity) -> Expr:
        """The operator with names for its arguments, where these change from step to step."""
        return node.func(*(self._argument(argument, target) for argument in node.args))

    def _argument(self, argument: Expr, target: Quantity) -> Expr:
        value = self._replaced(argument, target)
        return value if _is_name(value) or not varies(value) else self._name(value, f"{target.name}_argument")

    def _name(self, value: Expr, name: str) -> Quantity:
        if value not in self.named:
            name = name[:LONGEST_NAME]
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.named[value] = Quantity(name, shape_of(value), intermediate_role(value))
            self.lines.append(Assignment(self.named[value], value))
        return self.named[value]


def _is_name(value: Expr) -> bool:
    return isinstance(value, Quantity)
