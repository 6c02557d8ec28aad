"""Diagonal matrices. Jacobians are written with them; they stand in formulas, in no program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.numeric import Numeric
from derive.operator_base import Operator, factor_latex
from derive.operators import fill
from derive.symbols import Shape

_UNITS: Mapping[Expr, str] = {Integer(1): "I", Integer(-1): "-I"}


class diagonal(Operator):
    r"""The matrix with a vector on its diagonal, $\operatorname{diag}(v)$."""

    nargs = (1,)

    def shape(self) -> Shape:
        return self._vector_shape() * 2

    @staticmethod
    def numeric(vector: Numeric) -> Numeric:
        return np.diag(vector)

    def _latex(self, printer: Any) -> str:
        (vector,) = self.args
        if isinstance(vector, fill):
            return _UNITS.get(vector.args[0]) or rf"{factor_latex(printer, vector.args[0])} \, I"
        return rf"\operatorname{{diag}}\left({printer._print(vector)}\right)"

    def _sympystr(self, printer: Any) -> str:
        (vector,) = self.args
        if isinstance(vector, fill):
            return _UNITS.get(vector.args[0]) or f"({printer._print(vector.args[0])})*I"
        return f"diag({printer._print(vector)})"
