r"""Layer normalization: a vector less its mean, over its standard deviation; and one over that deviation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sympy import Expr, Integer, Rational, sympify

from derive.norms import components
from derive.numeric import Numeric, exponential, logarithm
from derive.operator_base import Operator, shape_of
from derive.operators import dot, total
from derive.symbols import Shape

EPSILON = Rational(1, 100_000)
"""Added to the variance, as torch.nn.LayerNorm does."""


class _Normalization(Operator):
    """A function of a vector and of the number that is added to its variance."""

    nargs = (2,)

    def __new__(cls, vector: Any, epsilon: Any = EPSILON) -> Any:
        return super().__new__(cls, sympify(vector), sympify(epsilon))

    def _vector_shape(self) -> Shape:
        vector, epsilon = (shape_of(arg) for arg in self.args)
        if len(vector) != 1 or epsilon != () or not self.args[1].is_positive:
            raise self._refuse("a vector and a positive number are needed")
        return vector


class layer_norm(_Normalization):
    r"""$(v - \bar v) / \sqrt{\operatorname{var} v + \epsilon}$; gain and bias are parameters like any others."""

    def shape(self) -> Shape:
        return self._vector_shape()

    def _moved(self, u: Expr) -> Expr:
        """The Jacobian, which is symmetric, times a vector."""
        vector, epsilon = self.args
        along = dot(self, u) * self
        return per_deviation(vector, epsilon) * (u - (total(u) + along) / components(vector))

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], self._moved(u)),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        inner = tangent(self.args[0])
        return Integer(0) if inner == 0 else self._moved(inner)

    @staticmethod
    def numeric(value: Numeric, epsilon: Numeric) -> Numeric:
        centred = value - value.sum() / len(value)
        return centred * per_deviation.numeric(value, epsilon)

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{norm}}\left({printer._print(self.args[0])}\right)"


class per_deviation(_Normalization):
    r"""$1 / \sqrt{\operatorname{var} v + \epsilon}$."""

    def shape(self) -> Shape:
        self._vector_shape()
        return ()

    def _slope(self) -> Expr:
        """Its gradient."""
        vector = self.args[0]
        return -(self**2) * layer_norm(*self.args) / components(vector)

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return ((self.args[0], u * self._slope()),)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return dot(self._slope(), tangent(self.args[0]))

    @staticmethod
    def numeric(value: Numeric, epsilon: Numeric) -> Numeric:
        centred = value - value.sum() / len(value)
        return exponential(-logarithm((centred * centred).sum() / len(value) + epsilon) / 2)

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{dev}}\left({printer._print(self.args[0])}\right)^{{-1}}"
