"""The operators of linear algebra: products, transposes and solutions of linear systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.numeric import Numeric, solve_linear
from derive.operator_base import TOP, Operator, factor_latex, raised_latex, shape_of
from derive.symbols import Shape


class matvec(Operator):
    """Matrix times vector, `W v`."""

    nargs = (2,)
    bracketed = True

    def shape(self) -> Shape:
        matrix, vector = (shape_of(arg) for arg in self.args)
        if len(matrix) != 2 or len(vector) != 1 or matrix[1] != vector[0]:
            raise self._refuse("a matrix (m, n) and a vector (n,) are needed")
        return matrix[:1]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        matrix, vector = self.args
        return (matrix, outer(u, vector)), (vector, matvec(transpose(matrix), u))

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        matrix, vector = self.args
        return _matvec(tangent(matrix), vector) + _matvec(matrix, tangent(vector))

    @staticmethod
    def numeric(matrix: Numeric, vector: Numeric) -> Numeric:
        return (matrix * vector[None, :]).sum(axis=1)

    def _latex(self, printer: Any) -> str:
        return f"{factor_latex(printer, self.args[0])} {factor_latex(printer, self.args[1])}"


def _matvec(matrix: Expr, vector: Expr) -> Expr:
    return Integer(0) if matrix == 0 or vector == 0 else matvec(matrix, vector)


class transpose(Operator):
    """Matrix transpose."""

    nargs = (1,)

    @classmethod
    def eval(cls, matrix: Expr) -> Expr | None:
        turned = outer(*matrix.args[::-1]) if isinstance(matrix, outer) else None
        return matrix.args[0] if isinstance(matrix, transpose) else turned

    def shape(self) -> Shape:
        shape = shape_of(self.args[0])
        if len(shape) != 2:
            raise self._refuse("a matrix (m, n) is needed")
        return shape[::-1]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], transpose(u)),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else transpose(inner)

    @staticmethod
    def numeric(matrix: Numeric) -> Numeric:
        return matrix.T

    def _latex(self, printer: Any) -> str:
        return raised_latex(printer, self.args[0], TOP)


class outer(Operator):
    r"""Outer product, $u v^\top$."""

    nargs = (2,)

    def shape(self) -> Shape:
        left, right = (shape_of(arg) for arg in self.args)
        if len(left) != 1 or len(right) != 1:
            raise self._refuse("two vectors are needed")
        return left + right

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        left, right = self.args
        return (left, matvec(u, right)), (right, matvec(transpose(u), left))

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        left, right = self.args
        parts = ((tangent(left), right), (left, tangent(right)))
        return sum((outer(a, b) for a, b in parts if a != 0 and b != 0), Integer(0))

    @staticmethod
    def numeric(left: Numeric, right: Numeric) -> Numeric:
        return left[:, None] * right[None, :]

    def _latex(self, printer: Any) -> str:
        return rf"{factor_latex(printer, self.args[0])}\,{raised_latex(printer, self.args[1], TOP)}"


class matmul(Operator):
    """Product of two matrices, `A B`."""

    nargs = (2,)
    bracketed = True

    @classmethod
    def eval(cls, left: Expr, right: Expr) -> Expr | None:
        return Integer(0) if left == 0 or right == 0 else None

    def shape(self) -> Shape:
        left, right = (shape_of(arg) for arg in self.args)
        if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
            raise self._refuse("two matrices (m, n) and (n, k) are needed")
        return left[0], right[1]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        left, right = self.args
        return (left, matmul(u, transpose(right))), (right, matmul(transpose(left), u))

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        left, right = self.args
        return matmul(tangent(left), right) + matmul(left, tangent(right))

    @staticmethod
    def numeric(left: Numeric, right: Numeric) -> Numeric:
        return (left[:, :, None] * right[None, :, :]).sum(axis=1)

    def _latex(self, printer: Any) -> str:
        return f"{factor_latex(printer, self.args[0])} {factor_latex(printer, self.args[1])}"

    def _sympystr(self, printer: Any) -> str:
        shown = (f"({text})" if arg.is_Add else text for arg in self.args for text in [printer._print(arg)])
        return " @ ".join(shown)


class linear_solve(Operator):
    """Solution `y` of `A y = v`, of a vector or of the columns of a matrix; `A` may be a matrix expression."""

    nargs = (2,)

    @property
    def is_inverse(self) -> bool:
        """Whether this is the inverse of the matrix: the right side is the identity."""
        return isinstance(self.args[1], identity_like)

    def shape(self) -> Shape:
        matrix, right = (shape_of(arg) for arg in self.args)
        if len(matrix) != 2 or matrix[0] != matrix[1] or len(right) not in (1, 2) or right[0] != matrix[0]:
            raise self._refuse("a square matrix (n, n) and a vector (n,) or a matrix (n, k) are needed")
        return right

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        matrix, right = self.args
        adjoint = linear_solve(transpose(matrix), u)
        product = outer(adjoint, self) if len(shape_of(right)) == 1 else matmul(adjoint, transpose(self))
        return (matrix, -product), (right, adjoint)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        matrix, known = self.args
        product = _matvec if len(shape_of(known)) == 1 else matmul
        right = tangent(known) - product(tangent(matrix), self)
        return Integer(0) if right == 0 else linear_solve(matrix, right)

    @staticmethod
    def numeric(matrix: Numeric, vector: Numeric) -> Numeric:
        kind = np.result_type(matrix, vector)
        return solve_linear(np.array(matrix, kind), np.array(vector, kind))

    def _latex(self, printer: Any) -> str:
        inverse = raised_latex(printer, self.args[0], "-1")
        return inverse if self.is_inverse else f"{inverse} {factor_latex(printer, self.args[1])}"


class identity_like(Operator):
    """The identity matrix of the shape of its argument."""

    nargs = (1,)

    def shape(self) -> Shape:
        shape = shape_of(self.args[0])
        if len(shape) != 2 or shape[0] != shape[1]:
            raise self._refuse("a square matrix is needed")
        return shape

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ()

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return Integer(0)

    @staticmethod
    def numeric(like: Numeric) -> Numeric:
        return np.eye(len(like)) + 0 * like

    def _latex(self, printer: Any) -> str:
        return "I"
