r"""Operators on the length of a vector: $|v|$, its gradient $v/|v|$, and how many components there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.numeric import Numeric, exponential, logarithm
from derive.operator_base import Operator, factor_latex, shape_of
from derive.operators import dot
from derive.symbols import Shape


class norm(Operator):
    r"""Euclidean length, $|v|$. At $v = 0$ its gradient is taken as 0, as that of a kink."""

    nargs = (1,)

    def shape(self) -> Shape:
        self._vector_shape()
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], u * unit(self.args[0])),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return dot(unit(self.args[0]), tangent(self.args[0]))

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        squares = np.asarray(value * value).sum()
        return exponential(logarithm(squares) / 2) if squares else 0 * squares

    def _latex(self, printer: Any) -> str:
        return rf"\left|{printer._print(self.args[0])}\right|"


class unit(Operator):
    r"""The direction of a vector, $v / |v|$; zero where $v$ is."""

    nargs = (1,)

    def shape(self) -> Shape:
        return self._vector_shape()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], (u - self * dot(self, u)) / norm(self.args[0])),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else (inner - self * dot(self, inner)) / norm(self.args[0])

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        length = norm.numeric(value)
        return value / length if length else 0 * value

    def _latex(self, printer: Any) -> str:
        inner = self.args[0]
        return rf"\frac{{{printer._print(inner)}}}{{\left|{printer._print(inner)}\right|}}"


class components(Operator):
    """How many components a vector has."""

    nargs = (1,)

    def shape(self) -> Shape:
        self._vector_shape()
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ()

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return Integer(0)

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        return len(value) + 0 * value[0]

    def _latex(self, printer: Any) -> str:
        (size,) = self._vector_shape()
        return str(size) if len(str(size)) == 1 else factor_latex(printer, self.args[0])


class quadratic_root(Operator):
    r"""The root $r = \tfrac12\left(-p + \sqrt{p^2 + 4 q}\right)$ of $r^2 + p\, r = q$: for q > 0 the one above 0."""

    nargs = (2,)

    def shape(self) -> Shape:
        if any(shape_of(arg) for arg in self.args):
            raise self._refuse("two scalars are needed")
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        p, q = self.args
        slope = u / (2 * self + p)
        return (p, -self * slope), (q, slope)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        p, q = self.args
        return (tangent(q) - self * tangent(p)) / (2 * self + p)

    @staticmethod
    def numeric(p: Numeric, q: Numeric) -> Numeric:
        square = p * p + 4 * q
        return (-p + (exponential(logarithm(square) / 2) if square else square)) / 2

    def _latex(self, printer: Any) -> str:
        p, q = (printer._print(arg) for arg in self.args)
        return rf"\operatorname{{root}}_{{r > 0}}\left[r^2 + \left({p}\right) r = {q}\right]"
