"""Mutants of emitted functions: one literal, sign, operand order or term changed at a time, by the syntax tree.

Mutants that compute the same are not made: products and sums are not swapped, a term of zeros is not dropped, a fresh
buffer is not negated, names that are never read are left alone. Where only a tensor's shape is read, another of
the same shape may stand; the last axis of a matrix may be called 1 or -1 where it is cut or measured; a tensor cut in
too many parts is cut in as many as it has; and a sum that is summed up afterwards may run over any axis.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType

ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)
ORDERED_CALLS = {
    "mm",
    "addmm",
    "addmm_",
    "product",
    "set_product",
    "add_product",
    "batch_outer",
    "sigmoid_slope",
    "tanh_slope",
    "sub",
    "div",
}
ORDERED_CALLS |= {"tanh_backward", "sigmoid_backward", "threshold_backward", "linear"}
FRESH = ("empty", "zeros")

Edit = Callable[[ast.AST], ast.AST]


@dataclass(frozen=True)
class Mutant:
    """A changed function: what was changed, and its syntax tree, which is made when it is asked for."""

    function: str
    change: str
    build: Callable[[], ast.FunctionDef]

    @property
    def tree(self) -> ast.FunctionDef:
        return self.build()


def functions(text: str, chosen: Callable[[str], bool]) -> list[ast.FunctionDef]:
    """Top-level functions of a text by name."""
    return [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and chosen(node.name)]


def mutants(function: ast.FunctionDef) -> Iterator[Mutant]:
    """All mutants of one function, in the order of its text."""
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    places = list(ast.walk(function))
    inside = {id(node) for statement in function.body for node in ast.walk(statement)}
    same = {id(node) for node in _without_effect(function)}
    for place, node in enumerate(places):
        if id(node) not in inside or id(node) in same:
            continue
        for kind, edit in _edits(node, read):
            before, after = ast.unparse(node), ast.unparse(edit(node))
            what = f"line {getattr(node, 'lineno', 0)}, {kind}: {before} -> {after or 'nothing'}"
            yield Mutant(function.name, what, partial(_changed, function, place, edit))


def _changed(function: ast.FunctionDef, place: int, edit: Edit) -> ast.FunctionDef:
    """A copy of a function with the node edited that stands at a place of its tree."""
    copied = copy.deepcopy(function)
    target = list(ast.walk(copied))[place]
    return ast.fix_missing_locations(_Put(target, edit(target)).visit(copied))


def _without_effect(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Literals and signs whose change gives the same function; see above."""
    for node in ast.walk(function):
        measured = (
            isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
        )
        if measured:
            yield from ast.walk(node.value)
        if measured and isinstance(node.slice, ast.UnaryOp):
            yield node.slice
        if isinstance(node, ast.Call) and _called(node) == "chunk":
            count, axis = node.args
            yield from (count, axis)
    yield from _axis_of_a_sum_that_is_summed(function)


def _axis_of_a_sum_that_is_summed(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """In `value = x.sum(-1) / 2; return value.sum()` any axis gives the same."""
    ending = ast.unparse(function.body[-1])
    for node in function.body:
        if isinstance(node, ast.Assign) and ending == f"return {ast.unparse(node.targets[0])}.sum()":
            value = node.value.left if isinstance(node.value, ast.BinOp) else node.value
            if isinstance(value, ast.Call) and _called(value) == "sum":
                yield from (part for axis in value.args for part in ast.walk(axis))


def _edits(node: ast.AST, read: set[str]) -> Iterator[tuple[str, Edit]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield "literal", _with(lambda found: setattr(found, "value", found.value + 1))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", lambda found: found.operand
    elif isinstance(node, ast.BinOp):
        yield from _operation_edits(node)
    elif isinstance(node, ast.Call) and _called(node) in ORDERED_CALLS and len(node.args) > 1:
        yield "operands", _with(_swap_last_arguments)
    elif isinstance(node, ast.Call) and _called(node) == "chunk":
        yield "literal", _with(lambda found: setattr(found.args[0], "value", found.args[0].value - 1))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "dropped statement", lambda found: ast.Pass()
    elif isinstance(node, ast.Assign) and _worth_negating(node, read):
        yield "sign", _with(lambda found: setattr(found, "value", ast.UnaryOp(ast.USub(), found.value)))


def _operation_edits(node: ast.BinOp) -> Iterator[tuple[str, Edit]]:
    nothing = [side for side in ("left", "right") if _is_zero(getattr(node, side))]
    if isinstance(node.op, ast.Add | ast.Sub) and not nothing:
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield "sign", _with(lambda found: setattr(found, "op", other))
    if isinstance(node.op, ORDERED):
        yield "operands", _with(_swap_sides)
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        for side in ("left", "right"):
            if side not in nothing or isinstance(node.op, ast.Mult):
                kept = "right" if side == "left" else "left"
                yield "dropped term", lambda found, kept=kept: getattr(found, kept)


def _with(change: Callable[..., None]) -> Edit:
    """An edit that changes a copy of the node in place."""

    def edit(found: ast.AST) -> ast.AST:
        changed = copy.deepcopy(found)
        change(changed)
        return changed

    return edit


def _swap_sides(found: ast.BinOp) -> None:
    found.left, found.right = found.right, found.left


def _swap_last_arguments(found: ast.Call) -> None:
    found.args[-2:] = found.args[:-3:-1]


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_zero(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and "zeros" in _called(node)


def _worth_negating(node: ast.Assign, read: set[str]) -> bool:
    """A quantity that is computed and read, not a view to be written to or a buffer."""
    (target, *_), value = node.targets, node.value
    if not isinstance(target, ast.Name) or target.id not in read or isinstance(value, ast.Name | ast.IfExp | ast.Tuple):
        return False
    return not (isinstance(value, ast.Call) and any(word in _called(value) for word in FRESH))


class _Put(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self.replacement if node is self.target else self.generic_visit(node)


@contextmanager
def applied(mutant: Mutant, module: ModuleType) -> Iterator[None]:
    """The module with the code of one function exchanged."""
    scope = dict(vars(module))
    exec(compile(ast.Module([mutant.tree], []), f"<{mutant.change}>", "exec"), scope)
    function = getattr(module, mutant.function)
    kept = function.__code__
    function.__code__ = scope[mutant.function].__code__
    try:
        yield
    finally:
        function.__code__ = kept
