"""What every operator is: a node with a shape, a pullback and a pushforward; and the shapes of expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy import Expr

from derive.errors import SpecError
from derive.numeric import Numeric
from derive.symbols import Quantity, Shape

TOP = r"\top"  # of a transposed matrix, as an exponent


class Operator(sympy.Function):
    """A node that is not elementwise. Arguments are elementwise expressions of the stated shapes."""

    is_real = True
    bracketed = False  # as a factor in a formula

    def shape(self) -> Shape:
        """Feature shape of the value.

        Raises:
            SpecError: the arguments' shapes do not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} declares no shape rule")

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        """Pairs (argument, contribution to its cotangent) for the cotangent `u` of the value."""
        raise NotImplementedError(f"{type(self).__name__} declares no pullback")

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        """Tangent of the value, given the map argument -> tangent of the argument."""
        raise NotImplementedError(f"{type(self).__name__} declares no pushforward")

    @staticmethod
    def numeric(*values: Numeric) -> Numeric:
        """Value on NumPy arrays without batch axes (float, complex or mpmath entries)."""
        raise NotImplementedError("declared by each operator")

    def _vector_shape(self) -> Shape:
        """Shape of the one argument, which must be a vector."""
        shape = shape_of(self.args[0])
        if len(shape) != 1:
            raise self._refuse("a vector is needed")
        return shape

    def _refuse(self, wanted: str) -> SpecError:
        given = ", ".join(f"{arg} of shape {show_shape(shape_of(arg))}" for arg in self.args)
        return SpecError(f"{type(self).__name__}({given}): {wanted}")


def show_shape(shape: Shape) -> str:
    """`(H, I)`, as shapes are written in messages and docstrings."""
    return f"({', '.join(str(size) for size in shape)})"


def shape_of(expression: Expr) -> Shape:
    """Feature shape of an elementwise expression over quantities and operators.

    Raises:
        SpecError: two parts of different, non-scalar shapes meet in one elementwise operation.
    """
    if isinstance(expression, Quantity):
        return expression.shape
    if isinstance(expression, Operator):
        return expression.shape()
    shapes = [(shape_of(part), part) for part in expression.args]
    result: Shape = ()
    owner: Expr | None = None
    for shape, part in shapes:
        if not shape or shape == result:
            continue
        if result:
            raise SpecError(
                f"elementwise operation on different shapes: {owner} is {show_shape(result)}, "
                f"{part} is {show_shape(shape)}; products of matrices and vectors are written matvec(W, v)"
            )
        result, owner = shape, part
    return result


def raised_latex(printer: Any, expression: Expr, exponent: str) -> str:
    """LaTeX of a factor with an exponent: bracketed too where it carries one, since a second would not compile."""
    text = factor_latex(printer, expression)
    return rf"{bracketed_power(text)}^{{{exponent}}}"


def bracketed_power(text: str) -> str:
    """LaTeX that an exponent may follow: in brackets where it carries one, outside of all groups and brackets."""
    depth = 0
    for sign in re.findall(r"\\left|\\right|(?<!\\)[{}]|\^", text):
        depth += (sign in ("{", r"\left")) - (sign in ("}", r"\right"))
        if sign == "^" and not depth:
            return rf"\left({text}\right)"
    return text


def factor_latex(printer: Any, expression: Expr) -> str:
    """LaTeX of a factor: bracketed unless it is a single letter or a function."""
    text = printer._print(expression)
    bracketed = expression.is_Add or expression.is_Mul or getattr(expression, "bracketed", False)
    return rf"\left({text}\right)" if bracketed else text
