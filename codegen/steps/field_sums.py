"""Statements that write one line of a field, or one of its cotangents, into a tensor that is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sympy import Add, Expr, Mul

from codegen.cells.lowering_statements import OUT, Sum, slopes_in
from codegen.printer import TorchPrinter
from codegen.steps.field_plan import depends_on_state
from derive import functions
from derive.operators import matvec, shape_of, transpose
from derive.program import symbols_of
from derive.symbols import Quantity, Role, Shape

Fixed = Callable[[Expr], str]
"""Expression in parameters and times -> text of what was computed of it before."""


class FieldSums:
    """Statements for the right-hand sides of a field.

    Args:
        printer: for what depends on the state.
        fixed: for what does not.
    """

    def __init__(self, printer: TorchPrinter, fixed: Fixed) -> None:
        self.printer, self.fixed = printer, fixed

    def into(self, target: str, value: Expr) -> list[str]:
        """`target = value`."""
        if isinstance(value, tuple(OUT)) and depends_on_state(value):
            return [self._function(target, value)]
        terms = list(Add.make_args(value))
        opened = self._slope(target, terms) or self._spread(target, terms, shape_of(value))
        if opened and not terms:
            return opened
        if not opened:
            return self._affine(target, terms) or self.sum(terms).into(target)
        return opened + self._added(target, terms)

    def tanh(self, target: str, argument: Expr) -> list[str]:
        """The tanh of a matrix product and what does not depend on the state; nothing where the argument is another."""
        lines = self._affine(target, Add.make_args(argument), "_tanh")
        return lines if len(lines) == 1 else []

    def _affine(self, target: str, terms: Sequence[Expr], function: str = "") -> list[str]:
        """A sum that opens with a matrix product and what does not depend on the state; nothing without a product."""
        product = next((term for term in terms if isinstance(term, matvec) and depends_on_state(term)), None)
        if product is None or any(target == self.printer(q) for term in terms for q in symbols_of(term)):
            return []
        resting = [term for term in terms if not depends_on_state(term)]
        bias = self.fixed(Add(*resting)) if resting else "None"
        factors = f"{self.printer(product.args[1])}, {self.fixed(_right(product.args[0]))}"
        rest = [term for term in terms if term != product and term not in resting]
        return [f"affine{function}_into({factors}, {bias}, {target})", *self._added(target, rest)]

    def _added(self, target: str, terms: Sequence[Expr]) -> list[str]:
        """`target += terms`."""
        total = self.sum(terms)
        return Sum((("1", target), *total.plain), total.products, total.matrices).into(target)

    def _spread(self, target: str, terms: list[Expr], shape: Shape) -> list[str]:
        """Scalars that depend on the state are spread over the components of a vector first."""
        scalars = [term for term in terms if shape and not shape_of(term) and depends_on_state(term)]
        if not scalars:
            return []
        terms[:] = [term for term in terms if term not in scalars]
        return [f"{target}.copy_({self.printer(Add(*scalars))})"]

    def _function(self, target: str, value: Expr) -> str:
        argument = self.printer(value.args[0])
        if isinstance(value, functions.tanh):
            return f"tanh_into({argument}, {target})"
        return f"{OUT[type(value)].format(argument)[:-1]}, out={target})"

    def _slope(self, target: str, terms: list[Expr]) -> list[str]:
        """The first term that is a cotangent times the slope of a function in its value; takes it out of the terms."""
        for term in terms:
            for helper, value, scale in slopes_in(term):
                if isinstance(scale, Quantity) and scale.role is Role.COTANGENT and value.role.batched:
                    terms.remove(term)
                    return [f"{helper}({self.printer(scale)}, {self.printer(value)}, {target})"]
        return []

    def sum(self, terms: Sequence[Expr]) -> Sum:
        """Terms sorted into what one operation each can add."""
        plain: list[tuple[str, str]] = []
        products: list[tuple[str, str, str]] = []
        matrices: list[tuple[str, str]] = []
        resting = [term for term in terms if not depends_on_state(term)]
        if resting:
            number, rest = Add(*resting).as_coeff_Mul()
            plain.append((_number(number), self.fixed(rest)) if rest != 1 else ("1", self.fixed(number)))
        for term in terms:
            if term in resting:
                continue
            number, rest = term.as_coeff_Mul()
            factors = Mul.make_args(rest)
            fixed = Mul(*(factor for factor in factors if not depends_on_state(factor)))
            moving = sorted((f for f in factors if depends_on_state(f)), key=lambda f: (isinstance(f, Add), str(f)))
            if isinstance(term, matvec):
                matrices.append((self.printer(term.args[1]), self.fixed(_right(term.args[0]))))
            elif fixed == 1 and len(moving) == 1:
                plain.append((_number(number), self.printer(moving[0])))
            else:
                left = [self.fixed(fixed)] if fixed != 1 else []
                left += [self.printer(Mul(*moving[:-1]))] if moving[:-1] else []
                products.append((_number(number), " * ".join(left), self.printer(moving[-1])))
        return Sum(tuple(plain), tuple(products), tuple(matrices))


def _number(value: Expr) -> str:
    return TorchPrinter()(value)


def _right(matrix: Expr) -> Expr:
    """What a row of vectors is multiplied by: the transpose of a matrix that multiplies columns."""
    return matrix.args[0] if isinstance(matrix, transpose) else transpose(matrix)
