"""Windows: the last values of a quantity as one quantity, newest first, and the operators that schemes apply to them.

A window of a quantity of shape `s` has the shape `(lags, *s)`, so one program serves every number of lags. In emitted
code a window is a tuple of tensors: nothing is copied when it moves on. Like all operators these are closed under both
sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.operator_base import Operator, factor_latex, shape_of
from derive.operators import Numeric, fill
from derive.symbols import Quantity, Role, Shape

LAGS = "lags"


def window(quantity: Quantity, name: str, latex: str, meaning: str) -> Quantity:
    """A window of a quantity, as a part of the state."""
    return Quantity(name, (LAGS, *quantity.shape), Role.STATE, latex, meaning)


def weights(name: str, *, latex: str = "", meaning: str = "") -> Quantity:
    """One number for each lag, fixed at construction of the module."""
    return Quantity(name, (LAGS,), Role.CONSTANT, latex, meaning)


def is_window(value: Expr) -> bool:
    """Whether an expression is a window itself: a quantity, or what an operator makes of one."""
    made = isinstance(value, front | shift | unshift | lag_outer)
    return made or (isinstance(value, Quantity) and value.shape[:1] == (LAGS,))


class _Linear(Operator):
    """Linear in every argument: the pushforward is the product rule."""

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        terms = []
        for place, argument in enumerate(self.args):
            moved = tangent(argument)
            if moved != 0:
                terms.append(type(self)(*self.args[:place], moved, *self.args[place + 1 :]))
        return sum(terms, Integer(0))

    def _shapes(self) -> list[Shape]:
        return [shape_of(argument) for argument in self.args]

    def _named_latex(self, printer: Any, name: str) -> str:
        arguments = r",\, ".join(printer._print(argument) for argument in self.args)
        return rf"\operatorname{{{name}}}\left({arguments}\right)"


class newest(_Linear):
    """The newest value of a window."""

    nargs = (1,)

    def shape(self) -> Shape:
        (shape,) = self._shapes()
        if not shape:
            raise self._refuse("a window (lags, ...) is needed")
        return shape[1:]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], front(u, self.args[0])),)

    @staticmethod
    def numeric(values: Numeric) -> Numeric:
        return values[0]

    def _latex(self, printer: Any) -> str:
        return self._named_latex(printer, "newest")


class front(Operator):
    """The window of the shape of the second argument that has the first as its newest value and is zero elsewhere."""

    nargs = (2,)

    def shape(self) -> Shape:
        value, like = (shape_of(argument) for argument in self.args)
        if like[1:] != value or not like:
            raise self._refuse("a value and a window of such values are needed")
        return like

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], newest(u)),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else front(inner, self.args[1])

    @staticmethod
    def numeric(value: Numeric, like: Numeric) -> Numeric:
        return np.stack([value + 0 * like[0], *(0 * like[1:])])

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{front}}\left({printer._print(self.args[0])}\right)"


class shift(Operator):
    """A window one step later: a value in front, the oldest dropped."""

    nargs = (2,)

    def shape(self) -> Shape:
        value, past = (shape_of(argument) for argument in self.args)
        if past[1:] != value or not past:
            raise self._refuse("a value and a window of such values are needed")
        return past

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return (self.args[0], newest(u)), (self.args[1], unshift(u))

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        value, past = (tangent(argument) for argument in self.args)
        if value == 0 and past == 0:
            return Integer(0)
        blank = fill(Integer(0), self.args[1])
        return shift(newest(blank) if value == 0 else value, blank if past == 0 else past)

    @staticmethod
    def numeric(value: Numeric, past: Numeric) -> Numeric:
        return np.stack([value + 0 * past[0], *past[:-1]])

    def _latex(self, printer: Any) -> str:
        return rf"\left({printer._print(self.args[0])},\, {printer._print(self.args[1])}\right)"


class unshift(_Linear):
    """A window without its newest value, zero at its end: the transpose of `shift`."""

    nargs = (1,)

    def shape(self) -> Shape:
        (shape,) = self._shapes()
        if not shape:
            raise self._refuse("a window (lags, ...) is needed")
        return shape

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        blank = newest(fill(Integer(0), self.args[0]))
        return ((self.args[0], shift(blank, u)),)

    @staticmethod
    def numeric(values: Numeric) -> Numeric:
        return np.stack([*values[1:], 0 * values[0]])

    def _latex(self, printer: Any) -> str:
        return self._named_latex(printer, "unshift")


class lag_sum(_Linear):
    r"""$\sum_j w_j X_j$ over the lags."""

    nargs = (2,)

    def shape(self) -> Shape:
        weight, past = self._shapes()
        if len(weight) != 1 or past[:1] != weight:
            raise self._refuse("weights (lags,) and a window (lags, ...) are needed")
        return past[1:]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        weight, past = self.args
        return (weight, lag_dots(past, u)), (past, lag_outer(weight, u))

    @staticmethod
    def numeric(weight: Numeric, past: Numeric) -> Numeric:
        return sum(w * x for w, x in zip(weight, past, strict=True))

    def _latex(self, printer: Any) -> str:
        weight, past = (factor_latex(printer, argument) for argument in self.args)
        return rf"{weight}^{{\top}} {past}"


class lag_outer(_Linear):
    r"""The window $(w_j u)_j$."""

    nargs = (2,)

    def shape(self) -> Shape:
        weight, value = self._shapes()
        if len(weight) != 1:
            raise self._refuse("weights (lags,) and a value are needed")
        return (*weight, *value)

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        weight, value = self.args
        return (weight, lag_dots(u, value)), (value, lag_sum(weight, u))

    @staticmethod
    def numeric(weight: Numeric, value: Numeric) -> Numeric:
        return np.stack([w * value for w in weight])

    def _latex(self, printer: Any) -> str:
        weight, value = (factor_latex(printer, argument) for argument in self.args)
        return rf"{weight} \otimes {value}"


class lag_dots(_Linear):
    r"""The inner products $X_j \cdot u$ of every value of a window with one value."""

    nargs = (2,)

    def shape(self) -> Shape:
        past, value = self._shapes()
        if past[1:] != value or not past:
            raise self._refuse("a window (lags, ...) and a value are needed")
        return past[:1]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        past, value = self.args
        return (past, lag_outer(u, value)), (value, lag_sum(u, past))

    @staticmethod
    def numeric(past: Numeric, value: Numeric) -> Numeric:
        return np.stack([np.asarray(x * value).sum() for x in past])

    def _latex(self, printer: Any) -> str:
        past, value = (factor_latex(printer, argument) for argument in self.args)
        return rf"{past} \cdot {value}"
