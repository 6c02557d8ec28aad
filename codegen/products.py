"""Programs whose matrix products are terms: what a product is added to is a line, and so is a compound vector."""

from __future__ import annotations

from sympy import Add, Expr

from derive.operators import matvec, shape_of
from derive.past_values import taps
from derive.program import Assignment, Program, intermediate_role, symbols_of
from derive.symbols import LONGEST_NAME, Quantity, by_name

PRODUCTS = (matvec, taps)
"""Operators that multiply by a matrix, or by one for each lag."""


def split_products(named: Program, original: Program) -> tuple[list[Assignment], dict[Quantity, Quantity]]:
    """Lines with every matrix product as a term of its own, and which line of `original` each comes from."""
    whole = set(original.targets)
    lines: list[Assignment] = []
    origins: dict[Quantity, Quantity] = {}
    waiting: list[Quantity] = []
    taken = {quantity.name for quantity in (*named.inputs, *named.targets)}
    for line in named.assignments:
        splitter = _Splitter(line, taken)
        lines += splitter.lines
        waiting += [split.target for split in splitter.lines]
        if line.target in whole:
            origins |= dict.fromkeys(waiting, line.target)
            waiting = []
    return lines, origins


class _Splitter:
    """Splits one line: products inside larger terms and the compound vectors of products get lines of their own."""

    def __init__(self, line: Assignment, taken: set[str]) -> None:
        self.taken = taken
        self.lines: list[Assignment] = []
        value = self._sum(line.value)
        self.lines.append(Assignment(line.target, value, line.reason))

    def _term(self, term: Expr) -> Expr:
        if isinstance(term, PRODUCTS):
            return self._product(term)
        return term.xreplace({node: self._named(self._sum(node)) for node in _products_inside(term)})

    def _sum(self, value: Expr) -> Expr:
        return Add(*(self._term(part) for part in Add.make_args(value)))

    def _product(self, node: Expr) -> Expr:
        matrix, vector = node.args
        return node if isinstance(vector, Quantity) else node.func(matrix, self._named(self._sum(vector)))

    def _named(self, value: Expr) -> Quantity:
        known = next((line.target for line in self.lines if line.value == value), None)
        if known is not None:
            return known
        name = _name_of(value)
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        target = Quantity(name, shape_of(value), intermediate_role(value))
        self.lines.append(Assignment(target, value))
        return target


def _products_inside(value: Expr) -> list[Expr]:
    """Products in an expression, with what is added to them; of nested ones the outermost."""
    if isinstance(value, PRODUCTS) or any(isinstance(part, PRODUCTS) for part in Add.make_args(value)):
        return [value]
    return list(dict.fromkeys(node for part in value.args for node in _products_inside(part)))


def _name_of(value: Expr) -> str:
    """Name of a line that is split off: its first product, or everything that it mentions."""
    product = min((part for part in Add.make_args(value) if isinstance(part, PRODUCTS)), key=str, default=value)
    names = [q.name for q in product.args] if _is_plain(product) else [q.name for q in by_name(symbols_of(value))]
    return "_".join(names)[:LONGEST_NAME]


def _is_plain(value: Expr) -> bool:
    return isinstance(value, PRODUCTS) and all(isinstance(argument, Quantity) for argument in value.args)
