"""Exact values that parameters start with: tables of exact numbers, or a rule in the place of an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sympy import Expr, Float, MatrixBase

from derive.errors import SpecError
from derive.functions import as_expression
from derive.operators import show_shape
from derive.program import symbols_of, undeclared
from derive.symbols import Quantity, Role, by_name, constant

ROW = constant("row", latex="j", meaning="row of an entry, counted from 1")
COLUMN = constant("column", latex="k", meaning="column of an entry, counted from 1")

Value: TypeAlias = Expr | tuple[Any, ...]
"""A rule for every entry, or nested tuples with one expression for each."""


def checked_values(
    owner: str, values: Mapping[Quantity, Any], allowed: set[Quantity], defaults: Mapping[str, Any]
) -> dict[Quantity, Value]:
    """Values as expressions and nested tuples of them.

    Raises:
        SpecError: no parameter of the system, a number that is not exact, a symbol that is neither `ROW` nor `COLUMN`
            nor a constant with a default, or tables whose sizes contradict each other.
    """
    found: dict[Quantity, Value] = {}
    for quantity, value in values.items():
        if quantity not in allowed or quantity.role is not Role.PARAMETER:
            names = ", ".join(q.name for q in by_name(allowed) if q.role is Role.PARAMETER) or "none"
            raise SpecError(f"{owner}: values has {quantity}; allowed: parameters of the system ({names})")
        found[quantity] = _exact(f"{owner}: the value of {quantity.name}", value)
        shape = shape_of_table(found[quantity])
        if shape and len(shape) != len(quantity.shape):
            wanted = show_shape(quantity.shape)
            raise SpecError(f"{owner}: the value of {quantity.name} has shape {show_shape(shape)}; it is {wanted}")
    table_sizes(owner, found)
    missing = [q.name for q in constants_of(found) if q.name not in defaults]
    if missing:
        given = f"defaults={{{missing[0]!r}: ...}}"
        raise SpecError(f"{owner}: values are written in {', '.join(missing)}; give {given}")
    return found


def table_sizes(owner: str, values: Mapping[Quantity, Value]) -> dict[str, int]:
    """Sizes that tables of values give to named dimensions.

    Raises:
        SpecError: two tables contradict each other, or one a size that is a number.
    """
    sizes: dict[str, int] = {}
    for quantity, value in values.items():
        for axis, size in zip(quantity.shape, shape_of_table(value), strict=False):
            wanted = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            if size != wanted:
                raise SpecError(f"{owner}: the value of {quantity.name} has size {size} for {axis}, which is {wanted}")
    return sizes


def constants_of(values: Mapping[Quantity, Value]) -> list[Quantity]:
    """Constants that values are written in, by name: numbers that the module is given."""
    found = {q for value in values.values() for entry in entries(value) for q in symbols_of(entry)}
    return by_name(found - {ROW, COLUMN})


def entries(value: Value) -> list[Expr]:
    """All expressions of a value."""
    return [entry for part in value for entry in entries(part)] if isinstance(value, tuple) else [value]


def shape_of_table(value: Value) -> tuple[int, ...]:
    """Shape of a table; () of a rule."""
    return (len(value), *shape_of_table(value[0])) if isinstance(value, tuple) else ()


def filled(value: Value, shape: tuple[int, ...], where: Mapping[Quantity, Any]) -> list[Any]:
    """Every entry of a parameter of this shape, row by row, once its constants have values."""
    known = {q: as_expression(number) for q, number in where.items()}
    if isinstance(value, tuple):
        return [as_expression(entry).xreplace(known) for entry in entries(value)]
    places = [(j + 1, k + 1) for j in range(shape[0]) for k in range(shape[1] if len(shape) > 1 else 1)]
    return [
        as_expression(value).xreplace({**known, ROW: as_expression(j), COLUMN: as_expression(k)}) for j, k in places
    ]


def _exact(what: str, value: Any) -> Value:
    """A value in its one form."""
    if isinstance(value, MatrixBase):
        value = value.tolist()
    if isinstance(value, list | tuple):
        parts = tuple(_exact(what, part) for part in value)
        if not parts or len({shape_of_table(part) for part in parts}) > 1:
            raise SpecError(f"{what} is a table with rows of several lengths, or of none")
        return parts
    expression = as_expression(value)
    stray = [q.name for q in by_name(symbols_of(expression)) if q.role is not Role.CONSTANT] + undeclared(expression)
    if stray:
        raise SpecError(f"{what} uses {', '.join(stray)}; allowed: ROW, COLUMN and constants")
    if expression.has(Float):
        raise SpecError(f"{what} is {expression}; give exact numbers, as Rational(1, 2)")
    return expression
