"""Embedded pairs as numbers: those that a file carries, and a user's own."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = tuple[float, ...]


class Pair(NamedTuple):
    """An explicit table one of whose stages is the first one of the next step.

    A, c: of the stages: those of the step, f(t + h, x_next), and those that the dense output needs besides.
    last: the place of f(t + h, x_next), whose row in A are the weights of the step.
    error: weights of the estimated error, which is O(h^power).
    dense: coefficients of theta, theta^2, ... in each stage's weight inside the step.
    stops: whether these are a cubic that is less exact than the step, so that steps end where outputs are wanted.
    """

    A: tuple[Row, ...]
    c: Row
    error: Row
    dense: tuple[Row, ...]
    power: int
    stops: bool
    last: int

    @property
    def b(self) -> Row:
        """Weights of the step."""
        return self.A[self.last]

    def weights(self, theta: float) -> list[float]:
        """Weights of the slopes at t + theta h."""
        return [sum(c * theta**n for n, c in enumerate(row, 1)) for row in self.dense]

    def velocities(self, theta: float) -> list[float]:
        """Their derivatives in theta."""
        return [sum(n * c * theta ** (n - 1) for n, c in enumerate(row, 1)) for row in self.dense]

    @property
    def constant(self) -> float:
        """The estimated error over h^power where all derivatives are 1: of x' = x, and of a power of the time."""
        values, nodes = [1.0] * len(self.c), [node ** (self.power - 1) for node in self.c]
        for _ in range(self.power - 1):
            values = [math.fsum(map(operator.mul, row, values)) for row in self.A]
        linear = math.fsum(map(operator.mul, self.error, values))
        quadrature = math.fsum(map(operator.mul, self.error, nodes)) / math.factorial(self.power - 1)
        return max(abs(linear), abs(quadrature)) or 1.0


def chosen_pair(owner: str, method: Any, shipped: Mapping[str, Pair]) -> Pair:
    """The pair of a name, or of an object with A, b, c and b_error."""
    allowed = f"{', '.join(map(repr, shipped))}, or an object with nested floats A, b, c, b_error"
    if isinstance(method, str):
        if method in shipped:
            return shipped[method]
        close = difflib.get_close_matches(method, shipped, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"{owner}: method={method!r}{hint}; allowed: {allowed}. Every scheme for ODEs of `derive list --schemes` "
            "has a module of its own too, with steps of one size: `derive generate ID`"
        )
    missing = [name for name in ("A", "b", "c", "b_error") if getattr(method, name, None) is None]
    if missing:
        raise TypeError(
            f"{owner}: method is of type {type(method).__name__} without {', '.join(missing)}; allowed: {allowed}"
        )
    try:
        A = tuple(tuple(map(float, row)) for row in method.A)
        b, c, b_error = (tuple(map(float, getattr(method, name))) for name in ("b", "c", "b_error"))
        own = () if getattr(method, "dense_stages", ()) else getattr(method, "dense", None) or ()
        dense = tuple(tuple(map(float, row)) for row in own)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: method has entries that are no numbers ({error}); allowed: {allowed}") from error
    _check_table(owner, A, b, c, b_error, dense)
    claimed = [getattr(method, name, None) for name in ("order", "embedded_order")]
    read = [_quadrature_order(weights, c) for weights in (b, b_error)]
    order = min(one or other for one, other in zip(claimed, read, strict=True))
    return completed(A, b, c, b_error, dense, order + 1)


def _check_table(owner: str, A: Sequence[Row], b: Row, c: Row, b_error: Row, dense: Sequence[Row]) -> None:
    stages = len(b)
    sizes = [len(A), len(c), len(b_error), *map(len, A), *([len(dense)] if dense else [])]
    if any(size != stages for size in sizes):
        raise ValueError(f"{owner}: method has {stages} weights b; allowed: {stages} rows and columns everywhere")
    if any(A[i][j] != 0.0 for i in range(stages) for j in range(i, stages)):
        raise ValueError(f"{owner}: method is implicit; allowed: A with zeros on and above the diagonal")
    for i, (row, node) in enumerate(zip(A, c, strict=True)):
        if abs(sum(row) - node) > 1e-9:
            raise ValueError(f"{owner}: row {i} of A adds up to {sum(row):g}; allowed: c[{i}] = {node:g}")
    for name, weights in (("b", b), ("b_error", b_error)):
        if abs(sum(weights) - 1) > 1e-9:
            raise ValueError(f"{owner}: method.{name} adds up to {sum(weights):g}; allowed: 1")
    if max(abs(x - y) for x, y in zip(b, b_error, strict=True)) <= 1e-12:
        raise ValueError(
            f"{owner}: method.b_error is method.b, {b}: the error estimate is always zero; allowed: the weights of "
            "another scheme on the same stages"
        )
    for weight, row in zip(b, dense, strict=bool(dense)):
        if abs(sum(row) - weight) > 1e-9:
            raise ValueError(f"{owner}: a row of method.dense adds up to {sum(row):g}; allowed: its weight {weight:g}")


def _quadrature_order(weights: Row, nodes: Row) -> int:
    """Up to which order the weights integrate powers of the time: the order cannot be higher."""
    order = 1
    while order < len(nodes) + 1:
        moments = math.fsum(b * c**order for b, c in zip(weights, nodes, strict=True))
        if abs(moments * (order + 1) - 1) > 1e-9:
            return order
        order += 1
    return order


def completed(A: Sequence[Row], b: Row, c: Row, b_error: Row, dense: Sequence[Row], power: int) -> Pair:
    """With f(t + h, x_next) as the last stage, and the cubic through both ends where there is no dense output."""
    error = tuple(x - y for x, y in zip(b, b_error, strict=True))
    if A[-1] != b or c[-1] != 1.0:
        A, b, c = [*((*row, 0.0) for row in A), (*b, 0.0)], (*b, 0.0), (*c, 1.0)
        error, dense = (*error, 0.0), [*dense, (0.0,) * len(dense[0])] if dense else ()
    stops = not dense
    if stops:
        rows = [[0.0, 3 * weight, -2 * weight] for weight in b]
        for row, bump in ((rows[0], (1.0, -2.0, 1.0)), (rows[-1], (0.0, -1.0, 1.0))):
            row[:] = [x + y for x, y in zip(row, bump, strict=True)]
        dense = [tuple(row) for row in rows]
    return Pair(tuple(A), c, error, tuple(dense), power, stops, len(c) - 1)
