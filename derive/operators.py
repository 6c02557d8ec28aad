"""The closed list of operators: everything that mixes components of a vector.

Each operator is a SymPy node with a shape rule, a pushforward (JVP), a pullback (VJP), LaTeX and a NumPy form; the list
is closed under both sweeps, so that a sweep's result is a program of the same kind and can be swept again. The torch
form of each is a row of the printer's table. A new operator is one class here and one row there; those of linear
algebra stand in `matrix_operators.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.matrix_operators import identity_like, linear_solve, matmul, matvec, outer, transpose
from derive.numeric import Numeric, exponential, largest, logarithm
from derive.operator_base import Operator, factor_latex, shape_of, show_shape
from derive.symbols import Shape


class total(Operator):
    r"""Sum over all components, $\mathbf 1^\top v$."""

    nargs = (1,)

    @classmethod
    def eval(cls, value: Expr) -> Expr | None:
        return Integer(0) if value == 0 else None

    def shape(self) -> Shape:
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], fill(u, self.args[0])),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return total(tangent(self.args[0]))

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        return np.asarray(value).sum()

    def _latex(self, printer: Any) -> str:
        return rf"\mathbf 1^{{\top}}{factor_latex(printer, self.args[0])}"


class dot(Operator):
    r"""Inner product, $u \cdot v$: of vectors, or of any two quantities of one shape."""

    nargs = (2,)

    @classmethod
    def eval(cls, left: Expr, right: Expr) -> Expr | None:
        return Integer(0) if left == 0 or right == 0 else None

    def shape(self) -> Shape:
        left, right = (shape_of(arg) for arg in self.args)
        if left != right:
            raise self._refuse("two quantities of one shape are needed")
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        left, right = self.args
        return (left, u * right), (right, u * left)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        left, right = self.args
        return dot(tangent(left), right) + dot(left, tangent(right))

    @staticmethod
    def numeric(left: Numeric, right: Numeric) -> Numeric:
        return np.asarray(left * right).sum()

    def _latex(self, printer: Any) -> str:
        return rf"{factor_latex(printer, self.args[0])} \cdot {factor_latex(printer, self.args[1])}"


class fill(Operator):
    """The scalar first argument in every component of the shape of the second."""

    nargs = (2,)

    @classmethod
    def eval(cls, value: Expr, like: Expr) -> Expr | None:
        return value if not shape_of(like) else None

    def shape(self) -> Shape:
        if shape_of(self.args[0]):
            raise self._refuse("the first argument must be a scalar")
        return shape_of(self.args[1])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], total(u)),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else fill(inner, self.args[1])

    @staticmethod
    def numeric(value: Numeric, like: Numeric) -> Numeric:
        return value + 0 * like

    def _latex(self, printer: Any) -> str:
        return rf"{factor_latex(printer, self.args[0])}\,\mathbf 1"


class softmax(Operator):
    r"""$e^{z} / \mathbf 1^\top e^{z}$, shifted by its largest component wherever it is computed."""

    nargs = (1,)

    def shape(self) -> Shape:
        return self._vector_shape()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], self * (u - dot(self, u))),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else self * (inner - dot(self, inner))

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        weights = exponential(value - largest(value))
        return weights / weights.sum()

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{softmax}}\left({printer._print(self.args[0])}\right)"


class logsumexp(Operator):
    r"""$\log \mathbf 1^\top e^{z}$; its gradient is the softmax."""

    nargs = (1,)

    def shape(self) -> Shape:
        self._vector_shape()
        return ()

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], u * softmax(self.args[0])),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return dot(softmax(self.args[0]), tangent(self.args[0]))

    @staticmethod
    def numeric(value: Numeric) -> Numeric:
        top = largest(value)
        return top + logarithm(exponential(value - top).sum())

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{logsumexp}}\left({printer._print(self.args[0])}\right)"


class concat(Operator):
    """Two vectors one after the other."""

    nargs = (2,)

    def shape(self) -> Shape:
        left, right = (shape_of(arg) for arg in self.args)
        if len(left) != 1 or len(right) != 1:
            raise self._refuse("two vectors are needed")
        return (join(left[0], right[0]),)

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        left, right = self.args
        return (left, head(u, left, right)), (right, tail(u, left, right))

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        left, right = self.args
        a, b = tangent(left), tangent(right)
        if a == 0 and b == 0:
            return Integer(0)
        return concat(a if a != 0 else fill(Integer(0), left), b if b != 0 else fill(Integer(0), right))

    @staticmethod
    def numeric(left: Numeric, right: Numeric) -> Numeric:
        return np.concatenate([left, right])

    def _latex(self, printer: Any) -> str:
        return rf"\left[{printer._print(self.args[0])};\,{printer._print(self.args[1])}\right]"


def join(left: Any, right: Any) -> Any:
    """The size of two axes laid one after the other."""
    return left + right if isinstance(left, int) and isinstance(right, int) else f"{left}+{right}"


class _Part(Operator):
    """One of the two parts of a concatenation; the second and third argument give the parts' shapes."""

    nargs = (3,)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else type(self)(inner, *self.args[1:])


class head(_Part):
    """The first part of a vector made by `concat`."""

    def shape(self) -> Shape:
        return shape_of(self.args[1])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], concat(u, fill(Integer(0), self.args[2]))),)

    @staticmethod
    def numeric(value: Numeric, left: Numeric, right: Numeric) -> Numeric:
        return value[: len(left)]

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{head}}\left({printer._print(self.args[0])}\right)"


class tail(_Part):
    """The second part of a vector made by `concat`."""

    def shape(self) -> Shape:
        return shape_of(self.args[2])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], concat(fill(Integer(0), self.args[1]), u)),)

    @staticmethod
    def numeric(value: Numeric, left: Numeric, right: Numeric) -> Numeric:
        return value[len(left) :]

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{tail}}\left({printer._print(self.args[0])}\right)"


def zeros(like: Expr) -> Expr:
    """A vector of zeros of a quantity's shape, for augmented states."""
    return fill(Integer(0), like)


__all__ = [
    "Numeric",
    "Operator",
    "concat",
    "dot",
    "factor_latex",
    "fill",
    "head",
    "identity_like",
    "join",
    "linear_solve",
    "logsumexp",
    "matmul",
    "matvec",
    "outer",
    "shape_of",
    "show_shape",
    "softmax",
    "tail",
    "total",
    "transpose",
    "zeros",
]
